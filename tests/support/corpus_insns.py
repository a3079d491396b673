"""Programs that carry every instruction form which survives the verifier.

Each function yields (name, program type, keyword arguments of `load.prog_load`, code).  Forms that
came late (signed division, sign-extending loads, may_goto, ...) have programs of their own, so that
an older kernel refuses only those.  Values come from a map, so that the verifier knows nothing
about them and can neither fold jumps nor remove code.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.support import asm
from tests.support.asm import R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, Item

Spec = tuple[str, str, list[Item]]

# enum bpf_func_id
MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, KTIME_GET_NS = 1, 2, 3, 5
TRACE_PRINTK, GET_PRANDOM, SMP_PROCESSOR_ID, TAIL_CALL = 6, 7, 8, 12
GET_CURRENT_PID_TGID, GET_CURRENT_COMM, PERF_EVENT_OUTPUT, REDIRECT_MAP = 14, 16, 25, 51
SPIN_LOCK, SPIN_UNLOCK, STRTOL, JIFFIES64 = 93, 94, 105, 118
RINGBUF_RESERVE, RINGBUF_SUBMIT = 131, 132
PER_CPU_PTR, THIS_CPU_PTR, CURRENT_TASK_BTF = 153, 154, 158
FOR_EACH_MAP_ELEM, TIMER_INIT, TIMER_SET_CALLBACK, LOOP = 164, 169, 170, 181

_SIZES: tuple[asm.Size, ...] = (1, 2, 4, 8)


def map_value(fd: int, *, dst: asm.Reg = R9) -> list[Item]:
    """`dst` = address of the value of an array map with one entry of at least 64 bytes."""
    return [asm.ld_map_value(dst, fd)]


def unknowns(base: asm.Reg = R9) -> list[Item]:
    """R7 and R8 = values that the verifier can't know."""
    return [asm.ldx(8, R7, base, 0), asm.ldx(8, R8, base, 8)]


def alu(fd: int) -> Iterator[Spec]:
    """ALU and ALU64 with register and immediate sources."""
    for bits, fn, negate in ((64, asm.alu64, asm.neg64), (32, asm.alu32, asm.neg32)):
        body = map_value(fd) + unknowns()
        for op in ("add", "sub", "mul", "div", "or", "and", "mod", "xor", "mov"):
            body += [fn(op, R7, R8), fn(op, R7, 7), fn(op, R7, -2), *unknowns()]
        for op in ("lsh", "rsh", "arsh"):
            body += [fn(op, R7, R8), fn(op, R7, 0), fn(op, R7, bits - 1)]
        body += [negate(R7), fn("mov", R7, 0x7FFFFFFF), fn("mov", R7, -0x80000000)]
        body += [fn("add", R7, 0x7FFFFFFF), fn("add", R7, -0x80000000), fn("sub", R7, -1)]
        # The stored result keeps the chain alive.
        body += [asm.stx(8, R9, 16, R7), asm.ret(0)]
        yield "alu%d" % bits, "socket_filter", body


def alu_late(fd: int) -> Iterator[Spec]:
    """Signed division and remainder, sign-extending moves, unconditional byte swap (6.6)."""
    body = map_value(fd) + unknowns()
    body += [asm.sdiv64(R7, R8), asm.sdiv64(R7, -3), asm.sdiv32(R7, R8), asm.sdiv32(R7, 5)]
    body += unknowns()
    body += [asm.smod64(R7, R8), asm.smod64(R7, 3), asm.smod32(R7, R8), asm.smod32(R7, -5)]
    # Division by -1 and the modulo of it are patched by the verifier on some architectures.
    body += [*unknowns(), asm.sdiv64(R7, -1), asm.smod64(R8, -1), asm.sdiv32(R7, -1)]
    body += [asm.stx(8, R9, 16, R7), asm.ret(0)]
    yield "sdiv_smod", "socket_filter", body
    body = map_value(fd) + unknowns()
    body += [asm.movsx64(R7, R8, 8), asm.movsx64(R7, R8, 16), asm.movsx64(R7, R8, 32)]
    body += [asm.movsx32(R7, R8, 8), asm.movsx32(R7, R8, 16)]
    body += [asm.stx(8, R9, 16, R7), asm.ret(0)]
    yield "movsx", "socket_filter", body
    body = map_value(fd) + unknowns()
    body += [asm.bswap(R7, 16), asm.bswap(R7, 32), asm.bswap(R7, 64)]
    body += [asm.stx(8, R9, 16, R7), asm.ret(0)]
    yield "bswap", "socket_filter", body


