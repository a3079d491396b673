"""File descriptors of all tasks that are BPF objects or perf events, by a BPF iterator.

Listing ``/proc/PID/fd`` costs about 9 microseconds for each descriptor that is one; a program on
the iterator ``task_file`` (include/linux/bpf.h: DEFINE_BPF_ITER_FUNC(task_file), v5.8) one.
The programs are assembled here: no compiler, no relocation, no address of kallsyms. What a
descriptor is shows in ``file->f_op->release``; which function that is for each kind we learn
from descriptors of our own.

Whatever the kernel refuses, the answer is None, and the caller looks into /proc. The
programs, the links and the map live for some milliseconds, without a name in any file
system: they end with their descriptors, so with our process at the latest.
"""

from __future__ import annotations

import posix
import sys
from struct import Struct

from pybpftool.kernel.holders import can_iterate
from pybpftool.kernel.syscall import Buffer, bpf
from pybpftool.kernel.typefind import KernelTypes, mapped, opened
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HELD = Struct("=IIII16s")
"""A descriptor: process id, thread id, number, id of the object (0 for events), comm."""

# enum bpf_func_id
_PROBE_READ_KERNEL, _PROBE_READ_KERNEL_STR, _SEQ_WRITE = 113, 115, 127
_BTF_FIND_BY_NAME_KIND = 167
_KIND_FUNC = 12
_PROG_TYPE_TRACING, PROG_TYPE_SYSCALL = 26, 31
_F_SLEEPABLE = 1 << 4
_BPF_TRACE_ITER = 28
MAP_TYPE_ARRAY = 2

_INSN = Struct("<BBhi")
# Opcodes: include/uapi/linux/bpf.h, bpf_common.h.
_LDX_DW, _LDX_W, STX_DW, _STX_W, _ST_DW, _ST_W = 0x79, 0x61, 0x7B, 0x63, 0x7A, 0x62
MOV, MOV_K, ADD_K, CALL, _EXIT = 0xBF, 0xB7, 0x07, 0x85, 0x95
_JEQ_K, _JNE, _JNE_K, _JEQ, _JA, LD_IMM64 = 0x15, 0x5D, 0x55, 0x1D, 0x05, 0x18

# struct bpf_iter__task_file: meta, task, fd, file (kernel/bpf/task_iter.c); meta begins with seq.
_META, _TASK, _FD, _FILE = 0, 8, 16, 24
_VMA = 16  # of struct bpf_iter__task_vma
_SEQ = 0
_OBJECT = 8  # of struct bpf_iter__bpf_prog, __bpf_map, __bpf_link: behind meta

# union bpf_attr, as far as wanted.
_PROG_LOAD = Struct("=IIQQ")  # prog_type, insn_cnt, insns, license
_PROG_FLAGS, _EXPECTED_ATTACH_TYPE, _ATTACH_BTF_ID, _PROG_LOAD_SIZE = 44, 68, 108, 112
TEST_RUN_SIZE = 80
_LINK_CREATE = Struct("=IIIIQI")  # prog_fd, target_fd, attach_type, flags, iter_info, its length
_MAP_CREATE = Struct("=IIII")
_BLOCK = 1 << 15  # more is not read at once (bpf_seq_read(), kernel/bpf/bpf_iter.c)
_ITER_INFO_SIZE = 12  # union bpf_iter_link_info: task.tid, task.pid, task.pid_fd

# How the object's id is reached from file->private_data: (struct, member) after member.
ID_PATHS = {
    "prog": (("bpf_prog", "aux"), ("bpf_prog_aux", "id")),
    "map": (("bpf_map", "id"),),
    "link": (("bpf_link", "id"),),
    "btf": (("btf", "id"),),
    "event": (),
}
# struct perf_event_attr of 64 bytes: PERF_TYPE_SOFTWARE, its size, PERF_COUNT_SW_DUMMY
_DUMMY_EVENT = Struct("=IIQ").pack(1, 64, 9).ljust(64, b"\0")


