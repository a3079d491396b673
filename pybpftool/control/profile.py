"""Counting what a program costs while it runs: two programs around it that read perf events.

One is attached to the program's entry and one to its exit (fentry, fexit of a BPF program:
Linux 5.5). They are assembled here, and gone when their descriptors are closed, so with our
process at the latest; no file system knows of them.
"""

from __future__ import annotations

import os
import struct
from errno import EACCES, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM

from pybpftool.control import require_live
from pybpftool.control.assembly import (
    ADD,
    END,
    SUB,
    assembled,
    map_in,
    only_value,
)
from pybpftool.control.create import NewMap, create_map
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.interface import PROG_INFO
from pybpftool.kernel.own_programs import (
    ADD_K,
    CALL,
    INSN_SIZE,
    JNE_K,
    LDX_DW,
    MOV,
    MOV_K,
    ST_DW,
    STX_DW,
)
from pybpftool.kernel.perf_event import DISABLED, EXCLUDE_USER, enable, event_attr
from pybpftool.kernel.syscall import (
    ELEM_ATTR,
    ENOTSUPP,
    Buffer,
    bpf,
    checked,
    may_trace,
    perf_event_open,
)
from pybpftool.records import Record
from pybpftool.uapi import bpf as uapi
from pybpftool.uapi import perf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pybpftool.control.assembly import Insn
    from pybpftool.kernel.interface import BpfObject, Kernel

MOST_METRICS = 4
"""How many metrics can be counted at a time."""

_HARDWARE = perf.EVENT_TYPES.index("hardware")
_SOFTWARE = perf.EVENT_TYPES.index("software")
_CACHE = perf.EVENT_TYPES.index("hw-cache")


class Metric(Record):
    """What can be counted: an event of perf_event_open(2), of the kernel's side alone.

    Its count times ``factor``, divided by the count of the metric ``per`` (``run_cnt`` is the
    number of runs), is what ``ratio`` calls it.
    """

    name: str
    type: int
    config: int
    per: str = ""
    factor: float = 1
    ratio: str = ""


def _cache(name: str, result: str) -> int:
    operation, outcome = perf.CACHE_OPERATIONS.index("load"), perf.CACHE_RESULTS.index(result)
    return perf.CACHES.index(name) | operation << 8 | outcome << 16


def _misses(name: str, cache: str, title: str) -> Metric:
    ratio = f"{title} misses per million insns"
    return Metric(name, _CACHE, _cache(cache, "misses"), "instructions", 1e6, ratio)


METRICS = (
    Metric("cycles", _HARDWARE, perf.HARDWARE.index("cpu-cycles"), "run_cnt", 1, "cycles per run"),
    Metric(
        "instructions",
        _HARDWARE,
        perf.HARDWARE.index("instructions"),
        "cycles",
        1,
        "insns per cycle",
    ),
    Metric("l1d_loads", _CACHE, _cache("L1-dcache", "refs")),
    _misses("llc_misses", "LLC", "LLC"),
    _misses("itlb_misses", "iTLB", "itlb"),
    _misses("dtlb_misses", "dTLB", "dtlb"),
    # These need no counters of the processor.
    Metric("task-clock", _SOFTWARE, perf.SOFTWARE.index("task-clock"), "run_cnt", 1, "ns per run"),
    Metric("context-switches", _SOFTWARE, perf.SOFTWARE.index("context-switches")),
)
"""All metrics; those of upstream in its order, then ours."""


class Reading(Record):
    """A metric's count over all runs, and for how long its event was there and was counting."""

    metric: Metric
    counter: int
    enabled_ns: int
    running_ns: int

    @property
    def value(self) -> int:
        """The count, scaled up where the event has shared its counter with others."""
        if 0 < self.running_ns < self.enabled_ns:
            return self.counter * self.enabled_ns // self.running_ns
        return self.counter


class Profile(Record):
    """What was counted, and over how many runs."""

    run_cnt: int
    readings: tuple[Reading, ...]


