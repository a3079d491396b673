"""A population of BPF objects for live tests, differential runs and benchmarks.

`load_corpus(stack)` loads it and gives everything back when the stack closes.  What the running
kernel refuses is left out and recorded with the reason, so the same corpus serves old and new
kernels.  `python -m tests.support.corpus --hold [SECONDS]` holds it for runs by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import itertools
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support import asm, load, metadata
from tests.support import corpus_insns as insns
from tests.support.asm import R0, R1, R2, R3, R6, R7, R8, R9, R10, Item
from tests.support.btfbuild import GLOBAL, SIGNED, BtfBuilder, BtfIndex
from tests.support.debuginfo import Source
from tests.support.load import Fd

PREFIX = "pt_"


@dataclass
class Loaded:
    """One object of the corpus."""

    label: str
    kind: str
    id: int
    fd: Fd
    name: str = ""
    type: str = ""
    pins: list[str] = field(default_factory=list)


@dataclass
class Corpus:
    """What was loaded, and what the kernel refused: (label, reason)."""

    progs: list[Loaded] = field(default_factory=list)
    maps: list[Loaded] = field(default_factory=list)
    links: list[Loaded] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    bpffs: str = ""
    cgroup: str = ""

    def prog(self, label: str) -> Loaded:
        """The program loaded under `label`; KeyError when it was refused."""
        return _by_label(self.progs, label)

    def map(self, label: str) -> Loaded:
        """The map created under `label`."""
        return _by_label(self.maps, label)

    def types(self) -> set[str]:
        """Program types that are present."""
        return {item.type for item in self.progs}


def _by_label(items: Sequence[Loaded], label: str) -> Loaded:
    for item in items:
        if item.label == label:
            return item
    raise KeyError(label)


class _Loader:
    """Loads one thing after the other; a refusal is recorded, not raised."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.stack = stack
        self.corpus = Corpus()
        try:
            self.vmlinux: BtfIndex | None = BtfIndex.vmlinux()
        except OSError:
            self.vmlinux = None

    def _keep(self, kind: str, label: str, make: Callable[[], Fd], name: str, type_: str) -> None:
        items: list[Loaded] = getattr(self.corpus, kind + "s")
        try:
            fd = make()
        except (OSError, KeyError) as error:
            reason = error.reason if isinstance(error, load.KernelRefusal) else str(error)
            self.corpus.refused.append((kind + " " + label, reason))
            return
        self.stack.enter_context(fd)
        items.append(Loaded(label, kind, load.object_id(fd, kind), fd, name, type_))

    def prog(
        self,
        label: str,
        prog_type: str,
        items: Sequence[Item] | bytes,
        *,
        name: str | None = None,
        attach: str | int = 0,
        flags: int = 0,
        attach_btf_id: int = 0,
        license: str = "GPL",
        ifindex: int = 0,
        attach_prog: Fd | None = None,
        fd_array: Sequence[load.AnyFd] | None = None,
        kern_version: int = 0,
    ) -> None:
        """Load a program without debug information."""
        code = items if isinstance(items, bytes) else asm.assemble(items)
        text = PREFIX + label if name is None else name
        self._keep(
            "prog",
            label,
            lambda: load.prog_load(
                prog_type,
                code,
                name=text,
                attach=attach,
                flags=flags,
                attach_btf_id=attach_btf_id,
                license=license,
                ifindex=ifindex,
                attach_prog=attach_prog,
                fd_array=fd_array,
                kern_version=kern_version,
            ),
            text[:15],
            prog_type,
        )

    def make(
        self, label: str, make: Callable[[], Fd], *, name: str = "", type_: str = "socket_filter"
    ) -> None:
        """Load a program by a function of the caller."""
        self._keep("prog", label, make, name or PREFIX + label, type_)

    def map(self, label: str, make: Callable[[], Fd], type_: str = "") -> None:
        """Create a map by a function of the caller."""
        self._keep("map", label, make, PREFIX + label, type_ or label)

    def link(self, label: str, make: Callable[[], Fd]) -> None:
        """Create a link by a function of the caller."""
        self._keep("link", label, make, "", label)

    def skip(self, label: str, reason: str) -> None:
        """Record that something could not be tried."""
        self.corpus.refused.append((label, reason))

    def kernel_id(self, kind: str, name: str) -> int:
        """Type id in vmlinux; KeyError, recorded by the caller's `_keep`, when it is missing."""
        found = self.vmlinux.find(kind, name) if self.vmlinux else None
        if found is None:
            raise KeyError("vmlinux BTF has no %s %r" % (kind, name))
        return found


# --- program types ------------------------------------------------------------------------------

# (label, type, attach type, returned value)
_PLAIN_TYPES: list[tuple[str, str, str | int, int]] = [
    ("socket_filter", "socket_filter", 0, 0),
    ("kprobe", "kprobe", 0, 0),
    ("sched_cls", "sched_cls", 0, 0),
    ("sched_act", "sched_act", 0, 0),
    ("tracepoint", "tracepoint", 0, 0),
    ("xdp", "xdp", "xdp", 2),
    ("xdp_devmap", "xdp", "xdp_devmap", 2),
    ("xdp_cpumap", "xdp", "xdp_cpumap", 2),
    ("perf_event", "perf_event", 0, 0),
    ("skb_ingress", "cgroup_skb", "cgroup_inet_ingress", 1),
    ("skb_egress", "cgroup_skb", "cgroup_inet_egress", 1),
    ("sock_create", "cgroup_sock", "cgroup_inet_sock_create", 1),
    ("sock_release", "cgroup_sock", "cgroup_inet_sock_release", 1),
    ("post_bind4", "cgroup_sock", "cgroup_inet4_post_bind", 1),
    ("post_bind6", "cgroup_sock", "cgroup_inet6_post_bind", 1),
    ("lwt_in", "lwt_in", 0, 0),
    ("lwt_out", "lwt_out", 0, 0),
    ("lwt_xmit", "lwt_xmit", 0, 0),
    ("lwt_seg6local", "lwt_seg6local", 0, 0),
    ("sock_ops", "sock_ops", "cgroup_sock_ops", 1),
    ("sk_skb_parser", "sk_skb", "sk_skb_stream_parser", 0),
    ("sk_skb_stream", "sk_skb", "sk_skb_stream_verdict", 1),
    ("sk_skb_verdict", "sk_skb", "sk_skb_verdict", 1),
    ("cgroup_device", "cgroup_device", "cgroup_device", 1),
    ("sk_msg", "sk_msg", "sk_msg_verdict", 1),
    ("raw_tp", "raw_tracepoint", 0, 0),
    ("raw_tp_w", "raw_tracepoint_writable", 0, 0),
    ("lirc_mode2", "lirc_mode2", "lirc_mode2", 0),
    ("reuse_select", "sk_reuseport", "sk_reuseport_select", 1),
    ("reuse_migrate", "sk_reuseport", "sk_reuseport_select_or_migrate", 1),
    ("flow_dissector", "flow_dissector", "flow_dissector", 0),
    ("cgroup_sysctl", "cgroup_sysctl", "cgroup_sysctl", 1),
    ("getsockopt", "cgroup_sockopt", "cgroup_getsockopt", 1),
    ("setsockopt", "cgroup_sockopt", "cgroup_setsockopt", 1),
    ("sk_lookup", "sk_lookup", "sk_lookup", 1),
    ("netfilter", "netfilter", "netfilter", 1),
    ("tcx_ingress", "sched_cls", "tcx_ingress", 0),
    ("netkit_primary", "sched_cls", "netkit_primary", 0),
]
_SOCK_ADDR = [
    "inet4_bind",
    "inet6_bind",
    "inet4_connect",
    "inet6_connect",
    "udp4_sendmsg",
    "udp6_sendmsg",
    "udp4_recvmsg",
    "udp6_recvmsg",
    "inet4_getpeername",
    "inet6_getpeername",
    "inet4_getsockname",
    "inet6_getsockname",
    "unix_connect",
    "unix_sendmsg",
    "unix_recvmsg",
    "unix_getpeername",
    "unix_getsockname",
]


