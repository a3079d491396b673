"""``map dump``: all elements of maps, and the layouts in which elements are shown."""

from __future__ import annotations

import os

from pybpftool.cli.map import header_record, header_text
from pybpftool.errors import BpfError
from pybpftool.objects.map import OF_MAPS, REUSEPORT_SOCKARRAY, read_map, value_types
from pybpftool.output.hexrows import KEY, VALUE, Rows, Run, hex_text
from pybpftool.output.jsontext import JsonStream, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.btf.bulk import Bulk
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.elements import MapElements
    from pybpftool.kernel.interface import Batch, BpfObject
    from pybpftool.objects.map import Map, ValueTypes

    Decoder = Callable[[bytes, int], str]

_ENOENT = 2
_ENOSPC = 28
# Elements are decoded together as long as they have no more values than this.
_MAX_FIELDS = 16384
# Nothing is said of a dump's progress before so many seconds.
_PATIENCE = 2.0


class Shape:
    """What the layouts need to know of a map's elements."""

    __slots__ = ("cpus", "is_of_maps", "is_per_cpu", "key_size", "step", "stride", "value_size")

    def __init__(self, map: Map, elements: MapElements) -> None:
        self.key_size = map.key_size
        self.value_size = map.value_size  # of one CPU
        self.is_per_cpu = map.is_per_cpu
        self.is_of_maps = map.type in OF_MAPS
        self.cpus = elements.cpus
        self.step = elements.cpu_stride  # from one CPU's value to the next
        self.stride = elements.value_size  # from one element's value to the next

    @property
    def pitches(self) -> tuple[int, int]:
        """Bytes per key and value as they are read."""
        return self.key_size, self.stride


class Layout:
    """How elements become text."""

    def blocks(self, batch: Batch) -> Iterator[str | bytes | memoryview]:
        """The elements of a batch, as the output takes them."""
        raise NotImplementedError

    def one(self, key: bytes, value: bytes) -> str:
        """A single element."""
        raise NotImplementedError


def plain_layout(shape: Shape) -> Layout:
    """Keys and values as hexadecimal bytes."""
    if shape.is_of_maps:
        return _PlainOfMaps(shape)
    return _FixedLayout(Rows(_plain_parts(shape), shape.pitches))


def _plain_parts(shape: Shape) -> list[str | Run]:
    key_size, value_size = shape.key_size, shape.value_size
    parts: list[str | Run] = []
    if shape.is_per_cpu:
        if key_size:
            parts += ["key:\n", Run(KEY, 0, key_size), "\n"]
        if value_size:
            blank = "\n" if value_size > 16 else " "
            for cpu in range(shape.cpus):
                run = Run(VALUE, cpu * shape.step, value_size)
                parts += [f"value (CPU {cpu:02d}):{blank}", run, "\n"]
        return parts
    blank, between = _line_breaks(key_size, value_size)
    if key_size:
        parts += [f"key:{blank}", Run(KEY, 0, key_size), between]
    if value_size:
        parts += [f"value:{blank}", Run(VALUE, 0, value_size)]
    return [*parts, "\n"]


def _line_breaks(key_size: int, value_size: int) -> tuple[str, str]:
    """What follows the words, and what stands between a key and its value."""
    is_long = key_size > 16 or value_size > 16
    return "\n" if is_long else " ", "  " if key_size + value_size <= 24 and not is_long else "\n"


class _FixedLayout(Layout):
    """Elements that are all as wide as each other."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def blocks(self, batch: Batch) -> Iterator[str | bytes | memoryview]:
        assert batch.values is not None
        yield from self._rows.blocks(batch.keys, batch.values, batch.count)

    def one(self, key: bytes, value: bytes) -> str:
        return self._rows.row(key, value)


class _PerElement(Layout):
    """Elements made one by one."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def each(self, batch: Batch) -> list[str]:
        """The elements of a batch."""
        assert batch.values is not None
        key_size, stride = self._shape.pitches
        keys, values = batch.keys, batch.values
        one = self.one
        return [
            one(
                keys[index * key_size : (index + 1) * key_size],
                values[index * stride : (index + 1) * stride],
            )
            for index in range(batch.count)
        ]

    def blocks(self, batch: Batch) -> Iterator[str | bytes | memoryview]:
        yield "".join(self.each(batch))


class _PlainOfMaps(_PerElement):
    def one(self, key: bytes, value: bytes) -> str:
        shape = self._shape
        blank, between = _line_breaks(shape.key_size, shape.value_size)
        return f"key:{blank}{hex_text(key)}{between}inner_map_id:{blank}{_inner_id(value)} \n"


