"""``map event_pipe``: print what programs send through a ``perf_event_array``."""

from __future__ import annotations

import os
import select
import signal
import struct

from pybpftool.cli.refs import one_map
from pybpftool.control.elements import MapWriter
from pybpftool.errors import BpfError, KernelError, UsageError
from pybpftool.kernel.rings import RECORD_LOST, RECORD_SAMPLE, OutputRing
from pybpftool.objects.map import read
from pybpftool.output.hexrows import hex_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.rings import Event

_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


class _Pipe:
    """The rings of one map, by the slots of the map that they are in."""

    def __init__(self, ctx: Context, elements: MapWriter) -> None:
        self._ctx = ctx
        self._elements = elements
        self._rings: dict[int, OutputRing] = {}

    def open(self, cpu: int, index: int) -> None:
        """Put a CPU's ring into a slot."""
        ring = OutputRing(cpu)
        try:
            self._elements.update(struct.pack("=I", index), struct.pack("=i", ring.fd))
            # From here on samples arrive: close() takes the ring out again.
            self._rings[index] = ring
        except BpfError:
            ring.close()
            raise
        ring.enable()

    def detach(self) -> None:
        """Take the rings out of the map: nothing more arrives."""
        for index in self._rings:
            try:
                self._elements.delete(struct.pack("=I", index))
            except KernelError:
                pass  # somebody else took it out

    def close(self) -> None:
        """Give the rings back."""
        for ring in self._rings.values():
            ring.close()
        self._rings.clear()

    def run(self, stopped: list[int], wakeup: int) -> None:
        """Print events until a signal came, and what had arrived until then."""
        with select.epoll() as poll:
            poll.register(wakeup, select.EPOLLIN)
            by_fd = {ring.fd: index for index, ring in self._rings.items()}
            for fd in by_fd:
                poll.register(fd, select.EPOLLIN)
            while not stopped:
                for fd, _ in poll.poll():
                    if fd in by_fd:
                        self._drain(by_fd[fd])
                self._ctx.out.flush()
        self.detach()
        for index in self._rings:
            self._drain(index)

    def _drain(self, index: int) -> None:
        ring = self._rings[index]
        ctx = self._ctx
        if ctx.json is not None:
            for event in ring.events():
                ctx.json.value(_record(event, ring.cpu, index))
        else:
            for event in ring.events():
                ctx.out.write(_text(event, ring.cpu, index))


def _text(event: Event, cpu: int, index: int) -> str:
    if event.type == RECORD_SAMPLE:
        seconds, rest = divmod(event.time, 1_000_000_000)
        return f"== @{seconds}.{rest:09d} CPU: {cpu} index: {index} =====\n{hex_text(event.data)}\n"
    if event.type == RECORD_LOST:
        return f"lost {event.lost} events\n"
    return f"unknown event type={event.type} size={event.size}\n"


def _record(event: Event, cpu: int, index: int) -> dict[str, Any]:
    record: dict[str, Any] = {"type": event.type, "cpu": cpu, "index": index}
    if event.type == RECORD_SAMPLE:
        record["timestamp"] = event.time
        record["data"] = list(event.data)
    elif event.type == RECORD_LOST:
        record["lost"] = {"id": event.id, "count": event.lost}
    return record


def _places(args: Args) -> tuple[int, int] | None:
    """Take ``[cpu N index M]``: the CPU and the slot, or None for all."""
    cpu = index = None
    while args:
        if args.accept("cpu"):
            cpu = args.number("a CPU's number")
        elif args.accept("index"):
            index = args.number("an index of the map")
        else:
            raise UsageError(f"expected 'cpu' or 'index', got '{args.peek()}'")
    if cpu is None and index is None:
        return None
    if cpu is None or index is None:
        raise UsageError("'cpu' and 'index' have to be given together")
    return cpu, index


def event_pipe(ctx: Context, args: Args) -> None:
    """``map event_pipe MAP [cpu N index M]``."""
    kernel = ctx.kernel
    obj = one_map(kernel, args, True)
    try:
        map = read(kernel, obj, with_fdinfo=False)
        if map.type_name != "perf_event_array":
            raise BpfError(f"map {map.id} is not a perf_event_array")
        place = _places(args)
        elements = MapWriter(kernel, obj)
        if place is not None:
            places = [place]
        else:
            most = min(kernel.possible_cpus(), map.max_entries)
            places = [(cpu, cpu) for cpu in kernel.online_cpus() if cpu < most]
        _pipe(ctx, elements, places)
    finally:
        kernel.close(obj)


def _pipe(ctx: Context, elements: MapWriter, places: list[tuple[int, int]]) -> None:
    stopped: list[int] = []

    def stop(number: int, frame: object) -> None:
        if not stopped:
            os.write(2, b"Stopping...\n")
        stopped.append(number)

    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    ctx.stay()
    pipe = _Pipe(ctx, elements)
    before = [(number, signal.signal(number, stop)) for number in _SIGNALS]
    old_wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        for cpu, index in places:
            pipe.open(cpu, index)
        if ctx.json is not None:
            ctx.json.begin_array()
            ctx.out.flush()
        pipe.run(stopped, reader)
        if ctx.json is not None:
            ctx.json.end()
    finally:
        pipe.detach()
        pipe.close()
        signal.set_wakeup_fd(old_wakeup)
        for number, handler in before:
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