def _program_types(ld: _Loader) -> None:
    for label, prog_type, attach, value in _PLAIN_TYPES:
        ld.prog(label, prog_type, asm.ret(value), attach=attach)
    for word in _SOCK_ADDR:
        ld.prog(word, "cgroup_sock_addr", asm.ret(1), attach="cgroup_" + word)
    ld.prog("syscall", "syscall", asm.ret(0), flags=load.F_SLEEPABLE)
    ld.prog("sleepable_up", "kprobe", asm.ret(0), flags=load.F_SLEEPABLE)
    ld.prog("xdp_frags", "xdp", asm.ret(2), attach="xdp", flags=load.F_XDP_HAS_FRAGS)
    ld.prog("not_gpl", "socket_filter", asm.ret(1), license="BSD")
    ld.prog("mpl", "xdp", asm.ret(1), license="Dual MPL/GPL", attach="xdp")

    # Context fields that the verifier converts into kernel offsets.
    ld.prog(
        "sock_addr_ctx",
        "cgroup_sock_addr",
        [asm.ldx(4, R2, R1, 4), asm.ldx(4, R3, R1, 24), asm.stx(4, R1, 24, R3), *_one()],
        attach="cgroup_inet4_connect",
    )
    ld.prog(
        "sock_ops_ctx",
        "sock_ops",
        [asm.ldx(4, R2, R1, 0), asm.stx(4, R1, 4, R2), asm.ldx(4, R2, R1, 28), *_one()],
        attach="cgroup_sock_ops",
    )
    ld.prog(
        "sysctl_ctx",
        "cgroup_sysctl",
        [asm.ldx(4, R2, R1, 0), asm.ldx(4, R2, R1, 4), asm.stx(4, R1, 4, R2), *_one()],
        attach="cgroup_sysctl",
    )
    ld.prog("device_ctx", "cgroup_device", [asm.ldx(4, R2, R1, 4), *_one()], attach="cgroup_device")


def _one() -> list[Item]:
    return [asm.ret(1)]


def _tracing(ld: _Loader) -> None:
    """Programs bound to kernel BTF: typed tracepoints, fentry family, iterators, LSM."""
    table: list[tuple[str, str, str, str, str, int, int]] = [
        # label, type, attach type, kind, name of the target, returned value, flags
        ("tp_btf", "tracing", "trace_raw_tp", "typedef", "btf_trace_sched_switch", 0, 0),
        ("iter_task", "tracing", "trace_iter", "func", "bpf_iter_task", 0, 0),
        ("iter_map", "tracing", "trace_iter", "func", "bpf_iter_bpf_map", 0, 0),
        ("iter_prog", "tracing", "trace_iter", "func", "bpf_iter_bpf_prog", 0, 0),
        ("iter_elem", "tracing", "trace_iter", "func", "bpf_iter_bpf_map_elem", 0, 0),
        ("iter_netlink", "tracing", "trace_iter", "func", "bpf_iter_netlink", 0, 0),
        ("iter_vma", "tracing", "trace_iter", "func", "bpf_iter_task_vma", 0, 0),
        ("iter_cgroup", "tracing", "trace_iter", "func", "bpf_iter_cgroup", 0, 0),
        ("fentry", "tracing", "trace_fentry", "func", "bpf_fentry_test1", 0, 0),
        ("fexit", "tracing", "trace_fexit", "func", "bpf_fentry_test2", 0, 0),
        ("fmod_ret", "tracing", "modify_return", "func", "bpf_modify_return_test", 0, 0),
        ("iter_s", "tracing", "trace_iter", "func", "bpf_iter_task", 0, load.F_SLEEPABLE),
        ("lsm", "lsm", "lsm_mac", "func", "bpf_lsm_file_open", 0, 0),
        ("lsm_sleepable", "lsm", "lsm_mac", "func", "bpf_lsm_bpf", 0, load.F_SLEEPABLE),
        ("lsm_cgroup", "lsm", "lsm_cgroup", "func", "bpf_lsm_socket_bind", 1, 0),
    ]

    def bound(
        label: str, prog_type: str, attach: str, kind: str, target: str, value: int, flags: int
    ) -> Callable[[], Fd]:
        return lambda: load.prog_load(
            prog_type,
            asm.ret(value),
            name=PREFIX + label,
            attach=attach,
            attach_btf_id=ld.kernel_id(kind, target),
            flags=flags,
        )

    for row in table:
        ld.make(row[0], bound(*row), type_=row[1])

    def task_name() -> Fd:
        """Reads task->comm through a typed pointer: a probed load."""
        code: list[Item] = [
            asm.ldx(8, R2, R1, 8),
            asm.jeq(R2, 0, "out"),
            asm.ldx(8, R3, R2, 0),
            asm.ldx(4, R3, R2, 8),
            asm.label("out"),
            asm.ret(0),
        ]
        return load.prog_load(
            "tracing",
            asm.assemble(code),
            name=PREFIX + "probe_mem",
            attach="trace_iter",
            attach_btf_id=ld.kernel_id("func", "bpf_iter_task"),
        )

    ld.make("probe_mem", task_name, type_="tracing")