_VALUE = struct.Struct("=3Q")  # struct bpf_perf_event_value: counter, enabled, running
_WORD = 8

# Values of the two maps: a number, then a _VALUE for each metric. The first map has what was
# read at entry, its number tells whether all of it is; the second adds up, its number is that
# of the runs.
# enum bpf_func_id
_GET_SMP_PROCESSOR_ID, _PERF_EVENT_READ_VALUE = 8, 55

# union bpf_attr of BPF_PROG_LOAD: prog_type, insn_cnt, insns, license; at 24 log_level, log_size,
# log_buf; at 48 prog_name; at 68 expected_attach_type; at 108 attach_btf_id, attach_prog_fd
_LOAD, _LOG, _NAME = struct.Struct("=IIQQ"), struct.Struct("=IIQ"), struct.Struct("=16s")
_WORD_32 = struct.Struct("=I")
_LOAD_SIZE, _LOG_AT, _NAME_AT, _ATTACH_TYPE_AT, _TARGET_AT = 116, 24, 48, 68, 108
_LOG_BYTES = 1 << 16
_NO_TRAMPOLINES = "this kernel has no BPF trampolines, by which programs are attached to programs"
_TRACING = uapi.PROG_TYPES.index("tracing")
_OPEN = struct.Struct("=QI4x")  # name, prog_fd


def profile(
    kernel: Kernel,
    prog: BpfObject,
    metrics: Sequence[Metric],
    wait: Callable[[], None],
    say: Callable[[str], None],
) -> Profile:
    """Count metrics of all runs of an open program while ``wait`` does not return.

    A run that another run of the program interrupts on its CPU does not count.

    :param say: hears remarks.

    Raises BpfError; nothing stays attached or loaded in any case.
    """
    require_live(kernel)
    function = _main_function(kernel, prog)
    with _Meter(kernel, metrics) as meter:
        code = (("trace_fentry", meter.entry()), ("trace_fexit", meter.exit()))
        programs = [meter.load(prog, function, where, insns) for where, insns in code]
        meter.open_events(say)
        links = [meter.attach(prog, fd) for fd in reversed(programs)]
        wait()
        for link in links:
            meter.drop(link)
        return meter.sums()


def _main_function(kernel: Kernel, prog: BpfObject) -> int:
    """The type id of a program's main function in its BTF."""
    what = f"cannot profile program {prog.id}"
    if not PROG_INFO.decode(prog.info, kernel.byteorder)["btf_id"]:
        raise BpfError(f"{what}: it was loaded without BTF, which names the function to attach to")
    func_info = kernel.prog_arrays(prog, ("func_info",))["func_info"]
    if not func_info:
        raise BpfError(f"{what}: its BTF has no information about functions (func_info)")
    (function,) = _WORD_32.unpack_from(func_info, 4)  # struct bpf_func_info: insn_off, type_id
    return int(function)


