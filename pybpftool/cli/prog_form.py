"""The forms of ``prog dump``: what follows PROG, and what each form has to do."""

from __future__ import annotations

from pybpftool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import BpfObject
    from pybpftool.output.stream import Output

_PICTURES = ("svg", "png", "pdf")


class DumpOptions:
    """What follows PROG on a ``prog dump`` command line."""

    __slots__ = ("file", "html", "linum", "opcodes", "syntax", "visual")

    def __init__(self) -> None:
        self.file: str | None = None
        self.html: str | None = None
        self.opcodes = False
        self.linum = False
        self.syntax = "att"
        self.visual: VisualOptions | None = None


class VisualOptions:
    """What follows ``visual`` on the command line."""

    __slots__ = ("calls", "file", "form", "function")

    def __init__(self) -> None:
        self.form = "dot"
        self.file = ""
        self.function: str | None = None
        self.calls = False

    def take(self, args: Args) -> bool:
        """Take one of the words that may follow; whether there was one."""
        word = args.peek()
        if word in _PICTURES or word == "json":
            args.take("a format")
            self.form = word or ""
            if word != "json":
                self.file = args.take("a file name")
        elif word == "func":
            args.take("'func'")
            self.function = args.take("the name of a function")
        elif word == "calls":
            args.take("'calls'")
            self.calls = True
        else:
            return False
        if self.calls and self.function is not None:
            raise UsageError("'func' and 'calls' exclude each other")
        return True


class Dump:
    """One form of dump: how to gather a program's code and how to print it."""

    def gather(self, obj: BpfObject) -> Any:
        """Everything that printing needs; raises BpfError where the kernel withholds it."""
        raise NotImplementedError

    def image(self, code: Any) -> bytes:
        """The raw code, for ``file``."""
        raise NotImplementedError

    def show(self, code: Any, options: DumpOptions) -> None:
        """Print, as text or as one JSON value."""
        raise NotImplementedError


def write_painted(ctx: Context, write: Callable[[Output], None]) -> None:
    """Write a dump as text: in colours on a terminal, unless ``--color`` or NO_COLOR says no."""
    given = dict(ctx.options.of_object).get("color")
    if ctx.out.is_terminal or given is not None:
        from pybpftool.cli.terminal import is_colored

        if is_colored(ctx, given or "auto"):
            from pybpftool.output.painted import Painted

            out = Painted(ctx.out)
            try:
                write(out)
            finally:
                out.end()
            return
    write(ctx.out)