def _kernel_symbols(ld: _Loader, array: Fd) -> None:
    """kfunc calls and addresses of kernel variables."""

    def load_kfunc(label: str, prog_type: str, build: Callable[[], list[Item]], **kw: Any) -> None:
        ld.make(
            label,
            lambda: load.prog_load(prog_type, asm.assemble(build()), name=PREFIX + label, **kw),
            type_=prog_type,
        )

    def func(name: str) -> int:
        return ld.kernel_id("func", name)

    load_kfunc(
        "kfunc_rcu",
        "sched_cls",
        lambda: [
            asm.call_kfunc(func("bpf_rcu_read_lock")),
            asm.call_kfunc(func("bpf_rcu_read_unlock")),
            asm.ret(0),
        ],
    )
    load_kfunc(
        "kfunc_cast",
        "sched_cls",
        lambda: [asm.call_kfunc(func("bpf_cast_to_kern_ctx")), asm.ret(0)],
    )
    load_kfunc(
        "kfunc_iter",
        "sched_cls",
        lambda: [
            asm.mov64(R1, R10),
            asm.alu64("add", R1, -8),
            asm.mov64(R2, 0),
            asm.mov64(R3, 5),
            asm.call_kfunc(func("bpf_iter_num_new")),
            asm.label("next"),
            asm.mov64(R1, R10),
            asm.alu64("add", R1, -8),
            asm.call_kfunc(func("bpf_iter_num_next")),
            asm.jne(R0, 0, "next"),
            asm.mov64(R1, R10),
            asm.alu64("add", R1, -8),
            asm.call_kfunc(func("bpf_iter_num_destroy")),
            asm.ret(0),
        ],
    )
    # Which kind of program may take keys changed between kernels.
    for label, prog_type in (("kfunc_key", "syscall"), ("kfunc_key_lsm", "lsm")):
        load_kfunc(
            label,
            prog_type,
            lambda: [
                asm.mov64(R1, 1),
                asm.call_kfunc(func("bpf_lookup_system_key")),
                asm.jeq(R0, 0, "out"),
                asm.mov64(R1, R0),
                asm.call_kfunc(func("bpf_key_put")),
                asm.label("out"),
                asm.ret(0),
            ],
            flags=load.F_SLEEPABLE,
            attach=load.ATTACH["lsm_mac"] if prog_type == "lsm" else 0,
            attach_btf_id=_or_zero(ld, "func", "bpf_lsm_bpf") if prog_type == "lsm" else 0,
        )
    load_kfunc(
        "kfunc_dynptr",
        "sched_cls",
        lambda: [
            asm.mov64(R2, 0),
            asm.mov64(R3, R10),
            asm.alu64("add", R3, -16),
            asm.call_kfunc(func("bpf_dynptr_from_skb")),
            asm.ret(0),
        ],
    )
    load_kfunc(
        "throw",
        "sched_cls",
        lambda: [asm.mov64(R1, 3), asm.call_kfunc(func("bpf_throw")), asm.ret(0)],
    )
    load_kfunc(
        "preempt",
        "sched_cls",
        lambda: [
            asm.call_kfunc(func("bpf_preempt_disable")),
            asm.call_kfunc(func("bpf_preempt_enable")),
            asm.ret(0),
        ],
    )
    load_kfunc(
        "ksym_percpu",
        "sched_cls",
        lambda: [
            asm.ld_btf_id(R1, ld.kernel_id("var", "bpf_prog_active")),
            asm.call(insns.THIS_CPU_PTR),
            asm.ldx(4, R7, R0, 0),
            asm.ld_btf_id(R1, ld.kernel_id("var", "runqueues")),
            asm.mov64(R2, 0),
            asm.call(insns.PER_CPU_PTR),
            asm.ret(0),
        ],
    )
    load_kfunc(
        "ksym_func",
        "sched_cls",
        lambda: [asm.ld_btf_id(R1, func("kernel_clone")), asm.stx(8, R10, -8, R1), asm.ret(0)],
    )
    load_kfunc(
        "task_btf",
        "tracing",
        lambda: [asm.call(insns.CURRENT_TASK_BTF), asm.ldx(8, R1, R0, 0), asm.ret(0)],
        attach=load.ATTACH["trace_raw_tp"],
        attach_btf_id=_or_zero(ld, "typedef", "btf_trace_sched_switch"),
    )
    # map index forms: the map comes from fd_array
    ld.prog(
        "map_idx",
        "socket_filter",
        [
            asm.ld_map_idx(R1, 0),
            asm.ld_map_idx_value(R2, 0, 16),
            asm.ldx(8, R0, R2, 0),
            asm.ret(0),
        ],
        fd_array=[array],
    )


def _or_zero(ld: _Loader, kind: str, name: str) -> int:
    try:
        return ld.kernel_id(kind, name)
    except KeyError:
        return 0


# --- maps ---------------------------------------------------------------------------------------