def _inner_id(value: bytes) -> int:
    import sys

    return int.from_bytes(value[:4], sys.byteorder)


class _Json:
    """The places of JSON text in one of the two layouts."""

    __slots__ = ("_is_pretty",)

    def __init__(self, is_pretty: bool) -> None:
        self._is_pretty = is_pretty

    def name(self, name: str, depth: int, is_first: bool = False) -> str:
        """What precedes a property of an object at ``depth``."""
        comma = "" if is_first else ","
        if self._is_pretty:
            return f"{comma}\n{'    ' * (depth + 1)}{quote(name)}: "
        return f"{comma}{quote(name)}:"

    def end(self, bracket: str, depth: int) -> str:
        """What closes an object or array at ``depth`` that is not empty."""
        return f"\n{'    ' * depth}{bracket}" if self._is_pretty else bracket


def json_layout(shape: Shape, types: ValueTypes | None, depth: int, is_pretty: bool) -> JsonLayout:
    """Elements as JSON objects that stand ``depth`` levels deep."""
    return JsonLayout(shape, types, depth, is_pretty)


class JsonLayout(Layout):
    """``{"key":[…],"value":[…]}`` with what BTF says of them as ``formatted``."""

    def __init__(self, shape: Shape, types: ValueTypes | None, depth: int, is_pretty: bool) -> None:
        self._shape = shape
        json = _Json(is_pretty)
        parts = self._hex_parts(shape, json, depth)
        self._end = json.end("}", depth)
        self._tail: Callable[[bytes, bytes], str] | None = None
        if shape.is_of_maps:
            inner = json.name("inner_map_id", depth)
            self._tail = lambda key, value: f"{inner}{_inner_id(value)}"
        self._formatted: FormattedLayout | None = None
        if types is not None:
            self._formatted = FormattedLayout(shape, types, depth + 1, is_pretty, is_json=True)
            self._formatted_name = json.name("formatted", depth)
        if self._tail is None and self._formatted is None:
            parts.append(self._end)
        self._rows = Rows(parts, shape.pitches)
        # Complete elements are followed by a comma, which the last one loses again.
        self._with_commas = Rows([*parts, ","], shape.pitches)

    @staticmethod
    def _hex_parts(shape: Shape, json: _Json, depth: int) -> list[str | Run]:
        list_end = json.end("]", depth + 1)
        parts: list[str | Run] = [
            "{" + json.name("key", depth, True),
            Run(KEY, 0, shape.key_size, list_end),
        ]
        if not shape.is_per_cpu:
            return [
                *parts,
                json.name("value", depth),
                Run(VALUE, 0, shape.value_size, list_end),
            ]
        parts.append(json.name("values", depth) + "[")
        for cpu in range(shape.cpus):
            comma = "," if cpu else ""
            cpu_name = json.name("cpu", depth + 2, True)
            parts += [
                f"{comma}{{{cpu_name}{cpu}{json.name('value', depth + 2)}",
                Run(VALUE, cpu * shape.step, shape.value_size, json.end("]", depth + 3)),
                json.end("}", depth + 2),
            ]
        return [*parts, list_end]

    def blocks(self, batch: Batch) -> Iterator[str | bytes | memoryview]:
        assert batch.values is not None
        keys, values, count = batch.keys, batch.values, batch.count
        if self._tail is None and self._formatted is None:
            for block in self._with_commas.blocks(keys, values, count):
                yield block[:-1]
            return
        rows = self._rows.texts(keys, values, count)
        if self._formatted is not None and self._tail is None:
            yield from self._formatted.joined(batch, rows, self._formatted_name, self._end)
            return
        key_size, stride = self._shape.pitches
        yield ",".join(
            [
                self._complete(
                    row,
                    keys[index * key_size : (index + 1) * key_size],
                    values[index * stride : (index + 1) * stride],
                )
                for index, row in enumerate(rows)
            ]
        )

    def one(self, key: bytes, value: bytes) -> str:
        row = self._rows.row(key, value)
        if self._tail is None and self._formatted is None:
            return row
        return self._complete(row, key, value)

    def _complete(self, row: str, key: bytes, value: bytes) -> str:
        if self._tail is not None:
            row += self._tail(key, value)
        if self._formatted is not None:
            row += self._formatted_name + self._formatted.one(key, value)
        return row + self._end


