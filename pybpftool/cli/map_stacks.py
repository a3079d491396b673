"""``map dump MAP stacks``: the stacks of a stack_trace map, with names, folded or drawn."""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.inspect.wording import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.map import Map
    from pybpftool.objects.stacks import Counted, Frame, StackReader


def dump(ctx: Context, args: Args, objects: list[BpfObject]) -> None:
    """``map dump MAP stacks [folded | svg [FILE]] [counts MAP] [pid PID]``"""
    from pybpftool.objects.map import read
    from pybpftool.objects.stacks import StackReader, each_once

    if len(objects) > 1:
        from pybpftool.cli.refs import all_ids

        ids = all_ids([obj.id for obj in objects])
        raise BpfError(f"the maps {ids} have this name; give one of these ids")
    form, path, pid = "", "-", 0
    counts: BpfObject | None = None
    kernel = ctx.kernel
    try:
        while args:
            word = args.choose(("folded", "svg", "counts", "pid"))
            if word == "pid":
                pid = args.pid()
            elif word == "counts":
                from pybpftool.cli.refs import one_map

                if counts is not None:
                    raise BpfError("only one map has the counts")
                counts = one_map(kernel, args)
            else:
                form = word
                if word == "svg" and args and args.peek() not in ("counts", "pid"):
                    path = args.take("a file")
        if pid:
            _check_process(kernel, pid)
        map = read(kernel, objects[0], with_fdinfo=False)
        reader = StackReader(kernel, objects[0], map)
        if not form and counts is None:
            _list(ctx, reader, pid)
            return
        stacks = each_once(reader, pid) if counts is None else _counted(ctx, reader, counts, pid)
    finally:
        if counts is not None:
            kernel.close(counts)
    if form == "svg" and (ctx.json is None or path != "-"):
        _draw(ctx, map, stacks, path)
        if ctx.json is not None:
            ctx.json.value(None)
    elif ctx.json is not None:
        ctx.json.value([_json(stack) for stack in stacks])
    else:
        ctx.out.write(folded(stacks))


def _check_process(kernel: Kernel, pid: int) -> None:
    """Refuse a process that tells no names: it has ended, or it is another user's."""
    try:
        kernel.file(f"/proc/{pid}/maps")
    except BpfError as error:
        raise BpfError(f"process {pid} tells no names of its functions: {error}") from None


def _counted(ctx: Context, reader: StackReader, counts: BpfObject, pid: int) -> list[Counted]:
    from pybpftool.objects.open_map import OpenMap
    from pybpftool.objects.stacks import counted

    return counted(reader, OpenMap(ctx.kernel, counts), pid)


def _list(ctx: Context, reader: StackReader, pid: int) -> None:
    ids = reader.ids
    if ctx.json is not None:
        ctx.json.array(
            {"id": id, "frames": [frame.json() for frame in reader.frames(id, pid)]} for id in ids
        )
        return
    for id in ids:
        frames = reader.frames(id, pid)
        lines = "".join([f"\t{shown(frame.text())}\n" for frame in frames])
        ctx.out.write(f"stack {id}: {len(frames)} frames\n{lines}")
    ctx.out.write(f"Found {len(ids)} stack{'s' if len(ids) != 1 else ''}\n")


def _json(stack: Counted) -> dict[str, object]:
    json: dict[str, object] = {"count": stack.times}
    if stack.process:
        json["comm"] = stack.process
    # As in the map: the innermost first.
    json["frames"] = [frame.json() for frame in reversed(stack.frames)]
    return json


def _names(stack: Counted) -> list[tuple[str, str]]:
    """(name, kind) of the frames, the outermost first, below the process if it is known."""
    named = [(_plain(frame), frame.kind) for frame in stack.frames]
    return [(shown(stack.process), ""), *named] if stack.process else named


def _plain(frame: Frame) -> str:
    return shown(frame.name)


def folded(stacks: list[Counted]) -> str:
    """A line a stack, as flame graph tools read them: ``main;read 5``, equal ones together."""
    lines: dict[str, int] = {}
    for stack in stacks:
        line = ";".join([name.replace(";", ":") for name, _ in _names(stack)])
        lines[line] = lines.get(line, 0) + stack.times
    return "".join([f"{line} {lines[line]}\n" for line in sorted(lines)])


def _draw(ctx: Context, map: Map, stacks: list[Counted], path: str) -> None:
    from pybpftool.output.flamegraph import svg

    title = f"map {map.id}" + (f" ({map.name})" if map.name else "")
    text = svg([(_names(stack), stack.times) for stack in stacks], f"Stacks of {title}")
    if path == "-":
        ctx.out.write(text)
        return
    from pybpftool.output.files import write_file

    write_file(path, text.encode("utf-8", "backslashreplace"))