def _maps(ld: _Loader) -> None:
    page = load.page_size()

    def create(
        label: str,
        map_type: str,
        key: int,
        value: int,
        entries: int,
        flags: int = 0,
        extra: int = 0,
    ) -> None:
        ld.map(
            label,
            lambda: load.map_create(
                map_type, key, value, entries, name=PREFIX + label, flags=flags, extra=extra
            ),
            map_type,
        )

    create("array", "array", 4, 64, 1)
    create("array2", "array", 4, 64, 1)
    create("elems", "array", 4, 8, 8)
    create("mmap", "array", 4, 64, 4, load.F_MMAPABLE)
    create("hash", "hash", 4, 8, 16)
    create("hash_lazy", "hash", 8, 24, 100, load.F_NO_PREALLOC)
    create("prog_array", "prog_array", 4, 4, 4)
    create("perf_array", "perf_event_array", 4, 4, 4)
    create("percpu_hash", "percpu_hash", 4, 8, 4)
    create("percpu_array", "percpu_array", 4, 8, 4)
    create("stack_trace", "stack_trace", 4, 80, 16)
    create("cgroup_array", "cgroup_array", 4, 4, 2)
    create("lru_hash", "lru_hash", 4, 8, 16)
    create("lru_percpu", "lru_percpu_hash", 4, 8, 16)
    create("lpm_trie", "lpm_trie", 8, 8, 16, load.F_NO_PREALLOC)
    create("devmap", "devmap", 4, 4, 4)
    create("devmap_hash", "devmap_hash", 4, 8, 4)
    create("sockmap", "sockmap", 4, 8, 4)
    create("sockhash", "sockhash", 4, 4, 4)
    create("cpumap", "cpumap", 4, 8, 2)
    create("xskmap", "xskmap", 4, 4, 4)
    create("cgrp_storage_1", "cgroup_storage", 16, 16, 0)
    create("reuseport", "reuseport_sockarray", 4, 8, 4)
    create("percpu_cgrp", "percpu_cgroup_storage", 8, 16, 0)
    create("queue", "queue", 0, 8, 4)
    create("stack", "stack", 0, 8, 4)
    create("ringbuf", "ringbuf", 0, 0, page)
    create("user_ringbuf", "user_ringbuf", 0, 0, page)
    create("bloom", "bloom_filter", 0, 8, 16)
    # An arena needs its user address before a program may name it.
    create("arena", "arena", 0, 0, 4, load.F_MMAPABLE, 1 << 44)
    create("noname", "array", 4, 4, 1)

    def of_maps(label: str, map_type: str) -> None:
        def make() -> Fd:
            with load.map_create("array", 4, 8, 2, name=PREFIX + "inner") as inner:
                outer = load.map_create(map_type, 4, 4, 3, name=PREFIX + label, inner=inner)
                load.map_update(outer, bytes(4), struct.pack("=i", inner.fd))
                return outer

        ld.map(label, make, map_type)

    of_maps("array_of_maps", "array_of_maps")
    of_maps("hash_of_maps", "hash_of_maps")

    def with_btf(
        label: str, map_type: str, key_type: bool, entries: int, flags: int, value_size: int = 16
    ) -> None:
        def make() -> Fd:
            btf = BtfBuilder()
            number = btf.add_int("int", 4, SIGNED)
            wide = btf.add_int("unsigned long long", 8)
            value = btf.add_struct(
                "pair_of_numbers", value_size, [("first", number, 0), ("second", wide, 64)]
            )
            with load.btf_load(btf.build()) as fd:
                return load.map_create(
                    map_type,
                    4,
                    value_size,
                    entries,
                    name=PREFIX + label,
                    flags=flags,
                    btf=fd,
                    btf_key=number if key_type else 0,
                    btf_value=value,
                )

        ld.map(label, make, map_type)

    with_btf("btf_hash", "hash", True, 8, 0)
    with_btf("btf_array", "array", True, 3, 0)
    with_btf("btf_percpu", "percpu_array", True, 2, 0)
    with_btf("sk_storage", "sk_storage", True, 0, load.F_NO_PREALLOC)
    with_btf("inode_storage", "inode_storage", True, 0, load.F_NO_PREALLOC)
    with_btf("task_storage", "task_storage", True, 0, load.F_NO_PREALLOC)
    with_btf("cgrp_storage", "cgrp_storage", True, 0, load.F_NO_PREALLOC)

    corpus = ld.corpus
    for label, rows in (("hash", 5), ("elems", 8), ("lru_hash", 2)):
        fd = corpus.map(label).fd
        for index in range(rows):
            load.map_update(fd, struct.pack("=I", index), struct.pack("=Q", index * 0x0101010101))
    for label in ("btf_hash", "btf_array"):
        for index in range(2):
            row = struct.pack("=iIQ", -index, 0, 1 << 40 | index)
            load.map_update(corpus.map(label).fd, struct.pack("=I", index), row)
    load.map_update(corpus.map("array2").fd, bytes(4), bytes(range(64)))
    load.map_freeze(corpus.map("array2").fd)


def _map_users(ld: _Loader) -> None:
    """One program that names a map of every kind, and some that use special ones."""
    by_label = {item.label: item for item in ld.corpus.maps}
    for item in ld.corpus.maps:
        # Which maps a program may name depends on the program type only for a few of them.
        prog_type, attach, value = "sched_cls", "", 0
        if item.label in ("cgrp_storage_1", "percpu_cgrp"):
            prog_type, attach, value = "cgroup_skb", "cgroup_inet_ingress", 1
        ld.prog(
            "ref_" + item.label,
            prog_type,
            [asm.ld_map_fd(R1, item.fd.fd), asm.ret(value)],
            attach=attach or 0,
        )
    many = [
        item
        for item in ld.corpus.maps
        if item.label not in ("cgrp_storage_1", "percpu_cgrp", "arena", "array_of_maps")
        and "storage" not in item.label
    ]
    body: list[Item] = [asm.ld_map_fd(R1, item.fd.fd) for item in many]
    ld.prog("many_maps", "sched_cls", [*body, asm.ret(0)])
    if "xskmap" in by_label:
        ld.prog(
            "redirect_map",
            "xdp",
            [
                asm.ldx(4, R2, R1, 16),
                asm.ld_map_fd(R1, by_label["xskmap"].fd.fd),
                asm.mov64(R3, 2),
                asm.call(insns.REDIRECT_MAP),
                asm.exit_(),
            ],
            attach="xdp",
        )
    for label in ("percpu_array", "lpm_trie", "array_of_maps", "hash_of_maps", "lru_hash"):
        ld.prog(
            "lookup_" + label,
            "sched_cls",
            [
                asm.st(8, R10, -8, 0),
                asm.mov64(R2, R10),
                asm.alu64("add", R2, -8 if label == "lpm_trie" else -4),
                asm.ld_map_fd(R1, by_label[label].fd.fd),
                asm.call(insns.MAP_LOOKUP),
                asm.ret(0),
            ],
        )
    if "arena" in by_label:
        ld.prog(
            "arena_use",
            "syscall",
            [
                asm.ld_map_fd(R1, by_label["arena"].fd.fd),
                asm.mov64(R7, 64),
                asm.addr_space_cast(R8, R7, 0, 1),
                asm.ldx(8, R2, R8, 0),
                asm.stx(4, R8, 8, R2),
                asm.st(1, R8, 16, 7),
                asm.addr_space_cast(R9, R8, 1, 0),
                asm.ret(0),
            ],
            flags=load.F_SLEEPABLE,
        )
        ld.prog(
            "arena_atomic",
            "syscall",
            [
                asm.ld_map_fd(R1, by_label["arena"].fd.fd),
                asm.mov64(R7, 64),
                asm.addr_space_cast(R8, R7, 0, 1),
                asm.mov64(R2, 1),
                asm.xadd(8, R8, 0, R2),
                asm.atomic("add", 4, R8, 8, R2, fetch=True),
                asm.xchg(8, R8, 16, R2),
                asm.ret(0),
            ],
            flags=load.F_SLEEPABLE,
        )


