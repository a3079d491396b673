"""TOML, read so that every value knows its line.

The standard library's tomllib (since Python 3.11) tells no lines, and a policy that is refused
must say where. This reader takes TOML 1.0 but dates, which no policy has; the tests hold it
against tomllib.
"""

from __future__ import annotations

from pybpftool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_MAX_DEPTH = 32
_MOST_DIGITS = 40  # of an integer; TOML promises 64 bits
_LARGEST_FILE = 1 << 24
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
_BASES = {"0x": 16, "0o": 8, "0b": 2}
_DIGITS = {16: "0123456789abcdefABCDEF", 8: "01234567", 2: "01", 10: "0123456789"}


class Table(dict):  # type: ignore[type-arg]  # whatever TOML can hold
    """A table: a dict that knows its own line, and the line of each key."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}
        # How it came to be: `header`, `dotted`, `implied` by a longer header, or `inline`.
        self.origin = "implied"


def parse(text: str, path: str) -> Table:
    """The tables of a document; raises FormatError with the file and the line."""
    return _Reader(text, path).document()


def parse_file(path: str) -> Table:
    """As :func:`parse`, of a file. Raises BpfError, too."""
    from pybpftool.errors import BpfError
    from pybpftool.reading import contents

    try:
        data = contents(path, _LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BpfError(f"cannot read '{path}': {reason}") from None
    if len(data) > _LARGEST_FILE:
        raise BpfError(f"'{path}' has more than 16 MiB, more than any policy or baseline")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(f"{path}:{line}: this is not UTF-8") from None
    return parse(text.replace("\r\n", "\n"), path)


class _Reader:
    def __init__(self, text: str, path: str) -> None:
        self._text = text
        self._path = path
        self._at = 0

    # --- where we are ---

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _fail(self, reason: str) -> NoReturn:
        raise FormatError(f"{self._path}:{self._line()}: {reason}")

    def _peek(self, length: int = 1) -> str:
        return self._text[self._at : self._at + length]

    def _accept(self, mark: str) -> bool:
        if self._text.startswith(mark, self._at):
            self._at += len(mark)
            return True
        return False

    def _expect(self, mark: str, where: str) -> None:
        if not self._accept(mark):
            self._fail(f"expected '{mark}' {where}, found {self._found()}")

    def _found(self) -> str:
        character = self._peek()
        if not character:
            return "the end of the file"
        return "the end of the line" if character == "\n" else repr(character)

    def _blanks(self) -> None:
        while self._peek() in (" ", "\t"):
            self._at += 1

    def _comment(self) -> None:
        if self._peek() == "#":
            end = self._text.find("\n", self._at)
            comment = self._text[self._at : end if end >= 0 else len(self._text)]
            if any(_is_control(character) for character in comment):
                self._fail("a comment has a control character")
            self._at += len(comment)

    def _rest_of_line(self) -> None:
        self._blanks()
        self._comment()
        if self._peek() and not self._accept("\n"):
            self._fail(f"expected the end of the line, found {self._found()}")

    def _space(self) -> None:
        """Blanks, comments and ends of lines, as between the elements of an array."""
        while True:
            self._blanks()
            self._comment()
            if not self._accept("\n"):
                return

    # --- tables ---

    def document(self) -> Table:
        root = current = Table(1)
        root.origin = "header"
        while self._at < len(self._text):
            self._space()
            if not self._peek():
                break
            if self._peek() == "[":
                current = self._header(root)
            else:
                self._pair(current, 0)
            self._rest_of_line()
        return root

    def _header(self, root: Table) -> Table:
        line = self._line()
        is_array = self._accept("[[")
        if not is_array:
            self._expect("[", "before the name of a table")
        keys = self._keys()
        self._expect("]]" if is_array else "]", "behind the name of a table")
        table = root
        for key in keys[:-1]:
            inner = table.get(key)
            if inner is None:
                inner = self._add(table, key, Table(line), line)
            if isinstance(inner, list) and inner and isinstance(inner[-1], Table):
                inner = inner[-1]
            if not isinstance(inner, Table) or inner.origin == "inline":
                self._fail(f"'{key}' is not a table")
            table = inner
        return self._open(table, keys[-1], is_array, line)

    def _open(self, table: Table, key: str, is_array: bool, line: int) -> Table:
        known = table.get(key)
        new = Table(line)
        new.origin = "header"
        if is_array:
            if known is None:
                self._add(table, key, [new], line)
            elif isinstance(known, list) and known and isinstance(known[-1], Table):
                if known[-1].origin == "inline":
                    self._fail(f"'{key}' is an array that is complete already")
                known.append(new)
            else:
                self._fail(f"'{key}' is not an array of tables")
            return new
        if known is None:
            self._add(table, key, new, line)
            return new
        if not isinstance(known, Table) or known.origin != "implied":
            self._fail(f"'{key}' is defined twice")
        known.origin = "header"
        known.line = line
        return known

    def _pair(self, table: Table, depth: int) -> None:
        line = self._line()
        keys = self._keys()
        self._expect("=", f"behind '{'.'.join(keys)}'")
        self._blanks()
        for key in keys[:-1]:
            inner = table.get(key)
            if inner is None:
                inner = self._add(table, key, Table(line), line)
                inner.origin = "dotted"
            elif not isinstance(inner, Table) or inner.origin not in ("dotted", "implied"):
                self._fail(f"'{key}' cannot be added to")
            table = inner
        if keys[-1] in table:
            self._fail(f"'{keys[-1]}' is given twice")
        self._add(table, keys[-1], self._value(depth), line)

    def _add(self, table: Table, key: str, value: Any, line: int) -> Any:
        table[key] = value
        table.lines[key] = line
        return value

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._blanks()
            keys.append(self._key())
            self._blanks()
            if not self._accept("."):
                return keys
            if len(keys) > _MAX_DEPTH:
                self._fail("this name has too many parts")

    def _key(self) -> str:
        if self._peek() == '"':
            return self._basic_string()
        if self._peek() == "'":
            return self._literal_string()
        text, begin = self._text, self._at
        while self._at < len(text) and text[self._at] in _BARE:
            self._at += 1
        if begin == self._at:
            self._fail(f"expected a name, found {self._found()}")
        return self._text[begin : self._at]

    # --- values ---

    def _value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            self._fail("values are nested too deeply")
        character = self._peek()
        if character == '"':
            return self._long_basic() if self._peek(3) == '"""' else self._basic_string()
        if character == "'":
            return self._long_literal() if self._peek(3) == "'''" else self._literal_string()
        if character == "[":
            return self._array(depth)
        if character == "{":
            return self._inline_table(depth)
        return self._scalar()

    def _array(self, depth: int) -> list[Any]:
        self._at += 1
        values: list[Any] = []
        while True:
            self._space()
            if self._accept("]"):
                return values
            values.append(self._value(depth + 1))
            self._space()
            if not self._accept(","):
                self._expect("]", "at the end of the list")
                return values

    def _inline_table(self, depth: int) -> Table:
        table = Table(self._line())
        self._at += 1
        self._blanks()
        if not self._accept("}"):
            while True:
                self._pair(table, depth + 1)
                self._blanks()
                if self._accept("}"):
                    break
                self._expect(",", "between the parts of a table in braces")
                self._blanks()
        _close(table)
        return table

    def _scalar(self) -> Any:
        begin = end = self._at
        text = self._text
        while end < len(text) and (text[end] in _BARE or text[end] in ".+:"):
            end += 1
        self._at = end
        word = self._text[begin : self._at]
        if word in ("true", "false"):
            return word == "true"
        value = _number(word)
        if value is None:
            self._at = begin
            if not word:
                self._fail(f"expected a value, found {self._found()}")
            if (word[:4].isdigit() and word[4:5] == "-") or word[2:3] == ":":
                self._fail(f"a date or time has no meaning here: '{word}'")
            self._fail(f"'{word}' is not a value; text goes in quotes")
        return value

    # --- strings ---

    def _basic_string(self) -> str:
        self._at += 1
        parts: list[str] = []
        while True:
            character = self._peek()
            if character == '"':
                self._at += 1
                return "".join(parts)
            if not character or character == "\n":
                self._fail("this text has no end")
            parts.append(self._character())

    def _character(self) -> str:
        character = self._peek()
        self._at += 1
        if character != "\\":
            if _is_control(character):
                self._fail("a control character has to be written as \\u....")
            return character
        mark = self._peek()
        self._at += 1
        if mark in _ESCAPES:
            return _ESCAPES[mark]
        size = {"u": 4, "U": 8}.get(mark, 0)
        digits = self._peek(size)
        if not size or len(digits) < size or not set(digits) <= set(_DIGITS[16]):
            self._fail(f"there is no escape '\\{mark}' with such digits")
        number = int(digits, 16)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            self._fail(f"'\\{mark}{digits}' is not a character")
        self._at += size
        return chr(number)

    def _literal_string(self) -> str:
        end = self._text.find("'", self._at + 1)
        text = self._text[self._at + 1 : end]
        if end < 0 or "\n" in text:
            self._fail("this text has no end")
        if any(map(_is_control, text)):
            self._fail("this text has a control character")
        self._at = end + 1
        return text

    def _long_basic(self) -> str:
        self._at += 3
        self._accept("\n")
        parts: list[str] = []
        while True:
            if self._accept('"""'):
                # Up to two quotation marks may stand before the end.
                for _ in range(2):
                    if self._accept('"'):
                        parts.append('"')
                return "".join(parts)
            character = self._peek()
            if not character:
                self._fail("this text has no end")
            if character == "\n":
                self._at += 1
                parts.append("\n")
            elif character == "\\" and self._peek(2)[1:] in (" ", "\t", "\n"):
                self._at += 1
                self._blanks()
                if self._peek() != "\n":
                    self._fail("behind '\\' the line has to end")
                while self._peek() in (" ", "\t", "\n") and self._peek():
                    self._at += 1
            else:
                parts.append(self._character())

    def _long_literal(self) -> str:
        self._at += 3
        self._accept("\n")
        end = self._text.find("'''", self._at)
        if end < 0:
            self._fail("this text has no end")
        for _ in range(2):  # so many more may stand before the end
            if self._text.startswith("'", end + 3):
                end += 1
        text = self._text[self._at : end]
        if any(_is_control(character) for character in text if character != "\n"):
            self._fail("this text has a control character")
        self._at = end + 3
        return text