class Refused(Exception):
    """The kernel does not let us; /proc is there."""


def held(
    kind: str, without: Iterable[int] = (), types: KernelTypes | None = None
) -> list[bytes] | None:
    """Descriptors of all tasks that are objects of a kind, as blocks of :data:`HELD`.

    :param without: descriptors of this process that do not count.
    :param kind: prog, map, link, btf, or ``event``: perf events and links, those that
        ``BPF_TASK_FD_QUERY`` may know.
    :return: None where the kernel has no such iterator or does not let us use it. In the
        order of thread ids. Threads that share the descriptors of their process are left
        out; the comm is that of the process. Descriptors that this module needs itself
        are left out as well.
    """
    if not can_iterate() or (types := types or mapped() or copied_types()) is None:
        return None
    own = Descriptors()
    try:
        return Search(types, kind, own).blocks(without)
    except Refused:
        return None
    finally:
        own.close()


def copied_types() -> KernelTypes | None:
    """A copy of the types of vmlinux: BTF object 1, or its file for who may open no ids."""
    own = Descriptors()
    try:
        fd = own.keep(call(uapi.BPF_BTF_GET_FD_BY_ID, Struct("=I").pack(1)))
        info = Buffer(32)  # struct bpf_btf_info
        request = Struct("=IIQ")
        call(uapi.BPF_OBJ_GET_INFO_BY_FD, request.pack(fd, 32, info.address))
        size = int.from_bytes(info.data[8:12], sys.byteorder)
        data = Buffer(size)
        info.data[:] = Struct("=QIIQII").pack(data.address, size, 0, 0, 0, 0)
        call(uapi.BPF_OBJ_GET_INFO_BY_FD, request.pack(fd, 32, info.address))
        return KernelTypes(data.data)
    except (Refused, ValueError):
        return opened()
    finally:
        own.close()


def call(cmd: int, attr: bytes) -> int:
    """bpf(2) with a union bpf_attr; raises :class:`Refused`."""
    buffer = Buffer.of(attr)
    result = bpf(cmd, buffer.address, len(attr))
    if result < 0:
        raise Refused
    return result


class Descriptors:
    """Descriptors of ours, to be closed together."""

    __slots__ = ("numbers",)

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def keep(self, fd: int) -> int:
        self.numbers.append(fd)
        return fd

    def close(self) -> None:
        for fd in self.numbers:
            posix.close(fd)
        self.numbers.clear()


def loaded(code: bytes, own: Descriptors, type: int, target: int = 0) -> int:
    """Load a program, of the iterator whose function has the type id ``target``, if it is one."""
    insns, licence = Buffer.of(code), Buffer.of(b"GPL\0")
    attr = bytearray(_PROG_LOAD_SIZE)
    count = len(code) // _INSN.size
    _PROG_LOAD.pack_into(attr, 0, type, count, insns.address, licence.address)
    word = Struct("=I")
    if target:
        word.pack_into(attr, _EXPECTED_ATTACH_TYPE, _BPF_TRACE_ITER)
        word.pack_into(attr, _ATTACH_BTF_ID, target)
    else:
        word.pack_into(attr, _PROG_FLAGS, _F_SLEEPABLE)
    return own.keep(call(uapi.BPF_PROG_LOAD, bytes(attr)))


