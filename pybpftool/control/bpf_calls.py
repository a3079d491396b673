"""Calls of bpf(2) as they are made, with a copy of what they ask for.

Two programs on the tracepoints ``syscalls/sys_enter_bpf`` and ``sys_exit_bpf``, which only this
system call passes. The first copies ``union bpf_attr`` and a text that it points to, the second
adds the result and hands the record to a ring buffer (Linux 5.8). They are assembled here, and gone
when their descriptors are closed, so with our process at the latest.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from errno import EACCES, EINVAL, ENOENT, EPERM

from pybpftool.control import require_live
from pybpftool.control.assembly import (
    END,
    JLE_K,
    MAP_LOOKUP_ELEM,
    RSH_K,
    XADD_DW,
    assembled,
    map_in,
    only_value,
)
from pybpftool.control.create import NewMap, create_map
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.own_programs import (
    ADD_K,
    CALL,
    INSN_SIZE,
    JEQ,
    JEQ_K,
    JNE_K,
    LDX_DW,
    LDX_W,
    MOV,
    MOV_K,
    ST_DW,
    ST_W,
    STX_DW,
    STX_W,
)
from pybpftool.kernel.perf_event import TYPE_TRACEPOINT, enable, event_attr, set_prog
from pybpftool.kernel.syscall import ELEM_ATTR, Buffer, bpf, checked, perf_event_open
from pybpftool.records import Record
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.control.assembly import Insn, Item
    from pybpftool.kernel.interface import Kernel

# A record: time, thread and process, result, command, size of attr, what reading attr gave, length
# of the text with its zero or what reading it gave, name of the thread; then attr and the text.
_HEAD = struct.Struct("=QIIqIIii16s")
_ATTR_ROOM, _TEXT_ROOM = 192, 96
_ATTR_AT = _HEAD.size
_TEXT_AT = _ATTR_AT + _ATTR_ROOM
_SIZE = _TEXT_AT + _TEXT_ROOM
_TASK, _RESULT, _CMD, _ATTR_SIZE, _ATTR_READ, _TEXT_READ, _COMM = 8, 16, 24, 28, 32, 36, 40
# Fields of the tracepoints' records (their `format` in tracefs; the same on all 64-bit machines).
_ARG_CMD, _ARG_ATTR, _ARG_SIZE, _ARG_RESULT = 16, 24, 32, 16
# enum bpf_func_id
_UPDATE, _DELETE, _KTIME, _PID_TGID, _GET_COMM = 2, 3, 5, 14, 16
_READ_USER, _READ_USER_STR, _RINGBUF_OUTPUT = 112, 114, 130
_OURS, _LOST = 0, 8  # in the value of the settings: our process, how many records were lost

_MOST_CALLS = 4096  # that are under way at a time
_RING_BYTES = 1 << 22
_BUSY, _DISCARDED, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1  # BPF_RINGBUF_*_BIT
_LOAD = struct.Struct("=IIQQIIQII16s")
_NO_COMMAND = 0x7FFF7079  # which no kernel knows: by its record we learn who we are


class BpfCall(Record):
    """One call of bpf(2).

    ``time_ns`` counts from 1970, ``result`` is a number or -errno. ``attr`` is as long as the
    caller said, at most what fits; empty where it could not be read. ``text`` is what the attr
    points to where that is a path, a name or a licence.
    """

    time_ns: int
    pid: int
    tid: int
    comm: str
    command: int
    size: int
    attr: bytes
    text: str
    result: int


class BpfCalls:
    """The calls of all processes but ours; :attr:`fd` can be polled. Raises BpfError."""

    def __init__(self, kernel: Kernel, may_mount: bool = True) -> None:
        require_live(kernel)
        self._kernel = kernel
        self._open: list[int] = []
        self._views: list[memoryview] = []
        self._areas: list[mmap.mmap] = []
        self._told = 0
        try:
            enter, leave = _tracepoints(kernel, may_mount)
            self._settings = self._map("array", 4, 16, 1)
            self._scratch = self._map("percpu_array", 4, _SIZE, 1)
            self._pending = self._map("hash", 8, _SIZE, _MOST_CALLS)
            self.fd = self._map("ringbuf", 0, 0, _RING_BYTES)
            self._read_ring()
            programs = [self._load("calls_enter", self._entering()),
                        self._load("calls_exit", self._leaving())]  # fmt: skip
            # The end first: no record stays behind of a call whose end nobody sees.
            for tracepoint, program in ((leave, programs[1]), (enter, programs[0])):
                self._attach(tracepoint, program)
            self._leave_us_out()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Detach and unload, and give the memory back."""
        while self._views:
            self._views.pop().release()
        while self._areas:
            self._areas.pop().close()
        while self._open:
            os.close(self._open.pop())

    # --- what is read ---

    def read(self) -> list[BpfCall]:
        """The calls that have ended since the last time."""
        now = time.time_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        return [_call(record, now) for record in self._records()]

    def lost(self) -> int:
        """How many calls have been left out since the last time, for lack of room."""
        value = self._settings_value()
        (count,) = struct.unpack_from("=Q", value, _LOST)
        new: int = count - self._told
        self._told = count
        return new

    def _records(self) -> Iterator[bytes]:
        consumer, producer, data = self._views
        position = consumer[0]
        while position < producer[0]:
            at = position & (_RING_BYTES - 1)
            (head,) = struct.unpack_from("=I", data, at)
            if head & _BUSY:
                break
            length = head & _LENGTH
            if not head & _DISCARDED:
                yield bytes(data[at + 8 : at + 8 + length])
            position += (length + 8 + 7) & ~7
            consumer[0] = position

    def _read_ring(self) -> None:
        page = mmap.PAGESIZE
        try:
            own = mmap.mmap(self.fd, page, mmap.MAP_SHARED)
            self._areas.append(own)
            theirs = mmap.mmap(self.fd, page + 2 * _RING_BYTES, mmap.MAP_SHARED, mmap.PROT_READ,
                               offset=page)  # fmt: skip
            self._areas.append(theirs)
        except OSError as error:
            raise KernelError.of("cannot map the ring buffer", error.errno or 0) from None
        whole = memoryview(theirs)
        self._views += [memoryview(own).cast("Q"), whole[:page].cast("Q"), whole[page:]]

    # --- how it is set up ---

    def _keep(self, fd: int) -> int:
        self._open.append(fd)
        return fd

    def _map(self, type: str, key_size: int, value_size: int, entries: int) -> int:
        new = NewMap(uapi.MAP_TYPES.index(type), "bpf_calls")
        new.key_size, new.value_size, new.max_entries = key_size, value_size, entries
        try:
            return self._keep(create_map(self._kernel, new))
        except KernelError as error:
            if type == "ringbuf" and error.errno == EINVAL:
                raise KernelError(
                    "this kernel has no ring buffers (Linux 5.8 has)", EINVAL
                ) from None
            raise

    def _load(self, name: str, code: bytes) -> int:
        insns, licence = Buffer.of(code), Buffer.of(b"GPL\0")
        attr = Buffer.of(_LOAD.pack(
            uapi.PROG_TYPES.index("tracepoint"), len(code) // INSN_SIZE, insns.address,
            licence.address, 0, 0, 0, 0, 0, name.encode(),
        ))  # fmt: skip
        fd = bpf(uapi.BPF_PROG_LOAD, attr.address, _LOAD.size)
        if fd in (-EPERM, -EACCES):
            raise KernelError(
                "calls of bpf(2) cannot be watched: this needs the capabilities CAP_BPF and"
                " CAP_PERFMON (try as root)", -fd,
            )  # fmt: skip
        return self._keep(checked(f"cannot load the program '{name}'", fd))

    def _attach(self, tracepoint: int, program: int) -> None:
        attr = event_attr(TYPE_TRACEPOINT, tracepoint, sample_period=1, wakeup_events=1)
        event = self._keep(
            checked("cannot open the tracepoint of bpf(2)", perf_event_open(attr, -1, 0))
        )
        what = "cannot attach to the tracepoint of bpf(2)"
        set_prog(event, program, what)
        enable(event, what)

    def _leave_us_out(self) -> None:
        """Tell the first program who we are, in the kernel's own numbers.

        These are others than ours in a namespace of processes.
        """
        attr = Buffer(8)
        bpf(_NO_COMMAND, attr.address, 8)
        for record in self._records():
            head = _HEAD.unpack_from(record)
            if head[4] == _NO_COMMAND:
                self._change_settings(struct.pack("=QQ", head[2], 0))

    def _change_settings(self, value: bytes) -> None:
        key, data = Buffer(4), Buffer.of(value)
        attr = Buffer.of(ELEM_ATTR.pack(self._settings, key.address, data.address, 0))
        result = bpf(uapi.BPF_MAP_UPDATE_ELEM, attr.address, ELEM_ATTR.size)
        checked("cannot tell a program who we are", result)

    def _settings_value(self) -> bytearray:
        key, data = Buffer(4), Buffer(16)
        attr = Buffer.of(ELEM_ATTR.pack(self._settings, key.address, data.address, 0))
        result = bpf(uapi.BPF_MAP_LOOKUP_ELEM, attr.address, ELEM_ATTR.size)
        checked("cannot read what was lost", result)
        return data.data

    # --- the programs ---

    def _entering(self) -> bytes:
        """The call begins: r6 is the tracepoint's record, r8 ours, r9 the settings."""
        return assembled([
            (MOV, 6, 1, 0, 0),
            (CALL, 0, 0, 0, _PID_TGID),
            (MOV, 7, 0, 0, 0),
            (MOV, 8, 0, 0, 0),
            (RSH_K, 8, 0, 0, 32),
            *only_value(self._settings),
            (LDX_DW, 1, 0, _OURS, 0),
            (JEQ, 1, 8, END, 0),
            (MOV, 9, 0, 0, 0),
            *only_value(self._scratch),
            (MOV, 8, 0, 0, 0),
            (STX_DW, 8, 7, _TASK, 0),
            (CALL, 0, 0, 0, _KTIME),
            (STX_DW, 8, 0, 0, 0),
            (ST_DW, 8, 0, _RESULT, 0),
            (LDX_DW, 1, 6, _ARG_CMD, 0),
            (STX_W, 8, 1, _CMD, 0),
            (LDX_DW, 1, 6, _ARG_SIZE, 0),
            (STX_W, 8, 1, _ATTR_SIZE, 0),
            (ST_W, 8, 0, _TEXT_READ, 0),
            (MOV, 1, 8, 0, 0),
            (ADD_K, 1, 0, 0, _COMM),
            (MOV_K, 2, 0, 0, 16),
            (CALL, 0, 0, 0, _GET_COMM),
            (LDX_W, 2, 8, _ATTR_SIZE, 0),
            (JLE_K, 2, 0, "fits", _ATTR_ROOM),
            (MOV_K, 2, 0, 0, _ATTR_ROOM),
            "fits",
            (MOV, 1, 8, 0, 0),
            (ADD_K, 1, 0, 0, _ATTR_AT),
            (LDX_DW, 3, 6, _ARG_ATTR, 0),
            (CALL, 0, 0, 0, _READ_USER),
            (STX_W, 8, 0, _ATTR_READ, 0),
            *self._reading_text(),
            (STX_DW, 10, 7, -16, 0),
            (MOV, 2, 10, 0, 0),
            (ADD_K, 2, 0, 0, -16),
            (MOV, 3, 8, 0, 0),
            (MOV_K, 4, 0, 0, 0),
            map_in(1, self._pending),
            (CALL, 0, 0, 0, _UPDATE),
            (JEQ_K, 0, 0, END, 0),
            (MOV_K, 1, 0, 0, 1),
            (XADD_DW, 9, 1, _LOST, 0),
        ])  # fmt: skip

    @staticmethod
    def _reading_text() -> list[Item]:
        """Copy what the attr points to, of the commands for which that is a text."""
        first = (uapi.BPF_OBJ_PIN, uapi.BPF_OBJ_GET, uapi.BPF_RAW_TRACEPOINT_OPEN)
        return [
            (LDX_W, 1, 8, _CMD, 0),
            (LDX_DW, 3, 8, _ATTR_AT, 0),
            *[(JEQ_K, 1, 0, "text", command) for command in first],
            (JNE_K, 1, 0, "store", uapi.BPF_PROG_LOAD),
            (LDX_DW, 3, 8, _ATTR_AT + 16, 0),  # license
            "text",
            (MOV, 1, 8, 0, 0),
            (ADD_K, 1, 0, 0, _TEXT_AT),
            (MOV_K, 2, 0, 0, _TEXT_ROOM),
            (CALL, 0, 0, 0, _READ_USER_STR),
            (STX_W, 8, 0, _TEXT_READ, 0),
            "store",
        ]

    def _leaving(self) -> bytes:
        """The call ends: r7 is its record."""
        of_task: list[Insn] = [(MOV, 2, 10, 0, 0), (ADD_K, 2, 0, 0, -16)]
        return assembled([
            (MOV, 6, 1, 0, 0),
            (CALL, 0, 0, 0, _PID_TGID),
            (STX_DW, 10, 0, -16, 0),
            *of_task,
            map_in(1, self._pending),
            (CALL, 0, 0, 0, MAP_LOOKUP_ELEM),
            (JEQ_K, 0, 0, END, 0),
            (LDX_DW, 1, 6, _ARG_RESULT, 0),
            (STX_DW, 0, 1, _RESULT, 0),
            (MOV, 2, 0, 0, 0),
            (MOV_K, 3, 0, 0, _SIZE),
            (MOV_K, 4, 0, 0, 0),
            map_in(1, self.fd),
            (CALL, 0, 0, 0, _RINGBUF_OUTPUT),
            (MOV, 8, 0, 0, 0),
            *of_task,
            map_in(1, self._pending),
            (CALL, 0, 0, 0, _DELETE),
            (JEQ_K, 8, 0, END, 0),
            *only_value(self._settings),
            (MOV_K, 1, 0, 0, 1),
            (XADD_DW, 0, 1, _LOST, 0),
        ])  # fmt: skip


