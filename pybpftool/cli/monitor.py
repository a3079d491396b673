"""``monitor``: loads, unloads, attaches and detaches as they happen."""

from __future__ import annotations

import posix
import time

from pybpftool.errors import BpfError, UsageError
from pybpftool.inspect.wording import counted, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.cli.stopping import Stopping
    from pybpftool.control.bpf_calls import BpfCalls
    from pybpftool.kernel.bpf_events import BpfEvents, ProgEvent

    Row = dict[str, Any]

HELP = """\
Usage: pybpftool monitor [OPTIONS]
       pybpftool monitor help

Prints each program that is loaded or unloaded, with who does it, and each link that is
attached or detached, until it is interrupted. The kernel tells of programs by itself,
links are looked at again and again: one that stays shorter than the interval is missed.
What the kernel could not tell for lack of room is said.

With --calls each call of bpf(2) by another process is printed as well: command, fields
that are not 0, result. This loads two programs of ours, which see this system call alone.

Options:
       --calls             also what bpf(2) is asked, and what it answers
       --for TIME          end after so long (10s, 2m)
       --interval TIME     between two looks at links: 200ms if not given
       --json-lines        a JSON object an event, on a line each
       -j, -p              an array of events
"""

_INTERVAL = "200ms"
_SHORTEST = 0.01
_GATHER = 0.02  # seconds between two looks at the rings: many records cost little more than one


def run(ctx: Context, args: Args) -> None:
    """Run ``monitor``."""
    if args.accept("help"):
        ctx.show_help(HELP)
        return
    args.end()
    from pybpftool.cli.durations import seconds

    options = dict(ctx.options.of_object)
    lasts = seconds(options["for"]) if "for" in options else None
    interval = seconds(options.get("interval", _INTERVAL))
    if interval < _SHORTEST:
        raise UsageError(f"--interval is at least {_SHORTEST * 1000:.0f}ms")
    if "json-lines" in options and ctx.json is not None:
        raise UsageError("--json-lines goes without -j and -p")
    if not ctx.kernel.is_live:
        raise BpfError("nothing happens on a recorded kernel")
    from pybpftool.cli.stopping import Stopping
    from pybpftool.kernel.bpf_events import BpfEvents

    write = _form(ctx, "json-lines" in options)
    ctx.stay()
    events = BpfEvents(ctx.kernel.online_cpus())
    calls = None
    try:
        if "calls" in options:
            from pybpftool.control.bpf_calls import BpfCalls

            calls = BpfCalls(ctx.kernel, not ctx.options.nomount)
        with Stopping() as stopping:
            _Watch(ctx, events, calls, write, interval).run(stopping, lasts)
    finally:
        if calls is not None:
            calls.close()
        events.close()