# --- debug information --------------------------------------------------------------------------

LONG_NAME = "pt_a_function_name_that_is_much_longer_than_fifteen"


def _described(ld: _Loader) -> None:
    """Programs with BTF: functions, lines, long names."""
    corpus = ld.corpus

    def long_name(name: str, linkage: int) -> Callable[[], Fd]:
        def make() -> Fd:
            source = Source()
            source.function(0, name, linkage=linkage)
            source.line(0, "long.c", "\treturn 0;", 3, 2)
            return source.load("socket_filter", [asm.ret(0)], name=name)

        return make

    ld.make("long_name", long_name(LONG_NAME, GLOBAL), name=LONG_NAME)
    ld.make("long_static", long_name("pt_exactly_15ch", 0), name="pt_exactly_15ch")
    ld.make("long_16", long_name("pt_sixteen_chars", GLOBAL), name="pt_sixteen_chars")
    ld.make("very_long", long_name("pt_" + "x" * 300, GLOBAL), name="pt_" + "x" * 300)

    def other_name() -> Fd:
        """The kernel's name is empty, the function's is not."""
        source = Source()
        source.global_function(0, "pt_only_in_btf")
        return source.load("socket_filter", [asm.ret(0)])

    ld.make("name_in_btf", other_name, name="pt_only_in_btf")

    def several_files() -> Fd:
        source = Source()
        task = source.btf.add_fwd("task_struct")
        source.global_function("main", "pt_lines_main")
        source.function("add", "pt_add_two", [("a", source.int), ("b", source.int)], source.int)
        source.function(
            "ptr",
            "pt_with_pointers",
            [
                ("task", source.btf.add_ptr(task)),
                ("name", source.btf.add_ptr(source.btf.add_const(source.u64))),
            ],
            source.u64,
        )
        source.lines(
            "/src/app/main.bpf.c",
            [
                ("main", "int main(struct __sk_buff *skb)", 10, 0),
                (1, "\tint a = 1, b = 2;", 12, 6),
                (2, '\tbpf_printk("%d \\"quoted\\"", a);', 13, 1023),
                ("call2", "", 15, 1),
                ("exit", "}", 1 << 21, 1),
            ],
        )
        source.lines(
            "include/helpers.h",
            [
                ("add", "static int add_two(int a, int b)", 3, 5),
                ("add_body", "    return a + b;    ", 4, 12),
            ],
        )
        source.lines("", [("ptr", "\treturn 0; /* caf\u00e9 */", 1, 0)])
        body: list[Item] = [
            asm.label("main"),
            asm.mov64(R1, 1),
            asm.mov64(R2, 2),
            asm.call_sub("add"),
            asm.ld_imm64(R6, 0x1234567890),
            asm.label("call2"),
            asm.mov64(R1, 0),
            asm.mov64(R2, 0),
            asm.call_sub("ptr"),
            asm.label("exit"),
            asm.ret(0),
            asm.label("add"),
            asm.mov64(R0, R1),
            asm.label("add_body"),
            asm.alu64("add", R0, R2),
            asm.exit_(),
            asm.label("ptr"),
            asm.ret(0),
        ]
        return source.load("socket_filter", body, name="pt_lines_main")

    ld.make("lines", several_files, name="pt_lines_main")

    def only_funcs() -> Fd:
        source = Source()
        source.global_function("main", "pt_only_funcs")
        source.function("leaf", "pt_leaf", [], source.u64)
        body: list[Item] = [asm.label("main"), asm.call_sub("leaf"), asm.ret(0)]
        return source.load(
            "socket_filter", [*body, asm.label("leaf"), asm.ret(5)], name="pt_only_funcs"
        )

    ld.make("only_funcs", only_funcs, name="pt_only_funcs")

    def prototypes() -> Fd:
        """Prototypes with every kind of parameter type."""
        source = Source()
        btf = source.btf
        pair = btf.add_struct("pair", 8, [("a", source.int, 0), ("b", source.int, 32)])
        either = btf.add_union("either", 4, [("x", source.int, 0)])
        kind = btf.add_enum("kind", [("KIND_A", 0)])
        alias = btf.add_typedef("my_int", source.int)
        array = btf.add_array(source.int, source.u32, 4)
        proto = btf.add_func_proto(source.int, [("x", source.int), ("", 0)])
        params: list[tuple[str, int]] = [
            ("p", btf.add_ptr(pair)),
            ("u", btf.add_ptr(either)),
            ("k", kind),
            ("alias", btf.add_ptr(btf.add_const(alias))),
            ("rows", btf.add_ptr(array)),
        ]
        source.global_function("main", "pt_prototypes")
        source.function("one", "pt_many_params", params, source.int)
        source.function(
            "two",
            "pt_qualified",
            [
                ("fn", btf.add_ptr(proto)),
                ("vol", btf.add_ptr(btf.add_volatile(source.int))),
                ("res", btf.add_restrict(btf.add_ptr(btf.add_const(0)))),
                ("tagged", btf.add_ptr(btf.add_type_tag("user", pair))),
                ("deep", btf.add_ptr(btf.add_ptr(btf.add_fwd("thing", union=True)))),
            ],
            btf.add_typedef("result_t", source.u64),
        )
        source.function("three", "pt_returns_ptr", [("n", source.u32)], source.u64)
        zero = [asm.mov64(asm.Reg(r), 0) for r in range(1, 6)]
        body: list[Item] = [asm.label("main")]
        for name in ("one", "two", "three"):
            body += [*zero, asm.call_sub(name)]
        body += [asm.ret(0)]
        for name in ("one", "two", "three"):
            body += [asm.label(name), asm.ret(0)]
        return source.load("socket_filter", body, name="pt_prototypes")

    ld.make("prototypes", prototypes, name="pt_prototypes")

    def global_subprogram() -> Fd:
        source = Source()
        source.global_function("main", "pt_global_main")
        source.global_function("pub", "pt_global_sub", [("a", source.int)])
        body: list[Item] = [asm.label("main"), asm.mov64(R1, 1), asm.call_sub("pub"), asm.ret(0)]
        return source.load(
            "xdp", [*body, asm.label("pub"), asm.mov64(R0, R1), asm.exit_()], name="pt_global_main"
        )

    ld.make("global_sub", global_subprogram, name="pt_global_main", type_="xdp")

    def callbacks(label: str, items: list[Item], second: str) -> None:
        def make() -> Fd:
            source = Source()
            source.global_function("main", "pt_" + label)
            source.function(
                second, "pt_%s_cb" % label, [("i", source.u64), ("ctx", source.void_ptr)]
            )
            source.line("main", "cb.c", "bpf_loop(4, step, NULL, 0);", 20, 3)
            source.line(second, "cb.c", "static int step(u64 i, void *ctx)", 2, 0)
            return source.load("sched_cls", items, name="pt_" + label)

        ld.make(label, make, type_="sched_cls")

    callbacks("cb_loop", insns.callback_loop(), "step")
    callbacks("cb_each", insns.callback_each(corpus.map("elems").fd.fd), "each")

    def extension() -> Fd:
        """Replaces the global function of another program."""
        target = corpus.prog("global_sub").fd
        source = Source()
        source.global_function(0, "pt_replacement", [("a", source.int)])
        # FUNC of the target: its BTF was built the same way
        other = Source()
        other.global_function("main", "pt_global_main")
        func = other.global_function("pub", "pt_global_sub", [("a", other.int)])
        return source.load(
            "ext", [asm.ret(2)], name="pt_replacement", attach_btf_id=func, attach_prog=target
        )

    ld.make("ext", extension, name="pt_replacement", type_="ext")

    def on_program() -> Fd:
        """fentry of another BPF program."""
        target = corpus.prog("global_sub").fd
        other = Source()
        func = other.global_function("main", "pt_global_main")
        return load.prog_load(
            "tracing",
            asm.ret(0),
            name="pt_on_prog",
            attach="trace_fentry",
            attach_btf_id=func,
            attach_prog=target,
        )

    ld.make("fentry_prog", on_program, name="pt_on_prog", type_="tracing")


