"""``map lookup``, ``update``, ``delete``, ``getnext``, ``push``, ``pop`` and their like."""

from __future__ import annotations

import struct
from errno import ENOENT

from pybpftool.cli.kept_maps import KeptMap
from pybpftool.cli.refs import one_map, one_program
from pybpftool.errors import BpfError, KernelError, UsageError
from pybpftool.objects.map import read, readable_types, value_types
from pybpftool.output.hexrows import hex_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.control.elements import MapWriter
    from pybpftool.kernel.interface import BpfObject
    from pybpftool.objects.elements import Layout
    from pybpftool.objects.map import ValueTypes

    Command = Callable[[Context, Args], None]

_UPDATE_FLAGS = ("any", "noexist", "exist")  # by number, BPF_ANY and so on


class OpenMap(KeptMap):
    """An open map, and how its elements are read and shown.

    In a batch it serves all commands in a row that begin with the same words.
    """

    __slots__ = ("_ctx", "_end", "_layout", "_types", "_writer", "map", "obj")

    def __init__(self, ctx: Context, args: Args, again: Command, writable: bool) -> None:
        super().__init__(again)
        self._ctx = ctx
        self._types: ValueTypes | None = None
        self._writer: MapWriter | None = None
        self._layout: Layout | None = None
        self._end = ""
        self.obj = one_map(ctx.kernel, args, writable)
        try:
            self.map = read(ctx.kernel, self.obj, with_fdinfo=False)
        except BpfError:
            self.close()
            raise

    def close(self) -> None:
        """Give back the map."""
        self._ctx.kernel.close(self.obj)

    @property
    def writer(self) -> MapWriter:
        """What changes the map's elements."""
        if self._writer is None:
            from pybpftool.control.elements import MapWriter

            self._writer = MapWriter(self._ctx.kernel, self.obj)
        return self._writer

    @property
    def types(self) -> ValueTypes | None:
        """The types of keys and values, None without any."""
        if self._types is None:
            self._types = value_types(self._ctx.kernel, self.map)
        return self._types

    def show(self, key: bytes, value: bytes) -> None:
        """Print an element, formatted by BTF where there is some."""
        if self._layout is None:
            self._layout = self._made_layout()
        pieces = self._layout.pieces(key, value)
        if self._ctx.json is not None:
            self._ctx.json.raw_pieces(pieces)
        else:
            self._ctx.out.write_pieces(pieces)
            self._ctx.out.write(self._end)

    def _made_layout(self) -> Layout:
        from pybpftool.objects.elements import FormattedLayout, JsonLayout, Shape, plain_layout

        ctx = self._ctx
        shape = Shape.of(ctx.kernel, self.map)
        types = readable_types(ctx.kernel, self.map, ctx.aside)
        if ctx.json is not None:
            return JsonLayout(shape, types, ctx.json.depth, ctx.json.is_pretty)
        if types is None:
            return plain_layout(shape)
        self._end = "\n"
        return FormattedLayout(shape, types, 0, True, is_json=False)


def _opened(ctx: Context, args: Args, command: Command, writable: bool) -> OpenMap:
    """The map that the next two words of a command mean."""
    kept = ctx.kept
    if kept is None:
        return OpenMap(ctx, args, command, writable)
    map = kept.current()
    if isinstance(map, OpenMap):
        args.take_some(2)
        return map
    map = OpenMap(ctx, args, command, writable)
    # A map or program that is given up may have been the last to hold another one.
    if not map.map.traits.holds:
        kept.keep(map)
    return map


class _Element:
    """An open map and what the words after it say of one of its elements."""

    __slots__ = ("_ctx", "_fds", "_open", "flags", "key", "map", "obj", "value")

    def __init__(self, ctx: Context, args: Args, command: Command, writable: bool = False) -> None:
        self._ctx = ctx
        self._fds: list[BpfObject] = []
        self.key: bytes | None = None
        self.value: bytes | None = None
        self.flags = 0
        self._open = _opened(ctx, args, command, writable)
        self.map, self.obj = self._open.map, self._open.obj

    @property
    def writer(self) -> MapWriter:
        """What changes the map's elements."""
        return self._open.writer

    def close(self) -> None:
        """Give back the map and what its value refers to."""
        for obj in self._fds:
            self._ctx.kernel.close(obj)
        kept = self._ctx.kept
        if kept is not None and kept.current() is self._open:
            return
        self._open.close()
        if kept is not None:
            kept.release()

    def __enter__(self) -> _Element:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def parse(self, args: Args, with_value: bool = False) -> None:
        """Take ``[key DATA] [value VALUE] [UPDATE_FLAGS]`` in any order, to the end."""
        map = self.map
        has_flags = False
        while args:
            if args.accept("key"):
                if not map.key_size:
                    raise UsageError(f"the elements of map {map.id} have no keys")
                if self.key is not None:
                    raise UsageError("the key is given twice")
                self.key = self._data(args, "key", map.key_size)
            elif args.accept("value"):
                if not with_value or not map.value_size:
                    raise UsageError("a value has no place here")
                if self.value is not None:
                    raise UsageError("the value is given twice")
                self.value = self._value(args)
            else:
                word = args.take("'key' or 'value'")
                flags = [n for n, name in enumerate(_UPDATE_FLAGS) if name.startswith(word)]
                if not flags:
                    raise UsageError(f"expected 'key' or 'value', got '{word}'")
                if not with_value or has_flags:
                    raise UsageError(f"'{word}' has no place here")
                self.flags = flags[0]
                has_flags = True
        if map.key_size and self.key is None:
            raise UsageError(f"the key is missing: 'key' and {map.key_size} bytes")
        if with_value and map.value_size and self.value is None:
            raise UsageError(f"the value is missing: 'value' and {map.value_size} bytes")

    def _value(self, args: Args) -> bytes:
        map = self.map
        if map.traits.holds == "map":
            return self._descriptor(one_map(self._ctx.kernel, args, True))
        if map.traits.holds == "prog":
            if (args.peek() or "?") in ("i", "id"):
                self._ctx.say(
                    "Warning: the array does not keep a program that nothing else holds;"
                    " see that the map itself stays open or pinned"
                )
            return self._descriptor(one_program(self._ctx.kernel, args))
        return self._data(args, "value", map.value_size)

    def _descriptor(self, obj: BpfObject) -> bytes:
        self._fds.append(obj)
        if self.map.value_size != 4:
            raise BpfError(f"the values of map {self.map.id} are too small for a file descriptor")
        return struct.pack("=i", obj.fd)

    def _data(self, args: Args, what: str, size: int) -> bytes:
        """``[hex] BYTES`` or an initializer."""
        word = args.peek()
        if word is not None and word[:1] in ("{", "="):
            return self._typed(args.take(what), what, size)
        known = _HEX_BYTES if args.accept("hex") else _BYTES
        data = bytes(map(known.__getitem__, args.take_some(size)))
        if len(data) < size:
            raise UsageError(f"the {what} has {size} bytes, only {len(data)} are given")
        return data

    def _typed(self, text: str, what: str, size: int) -> bytes:
        from pybpftool.btf.initializer import encode

        types = self._open.types
        if types is None:
            raise BpfError(
                f"map {self.map.id} has no BTF to read '{text}' by; give the {what}'s bytes instead"
            )
        return encode(types.btf, types.key_id if what == "key" else types.value_id, text, size)

    def show(self, value: bytes) -> None:
        """Print the element."""
        self._open.show(self.key or b"", value)


