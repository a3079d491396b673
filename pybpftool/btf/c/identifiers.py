"""Names of types, members and values as C can have them.

BTF has names of any language: ``Option<u32>``, ``[]const u8``, ``{closure#0}``, C's keywords. What
is no identifier gets one of its own, the same wherever it stands, which no other name has.
"""

from __future__ import annotations

from itertools import compress

from pybpftool.btf.keywords import KEYWORDS, is_identifier
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import ENUM, ENUMS, FUNC, INT, NUMBERS, TYPEDEF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pybpftool.btf.table import Btf

_MAX_LENGTH = 200
"""Characters of a made-up identifier, from which others are told apart by a number."""
# What a byte of a string section is: of a word, a digit, an underscore, the end, or none of them.
_WORD_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_CLASSES = bytes(
    [ord("a") if c in _WORD_BYTES else c if c in b"\0_" else ord("!") for c in range(256)]
)
_CLASSES = _CLASSES[:0x30] + b"0" * 10 + _CLASSES[0x3A:]


def _word(name: str) -> str:
    """A name with ``_`` for what an identifier cannot have."""
    word = "".join([char if f"_{char}".isidentifier() else "_" for char in name[:_MAX_LENGTH]])
    if not word.isidentifier():
        word = f"_{word}"  # empty, or what may not come first
    return f"{word}_" if word in KEYWORDS else word


def _commented(name: str) -> str:
    """A name as it may stand in a comment."""
    text = "".join([c if c.isprintable() else _escaped(c) for c in name.replace("\\", "\\\\")])
    return text.replace("*/", "*\\/").replace("/*", "/\\*")


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code < 0xDD00:
        return f"\\x{code & 0xFF:02x}"  # a byte that is no text
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def untaken(wanted: str, taken: set[str]) -> str:
    """A name that is not in ``taken``, as near to ``wanted`` as can be; it is then."""
    name = wanted
    count = 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    taken.add(name)
    return name