def _metadata(ld: _Loader, *, beyond_upstream: bool) -> None:
    for label, build in metadata.ALL.items():
        if label in metadata.BEYOND_UPSTREAM and not beyond_upstream:
            continue
        ld.map(
            "meta_" + label,
            lambda build=build, label=label: build().create(  # type: ignore[misc]
                "pt_%s.rodata" % label[:5]
            ),
            "array",
        )
        try:
            fd = ld.corpus.map("meta_" + label).fd
        except KeyError:
            continue
        ld.prog(
            "meta_" + label,
            "cgroup_skb",
            [asm.ld_map_value(R1, fd.fd), asm.ret(1)],
            attach="cgroup_inet_egress",
        )
    # Held by BPF_PROG_BIND_MAP only, as libbpf does for metadata that no code reads.
    ld.prog("meta_bound", "xdp", asm.ret(2), attach="xdp")
    with contextlib.suppress(KeyError, OSError):
        bound = ld.corpus.prog("meta_bound").fd
        load.prog_bind_map(bound, ld.corpus.map("hash").fd)
        load.prog_bind_map(bound, ld.corpus.map("meta_ints").fd)


# --- the rest -----------------------------------------------------------------------------------


def _names(ld: _Loader) -> None:
    """Same names, same tags, no names."""
    for index in range(3):
        ld.prog("twin%d" % index, "socket_filter", asm.ret(77), name="pt_twin")
    ld.prog("twin_other_tag", "xdp", asm.ret(1) + b"", name="pt_twin", attach="xdp")
    ld.prog("same_tag", "socket_filter", asm.ret(77), name="pt_same_tag")
    ld.prog("nameless", "socket_filter", asm.ret(78), name="")
    ld.prog("nameless_xdp", "xdp", asm.ret(2), name="", attach="xdp")
    ld.prog("dotted", "socket_filter", asm.ret(79), name="pt_a.b_c")
    ld.prog("digits", "socket_filter", asm.ret(80), name="12345")


def _speculative(ld: _Loader, array: Fd) -> None:
    """Loaded without CAP_PERFMON: the verifier hardens the code against speculation."""
    for label, prog_type, items in insns.speculation(array.fd):

        def make(items: list[Item] = items, prog_type: str = prog_type) -> Fd:
            with without_capabilities(CAP_PERFMON, CAP_SYS_ADMIN):
                return load.prog_load(prog_type, asm.assemble(items), name=PREFIX + "nospec")

        ld.make(label, make, type_=prog_type)


def _device(ld: _Loader, *, here: bool) -> None:
    """Programs bound to a network device (not offloaded): in another namespace, and in this one.

    A veth has the metadata operations that the kernel asks for.  `here` says that the current
    namespace is the caller's own, so that devices may be made in it.
    """
    import socket

    def bound(label: str) -> None:
        load.ip("link", "add", "pt_" + label, "type", "veth", "peer", "name", "pt_peer")
        ld.prog(
            "bound_" + label,
            "xdp",
            asm.ret(2),
            attach="xdp",
            ifindex=socket.if_nametoindex("pt_" + label),
            flags=load.F_XDP_DEV_BOUND_ONLY,
        )

    try:
        with load.temp_netns() as netns:
            # The namespace lives as long as this descriptor.
            ld.stack.callback(os.close, os.dup(netns))
            bound("far")
        if here:
            bound("near")
            ld.stack.callback(load.ip, "link", "del", "pt_near")
    except (OSError, subprocess.SubprocessError) as error:
        ld.skip("programs bound to a device", str(error))


def _statistics(ld: _Loader) -> None:
    """Run some programs with kernel.bpf_stats_enabled on."""
    try:
        with load.sysctl("kernel.bpf_stats_enabled", "1"):
            for label, repeat in (("xdp", 3), ("sched_cls", 1000), ("calls", 2), ("xdp_packet", 5)):
                load.prog_test_run(ld.corpus.prog(label).fd, bytes(64), repeat=repeat)
    except (OSError, KeyError) as error:
        ld.skip("run statistics", str(error))


def _pins(ld: _Loader) -> None:
    try:
        root = ld.stack.enter_context(load.temp_bpffs())
    except OSError as error:
        ld.skip("pins", str(error))
        return
    ld.corpus.bpffs = root
    os.mkdir(root + "/sub")

    def pin(item: Loaded, path: str) -> None:
        try:
            load.obj_pin(item.fd, path)
        except OSError as error:
            ld.skip("pin " + path, str(error))
            return
        item.pins.append(path)

    for label, name in (
        ("xdp", "one"),
        ("lines", "sub/lines"),
        ("twin1", "twin"),
        ("twin1", "sub/twin_again"),
        ("calls", 'with space "and" quote'),
        ("socket_filter", "umlaut_\u00e4"),
    ):
        with contextlib.suppress(KeyError):
            pin(ld.corpus.prog(label), os.path.join(root, name))
    for label in ("hash", "btf_hash", "meta_ints"):
        with contextlib.suppress(KeyError):
            pin(ld.corpus.map(label), os.path.join(root, "map_" + label))


