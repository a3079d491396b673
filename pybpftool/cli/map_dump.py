"""``map dump``: all elements of maps."""

from __future__ import annotations

import posix

from pybpftool.ahead import ahead
from pybpftool.errors import BpfError
from pybpftool.objects.elements import (
    HUGE,
    FormattedLayout,
    JsonLayout,
    Shape,
    plain_layout,
)
from pybpftool.objects.map import read, readable_types
from pybpftool.output.jsontext import JsonStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import Batch, BpfObject
    from pybpftool.objects.elements import Layout
    from pybpftool.objects.map import Map, ValueTypes

# Nothing is said of a dump's progress before so many seconds.
_PATIENCE = 2.0


class _Progress:
    """A line on a terminal's stderr that counts elements, when a dump takes long."""

    __slots__ = ("_clock", "_count", "_ctx", "_is_shown", "_map", "_next", "_started")

    def __init__(self, ctx: Context, map: Map) -> None:
        import time

        self._ctx = ctx
        self._clock = time.monotonic
        self._map = map
        self._count = 0
        self._started = self._clock()
        # On a terminal of its own the dump shows for itself how far it is.
        wanted = posix.isatty(2) and not ctx.out.is_terminal
        self._next = self._started + _PATIENCE if wanted else float("inf")
        self._is_shown = False

    def add(self, count: int) -> None:
        """So many elements more were written."""
        self._count += count
        now = self._clock()
        if now < self._next:
            return
        self._next = now + 0.5
        self._is_shown = True
        seconds = int(now - self._started)
        self._write(
            f"\rmap {self._map.id}: {self._count} elements of at most {self._map.max_entries}"
            f" in {seconds} s\x1b[K"
        )

    def end(self) -> None:
        """Take the line away again."""
        if self._is_shown:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            posix.write(2, text.encode())
        except OSError:
            pass  # the dump matters, not its progress


class _Dump:
    """One ``map dump``: where it writes and in which form.

    ``json`` is the JSON document, or the form that BTF gives the text.
    """

    def __init__(self, ctx: Context, maps: list[Map]) -> None:
        self._ctx = ctx
        self._is_text = ctx.json is None
        self._is_told = False
        self._types: tuple[int, ValueTypes | None] = (0, None)
        self.json = ctx.json
        if self.json is None and all(map.btf_id for map in maps):
            try:
                self._types_of(maps[0])
            except BpfError:
                pass  # said when it is that map's turn
            if not self._is_told:  # its types may be read, and so may those of the others
                self.json = JsonStream(ctx.out, True)

    def _types_of(self, map: Map) -> ValueTypes | None:
        if self._types[0] != map.id:
            self._types = map.id, readable_types(self._ctx.kernel, map, self._say)
        return self._types[1]

    def _say(self, sentence: str) -> None:
        if not self._is_told:
            self._is_told = True
            self._ctx.aside(sentence)

    def map(self, obj: BpfObject, map: Map, with_header: bool) -> bool:
        """Dump one map; whether it went well."""
        ctx, json = self._ctx, self.json
        elements = ctx.kernel.elements(obj)
        shape = Shape.of(ctx.kernel, map)
        types = self._types_of(map) if json is not None else None
        if with_header and json is None:
            ctx.out.write(map.header_text())
        if json is not None:
            if with_header:
                json.begin_object()
                json.fields(map.header_json())
                json.name("elements")
            json.begin_array()
        layout = self._layout(shape, types)
        if map.traits.cookie_size and map.value_size != map.traits.cookie_size:
            ctx.say(f"Warning: {map.type_name} maps with values of 4 bytes show none of them")
        # Elements are JSON values, unless they are hexadecimal text.
        in_json = json is not None and (not self._is_text or types is not None)
        count, error = self._elements(map, elements, layout, json if in_json else None)
        if json is not None:
            json.end()
            if with_header:
                json.end()
        else:
            ctx.out.write(f"Found {count} element{'s' if count != 1 else ''}\n")
        if error is not None:
            ctx.error_aside(error)
        return error is None

    def _layout(self, shape: Shape, types: ValueTypes | None) -> Layout:
        json = self.json
        if json is not None and not self._is_text:
            return JsonLayout(shape, types, json.depth, json.is_pretty)
        if json is not None and types is not None:
            return FormattedLayout(shape, types, json.depth, True, is_json=False)
        return plain_layout(shape)

    def _elements(
        self, map: Map, elements: Iterator[Batch], layout: Layout, json: JsonStream | None
    ) -> tuple[int, BpfError | None]:
        """Write all elements, as JSON values if ``json``: how many, and what ended it early."""
        progress = _Progress(self._ctx, map)
        batches = ahead(elements, self._ctx.kernel.is_live)
        count = 0
        try:
            for batch in batches:
                if batch.values is None:
                    self._write_unreadable(map, batch)
                    continue
                count += batch.count
                self._write(batch, layout, json)
                progress.add(batch.count)
        except BpfError as failure:
            return count, failure
        finally:
            batches.close()
            progress.end()
        return count, None

    def _write(self, batch: Batch, layout: Layout, json: JsonStream | None) -> None:
        out = self._ctx.out
        if len(batch.values or b"") >= HUGE * batch.count:
            write_pieces = out.write_pieces if json is None else json.raw_pieces
            for key, value in batch.pairs():
                write_pieces(layout.pieces(key, value))
            return
        write, write_bytes = (
            (out.write, out.write_bytes) if json is None else (json.raw, json.raw_bytes)
        )
        for block in layout.blocks(batch):
            if isinstance(block, str):
                write(block)
            else:
                write_bytes(block)

    def _write_unreadable(self, map: Map, batch: Batch) -> None:
        from pybpftool.objects.unreadable import unreadable, unreadable_json

        json = None if self._is_text else self.json
        if json is None:
            layout = unreadable(map, batch.errno)
        else:
            layout = unreadable_json(map, batch.errno, json.depth, json.is_pretty)
        self._write(batch, layout, json)


def dump(ctx: Context, args: Args) -> None:
    """``map dump MAP``, ``map dump MAP stacks …``"""
    from pybpftool.cli.refs import open_maps

    kernel = ctx.kernel
    objects = open_maps(kernel, args)
    try:
        if args.accept("stacks"):
            from pybpftool.cli import map_stacks

            map_stacks.dump(ctx, args, objects)
            return
        args.end()
        maps = [read(kernel, obj, with_fdinfo=False) for obj in objects]
        _dump_all(ctx, objects, maps)
    finally:
        for obj in objects:
            kernel.close(obj)


def _dump_all(ctx: Context, objects: list[BpfObject], maps: list[Map]) -> None:
    job = _Dump(ctx, maps)
    json = job.json
    several = len(maps) > 1
    if json is not None and several:
        json.begin_array()
    for index, (obj, map) in enumerate(zip(objects, maps)):
        is_good = job.map(obj, map, several)
        if json is None and index < len(maps) - 1:
            ctx.out.write("\n")
        if not is_good:
            break
    if json is not None and several:
        json.end()
    if json is not None and ctx.json is None:
        ctx.out.write("\n")