class FormattedLayout(_PerElement):
    """Keys and values by their BTF: ``formatted`` of JSON, and the text of a dump.

    In text a value that has a part without a form ends the element there, as upstream
    ends it.
    """

    def __init__(
        self, shape: Shape, types: ValueTypes, depth: int, is_pretty: bool, is_json: bool
    ) -> None:
        super().__init__(shape)
        from pybpftool.btf.values import BadValue, compile_json, compile_text

        self._bad = BadValue
        compile = compile_json if is_json else compile_text
        json = _Json(is_pretty)
        self._key: Decoder | None = None
        before = "{"
        if types.key_id:
            self._key = compile(types.btf, types.key_id, depth + 1, is_pretty)
            before += json.name("key", depth, True)
        self._before = before
        self._end = json.end("}", depth)
        first = not types.key_id
        if shape.is_per_cpu:
            self._value_depth = depth + 3
            self._between = json.name("values", depth, first) + "["
            self._cpus = [
                f"{',' if cpu else ''}{{{json.name('cpu', depth + 2, True)}{cpu}"
                f"{json.name('value', depth + 2)}"
                for cpu in range(shape.cpus)
            ]
            self._cpu_end = json.end("}", depth + 2)
            self._list_end = json.end("]", depth + 1)
        else:
            self._value_depth = depth + 1
            self._between = json.name("value", depth, first)
        self._value = compile(types.btf, types.value_id, self._value_depth, is_pretty)
        self._types = types
        self._depth = depth
        self._form = (is_json, is_pretty)
        self._bulk: tuple[Bulk, Bulk, str] | None = None
        self._texts: dict[int, str] = {}

    def _in_bulk(self) -> tuple[Bulk, Bulk, str]:
        """Decoders of keys and of values, and the format of an element."""
        if self._bulk is None:
            from pybpftool.btf.bulk import Bulk

            types, shape = self._types, self._shape
            keys, values = Bulk(types.btf, *self._form), Bulk(types.btf, *self._form)
            keys.literal(self._before)
            if types.key_id:
                keys.value(types.key_id, 0, self._depth + 1)
            values.literal(self._between)
            if shape.is_per_cpu:
                for cpu, before in enumerate(self._cpus):
                    values.literal(before)
                    values.value(types.value_id, cpu * shape.step, self._value_depth)
                    values.literal(self._cpu_end)
                values.literal(self._list_end)
            else:
                values.value(types.value_id, 0, self._value_depth)
            values.literal(self._end)
            self._bulk = keys, values, keys.format + values.format
        return self._bulk

    def blocks(self, batch: Batch) -> Iterator[str | bytes | memoryview]:
        return self.joined(batch, None, "", "")

    def joined(
        self, batch: Batch, rows: list[str] | None, before: str, after: str
    ) -> Iterator[str]:
        """The elements of a batch, with commas between them.

        Given ``rows``, each element stands behind its row and ``before``, and ``after``
        follows it.
        """
        assert batch.values is not None
        keys, values, form = self._in_bulk() if batch.count > 1 else (None, None, "")
        if keys is None or values is None or keys.is_broken or values.is_broken:
            shown = self.each(batch)
            if rows is not None:
                shown = [f"{row}{before}{text}{after}" for row, text in zip(rows, shown)]
            yield ",".join(shown)
            return
        key_size, stride = self._shape.pitches
        width = keys.width + values.width
        if rows is not None:
            form = f"%s{before}{form}{after}"
            width += 1
        largest = 1024
        while largest > 1 and largest * width > _MAX_FIELDS:
            largest //= 2
        start = 0
        count = largest
        while start < batch.count:
            # Powers of two, so that few different formats are needed.
            while count > batch.count - start:
                count //= 2
            columns = [
                *keys.columns(batch.keys, start * key_size, key_size, count),
                *values.columns(batch.values, start * stride, stride, count),
            ]
            if rows is not None:
                columns.insert(0, rows[start : start + count])
            text = self._texts.get(count)
            if text is None:
                text = self._texts[count] = ",".join([form] * count)
            if width == 1:
                yield text % tuple(columns[0])
            else:
                fields: list[object] = [None] * (width * count)
                for index, column in enumerate(columns):
                    fields[index::width] = column
                yield text % tuple(fields)
            start += count

    def one(self, key: bytes, value: bytes) -> str:
        text = self._before
        if self._key is not None:
            try:
                text += self._key(key, 0)
            except self._bad as bad:
                return text + bad.text + self._end
        text += self._between
        if not self._shape.is_per_cpu:
            try:
                return text + self._value(value, 0) + self._end
            except self._bad as bad:
                return text + bad.text + self._end
        for cpu, before in enumerate(self._cpus):
            text += before
            try:
                text += self._value(value, cpu * self._shape.step) + self._cpu_end
            except self._bad as bad:
                text += bad.text + self._cpu_end
                break
        return text + self._list_end + self._end