def _byte(word: str, is_hex: bool) -> int:
    """One byte as ``strtoul()`` reads it, an empty word as 0; what does not fit is refused."""
    from pybpftool.cnumber import BLANKS, c_number

    if not word:
        return 0
    digits = word.lstrip(BLANKS)
    sign = digits[:1] if digits[:1] in ("-", "+") else ""
    digits = digits[len(sign) :]
    if is_hex and digits[:2] not in ("0x", "0X"):
        digits = "0x" + digits
    number = c_number(digits) if digits[:1].isalnum() else None
    if number is None:
        raise UsageError(f"cannot read '{word}' as a byte")
    number = -number if sign == "-" else number
    if not -128 <= number <= 255:
        raise UsageError(f"'{word}' does not fit a byte")
    return number & 0xFF


class _Bytes(dict[str, int]):
    """Bytes by their words; short ones, of which a batch has thousands, are read once."""

    __slots__ = ("_is_hex",)

    def __init__(self, is_hex: bool) -> None:
        super().__init__()
        self._is_hex = is_hex

    def __missing__(self, word: str) -> int:
        byte = _byte(word, self._is_hex)
        if len(word) <= _SHORT:
            self[word] = byte
        return byte


_SHORT = 4  # as 0xff
_BYTES, _HEX_BYTES = _Bytes(False), _Bytes(True)


def _hex_strings(data: bytes) -> list[str]:
    return [f"0x{byte:02x}" for byte in data]


def _done(ctx: Context) -> None:
    if ctx.json is not None:
        ctx.json.value(None)


def update(ctx: Context, args: Args) -> None:
    """``map { update | push | enqueue } MAP [key DATA] [value VALUE] [UPDATE_FLAGS]``."""
    with _Element(ctx, args, update, True) as element:
        element.parse(args, True)
        element.writer.update(element.key, element.value or b"", element.flags)
    _done(ctx)


def lookup(ctx: Context, args: Args) -> None:
    """``map { lookup | peek } MAP [key DATA]``."""
    with _Element(ctx, args, lookup) as element:
        element.parse(args)
        try:
            value = ctx.kernel.lookup(element.obj, element.key or None)
        except KernelError as error:
            if error.errno != ENOENT:
                raise
            ctx.failed = True
            if ctx.json is not None:
                ctx.json.value(None)
            else:
                ctx.out.write(f"key:\n{hex_text(element.key or b'')}\n\nNot found\n")
            return
        element.show(value)


def getnext(ctx: Context, args: Args) -> None:
    """``map getnext MAP [key DATA]``."""
    with _Element(ctx, args, getnext) as element:
        if args:
            element.parse(args)
        key, following = element.key, ctx.kernel.next_key(element.obj, element.key)
        if ctx.json is not None:
            record = {
                "key": None if key is None else _hex_strings(key),
                "next_key": _hex_strings(following),
            }
            ctx.json.value(record)
            return
        ctx.out.write("key: None\n" if key is None else f"key:\n{hex_text(key)}\n")
        ctx.out.write(f"next key:\n{hex_text(following)}\n")


def delete(ctx: Context, args: Args) -> None:
    """``map delete MAP key DATA``."""
    with _Element(ctx, args, delete, True) as element:
        element.parse(args)
        element.writer.delete(element.key)
    _done(ctx)


def pop(ctx: Context, args: Args) -> None:
    """``map { pop | dequeue } MAP``."""
    # Upstream quirk: what follows is not looked at.
    with _Element(ctx, args, pop, True) as element:
        if element.map.key_size:
            raise BpfError(f"map {element.map.id} is not a queue or stack: its elements have keys")
        try:
            value = element.writer.pop()
        except KernelError as error:
            if error.errno != ENOENT:
                raise
            ctx.failed = True
            if ctx.json is not None:
                ctx.json.value(None)
            else:
                ctx.out.write("Error: empty map\n")
            return
        element.show(value)