class Programs:
    """Loads and runs programs of the iterator whose function is named ``target``."""

    def __init__(self, types: KernelTypes, target: str, params: int, own: Descriptors) -> None:
        self._own = own
        self._target = types.function(target, params) or self._function(target)

    def _function(self, name: str) -> int:
        """The type id of a kernel function, asked of the kernel (v5.14, 3d78417b60fb)."""
        text = name.encode() + b"\0"
        code: list[tuple[object, ...]] = []
        base = -(len(text) + 7) // 8 * 8
        for at in range(0, len(text), 8):
            word = int.from_bytes(text[at : at + 8], "little")
            code += [(LD_IMM64, 1, word), (STX_DW, 10, 1, base + at)]
        code += [
            (MOV, 1, 10),
            (ADD_K, 1, 0, 0, base),
            (MOV_K, 2, 0, 0, len(text)),
            (MOV_K, 3, 0, 0, _KIND_FUNC),
            (MOV_K, 4, 0, 0, 0),
            (CALL, 0, 0, 0, _BTF_FIND_BY_NAME_KIND),
        ]
        prog = loaded(assembled(*code) + EXIT, self._own, PROG_TYPE_SYSCALL)
        attr = Buffer.of(Struct("=I").pack(prog).ljust(TEST_RUN_SIZE, b"\0"))
        result = bpf(uapi.BPF_PROG_TEST_RUN, attr.address, TEST_RUN_SIZE)
        found = int.from_bytes(attr.data[4:8], sys.byteorder)  # test.retval
        if result < 0 or not 0 < found < 1 << 31:
            raise Refused
        return found

    def _load(self, code: bytes) -> int:
        return loaded(code, self._own, _PROG_TYPE_TRACING, self._target)

    def _link(self, prog: int, pid: int) -> int:
        if pid:
            info = Buffer.of(Struct("=III").pack(0, pid, 0))
            attr = _LINK_CREATE.pack(prog, 0, _BPF_TRACE_ITER, 0, info.address, _ITER_INFO_SIZE)
            try:
                return self._own.keep(call(uapi.BPF_LINK_CREATE, attr))
            except Refused:
                pass  # before 6.1 (f0d74c4da1f0) an iterator is about all tasks
        attr = _LINK_CREATE.pack(prog, 0, _BPF_TRACE_ITER, 0, 0, 0)
        return self._own.keep(call(uapi.BPF_LINK_CREATE, attr))

    def _run(self, prog: int, pid: int, ours: list[int]) -> list[bytes]:
        """What an iterator over all tasks, or over the process ``pid``, prints."""
        link = self._link(prog, pid)
        iterator = self._own.keep(call(uapi.BPF_ITER_CREATE, Struct("=II").pack(link, 0)))
        blocks: list[bytes] = []
        try:
            while True:
                block = posix.read(iterator, _BLOCK)
                if not block:
                    return blocks
                blocks.append(block)
        except OSError:
            raise Refused from None

    def printed(self, code: bytes) -> list[bytes]:
        """What a program prints that walks over all there is."""
        return self._run(self._load(code), 0, [])

    def numbers(self, *paths: tuple[list[int], int]) -> Iterator[tuple[int, ...]]:
        """What an iterator over objects finds: the numbers that paths lead to from each.

        A path is the offsets of pointers, the last one that of the number, and its size, 4 or 8
        bytes. What cannot be read is 0.
        """
        at = -8 - sum(size for _, size in paths)
        printed = _print(at, -8 - at)
        code: list[object] = [(MOV, 6, 1), (_LDX_DW, 7, 6, _OBJECT), (_JEQ_K, 7, 0, "end", 0)]
        for path, size in paths:
            code += [(MOV, 3, 7), *_followed(path, at, size)]
            at += size
        program = assembled(*code, *printed) + EXIT_0
        row = Struct("=" + "".join("I" if size == 4 else "Q" for _, size in paths))
        return row.iter_unpack(b"".join(self.printed(program)))


