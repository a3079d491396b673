"""Names in BTF: a string section, read as names are asked for."""

from __future__ import annotations

from _operator import add  # operator itself is Python and takes as long as 100 names
from itertools import accumulate, compress, count

from pybpftool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from mmap import mmap

    Strings = tuple[Iterable[int], list[str]]

# Up to this size a string section is split into names as a whole.
_MAX_NAMES = 64 << 20
# Bytes of strings that are split at once where names are met in their order.
_MUCH = 1 << 18
# 1 for bytes that do not mean themselves in a JSON string; not for the names' terminator.
_ODD = bytes(c in b'"\\' or 0 < c < 0x20 for c in range(256))


class Names(dict[int, str]):
    """Strings of a string section by their offset; read as they are asked for."""

    __slots__ = ("_base", "_begin", "_data", "_end", "_start", "_unread")

    def __init__(
        self, data: bytes | mmap, begin: int, end: int, start: int, base: Names | None
    ) -> None:
        super().__init__()
        self._data = data
        self._begin = begin  # of the string section in the data
        self._end = end
        self._start = start  # of the section among the offsets: where the base's strings end
        self._base = base
        self._unread: int | None = None  # where strings begin that are read many at a time

    def __missing__(self, offset: int) -> str:
        start = self._start
        if offset < start and self._base is not None:
            name = self._base[offset]
        else:
            at = self._begin + offset - start
            if at >= self._end:
                raise FormatError(f"the BTF refers to a name at {offset}, beyond its strings")
            if self._unread is not None and offset >= self._unread:
                self._load_some(offset)
                if offset in self:
                    return self[offset]
            data = self._data
            name = data[at : data.find(b"\0", at)].decode("utf-8", "surrogateescape")
        self[offset] = name
        return name

    @property
    def start(self) -> int:
        """The offset of this object's own first string: where the base's end."""
        return self._start

    @property
    def raw(self) -> bytes:
        """The string section itself, without the base's."""
        return self._data[self._begin : self._end]

    def places_of(self, name: bytes) -> Iterator[int]:
        """The offsets of a name among the strings of this object itself."""
        strings = self.raw  # a copy: to find something in an mmap takes five times as long
        if strings.startswith(name + b"\0"):  # only split BTF begins so
            yield self._start
        needle = b"\0" + name + b"\0"
        at = strings.find(needle)
        while at >= 0:
            yield self._start + at + 1
            at = strings.find(needle, at + 1)

    def fresh(self, all_at_once: bool = True, until: int | None = None) -> Names:
        """A table of its own of the same names; those after ``until`` come as needed."""
        names = Names(self._data, self._begin, self._end, self._start, self._base)
        if all_at_once:
            names.load(until)
        return names

    def own_strings(self) -> Strings:
        """Offsets and strings of this object itself; none of very many. One offset more, maybe."""
        if self._end - self._begin > _MAX_NAMES or self._begin == self._end:
            return (), []
        return self._strings(self._begin, self._end - 1)

    def offsets_of(self, wanted: set[str]) -> dict[str, int]:
        """The wanted names that this object itself has, with the first offset of each."""
        offsets, texts = self.own_strings()
        there = wanted.intersection(texts)
        found: dict[str, int] = {}
        if there:
            for offset, text in compress(zip(offsets, texts), map(there.__contains__, texts)):
                found.setdefault(text, offset)
        return found

    def in_order(self, since: int) -> Names:
        """A table of its own for a walk through all types, or those after ``since`` was met.

        Strings stand in the order in which types first use them, as a rule: they are read many
        at a time, as they are met, and those before ``since`` one by one.
        """
        names = Names(self._data, self._begin, self._end, self._start, self._base)
        if self._end - self._begin <= _MAX_NAMES:
            names._unread = max(since, self._start, 1)  # 0 is no name
        return names

    def quoted(self) -> Names:
        """The names as they stand between the quotes of a JSON string."""
        if self._base is None and 1 not in self.raw.translate(_ODD):
            return self
        return _QuotedNames(self)

    def load(self, until: int | None = None) -> None:
        """Read all strings of this object at once; worth it before a dump of everything.

        With ``until``, those as far as this offset.
        """
        if self._end - self._begin > _MAX_NAMES or self._begin == self._end:
            return
        end = self._end - 1
        if until is not None and until >= self._start:
            end = max(self._data.find(b"\0", self._begin + until - self._start, end), 0) or end
        self.update(zip(*self._strings(self._begin, end)))

    def _load_some(self, offset: int) -> None:
        """Read from the first unread string to this one, and some more."""
        assert self._unread is not None
        shift = self._begin - self._start
        begin = self._unread + shift
        end = self._data.find(b"\0", min(max(offset + shift, begin + _MUCH), self._end - 1))
        self.update(zip(*self._strings(begin, end)))
        self._unread = end + 1 - shift

    def _strings(self, begin: int, end: int) -> Strings:
        """Offsets and strings of a place in the data, the last one without its terminator.

        There may be one offset more.
        """
        strings = self._data[begin:end]
        at = self._start + begin - self._begin
        # Each string takes its terminator too.
        if strings.isascii():
            texts = strings.decode("ascii").split("\0")
            ends = accumulate(map(len, texts), initial=at)
            return map(add, ends, count()), texts
        pieces = strings.split(b"\0")
        ends = accumulate(map(len, pieces), initial=at)
        return map(add, ends, count()), [p.decode("utf-8", "surrogateescape") for p in pieces]


class _QuotedNames(Names):
    """Names escaped as JSON strings have them."""

    __slots__ = ("_names",)

    def __init__(self, names: Names) -> None:
        super().__init__(names._data, names._begin, names._end, names._start, names._base)
        self._names = names

    def __missing__(self, offset: int) -> str:
        from pybpftool.output.jsontext import quote

        name = self[offset] = quote(self._names[offset])[1:-1]
        return name