class Identifiers(dict[int, str]):
    """C's identifiers by the offsets of their names in the string section.

    :param until: the offsets as far as which each part's names are read at once, from the
        base up; worth it before a dump of everything.
    """

    __slots__ = (
        "_btf", "_declared", "_is_foreign", "_made", "_number_tags", "_numbers", "_parts", "_taken",
        "may_be_numbered", "may_replace", "replaced", "true",
    )  # fmt: skip

    def __init__(self, btf: Btf, until: Sequence[int] = ()) -> None:
        super().__init__()
        self._btf = btf
        self._number_tags: dict[int, str] = {}
        self._declared: set[str] | None = None
        self._numbers: dict[str, set[tuple[int, ...]]] = {}
        self.true = btf.names
        """The names as the BTF has them."""
        self._parts = [part.names for part in reversed(btf.parts())]
        self._made: dict[str, str] = {}
        self._taken: set[str] | None = None
        self.replaced: dict[str, str] = {}
        """The true names behind the identifiers that were asked for and made up."""
        self.may_be_numbered = True
        """Whether some name ends as one that was numbered does."""
        self.may_replace = True
        """Whether identifiers are made up; not where nobody would tell of them."""
        self._is_foreign: bool | None = None
        if until:
            self._load(until)

    def _load(self, until: Sequence[int]) -> None:
        """Take the parts' names up to these offsets as they are, but for what needs a look."""
        self.may_be_numbered = False
        others: list[int] = []
        known: dict[int, str] = {}
        for part, last in zip(self._parts, until):
            names = part.fresh(True, last)
            others += compress(names, map(KEYWORDS.__contains__, names.values()))
            classes = part.raw.translate(_CLASSES)
            odd = [part.start + at for at in _odd_strings(classes)]
            self._is_foreign = self._is_foreign or any(_is_foreign(names[at]) for at in odd)
            others += odd
            if b"___0\0" in classes or b"___00" in classes:
                self.may_be_numbered = True
            names.update(known)
            self.true = known = names
        self.update(known)
        for offset in others:
            self.pop(offset, None)

    def __missing__(self, offset: int) -> str:
        name = self.true[offset]
        if not name or is_identifier(name):
            self[offset] = name
            return name
        made = self[offset] = self.of(name)
        self.replaced[made] = name
        return made

    @property
    def is_foreign(self) -> bool:
        """Whether some names are of no compiler of C."""
        if self._is_foreign is None:
            self._is_foreign = any(
                _is_foreign(names[names.start + at])
                for names in self._parts
                for at in _odd_strings(names.raw.translate(_CLASSES))
            )
        return self._is_foreign

    def of(self, name: str) -> str:
        """The identifier for a name that is none."""
        if not self.may_replace:
            raise FormatError(f"'{name}' is no identifier")
        if not self._made:
            self._make()
        return self._made.get(name) or self._make_one(name)

    def fresh_name(self, wanted: str) -> str:
        """An identifier that no name has, as near to ``wanted`` as can be; it is taken then."""
        return untaken(wanted, self._all())

    def is_taken(self, name: str) -> bool:
        """Whether there is such a name."""
        return self.may_be_numbered and name in self._all()

    def _all(self) -> set[str]:
        if self._taken is None:
            self._taken = set(KEYWORDS)
            for names in self._parts:
                self._taken.update(names.fresh().values())
        return self._taken

    def _make(self) -> None:
        """Make up all identifiers, in the order of the strings, whatever is asked for first."""
        for names in self._parts:
            for name in names.fresh().values():
                if not is_identifier(name) and name not in self._made:
                    self._make_one(name)

    def _make_one(self, name: str) -> str:
        made = self._made[name] = self.fresh_name(_word(name))
        return made

    def number_tag(self, size: int) -> str:
        """The name of a struct in place of a number of so many bytes."""
        if size not in self._number_tags:
            self._number_tags[size] = self.fresh_name(f"__number{size}")
        return self._number_tags[size]

    def is_only(self, name: str) -> bool:
        """Whether a number's name is that of nothing but numbers, all of the same form."""
        if self._declared is None:
            self._declared = self._find_declared()
        return name not in self._declared and len(self._numbers[name]) == 1

    def _find_declared(self) -> set[str]:
        """The names of typedefs, values and functions; notes those of numbers."""
        found = set()
        for part in self._btf.parts():
            words = part.words
            names = part.names
            for at in part.own_offsets():
                info = words[at]
                kind = info >> 24 & 0x7F
                if kind in NUMBERS:
                    form = (kind, words[at + 1], words[at + 2] if kind == INT else 0)
                    self._numbers.setdefault(names[words[at - 1]], set()).add(form)
                elif kind in (TYPEDEF, FUNC):
                    found.add(names[words[at - 1]])
                elif kind in ENUMS:
                    size = 2 if kind == ENUM else 3
                    values = words[at + 2 : at + 2 + size * (info & 0xFFFFFF) : size].tolist()
                    found.update(map(names.__getitem__, values))
        return found

    def comment(self) -> str:
        """A comment that tells which names were replaced; empty if none were."""
        if not self.replaced:
            return ""
        lines = [f" * {made}: {_commented(name)}\n" for made, name in sorted(self.replaced.items())]
        head = "/* Names that are no identifiers in C, behind what stands for them:\n *\n"
        return f"{head}{''.join(lines)} */\n\n"


_IN_C = {ord(char): None for char in " .()"}


def _is_foreign(name: str) -> bool:
    """Whether a name is neither a number's, nor a section's, nor a tag's, as C has them."""
    return not name.translate(_IN_C).isidentifier()


def _odd_strings(classes: bytes) -> Iterator[int]:
    """Where strings begin that have something else than letters, or begin with a digit."""
    at = classes.find(b"!")
    while at >= 0:
        yield classes.rfind(b"\0", 0, at) + 1
        end = classes.find(b"\0", at)
        at = classes.find(b"!", end) if end >= 0 else -1
    if classes[:1] == b"0":
        yield 0
    at = classes.find(b"\0" + b"0")
    while at >= 0:
        yield at + 1
        at = classes.find(b"\0" + b"0", at + 1)