class Search(Programs):
    """One search: loads the programs, learns what descriptors of the kind look like, looks."""

    def __init__(self, types: KernelTypes, kind: str, own: Descriptors) -> None:
        super().__init__(types, "bpf_iter_task_file", 4, own)
        self._kind = kind
        file = types.offsets("file", "f_op", "private_data")
        release = types.offsets("file_operations", "release")
        task = types.offsets("task_struct", "tgid", "pid", "group_leader", "comm")
        path = [types.offsets(struct, member) for struct, member in ID_PATHS[kind]]
        if file is None or release is None or task is None or None in path:
            raise Refused
        self._file, self._release, self._task = file, release[0], task
        self._path = [offsets[0] for offsets in path if offsets is not None]

    def blocks(self, without: Iterable[int]) -> list[bytes]:
        """The blocks of :func:`held`."""
        found = self.printed(self.pick(self.releases()))
        own = frozenset((*self._own.numbers, *without))
        return [_without(block, posix.getpid(), own) for block in found]

    def releases(self) -> list[int]:
        """The functions that release files of the kind."""
        looking = self._load(self._look_at_ours())
        ours = self._samples(looking)
        releases = dict(
            Struct("=QQ").iter_unpack(b"".join(self._run(looking, posix.getpid(), ours)))
        )
        # The link of this run itself is among the samples only if it was there before.
        wanted = [releases[fd] for fd in ours if fd in releases]
        if len(wanted) != len(ours) or not all(wanted):
            raise Refused
        return sorted(set(wanted))

    def _samples(self, prog: int) -> list[int]:
        """Descriptors of ours of the kind that is looked for."""
        own, kind = self._own, self._kind
        if kind == "prog":
            return [prog]
        if kind == "map":
            return [own.keep(call(uapi.BPF_MAP_CREATE, _MAP_CREATE.pack(MAP_TYPE_ARRAY, 4, 4, 1)))]
        if kind == "btf":
            following = Buffer(8)
            if bpf(uapi.BPF_BTF_GET_NEXT_ID, following.address, 8) < 0:
                raise Refused
            return [own.keep(call(uapi.BPF_BTF_GET_FD_BY_ID, bytes(following.data[4:8])))]
        link = self._link(prog, 0)
        if kind == "link":
            return [link]
        from pybpftool.kernel.syscall import perf_event_open

        event = perf_event_open(Buffer.of(_DUMMY_EVENT), 0, -1)
        if event < 0:
            raise Refused
        return [link, own.keep(event)]

    def _look_at_ours(self) -> bytes:
        """A program that prints (number, release function) of each descriptor of our process."""
        tgid = self._task[0]
        return (
            assembled(
                (MOV, 6, 1),
                (_LDX_DW, 7, 6, _TASK),
                (_JEQ_K, 7, 0, "end", 0),
                (_LDX_DW, 8, 6, _FILE),
                (_JEQ_K, 8, 0, "end", 0),
                (_LDX_W, 1, 7, tgid),
                (_JNE_K, 1, 0, "end", posix.getpid()),
                *self._release_of(8, 1),
                (STX_DW, 10, 1, -8),
                (_LDX_W, 1, 6, _FD),
                (STX_DW, 10, 1, -16),
                *_print(-16, 16),
            )
            + EXIT_0
        )

    def _release_of(self, file: int, into: int) -> tuple[tuple[object, ...], ...]:
        return (
            (_LDX_DW, into, file, self._file[0]),
            (_JEQ_K, into, 0, "end", 0),
            (_LDX_DW, into, into, self._release),
        )

    def pick(self, releases: list[int], vm_file: int | None = None) -> bytes:
        """A program that prints a :data:`HELD` for each descriptor released by ``releases``.

        With ``vm_file``, a place in vm_area_struct, for each area of memory of such a file.
        """
        tgid, pid, leader, comm = self._task
        code: list[object] = [
            (MOV, 6, 1),
            (_LDX_DW, 7, 6, _TASK),
            (_JEQ_K, 7, 0, "end", 0),
            (_LDX_DW, 8, 6, _FILE if vm_file is None else _VMA),
            (_JEQ_K, 8, 0, "end", 0),
        ]
        if vm_file is not None:
            code += [(_LDX_DW, 8, 8, vm_file), (_JEQ_K, 8, 0, "end", 0)]
        code += self._release_of(8, 1)
        for release in releases:
            code += [(LD_IMM64, 2, release), (_JEQ, 1, 2, "found")]
        code += [(_JA, 0, 0, "end"), "found", (_ST_W, 10, 0, -20, 0)]
        if self._path:
            code.append((_LDX_DW, 3, 8, self._file[1]))
        code += [
            *_followed(self._path),
            (_LDX_W, 1, 7, tgid),
            (_STX_W, 10, 1, -32),
            (_LDX_W, 1, 7, pid),
            (_STX_W, 10, 1, -28),
            (_LDX_W, 1, 6, _FD) if vm_file is None else (MOV_K, 1, 0),
            (_STX_W, 10, 1, -24),
            (_ST_DW, 10, 0, -16, 0),
            (_ST_DW, 10, 0, -8, 0),
            (_LDX_DW, 3, 7, leader),
            (ADD_K, 3, 0, 0, comm),
            (MOV, 1, 10),
            (ADD_K, 1, 0, 0, -16),
            (MOV_K, 2, 0, 0, 16),
            (CALL, 0, 0, 0, _PROBE_READ_KERNEL_STR),
            *_print(-32, HELD.size),
        ]
        return assembled(*code) + EXIT_0