def _close(table: Table) -> None:
    """An inline table cannot be added to, nor can those inside it."""
    table.origin = "inline"
    for value in table.values():
        if isinstance(value, Table):
            _close(value)


def _is_control(character: str) -> bool:
    return (character < " " and character != "\t") or character == "\x7f"


def _number(word: str) -> int | float | None:
    """An integer or a floating-point number, None for anything else."""
    base = _BASES.get(word[:2])
    if base is not None:
        digits = word[2:]
        return int(digits, base) if _are_digits(digits, base) else None
    sign, digits = (word[0], word[1:]) if word[:1] in ("+", "-") else ("", word)
    if digits in ("inf", "nan"):
        return float(word)
    if _is_whole(digits):
        digits = digits.replace("_", "")
        return int(sign + digits) if len(digits) <= _MOST_DIGITS else None
    mantissa, mark, exponent = digits.replace("E", "e").partition("e")
    whole, point, fraction = mantissa.partition(".")
    if not _is_whole(whole) or (point and not _are_digits(fraction, 10)):
        return None
    if mark and not _are_digits(exponent[1:] if exponent[:1] in ("+", "-") else exponent, 10):
        return None
    return float(word.replace("_", "")) if point or mark else None


def _is_whole(digits: str) -> bool:
    return _are_digits(digits, 10) and (digits[0] != "0" or len(digits) == 1)


def _are_digits(digits: str, base: int) -> bool:
    """Digits, with single underscores between them; no more than a number may have."""
    if not digits or len(digits) > 64 or "__" in digits or "_" in (digits[0], digits[-1]):
        return False
    return set(digits) <= set(_DIGITS[base]) | {"_"}