class _Watch:
    """One run: the rings, the links, and what is written of them."""

    def __init__(
        self,
        ctx: Context,
        events: BpfEvents,
        calls: BpfCalls | None,
        write: Callable[[Row], None],
        interval: float,
    ) -> None:
        from pybpftool.inspect.monitor import Links, Programs, Tasks

        self._ctx = ctx
        self._events = events
        self._calls = calls
        self._write = write
        self._interval = interval
        self._tasks = Tasks(ctx.kernel)
        self._programs = Programs(ctx.kernel, self._tasks)
        self._links = Links(ctx.kernel, self._tasks)
        self._lost = self._lost_calls = 0
        self._pid = posix.getpid()
        self._ours: set[int] = set()

    def run(self, stopping: Stopping, lasts: float | None) -> None:
        """Watch until a signal comes, or so long."""
        import select

        ctx = self._ctx
        if ctx.json is not None:
            ctx.json.begin_array()
            ctx.out.flush()
        if self._links.refused is not None:
            ctx.say(f"attaches and detaches are not shown: {self._links.refused}")
        ctx.say("watching; an interrupt ends it")
        end = float("inf") if lasts is None else time.monotonic() + lasts
        following = time.monotonic() + self._interval
        with select.epoll() as poll:
            calls = [self._calls.fd] if self._calls is not None else []
            for fd in (stopping.fd, *self._events.fds, *calls):
                poll.register(fd, select.EPOLLIN)
            while not stopping.is_asked:
                now = time.monotonic()
                if now >= end:
                    break
                poll.poll(max(min(following, end) - now, 0))
                self._drain()
                if time.monotonic() >= following:
                    self._look()
                    following = time.monotonic() + self._interval
                ctx.out.flush()
                stopping.wait(min(_GATHER, max(end - time.monotonic(), 0)))
        self._drain()
        self._look()
        if self._lost:
            ctx.say(f"{counted(self._lost, 'record')} lost: there were too many at once")
        if self._lost_calls:
            ctx.say(f"{counted(self._lost_calls, 'call')} lost: there were too many at once")
        if ctx.json is not None:
            ctx.json.end()

    def _drain(self) -> None:
        from pybpftool.kernel.bpf_events import CommEvent, LostEvents

        rows: list[Row] = []
        for event in self._events.read():
            if isinstance(event, CommEvent):
                self._tasks.named(event.pid, event.comm)
            elif isinstance(event, LostEvents):
                self._lost += event.number
                rows.append(
                    {
                        "time": event.time_ns / 1e9,
                        "event": "lost",
                        "number": event.number,
                        "cpu": event.cpu,
                    }
                )
            elif not self._is_ours(event):
                rows.append(self._programs.row(event))
        if self._calls is not None:
            rows += self._called(self._calls)
            rows.sort(key=lambda row: row["time"])
        for row in rows:
            self._write(row)

    def _is_ours(self, event: ProgEvent) -> bool:
        """Whether a program is one that this process has loaded to watch."""
        if event.is_load and event.pid == self._pid:
            self._ours.add(event.id)
            return True
        is_ours = event.id in self._ours  # and goes: the kernel may tell another pid then
        self._ours.discard(event.id)
        return is_ours

    def _called(self, calls: BpfCalls) -> Iterator[Row]:
        from pybpftool.inspect.bpf_calls import row

        for call in calls.read():
            yield {**row(call), **self._tasks.told(call.pid), "comm": call.comm}
        lost = calls.lost()
        if lost:
            self._lost_calls += lost
            yield {"time": time.time(), "event": "lost", "number": lost, "of": "call"}

    def _look(self) -> None:
        for row in self._links.look():
            self._write(row)


def _form(ctx: Context, is_lines: bool) -> Callable[[Row], None]:
    """What writes an event."""
    json = ctx.json
    if json is not None:
        return lambda row: json.value(_without_place(row))
    if is_lines:
        from pybpftool.output.jsontext import compact

        ctx.out.set_errors("backslashreplace")
        return lambda row: ctx.out.write(compact(_without_place(row)) + "\n")
    return lambda row: ctx.out.write(shown(text(row)) + "\n")


def _without_place(row: Row) -> Row:
    """The row as JSON: its target, or what was asked, is an object, not words."""
    return {name: value for name, value in row.items() if name not in ("place", "words")}


def text(row: Row) -> str:
    """The line of an event."""
    second, rest = divmod(round(row["time"] * 1_000_000), 1_000_000)
    line = f"{time.strftime('%H:%M:%S', time.localtime(second))}.{rest:06d} {row['event']:<6}"
    if row.get("of") == "call":
        return f"{line}  {counted(row['number'], 'call')}"
    if row["event"] == "lost":
        return f"{line}  {counted(row['number'], 'record')} of CPU {row['cpu']}"
    if row["event"] == "call":
        line += f"  {row['command']}({row['words']}) = {row['result']}"
        if "error" in row:
            line = f"{line.rpartition(' ')[0]} -{row['error']}"
    if "link_id" in row:
        line += f"  link {row['link_id']}"
    elif "prog_id" in row:
        line += f"  prog {row['prog_id']}"
    if "type" in row:
        line += f"  {row['type']}"
    if "link_id" in row and "prog_id" in row:
        line += f"  prog {row['prog_id']}"
    if "name" in row:
        line += f"  name {row['name']}"
    if "tag" in row:
        line += f"  tag {row['tag']}"
    if row.get("place"):
        line += f"  {row['place']}"
    if "pid" in row:
        line += f"  pid {row['pid']}" + (f" ({row['comm']})" if "comm" in row else "")
    return line + (f"  {row['owner']}" if "owner" in row else "")