def _call(record: bytes, clock_ns: int) -> BpfCall:
    time_ns, tid, pid, result, command, size, failed, length, comm = _HEAD.unpack_from(record)
    attr = b"" if failed else record[_ATTR_AT : _ATTR_AT + min(size, _ATTR_ROOM)]
    text = record[_TEXT_AT : _TEXT_AT + max(length - 1, 0)]
    return BpfCall(
        time_ns + clock_ns,
        pid,
        tid,
        comm.partition(b"\0")[0].decode("utf-8", "surrogateescape"),
        command,
        size,
        attr,
        text.decode("utf-8", "surrogateescape"),
        result,
    )


def _tracepoints(kernel: Kernel, may_mount: bool) -> tuple[int, int]:
    """The numbers of the two tracepoints."""
    from pybpftool.control.tracelog import tracefs_file

    numbers = []
    for name, last in (("sys_enter_bpf", _ARG_SIZE), ("sys_exit_bpf", _ARG_RESULT)):
        try:
            text = tracefs_file(kernel, f"events/syscalls/{name}/format", may_mount)
            number = text.partition(b"\nID: ")[2].partition(b"\n")[0]
            if not number.isdigit() or b"offset:%d;\tsize:8;" % last not in text:
                raise BpfError("calls of bpf(2) can be watched on 64-bit kernels only")
            numbers.append(int(number))
        except KernelError as error:
            if error.errno == ENOENT:
                raise BpfError(
                    "this kernel has no tracepoints of system calls (CONFIG_FTRACE_SYSCALLS)"
                ) from None
            raise
    return numbers[0], numbers[1]
