"""C initializers as keys and values of maps: ``{.pid = 1, .comm = "sh", .state = RUNNING}``.

The text is fitted to a BTF type. Braces hold members in their order or by name
(``.a.b = 1``), elements in their order or by index (``[3] = 7``); what is not named is
zero. Scalars are numbers (decimal, ``0x``, ``0`` octal, signed), characters, strings for
arrays of char, names of enumerators, ``true`` and ``false``, and floating-point numbers.
What does not fit the type is refused: nothing is cut off or wrapped around.
"""

from __future__ import annotations

from pybpftool.btf.fitting import MAX_DEPTH, Item, Scalar, Value, fit
from pybpftool.cnumber import c_number
from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf

_SIMPLE_ESCAPES = {
    "n": 10, "t": 9, "r": 13, "0": 0, "a": 7, "b": 8, "f": 12, "v": 11,
    "\\": 92, "'": 39, '"': 34, "e": 27,
}  # fmt: skip


class _Reader:
    """Reads an initializer; refuses what is not C."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, reason: str) -> BpfError:
        rest = self.text[self.at : self.at + 20]
        where = f"at '{rest}'" if rest else "at its end"
        return BpfError(f"cannot read the initializer '{self.text}' {where}: {reason}")

    def blanks(self) -> str:
        text = self.text
        while self.at < len(text) and text[self.at] in " \t\n\r":
            self.at += 1
        return text[self.at : self.at + 1]

    def accept(self, mark: str) -> bool:
        if self.blanks() == mark:
            self.at += 1
            return True
        return False

    def whole(self) -> Value:
        value = self.value(0)
        if self.blanks():
            raise self.fail("it should have ended here")
        return value

    def value(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise self.fail("it is nested too deeply")
        if not self.accept("{"):
            return Value(self.scalar(), None)
        items: list[Item] = []
        while not self.accept("}"):
            path = self.path()
            items.append(Item(path, self.value(depth + 1)))
            if not self.accept(","):
                if not self.accept("}"):
                    raise self.fail("expected ',' or '}'")
                break
        return Value(None, items)

    def path(self) -> list[str | int]:
        path: list[str | int] = []
        while True:
            if self.accept("."):
                path.append(self.word())
            elif self.accept("["):
                index = self.scalar()
                if index.kind != "number" or index.number < 0:
                    raise self.fail("an index is a number")
                path.append(index.number)
                if not self.accept("]"):
                    raise self.fail("expected ']'")
            else:
                break
        if path and not self.accept("="):
            raise self.fail("expected '='")
        return path

    def word(self) -> str:
        self.blanks()
        start = self.at
        text = self.text
        while self.at < len(text) and (text[self.at].isalnum() or text[self.at] == "_"):
            self.at += 1
        if start == self.at:
            raise self.fail("expected a name")
        return text[start : self.at]

    def scalar(self) -> Scalar:
        mark = self.blanks()
        if mark == '"' or mark == "'":
            return self.quoted(mark)
        start = self.at
        if mark and mark in "+-":
            self.at += 1
        text = self.text
        while self.at < len(text) and (
            text[self.at].isalnum()
            or text[self.at] in "_."
            or (text[self.at] in "+-" and text[self.at - 1] in "eE" and _is_decimal(text, start))
        ):
            self.at += 1
        token = text[start : self.at]
        if not token.strip("+-"):
            self.at = start
            raise self.fail("expected a value")
        number = _integer(token)
        if number is not None:
            return Scalar("number", token, number)
        if token.lstrip("+-")[:1].isdigit() or token.lstrip("+-").startswith("."):
            try:
                float(token)
            except ValueError:
                self.at = start
                raise self.fail("this is not a number") from None
            return Scalar("float", token)
        if token[0] in "+-":
            self.at = start
            raise self.fail("expected a number after the sign")
        return Scalar("word", token)

    def quoted(self, mark: str) -> Scalar:
        start = self.at
        self.at += 1
        raw = bytearray()
        text = self.text
        while True:
            if self.at >= len(text):
                self.at = start
                raise self.fail("the quote is never closed")
            character = text[self.at]
            self.at += 1
            if character == mark:
                break
            if character != "\\":
                raw += character.encode("utf-8", "surrogateescape")
                continue
            raw.append(self.escape())
        token = text[start : self.at]
        if mark == '"':
            return Scalar("string", token, 0, bytes(raw))
        if len(raw) != 1:
            self.at = start
            raise self.fail("a character in quotes is one byte")
        return Scalar("char", token, raw[0])

    def escape(self) -> int:
        text = self.text
        character = text[self.at : self.at + 1]
        if character == "x":
            digits = text[self.at + 1 : self.at + 3]
            try:
                number = int(digits, 16) if digits.isalnum() else -1
            except ValueError:
                number = -1
            if number < 0 or len(digits) != 2:
                raise self.fail("'\\x' needs two hexadecimal digits")
            self.at += 3
            return number
        if character not in _SIMPLE_ESCAPES or not character:
            raise self.fail("this escape is not known")
        self.at += 1
        return _SIMPLE_ESCAPES[character]


def _is_decimal(text: str, start: int) -> bool:
    return text[start : start + 3].lstrip("+-")[:2] not in ("0x", "0X")


def _integer(token: str) -> int | None:
    negative = token.startswith("-")
    number = c_number(token[1:] if token[0] in "+-" else token)
    if number is None:
        return None
    return -number if negative else number


def encode(btf: Btf, type_id: int, text: str, size: int, background: int = 0) -> bytes:
    """The ``size`` bytes of an initializer for a type.

    A ``=`` before it is allowed; ``background`` is the byte of what it does not name. Raises
    :class:`BpfError` with what does not fit.
    """
    text = text.strip()
    value = _Reader(text[1:] if text.startswith("=") else text).whole()
    return fit(btf, type_id, value, size, background)