class _Meter:
    """The maps, programs, events and links of one measurement, closed at its end."""

    def __init__(self, kernel: Kernel, metrics: Sequence[Metric]) -> None:
        self._kernel = kernel
        self._metrics = metrics
        self._open: list[int] = []
        self._cpus = kernel.possible_cpus()
        self._size = _WORD + len(metrics) * _VALUE.size
        try:
            self._events = self._map("perf_event_array", 4, len(metrics) * self._cpus)
            self._start = self._map("percpu_array", self._size, 1)
            self._sum = self._map("percpu_array", self._size, 1)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> _Meter:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all, the last one first."""
        while self._open:
            os.close(self._open.pop())

    def drop(self, fd: int) -> None:
        """Close one descriptor."""
        self._open.remove(fd)
        os.close(fd)

    def _keep(self, fd: int) -> int:
        self._open.append(fd)
        return fd

    def _map(self, type: str, value_size: int, entries: int) -> int:
        new = NewMap(uapi.MAP_TYPES.index(type), "profile")
        new.key_size, new.value_size, new.max_entries = 4, value_size, entries
        return self._keep(create_map(self._kernel, new))

    # The programs.

    def entry(self) -> bytes:
        """The program that reads all events into the first map."""
        code = [
            *only_value(self._start),
            (MOV, 7, 0, 0, 0),
            (ST_DW, 7, 0, 0, 0),
            (CALL, 0, 0, 0, _GET_SMP_PROCESSOR_ID),
            (MOV, 6, 0, 0, 0),
        ]
        for at in range(len(self._metrics)):
            code += self._read(at, 7, _WORD + at * _VALUE.size)
        return assembled([*code, (ST_DW, 7, 0, 0, 1)])

    def exit(self) -> bytes:
        """The program that reads all events and adds the differences to the second map."""
        size = len(self._metrics) * _VALUE.size
        code: list[Insn] = [(CALL, 0, 0, 0, _GET_SMP_PROCESSOR_ID), (MOV, 6, 0, 0, 0)]
        for at in range(len(self._metrics)):
            code += self._read(at, 10, at * _VALUE.size - size)
        code += [
            *only_value(self._start, -size - _WORD),
            (MOV, 7, 0, 0, 0),
            (LDX_DW, 1, 7, 0, 0),
            (JNE_K, 1, 0, END, 1),
            (ST_DW, 7, 0, 0, 0),
            *only_value(self._sum, -size - _WORD),
        ]
        for at in range(0, size, _WORD):
            code += [
                (LDX_DW, 1, 10, at - size, 0),
                (LDX_DW, 2, 7, _WORD + at, 0),
                (SUB, 1, 2, 0, 0),
                (LDX_DW, 2, 0, _WORD + at, 0),
                (ADD, 1, 2, 0, 0),
                (STX_DW, 0, 1, _WORD + at, 0),
            ]
        code += [(LDX_DW, 1, 0, 0, 0), (ADD_K, 1, 0, 0, 1), (STX_DW, 0, 1, 0, 0)]
        return assembled(code)

    def _read(self, at: int, base: int, offset: int) -> list[Insn]:
        """Read the event of metric ``at`` on this CPU, whose number is in r6, into memory."""
        return [
            map_in(1, self._events),
            (MOV, 2, 6, 0, 0),
            (ADD_K, 2, 0, 0, at * self._cpus),
            (MOV, 3, base, 0, 0),
            (ADD_K, 3, 0, 0, offset),
            (MOV_K, 4, 0, 0, _VALUE.size),
            (CALL, 0, 0, 0, _PERF_EVENT_READ_VALUE),
            (JNE_K, 0, 0, END, 0),
        ]

    def load(self, prog: BpfObject, function: int, where: str, code: bytes) -> int:
        """Load one of the programs; its descriptor."""
        insns, licence, log = Buffer.of(code), Buffer.of(b"GPL\0"), Buffer(_LOG_BYTES)
        attr = Buffer(_LOAD_SIZE)
        count = len(code) // INSN_SIZE
        _LOAD.pack_into(attr.data, 0, _TRACING, count, insns.address, licence.address)
        _NAME.pack_into(attr.data, _NAME_AT, b"profile")
        _WORD_32.pack_into(attr.data, _ATTACH_TYPE_AT, uapi.ATTACH_TYPES.index(where))
        struct.pack_into("=II", attr.data, _TARGET_AT, function, prog.fd)
        fd = bpf(uapi.BPF_PROG_LOAD, attr.address, _LOAD_SIZE)
        if fd < 0:
            # The log costs time: only where there is something to tell.
            _LOG.pack_into(attr.data, _LOG_AT, 1, _LOG_BYTES, log.address)
            fd = bpf(uapi.BPF_PROG_LOAD, attr.address, _LOAD_SIZE)
        if fd < 0:
            said = bytes(log.data).partition(b"\0")[0].decode("utf-8", "replace")
            raise _refusal(prog, -fd, said)
        return self._keep(fd)

    def attach(self, prog: BpfObject, fd: int) -> int:
        """Attach one of the programs to its target; the link."""
        attr = Buffer.of(_OPEN.pack(0, fd))
        link = bpf(uapi.BPF_RAW_TRACEPOINT_OPEN, attr.address, _OPEN.size)
        if link in (-ENOTSUPP, -EOPNOTSUPP):
            raise KernelError(f"cannot profile program {prog.id}: {_NO_TRAMPOLINES}", -link)
        return self._keep(checked(f"cannot attach to program {prog.id}", link))

    # The events.

    def open_events(self, say: Callable[[str], None]) -> None:
        """Open an event for each metric and CPU; those of a CPU are counted together."""
        for cpu in range(self._cpus):
            leaders: list[int] = []
            for at, metric in enumerate(self._metrics):
                fd = _event(metric, cpu, leaders[0] if leaders else -1)
                if fd == -EINVAL and leaders:
                    # More than the processor counts at a time: then they take turns.
                    fd = _event(metric, cpu, -1)
                    leaders.append(fd)
                if fd == -ENODEV:
                    say(f"CPU {cpu} may be offline; {metric.name} is not counted there")
                    continue
                if fd < 0:
                    raise _event_refusal(metric, cpu, -fd)
                self._keep(fd)
                leaders = leaders or [fd]
                self._put(at * self._cpus + cpu, fd)
            # Only now: a member of another kind that comes to a running group may not begin.
            for leader in leaders:
                enable(leader, f"cannot let the events of CPU {cpu} count")

    def _put(self, index: int, event: int) -> None:
        key, value = Buffer.of(_WORD_32.pack(index)), Buffer.of(_WORD_32.pack(event))
        attr = Buffer.of(ELEM_ATTR.pack(self._events, key.address, value.address, 0))
        what = "cannot put a perf event into a map"
        checked(what, bpf(uapi.BPF_MAP_UPDATE_ELEM, attr.address, ELEM_ATTR.size))

    def sums(self) -> Profile:
        """What has been added up on all CPUs."""
        key, values = Buffer(4), Buffer(self._size * self._cpus)
        attr = Buffer.of(ELEM_ATTR.pack(self._sum, key.address, values.address, 0))
        result = bpf(uapi.BPF_MAP_LOOKUP_ELEM, attr.address, ELEM_ATTR.size)
        checked("cannot read what was counted", result)
        count = self._size // _WORD
        words = struct.unpack(f"={count * self._cpus}Q", values.data)
        run_cnt, *numbers = [sum(words[at::count]) for at in range(count)]
        return Profile(
            run_cnt,
            tuple(
                Reading(metric, *numbers[at * 3 : at * 3 + 3])
                for at, metric in enumerate(self._metrics)
            ),
        )


def _event(metric: Metric, cpu: int, leader: int) -> int:
    flags = DISABLED if leader < 0 else 0
    if metric.type != _SOFTWARE:
        flags |= EXCLUDE_USER
    return perf_event_open(event_attr(metric.type, metric.config, flags=flags), -1, cpu, leader)


def _event_refusal(metric: Metric, cpu: int, errno: int) -> KernelError:
    what = f"cannot count {metric.name} on CPU {cpu}"
    if errno in (ENOENT, EOPNOTSUPP, EINVAL) and metric.type != _SOFTWARE:
        reason = "this machine has no such hardware counter; task-clock needs none"
    elif errno in (EACCES, EPERM):
        reason = "this needs the capability CAP_PERFMON (try as root)"
    else:
        return KernelError.of(what, errno)
    return KernelError(f"{what}: {reason}", errno)


def _refusal(prog: BpfObject, errno: int, log: str) -> KernelError:
    from pybpftool.control.verifier_log import refusal

    what = f"cannot profile program {prog.id}"
    reason = refusal(log).reason
    if reason:
        reason = f"the kernel attaches nothing to it: {reason}"
    elif errno in (EPERM, EACCES) and not may_trace():
        reason = "this needs the capabilities CAP_BPF and CAP_PERFMON (try as root)"
    elif errno in (EPERM, EACCES, EINVAL):
        reason = _NO_TRAMPOLINES
    else:
        return KernelError.of(what, errno)
    return KernelError(f"{what}: {reason}", errno)