def endian(fd: int) -> Iterator[Spec]:
    """Byte order conversions; those to the host's own order truncate."""
    body = map_value(fd) + unknowns()
    body += [asm.be(R7, 16), asm.be(R7, 32), asm.be(R7, 64)]
    body += [asm.le(R8, 64), asm.le(R8, 32), asm.le(R8, 16)]
    body += [asm.alu64("add", R7, R8), asm.stx(8, R9, 16, R7), asm.ret(0)]
    yield "endian", "socket_filter", body


def jumps(fd: int) -> Iterator[Spec]:
    """Every condition in 64 and 32 bits, forwards, plus `goto`, and a bounded loop backwards."""
    conditions = "jeq jgt jge jset jne jsgt jsge jlt jle jslt jsle".split()  # noqa: SIM905
    for bits, fn in ((64, asm.jmp), (32, asm.jmp32)):
        body = [*map_value(fd), asm.mov64(R0, 0)]
        for op in conditions:
            body += [*unknowns(), fn(op, R7, R8, 1), asm.alu64("add", R0, 1)]
            body += [*unknowns(), fn(op, R7, -16, 1), asm.alu64("add", R0, 1)]
            body += [*unknowns(), fn(op, R7, 0x7FFF0000, 2), asm.alu64("add", R0, 1), asm.ja(1)]
            body += [asm.alu64("xor", R0, 3)]
        body += [asm.mov64(R0, 0), asm.exit_()]
        yield "jmp%d" % bits, "socket_filter", body
    yield (
        "loop_back",
        "socket_filter",
        [
            asm.mov64(R6, 0),
            asm.label("again"),
            asm.call(GET_PRANDOM),
            asm.alu64("add", R6, 1),
            asm.jmp("jlt", R6, 8, "again"),
            asm.mov64(R0, 0),
            asm.exit_(),
        ],
    )


def jumps_late(fd: int) -> Iterator[Spec]:
    """gotol (6.6) and may_goto (6.9)."""
    yield (
        "gotol",
        "socket_filter",
        [
            *map_value(fd),
            *unknowns(),
            asm.jne(R7, 0, "near"),
            asm.gotol("far"),
            asm.label("near"),
            asm.alu64("add", R8, 1),
            asm.alu64("add", R8, 2),
            asm.label("far"),
            asm.stx(8, R9, 16, R8),
            asm.ret(0),
        ],
    )
    yield (
        "may_goto",
        "socket_filter",
        [
            *map_value(fd),
            asm.label("again"),
            asm.may_goto("done"),
            asm.ldx(8, R7, R9, 0),
            asm.jne(R7, 0, "again"),
            asm.label("done"),
            asm.ret(0),
        ],
    )


def memory(fd: int) -> Iterator[Spec]:
    """Loads and stores of every size on the stack and in a map value, both signs of offsets."""
    body = map_value(fd)
    for size in _SIZES:
        body += [asm.st(size, R10, -8, 0x7F), asm.ldx(size, R7, R10, -8)]
        body += [asm.st(size, R9, 24, -1), asm.ldx(size, R8, R9, 24)]
        body += [asm.stx(size, R9, 32, R8), asm.stx(size, R10, -16 * size, R7)]
    body += [asm.ret(0)]
    yield "ldx_st_stx", "socket_filter", body


def memory_late(fd: int) -> Iterator[Spec]:
    """Sign-extending loads (6.6)."""
    body = map_value(fd)
    body += [asm.ldxs(1, R7, R9, 0), asm.ldxs(2, R7, R9, 2), asm.ldxs(4, R7, R9, 4)]
    body += [asm.st(8, R10, -8, -5), asm.ldxs(1, R7, R10, -8), asm.ldxs(2, R8, R10, -8)]
    body += [asm.ldxs(4, R8, R10, -4), asm.ret(0)]
    yield "ldx_signed", "socket_filter", body


def atomics(fd: int) -> Iterator[Spec]:
    """Every read-modify-write, 32 and 64 bits, with and without fetch."""
    body = map_value(fd) + unknowns()
    for size in (4, 8):
        for op in ("add", "or", "and", "xor"):
            body += [asm.atomic(op, size, R9, 16, R7)]
            body += [asm.atomic(op, size, R9, 16, R8, fetch=True)]
    body += [asm.mov64(R0, 0), asm.mov64(R7, 5)]
    body += [asm.xchg(4, R9, 16, R7), asm.xchg(8, R9, 24, R7)]
    body += [asm.cmpxchg(4, R9, 16, R8), asm.cmpxchg(8, R9, 24, R8)]
    body += [asm.st(8, R10, -8, 0), asm.xadd(8, R10, -8, R7), asm.ret(0)]
    yield "atomics", "socket_filter", body


