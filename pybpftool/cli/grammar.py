"""Words of a command line: upstream's prefix rule and a cursor."""

from __future__ import annotations

from pybpftool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    Handler = TypeVar("Handler")


class Args:
    """A cursor over the words of a command.

    Every method that finds the words wrong raises :class:`UsageError` with a
    sentence that names the word at fault.
    """

    __slots__ = ("_at", "_words")

    def __init__(self, words: Sequence[str], at: int = 0) -> None:
        self._words = list(words)
        self._at = at

    def __len__(self) -> int:
        """How many words are left."""
        return len(self._words) - self._at

    def peek(self) -> str | None:
        """The next word without taking it; None at the end."""
        return self._words[self._at] if self._at < len(self._words) else None

    def rest(self) -> list[str]:
        """All words that are left, without taking them."""
        return self._words[self._at :]

    def previous(self) -> str:
        """The word taken last (empty before the first)."""
        return self._words[self._at - 1] if self._at else ""

    def take(self, what: str) -> str:
        """The next word; ``what`` says in an error what it should have been."""
        if self._at >= len(self._words):
            after = f" after '{self.previous()}'" if self._at else ""
            raise UsageError(f"expected {what}{after}, but the command ends there")
        word = self._words[self._at]
        self._at += 1
        return word

    def take_some(self, most: int) -> list[str]:
        """The next words, as many as there are up to ``most``."""
        words = self._words[self._at : self._at + most]
        self._at += len(words)
        return words

    def accept(self, name: str) -> bool:
        """Take the next word if it is ``name`` or short for it."""
        if self._at < len(self._words) and name.startswith(self._words[self._at]):
            self._at += 1
            return True
        return False

    def choose(self, names: Sequence[str]) -> str:
        """Take the next word as the first of ``names`` that it is short for."""
        word = self.take(_alternatives(names))
        for name in names:
            if name.startswith(word):
                return name
        from pybpftool.cnumber import c_number

        hint = nearest(word, names)
        if "id" in names and c_number(word) is not None:
            hint = f"; did you mean 'id {word}'?"
        raise UsageError(f"expected {_alternatives(names)}, got '{word}'{hint}")

    def number(self, what: str, bits: int = 32) -> int:
        """The next word as an unsigned number of at most ``bits`` bits.

        An empty word is 0, as for ``strtoul()`` of upstream.
        """
        from pybpftool.cnumber import c_number  # not needed where no number is given

        word = self.take(what)
        value = c_number(word) if word else 0
        if value is None:
            raise UsageError(f"cannot read '{word}' as {what}")
        if value >> bits:
            raise UsageError(f"'{word}' is too large for {what}")
        return value

    def pid(self) -> int:
        """The next word as the id of a process, which 0 is not."""
        pid = self.number("a process id", 31)
        if not pid:
            raise UsageError(f"'{self.previous()}' is no process id")
        return pid

    def end(self) -> None:
        """Insist that no word is left."""
        if self._at < len(self._words):
            raise UsageError(f"unexpected argument '{self._words[self._at]}'")


def _alternatives(names: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + f" or {quoted[-1]}"


def select(commands: Sequence[tuple[str, Handler]], args: Args, of: str) -> Handler:
    """The handler of the command of object ``of`` (of an object, if empty) that comes next.

    The first entry is taken when no word is left; otherwise the first one, in
    the table's order, that the word is short for (``cmd_select()`` of upstream).
    """
    word = args.peek()
    if word is None:
        return commands[0][1]
    for name, handler in commands:
        if name.startswith(word):
            args.take("a command")
            return handler
    meant = nearest(word, [name for name, _ in commands])
    hint = f"{meant} See " if meant else "; see "
    if not of:
        raise UsageError(f"unknown object '{word}'{hint}'pybpftool help'")
    raise UsageError(f"unknown command '{word}' for '{of}'{hint}'pybpftool {of} help'")


def nearest(word: str, words: Sequence[str]) -> str:
    """A remark that names the word that a wrong one is most like, if any is."""
    from pybpftool.inspect.wording import nearest

    return nearest(word, words)
