"""Programs that can be run on data, one or more of each type that the kernel runs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from tests.support import asm, load
from tests.support.asm import R0, R1, R2, R3, R6


@dataclass
class Runnable:
    """A loaded program."""

    label: str
    type: str
    fd: load.Fd
    id: int


def _xdp_writer() -> list[asm.Item]:
    """Inverts the second byte of the packet, cuts four bytes off its head, returns its length."""
    return [
        asm.mov64(R6, R1),
        asm.ldx(4, R2, R1, 0),
        asm.ldx(4, R3, R1, 4),
        asm.mov64(R0, R3),
        asm.alu64("sub", R0, R2),
        asm.mov64(asm.R7, R0),
        asm.mov64(asm.R4, R2),
        asm.alu64("add", asm.R4, 14),
        asm.jmp("jgt", asm.R4, R3, "out"),
        asm.ldx(1, asm.R5, R2, 1),
        asm.alu64("xor", asm.R5, 0xFF),
        asm.stx(1, R2, 1, asm.R5),
        asm.mov64(R1, R6),
        asm.mov64(R2, 4),
        asm.call(44),  # bpf_xdp_adjust_head
        asm.label("out"),
        asm.mov64(R0, asm.R7),
        asm.exit_(),
    ]


def _skb_writer() -> list[asm.Item]:
    """Writes mark, priority and cb of its context, returns its length plus the old mark."""
    return [
        asm.ldx(4, R0, R1, 0),
        asm.ldx(4, R2, R1, 8),
        asm.alu64("add", R0, R2),
        asm.alu64("add", R2, 0x01020304),
        asm.stx(4, R1, 8, R2),
        asm.stx(4, R1, 48, R2),
        asm.stx(4, R1, 56, R0),
        asm.exit_(),
    ]


def _context_sum() -> list[asm.Item]:
    """The sum of the first two words of the context."""
    return [
        asm.ldx(8, R2, R1, 0),
        asm.ldx(8, R0, R1, 8),
        asm.alu64("add", R0, R2),
        asm.exit_(),
    ]


def _context_writer() -> list[asm.Item]:
    """A syscall program: adds one to the first word of its context, returns the second."""
    return [
        asm.ldx(4, R0, R1, 4),
        asm.ldx(4, R2, R1, 0),
        asm.alu64("add", R2, 1),
        asm.stx(4, R1, 0, R2),
        asm.exit_(),
    ]


def _constant(number: int) -> list[asm.Item]:
    return [asm.mov64(R0, number), asm.exit_()]


_PROGRAMS: tuple[tuple[str, str, str | int, int, list[asm.Item]], ...] = (
    # label, type, expected attach type, flags, code
    ("xdp_pass", "xdp", 0, 0, _constant(2)),
    ("xdp_frags", "xdp", 0, load.F_XDP_HAS_FRAGS, _constant(2)),
    ("xdp_write", "xdp", 0, 0, _xdp_writer()),
    ("cls", "sched_cls", 0, 0, _constant(0)),
    ("cls_minus", "sched_cls", 0, 0, _constant(-1)),
    ("cls_write", "sched_cls", 0, 0, _skb_writer()),
    ("act", "sched_act", 0, 0, _skb_writer()),
    ("socket", "socket_filter", 0, 0, [asm.ldx(4, R0, R1, 0), asm.exit_()]),
    ("cgroup_skb", "cgroup_skb", "cgroup_inet_ingress", 0, _constant(1)),
    ("lwt_in", "lwt_in", 0, 0, _constant(0)),
    ("lwt_out", "lwt_out", 0, 0, _constant(0)),
    ("lwt_xmit", "lwt_xmit", 0, 0, _constant(0)),
    ("seg6local", "lwt_seg6local", 0, 0, _constant(0)),
    ("flow", "flow_dissector", "flow_dissector", 0, _constant(0)),
    ("sk_lookup", "sk_lookup", "sk_lookup", 0, _constant(1)),
    ("raw_tp", "raw_tracepoint", 0, 0, _context_sum()),
    ("raw_tp_bare", "raw_tracepoint", 0, 0, _constant(77)),
    ("syscall", "syscall", 0, load.F_SLEEPABLE, _context_writer()),
    ("syscall_bare", "syscall", 0, load.F_SLEEPABLE, _constant(5)),
    # Netfilter's verdicts; Linux 6.4.
    ("netfilter", "netfilter", "netfilter", 0, _constant(1)),
    # Types that have no test run.
    ("kprobe", "kprobe", 0, 0, _constant(0)),
    ("sock_ops", "sock_ops", 0, 0, _constant(0)),
    ("sk_skb", "sk_skb", 0, 0, _constant(1)),
    ("sk_msg", "sk_msg", 0, 0, _constant(1)),
    ("device", "cgroup_device", 0, 0, _constant(1)),
)


def load_runnable(stack: contextlib.ExitStack) -> list[Runnable]:
    """Load what the running kernel takes; it stays until the stack is closed."""
    found = []
    for label, type, attach, flags, code in _PROGRAMS:
        try:
            fd = load.prog_load(
                type, asm.assemble(code), attach=attach, flags=flags, name=f"pr_{label}"[:15]
            )
        except load.KernelRefusal:
            continue
        stack.enter_context(fd)
        found.append(Runnable(label, type, fd, load.object_id(fd)))
    return found