def atomics_late(fd: int) -> Iterator[Spec]:
    """Load-acquire and store-release of every size (6.15)."""
    body = map_value(fd)
    for size in _SIZES:
        body += [asm.load_acquire(size, R7, R9, 8), asm.store_release(size, R9, 16, R7)]
    yield "acquire_release", "socket_filter", [*body, asm.ret(0)]


def immediates(fd: int, other: int) -> Iterator[Spec]:
    """ldimm64: plain values of both signs, map, map value with offsets."""
    body: list[Item] = []
    for value in (0, 1, -1, 0x1122334455667788, -(1 << 63), 0xFFFFFFFF, 1 << 32):
        body += [asm.ld_imm64(R7, value), asm.stx(8, R10, -8, R7)]
    body += [asm.ld_map_fd(R1, fd), asm.ld_map_fd(R2, other)]
    body += [asm.ld_map_value(R3, fd), asm.ld_map_value(R4, fd, 8), asm.ld_map_value(R5, fd, 60)]
    body += [asm.ldx(4, R0, R5, 0), asm.stx(8, R3, 0, R7), asm.ldx(8, R6, R4, 0), asm.ret(0)]
    yield "ldimm64", "socket_filter", body


def legacy_loads() -> Iterator[Spec]:
    """Absolute and indirect packet loads."""
    body: list[Item] = [asm.mov64(R6, R1), asm.mov64(R7, 2)]
    for size in (1, 2, 4):
        body += [asm.ld_abs(size, 14), asm.ld_ind(size, R7, 20)]
    # SKF_NET_OFF: relative to the network header
    body += [asm.ld_abs(1, -0x100000 + 9), asm.mov64(R0, 0), asm.exit_()]
    yield "ld_abs_ind", "socket_filter", body


def packet() -> Iterator[Spec]:
    """Direct packet access and converted context fields."""
    access: list[Item] = [
        asm.ldx(4, R2, R1, 0),
        asm.ldx(4, R3, R1, 4),
        asm.mov64(R4, R2),
        asm.alu64("add", R4, 14),
        asm.jmp("jgt", R4, R3, "out"),
        asm.ldx(2, R5, R2, 12),
        asm.be(R5, 16),
        asm.jne(R5, 0x0800, "out"),
        asm.stx(1, R2, 0, R5),
        asm.mov64(R0, 1),
        asm.exit_(),
        asm.label("out"),
        asm.mov64(R0, 2),
        asm.exit_(),
    ]
    yield "xdp_packet", "xdp", access
    skb: list[Item] = [asm.mov64(R6, R1)]
    # len, mark, protocol, vlan_present, ingress_ifindex, hash, tstamp, and cb[] both ways
    for off in (0, 8, 16, 20, 36, 44):
        skb += [asm.ldx(4, R7, R6, off)]
    skb += [asm.stx(4, R6, 48, R7), asm.ldx(1, R8, R6, 52), asm.stx(4, R6, 8, R7)]
    skb += [asm.ldx(4, R2, R6, 76), asm.ldx(4, R3, R6, 80), asm.mov64(R4, R2)]
    skb += [asm.alu64("add", R4, 8), asm.jmp("jgt", R4, R3, 1), asm.ldx(8, R5, R2, 0)]
    skb += [asm.ret(0)]
    yield "skb_fields", "sched_cls", skb


