"""The layouts in which the elements of a map are shown: they yield text, and print nothing."""

from __future__ import annotations

from pybpftool.output.hexrows import KEY, VALUE, Rows, Run, hex_text
from pybpftool.output.jsontext import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.btf.bulk import Bulk
    from pybpftool.kernel.interface import Batch, Kernel
    from pybpftool.objects.map import Map, ValueTypes

    Decoder = Callable[[bytes, int], str]

# Elements are decoded together as long as they have no more values than this.
_MAX_FIELDS = 16384


HUGE = 1 << 18
"""Bytes of a value from which elements should be made in pieces, which takes less memory."""


class Shape:
    """What the layouts need to know of a map's elements."""

    __slots__ = ("cpus", "is_of_maps", "is_per_cpu", "key_size", "step", "stride", "value_size")

    def __init__(self, map: Map, cpus: int) -> None:
        traits = map.traits
        self.key_size = map.key_size
        self.value_size = map.value_size  # of one CPU
        self.is_per_cpu = traits.is_per_cpu
        self.is_of_maps = traits.holds == "map"
        self.cpus = cpus
        # Bytes from one CPU's value to the next, and from one element's value to the next.
        self.step = (map.value_size + 7) // 8 * 8 if traits.is_per_cpu else map.value_size
        self.stride = self.step * cpus

    @classmethod
    def of(cls, kernel: Kernel, map: Map) -> Shape:
        """The shape of the elements of a map of ``kernel``."""
        return cls(map, kernel.possible_cpus() if map.is_per_cpu else 1)

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

    def pieces(self, key: bytes, value: bytes) -> Iterator[str]:
        """A single element little by little; see :data:`HUGE`."""
        yield self.one(key, value)


def plain_layout(shape: Shape) -> Layout:
    """Keys and values as hexadecimal bytes."""
    if shape.is_of_maps:
        return _PlainOfMaps(shape)
    return FixedLayout(Rows(_plain_parts(shape), shape.pitches))


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
    blank, between = line_breaks(key_size, value_size)
    if key_size:
        parts += [f"key:{blank}", Run(KEY, 0, key_size), between]
    if value_size:
        parts += [f"value:{blank}", Run(VALUE, 0, value_size)]
    return [*parts, "\n"]


def line_breaks(key_size: int, value_size: int) -> tuple[str, str]:
    """What follows the words, and what stands between a key and its value."""
    is_long = key_size > 16 or value_size > 16
    return "\n" if is_long else " ", "  " if key_size + value_size <= 24 and not is_long else "\n"


class FixedLayout(Layout):
    """Elements that are all as wide as each other."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def blocks(self, batch: Batch) -> Iterator[str | bytes | memoryview]:
        yield from self._rows.blocks(batch.keys, batch.values or b"", batch.count)

    def one(self, key: bytes, value: bytes) -> str:
        return self._rows.row(key, value)

    def pieces(self, key: bytes, value: bytes) -> Iterator[str]:
        return self._rows.pieces(key, value)


class _PerElement(Layout):
    """Elements made one by one."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def each(self, batch: Batch) -> list[str]:
        """The elements of a batch."""
        return [self.one(key, value) for key, value in batch.pairs()]

    def blocks(self, batch: Batch) -> Iterator[str | bytes | memoryview]:
        yield "".join(self.each(batch))


class _PlainOfMaps(_PerElement):
    def one(self, key: bytes, value: bytes) -> str:
        shape = self._shape
        blank, between = line_breaks(shape.key_size, shape.value_size)
        return f"key:{blank}{hex_text(key)}{between}inner_map_id:{blank}{_inner_id(value)} \n"


def _inner_id(value: bytes) -> int:
    import sys

    return int.from_bytes(value[:4], sys.byteorder)


class JsonPlaces:
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


class JsonLayout(Layout):
    """``{"key":[…],"value":[…]}`` with what BTF says of them as ``formatted``."""

    def __init__(self, shape: Shape, types: ValueTypes | None, depth: int, is_pretty: bool) -> None:
        self._shape = shape
        json = JsonPlaces(is_pretty)
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
    def _hex_parts(shape: Shape, json: JsonPlaces, depth: int) -> list[str | Run]:
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

    def pieces(self, key: bytes, value: bytes) -> Iterator[str]:
        yield from self._rows.pieces(key, value)
        if self._tail is not None:
            yield self._tail(key, value)
        if self._formatted is not None:
            yield self._formatted_name
            yield from self._formatted.pieces(key, value)
        if self._tail is not None or self._formatted is not None:
            yield self._end

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
        json = JsonPlaces(is_pretty)
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
        return "".join(self.pieces(key, value))

    def pieces(self, key: bytes, value: bytes) -> Iterator[str]:
        yield self._before
        if self._key is not None:
            try:
                yield self._key(key, 0)
            except self._bad as bad:
                yield bad.text + self._end
                return
        yield self._between
        if not self._shape.is_per_cpu:
            try:
                yield self._value(value, 0)
            except self._bad as bad:
                yield bad.text
            yield self._end
            return
        for cpu, before in enumerate(self._cpus):
            yield before
            try:
                yield self._value(value, cpu * self._shape.step) + self._cpu_end
            except self._bad as bad:
                yield bad.text + self._cpu_end
                break
        yield self._list_end + self._end
