"""``perf``: list the perf events and raw tracepoints that tasks hold with a program."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.cli.recorded import run_command
from pybpftool.objects.perf import (
    KPROBE,
    KRETPROBE,
    RAW_TRACEPOINT,
    TRACEPOINT,
    UPROBE,
    URETPROBE,
    task_events,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.objects.perf import TaskEvent
    from pybpftool.objects.symbols import Resolver

HELP = """\
Usage: pybpftool perf { show | list }
       pybpftool perf help

       Options: -j, -p, --snapshot PATH,
                --resolve (names of programs, symbols and USDT probes of uprobes)

show lists the file descriptors of all tasks that are raw tracepoints, tracepoints,
kprobes and uprobes with a program.
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``perf``."""
    run_command(select(_COMMANDS, args, "perf"), ctx, args)


def _help(ctx: Context, args: Args) -> None:
    from pybpftool.cli.main import show_help

    show_help(ctx, HELP)


def _text(event: TaskEvent, resolver: Resolver | None) -> str:
    name = resolver.prog_name(event.prog_id) if resolver is not None else None
    shown = f" ({name})" if name else ""
    head = f"pid {event.pid}  fd {event.fd}: prog_id {event.prog_id}{shown}  "
    kind = event.type
    if kind in (RAW_TRACEPOINT, TRACEPOINT):
        return f"{head}{event.type_name}  {event.name}\n"
    if kind in (KPROBE, KRETPROBE):
        if event.name:
            return f"{head}{event.type_name}  func {event.name}  offset {event.offset}\n"
        return f"{head}{event.type_name}  addr {event.address}\n"
    if kind in (UPROBE, URETPROBE):
        text = f"{head}{event.type_name}  filename {event.name}  offset {event.offset}"
        if resolver is not None:
            place = resolver.place(event.name, event.offset)
            text += f"  symbol {place.symbol_text}" if place.symbol else ""
            text += f"  usdt {', '.join(place.usdt)}" if place.usdt else ""
        return text + "\n"
    return head + "\n"


def _record(event: TaskEvent, resolver: Resolver | None) -> dict[str, Any]:
    record: dict[str, Any] = {"pid": event.pid, "fd": event.fd, "prog_id": event.prog_id}
    name = resolver.prog_name(event.prog_id) if resolver is not None else None
    if name:
        record["prog_name"] = name
    kind = event.type
    if event.type_name is not None:
        record["fd_type"] = event.type_name
    if kind in (RAW_TRACEPOINT, TRACEPOINT):
        record["tracepoint"] = event.name
    elif kind in (KPROBE, KRETPROBE):
        if event.name:
            record["func"] = event.name
            record["offset"] = event.offset
        else:
            record["addr"] = event.address
    elif kind in (UPROBE, URETPROBE):
        record["filename"] = event.name
        record["offset"] = event.offset
        if resolver is not None:
            record.update(resolver.place(event.name, event.offset).record())
    return record


def _show(ctx: Context, args: Args) -> None:
    # Further words mean nothing here, to upstream either.
    resolver: Resolver | None = None
    if ctx.options.resolve:
        from pybpftool.objects.symbols import Resolver

        resolver = Resolver(ctx.kernel)
    events = task_events(ctx.kernel)
    if ctx.json is not None:
        ctx.json.array(_record(event, resolver) for event in events)
    else:
        write = ctx.out.write
        for event in events:
            write(_text(event, resolver))


_COMMANDS = (
    ("show", _show),
    ("list", _show),
    ("help", _help),
)