def error_text(map: Map, key: bytes, errno: int) -> str:
    """An element whose value cannot be read, in a plain dump."""
    if errno == _ENOENT:
        message = "<no entry>"
    elif errno == _ENOSPC and map.type == REUSEPORT_SOCKARRAY:
        message = "<cannot read>"
    else:
        message = os.strerror(errno)
    size = len(os.fsencode(message))
    is_long = map.key_size > 16 or size > 16
    blank = "\n" if is_long else " "
    between = "  " if map.key_size + size <= 24 and not is_long else "\n"
    return f"key:{blank}{hex_text(key)}{between}value:{blank}{message}\n"


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
        wanted = os.isatty(2) and not ctx.out.is_terminal
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
            os.write(2, text.encode())
        except OSError:
            pass  # the dump matters, not its progress


class _Dump:
    """One ``map dump``: where it writes and in which form."""

    def __init__(self, ctx: Context, json: JsonStream | None) -> None:
        self._ctx = ctx
        # The JSON document, or the form that BTF gives the text.
        self._json = json
        self._is_text = ctx.json is None

    def map(self, obj: BpfObject, map: Map, with_header: bool) -> bool:
        """Dump one map; whether it went well."""
        from pybpftool.kernel.elements import MapElements

        ctx, json = self._ctx, self._json
        elements = MapElements(ctx.kernel, obj, map)
        shape = Shape(map, elements)
        types = value_types(ctx.kernel, map) if json is not None else None
        layout: Layout
        if json is not None:
            if with_header:
                json.begin_object()
                json.fields(dict(header_record(map)))
                json.name("elements")
            json.begin_array()
            if not self._is_text:
                layout = json_layout(shape, types, json.depth, json.is_pretty)
            elif types is not None:
                layout = FormattedLayout(shape, types, json.depth, True, is_json=False)
            else:
                layout = plain_layout(shape)
        else:
            if with_header:
                ctx.out.write(header_text(ctx.kernel, map))
            layout = plain_layout(shape)
        if map.type == REUSEPORT_SOCKARRAY and map.value_size != 8:
            ctx.say(f"Warning: {map.type_name} maps with values of 4 bytes show none of them")
        # Elements are JSON values, unless they are hexadecimal text.
        in_json = json is not None and (not self._is_text or types is not None)
        progress = _Progress(ctx, map)
        count = 0
        error: BpfError | None = None
        try:
            for batch in elements.batches():
                if batch.values is None:
                    self._unreadable(map, batch)
                    continue
                count += batch.count
                for block in layout.blocks(batch):
                    if in_json:
                        assert json is not None
                        if isinstance(block, str):
                            json.raw(block)
                        else:
                            json.raw_bytes(block)
                    elif isinstance(block, str):
                        ctx.out.write(block)
                    else:
                        ctx.out.write_bytes(block)
                progress.add(batch.count)
        except BpfError as failure:
            error = failure
        finally:
            progress.end()
        if json is not None:
            json.end()
            if with_header:
                json.end()
        else:
            ctx.out.write(f"Found {count} element{'s' if count != 1 else ''}\n")
        if error is not None:
            ctx.error_aside(error)
        return error is None

    def _unreadable(self, map: Map, batch: Batch) -> None:
        if self._is_text:
            self._ctx.out.write(error_text(map, batch.keys, batch.errno))
            return
        assert self._json is not None
        key = [f"0x{byte:02x}" for byte in batch.keys]
        self._json.value({"key": key, "value": {"error": os.strerror(batch.errno)}})


def dump(ctx: Context, args: Args) -> None:
    """``map dump MAP``."""
    from pybpftool.cli.refs import open_maps

    kernel = ctx.kernel
    objects = open_maps(kernel, args)
    try:
        args.end()
        maps = [read_map(kernel, obj, with_fdinfo=False) for obj in objects]
        json = ctx.json
        if json is None and all(map.btf_id for map in maps):
            json = JsonStream(ctx.out, True)
        _dump_all(ctx, json, objects, maps)
    finally:
        for obj in objects:
            kernel.close(obj)


def _dump_all(
    ctx: Context, json: JsonStream | None, objects: list[BpfObject], maps: list[Map]
) -> None:
    several = len(maps) > 1
    if json is not None and several:
        json.begin_array()
    job = _Dump(ctx, json)
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