def helpers(array: int, hash_map: int, prog_array: int, ringbuf: int) -> Iterator[Spec]:
    """Helper calls: plain ones, those the verifier inlines, tail calls, map operations."""
    body: list[Item] = [asm.mov64(R6, R1)]
    for helper in (KTIME_GET_NS, GET_PRANDOM, SMP_PROCESSOR_ID, JIFFIES64):
        body += [asm.call(helper), asm.stx(8, R10, -8, R0)]
    body += [asm.st(4, R10, -4, 0)]
    for fd in (array, hash_map):
        body += [asm.mov64(R2, R10), asm.alu64("add", R2, -4), asm.ld_map_fd(R1, fd)]
        body += [asm.call(MAP_LOOKUP), asm.jeq(R0, 0, 1), asm.ldx(8, R7, R0, 0)]
    body += [asm.st(8, R10, -16, 3), asm.mov64(R3, R10), asm.alu64("add", R3, -16)]
    body += [asm.mov64(R2, R10), asm.alu64("add", R2, -4), asm.ld_map_fd(R1, hash_map)]
    body += [asm.mov64(R4, 0), asm.call(MAP_UPDATE)]
    body += [asm.mov64(R2, R10), asm.alu64("add", R2, -4), asm.ld_map_fd(R1, hash_map)]
    body += [asm.call(MAP_DELETE), asm.ret(0)]
    yield "helpers", "sched_cls", body
    yield (
        "tail_call",
        "sched_cls",
        [
            asm.ld_map_fd(R2, prog_array),
            asm.mov64(R3, 1),
            asm.call(TAIL_CALL),
            asm.ret(0),
        ],
    )
    yield (
        "tail_call_dyn",
        "sched_cls",
        [
            asm.ldx(4, R3, R1, 8),
            asm.ld_map_fd(R2, prog_array),
            asm.call(TAIL_CALL),
            asm.ret(0),
        ],
    )
    yield (
        "ringbuf",
        "sched_cls",
        [
            asm.ld_map_fd(R1, ringbuf),
            asm.mov64(R2, 16),
            asm.mov64(R3, 0),
            asm.call(RINGBUF_RESERVE),
            asm.jeq(R0, 0, "out"),
            asm.st(8, R0, 0, 1),
            asm.mov64(R1, R0),
            asm.mov64(R2, 0),
            asm.call(RINGBUF_SUBMIT),
            asm.label("out"),
            asm.ret(0),
        ],
    )


def subprograms() -> Iterator[Spec]:
    """bpf-to-bpf calls, forwards and two deep, without any BTF."""
    yield (
        "calls",
        "socket_filter",
        [
            asm.mov64(R1, 3),
            asm.call_sub("double"),
            asm.mov64(R1, R0),
            asm.call_sub("leaf"),
            asm.mov64(R0, 0),
            asm.exit_(),
            asm.label("double"),
            asm.alu64("add", R1, R1),
            asm.call_sub("leaf"),
            asm.exit_(),
            asm.label("leaf"),
            asm.mov64(R0, R1),
            asm.exit_(),
        ],
    )


def callback_loop() -> list[Item]:
    """bpf_loop() with a callback, whose address is a ldimm64 of its own form."""
    return [
        asm.label("main"),
        asm.mov64(R1, 4),
        asm.ld_func(R2, "step"),
        asm.mov64(R3, 0),
        asm.mov64(R4, 0),
        asm.call(LOOP),
        asm.mov64(R0, 0),
        asm.exit_(),
        asm.label("step"),
        asm.mov64(R0, 0),
        asm.exit_(),
    ]


def callback_each(map_fd: int) -> list[Item]:
    """bpf_for_each_map_elem() over an array."""
    return [
        asm.label("main"),
        asm.ld_map_fd(R1, map_fd),
        asm.ld_func(R2, "each"),
        asm.mov64(R3, 0),
        asm.mov64(R4, 0),
        asm.call(FOR_EACH_MAP_ELEM),
        asm.mov64(R0, 0),
        asm.exit_(),
        asm.label("each"),
        asm.ldx(4, R0, R2, 0),
        asm.mov64(R0, 0),
        asm.exit_(),
    ]


def speculation(fd: int) -> Iterator[Spec]:
    """Code into which the verifier puts speculation barriers when CAP_PERFMON is missing."""
    yield (
        "nospec",
        "socket_filter",
        [
            *map_value(fd),
            asm.mov64(R6, R1),
            # A pointer spilled over scalar bytes: Spectre v4 wants a barrier after the store.
            asm.stx(8, R10, -8, R9),
            asm.ldx(8, R1, R10, -8),
            asm.ldx(4, R2, R1, 0),
            asm.alu64("and", R2, 31),
            asm.alu64("add", R1, R2),
            asm.ldx(1, R3, R1, 0),
            asm.st(1, R10, -16, 1),
            asm.jmp("jgt", R3, 7, 1),
            asm.stx(8, R10, -24, R6),
            asm.ret(0),
        ],
    )


def everything(array: int, other: int, hash_map: int, progs: int, ring: int) -> Iterator[Spec]:
    """All of the above that needs no BTF."""
    for form in (alu, alu_late, endian, jumps, jumps_late, memory, memory_late):
        yield from form(array)
    for form in (atomics, atomics_late):
        yield from form(array)
    yield from immediates(array, other)
    yield from legacy_loads()
    yield from packet()
    yield from helpers(array, hash_map, progs, ring)
    yield from subprograms()