def _followed(path: list[int], at: int = -20, size: int = 4) -> Iterator[tuple[object, ...]]:
    """Read the number that pointers lead to from r3, by their offsets, to the stack at ``at``."""
    for step, offset in enumerate(path, 1):
        is_last = step == len(path)
        yield MOV, 1, 10
        yield ADD_K, 1, 0, 0, at if is_last else -8
        yield MOV_K, 2, 0, 0, size if is_last else 8
        yield ADD_K, 3, 0, 0, offset
        yield CALL, 0, 0, 0, _PROBE_READ_KERNEL
        if not is_last:
            yield _LDX_DW, 3, 10, -8


EXIT = _INSN.pack(_EXIT, 0, 0, 0)
EXIT_0 = _INSN.pack(MOV_K, 0, 0, 0) + EXIT


def _print(offset: int, size: int) -> tuple[tuple[object, ...], ...]:
    """Print ``size`` bytes of the stack to the iterator's file; r6 is the context."""
    return (
        (_LDX_DW, 1, 6, _META),
        (_LDX_DW, 1, 1, _SEQ),
        (MOV, 2, 10),
        (ADD_K, 2, 0, 0, offset),
        (MOV_K, 3, 0, 0, size),
        (CALL, 0, 0, 0, _SEQ_WRITE),
    )


def assembled(*code: object) -> bytes:
    """Instructions (opcode, dst, src, off, imm) as bytes.

    A str alone is a label, as ``off`` it is a jump there; "end" is behind all of them.
    """
    places: dict[object, int] = {}
    at = 0
    for row in code:
        if isinstance(row, str):
            places[row] = at
        else:
            at += 2 if row[0] == LD_IMM64 else 1  # type: ignore[index]  # no text, as above
    places["end"] = at
    return b"".join(_encoded(code, places))


def _encoded(code: tuple[object, ...], places: dict[object, int]) -> Iterator[bytes]:
    at = 0
    for row in code:
        if isinstance(row, str):
            continue
        opcode, dst, src, off, imm = (*row, 0, 0, 0)[:5]  # type: ignore[misc]  # rows have 3 to 5
        at += 1
        if opcode == LD_IMM64:
            at += 1
            low, high = src & 0xFFFFFFFF, src >> 32
            yield _INSN.pack(opcode, dst, 0, low - (low >> 31 << 32))
            yield _INSN.pack(0, 0, 0, high - (high >> 31 << 32))
            continue
        if isinstance(off, str):
            off = places[off] - at
        yield _INSN.pack(opcode, dst | src << 4, off, imm)


def _without(block: bytes, pid: int, numbers: frozenset[int]) -> bytes:
    """A block of :data:`HELD` without the rows of some descriptors of a process."""
    # Such rows are few: a look at each row would cost more than all else.
    begin = HELD.pack(pid, pid, 0, 0, b"")[: 2 * 4]
    at = block.find(begin)
    while at >= 0:
        if at % HELD.size == 0 and HELD.unpack_from(block, at)[2] in numbers:
            block = block[:at] + block[at + HELD.size :]
        else:
            at += 1
        at = block.find(begin, at)
    return block