def _links(ld: _Loader) -> None:
    """Links that need nothing outside the corpus: cgroup, raw tracepoint, tracing, iterators."""
    corpus = ld.corpus
    try:
        corpus.cgroup = ld.stack.enter_context(load.temp_cgroup())
        cgroup_fd = os.open(corpus.cgroup, os.O_RDONLY | os.O_DIRECTORY)
        ld.stack.callback(os.close, cgroup_fd)
    except OSError as error:
        ld.skip("cgroup links", str(error))
    else:
        for label, attach in (
            ("skb_egress", "cgroup_inet_egress"),
            ("sock_create", "cgroup_inet_sock_create"),
            ("inet4_connect", "cgroup_inet4_connect"),
            ("cgroup_device", "cgroup_device"),
            ("sock_ops", "cgroup_sock_ops"),
            ("getsockopt", "cgroup_getsockopt"),
        ):
            ld.link(
                "cgroup_" + label,
                lambda label=label, attach=attach: load.link_create(  # type: ignore[misc]
                    corpus.prog(label).fd, cgroup_fd, attach
                ),
            )
    ld.link("raw_tp", lambda: load.raw_tracepoint_open(corpus.prog("raw_tp").fd, "sys_enter"))
    ld.link("tp_btf", lambda: load.raw_tracepoint_open(corpus.prog("tp_btf").fd))
    for label in ("fentry", "fexit", "fmod_ret", "lsm"):
        ld.link(label, lambda label=label: load.raw_tracepoint_open(corpus.prog(label).fd))  # type: ignore[misc]
    for label in ("iter_task", "iter_map", "iter_prog"):
        ld.link(
            label,
            lambda label=label: load.link_create(corpus.prog(label).fd, 0, "trace_iter"),  # type: ignore[misc]
        )


CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF = 21, 12, 38, 39


@contextlib.contextmanager
def without_capabilities(*numbers: int) -> Iterator[None]:
    """Take capabilities out of the calling thread's effective set for the time of the body."""
    libc = ctypes.CDLL(None, use_errno=True)
    # _LINUX_CAPABILITY_VERSION_3, this thread; two sets of 32 bits
    header = struct.pack("=Ii", 0x20080522, 0)
    data = ctypes.create_string_buffer(24)
    if libc.capget(header, data):
        raise OSError(ctypes.get_errno(), "capget: %s" % os.strerror(ctypes.get_errno()))
    before = list(struct.unpack("=6I", data.raw))
    after = list(before)
    for number in numbers:
        after[number // 32 * 3] &= ~(1 << number % 32)
    if libc.capset(header, struct.pack("=6I", *after)):
        raise OSError(ctypes.get_errno(), "capset: %s" % os.strerror(ctypes.get_errno()))
    try:
        yield
    finally:
        if libc.capset(header, struct.pack("=6I", *before)):
            raise OSError(ctypes.get_errno(), "the capabilities could not be restored")


def load_corpus(
    stack: contextlib.ExitStack,
    *,
    links: bool = True,
    own_netns: bool = False,
    beyond_upstream: bool = True,
) -> Corpus:
    """Load everything this kernel takes; `stack` gives it back.  OSError without privilege.

    `own_netns` says that the caller's network namespace is its own: devices are made in it.
    `beyond_upstream` adds what upstream's bpftool stops at (floating-point metadata).
    """
    reason = load.why_no_bpf()
    if reason:
        raise OSError(reason)
    ld = _Loader(stack)
    _maps(ld)
    corpus = ld.corpus
    array = corpus.map("array").fd
    _program_types(ld)
    for label, prog_type, items in insns.everything(
        array.fd,
        corpus.map("array2").fd.fd,
        corpus.map("hash").fd.fd,
        corpus.map("prog_array").fd.fd,
        corpus.map("ringbuf").fd.fd,
    ):
        ld.prog(label, prog_type, items)
    _speculative(ld, array)
    _tracing(ld)
    _kernel_symbols(ld, array)
    _map_users(ld)
    _described(ld)
    _metadata(ld, beyond_upstream=beyond_upstream)
    _names(ld)
    _device(ld, here=own_netns)
    _statistics(ld)
    _pins(ld)
    if links:
        _links(ld)
    return corpus


# --- many objects -------------------------------------------------------------------------------


def room_for(count: int) -> None:
    """Let this process have as many open files; OSError when the kernel does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = count + 256
    if soft < need:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (need, max(need, hard)))
        except (ValueError, OSError) as error:
            text = "%d objects need more open files than the limit of %d" % (count, hard)
            raise OSError(text) from error


def many_programs(
    stack: contextlib.ExitStack,
    count: int,
    *,
    prog_type: str = "socket_filter",
    name: str = "p%05d",
    same_tag: bool = False,
    maps: Sequence[Fd] = (),
    first: int = 0,
) -> list[Fd]:
    """`count` trivial programs: distinct names, and distinct tags unless `same_tag`.

    They are numbered from `first` on.
    """
    room_for(count)
    named = b"".join(asm.ld_map_fd(R1, fd.fd) for fd in maps)
    fds = []
    for index in range(first, first + count):
        code = named + asm.ret(0 if same_tag else index)
        fds.append(stack.enter_context(load.prog_load(prog_type, code, name=name % index)))
    return fds


def many_maps(stack: contextlib.ExitStack, count: int, *, name: str = "m%05d") -> list[Fd]:
    """`count` small hash and array maps."""
    room_for(count)
    return [
        stack.enter_context(
            load.map_create("array" if index & 1 else "hash", 4, 8, 4, name=name % index, flags=0)
        )
        for index in range(count)
    ]


def many_links(stack: contextlib.ExitStack, count: int) -> list[Fd]:
    """`count` links of raw tracepoint programs (at most 64 on one tracepoint) and cgroups.

    Links to cgroups: at most 64 programs of one attach type in a cgroup, so there are many cgroups.
    """
    room_for(count)
    links = []
    prog = stack.enter_context(
        load.prog_load("cgroup_skb", asm.ret(1), name="many_links", attach="cgroup_inet_egress")
    )
    root = stack.enter_context(load.temp_cgroup())
    for index in range(count):
        path = "%s/c%05d" % (root, index)
        os.mkdir(path)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            links.append(stack.enter_context(load.link_create(prog, fd, "cgroup_inet_egress")))
        finally:
            os.close(fd)
    return links


def big_program(
    stack: contextlib.ExitStack,
    count: int = 100_000,
    *,
    name: str = "big_program",
    lines: bool = True,
) -> Fd:
    """A program of about `count` instructions in its translated form, as compilers write them.

    With `lines` it has BTF, a main function and global subprograms, and a line record for every
    third instruction, over two files.  The mix (moves, arithmetic, loads and stores, jumps,
    64-bit immediates, helper calls) is fixed, so that runs can be compared.
    """
    table = stack.enter_context(load.map_create("array", 4, 64, 1, name="big_map"))
    helper = [insns.KTIME_GET_NS, insns.GET_PRANDOM]
    # 28 slots per block, none of which the verifier can drop or rewrite.
    block: list[Item] = [
        asm.ldx(8, R7, R9, 0),
        asm.ldx(4, R8, R9, 8),
        asm.alu64("add", R7, R8),
        asm.alu64("xor", R7, 0x5BD1),
        asm.alu32("mul", R8, R7),
        asm.alu64("rsh", R7, 3),
        asm.jmp("jgt", R7, R8, 2),
        asm.alu64("sub", R7, R8),
        asm.stx(8, R9, 16, R7),
        asm.mov64(R3, R7),
        asm.alu64("and", R3, 63),
        asm.stx(4, R10, -4, R3),
        asm.ldx(2, R2, R10, -4),
        asm.ld_imm64(R1, 0x123456789ABCDEF0),
        asm.alu64("add", R1, R2),
        asm.stx(8, R10, -16, R1),
        asm.jmp32("jset", R8, 0x10, 1),
        asm.alu64("or", R1, R3),
        asm.ldx(1, R3, R9, 20),
        asm.jne(R3, 5, 1),
        asm.st(4, R9, 24, 1),
        asm.mov32(R1, R3),
        asm.neg64(R1),
        asm.be(R1, 32),
        asm.stx(8, R9, 32, R1),
        asm.xadd(8, R9, 40, R7),
        asm.stx(2, R9, 48, R8),
    ]
    chunk = asm.assemble(block)
    slots = len(chunk) // 8
    # Each function: address of the map, blocks with a helper call after every tenth, exit.
    per_function = 9_000
    code: list[Item] = []
    starts: list[int] = []
    total = 0
    counter = itertools.count()
    functions = max(1, round(count / per_function))
    for index in range(functions):
        starts.append(total)
        body: list[Item] = [asm.ld_map_value(R9, table.fd)]
        used = 2
        if index == 0:
            for other in range(1, functions):
                body.append(asm.call_sub("f%d" % other))
                used += 1
        goal = count * (index + 1) // functions - total - 2
        while used + slots + 1 <= goal:
            body.append(chunk)
            used += slots
            number = next(counter)
            if number % 10 == 0:
                body.append(asm.call(helper[number // 10 % 2]))
                used += 1
        while used < goal:
            body.append(asm.st(8, R9, 56, used))
            used += 1
        code += [asm.label("f%d" % index), *body, asm.ret(0)]
        total += used + 2
    text = asm.assemble(code)
    if not lines:
        return stack.enter_context(load.prog_load("socket_filter", text, name=name))
    source = Source()
    for index, start in enumerate(starts):
        source.global_function(start, name if index == 0 else "big_function_%d" % index, [])
    btf = source.btf
    files = [btf.string("/home/user/project/src/big.bpf.c"), btf.string("include/inline_helpers.h")]
    texts = [
        btf.string(line)
        for line in (
            "\tstate->total += value;",
            "\tif (key->port == bpf_htons(443))",
            "\t\tcount = bpf_map_lookup_elem(&counters, &key);",
            '\tbpf_printk("seen %d packets", count);',
            "    hash ^= (hash << 13) | (word >> 19);",
            "\treturn TC_ACT_OK;",
        )
    ]
    records = bytearray()
    first = set(starts)
    slot = 0
    number = 0
    pack = struct.Struct("=IIII").pack
    while slot < total:
        # The second slot of a 64-bit immediate has code 0 and takes no record.
        if (slot in first or slot % 3 == 0) and text[slot * 8] != 0:
            records += pack(
                slot,
                files[1 if number % 7 == 0 else 0],
                texts[number % 6],
                (number % 4000 + 1) << 10 | number % 80 + 1,
            )
            number += 1
        slot += 1
    funcs, _ = source.resolve({})
    with load.btf_load(btf.build()) as fd:
        return stack.enter_context(
            load.prog_load(
                "socket_filter",
                text,
                name=name,
                btf=fd,
                func_info=funcs,
                line_info=bytes(records),
            )
        )


# --- command line -------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Load, report, hold, clean up."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.corpus", description=__doc__)
    parser.add_argument(
        "--hold",
        nargs="?",
        type=float,
        const=float("inf"),
        default=0.0,
        metavar="SECONDS",
        help="keep the objects so long, or until a signal",
    )
    parser.add_argument("--many", type=int, default=0, metavar="N", help="N trivial programs more")
    parser.add_argument(
        "--big", type=int, default=0, metavar="N", help="a program of N instructions"
    )
    parser.add_argument("--only-extra", action="store_true", help="without the corpus itself")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack:
        corpus = Corpus()
        if not args.only_extra:
            try:
                corpus = load_corpus(stack)
            except OSError as error:
                print(error, file=sys.stderr)
                return 1
        if args.many:
            many_programs(stack, args.many)
        if args.big:
            fd = big_program(stack, args.big)
            print("prog %d: %d instructions" % (load.object_id(fd), args.big))
        for items in (corpus.progs, corpus.maps, corpus.links):
            for item in items:
                print(
                    "%s %d: %s %s%s"
                    % (
                        item.kind,
                        item.id,
                        item.type,
                        item.label,
                        "".join(" " + path for path in item.pins),
                    )
                )
        for label, reason in corpus.refused:
            print("refused %s: %s" % (label, reason))
        print(
            "%d programs of %d types, %d maps, %d links; %d refused"
            % (
                len(corpus.progs),
                len(corpus.types()),
                len(corpus.maps),
                len(corpus.links),
                len(corpus.refused),
            ),
            flush=True,
        )
        try:
            if args.hold:
                time.sleep(min(args.hold, 1e8))
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
