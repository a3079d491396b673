"""Source-level information of one BPF program: its BTF, func_info and line_info.

`Source` collects functions and lines by label or slot, so that the code and its description can be
written side by side; `load()` assembles, loads the BTF and then the program.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.support import asm, load
from tests.support.btfbuild import GLOBAL, SIGNED, STATIC, BtfBuilder


class Source:
    """BTF with the common types, plus the functions and lines of a program."""

    def __init__(self) -> None:
        self.btf = BtfBuilder()
        self.int = self.btf.add_int("int", 4, SIGNED)
        self.u32 = self.btf.add_int("unsigned int", 4)
        self.u64 = self.btf.add_int("unsigned long long", 8)
        self.void_ptr = self.btf.add_ptr(0)
        self._funcs: list[tuple[str | int, int]] = []
        self._lines: list[tuple[str | int, int, int, int]] = []

    def function(
        self,
        at: str | int,
        name: str,
        params: Sequence[tuple[str, int]] | None = None,
        returns: int | None = None,
        linkage: int = STATIC,
    ) -> int:
        """Describe the function that starts at a label or slot; returns the FUNC's id."""
        args = [("ctx", self.void_ptr)] if params is None else params
        proto = self.btf.add_func_proto(self.int if returns is None else returns, args)
        func = self.btf.add_func(name, proto, linkage)
        self._funcs.append((at, func))
        return func

    def global_function(
        self, at: str | int, name: str, params: Sequence[tuple[str, int]] | None = None
    ) -> int:
        """Describe a function with global linkage: verified on its own, can be replaced."""
        return self.function(at, name, params, linkage=GLOBAL)

    def line(self, at: str | int, file: str, text: str, number: int, column: int = 0) -> None:
        """The instruction at a label or slot comes from this line; the column has 10 bits."""
        string = self.btf.string
        self._lines.append((at, string(file), string(text), number << 10 | column & 0x3FF))

    def lines(self, file: str, rows: Iterable[tuple[str | int, str, int, int]]) -> None:
        """Several `line()` of one file: (place, text, line, column)."""
        for at, text, number, column in rows:
            self.line(at, file, text, number, column)

    def resolve(
        self, labels: dict[str, int]
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int, int, int]]]:
        """func_info and line_info records with slots, ascending."""

        def slot(at: str | int) -> int:
            return labels[at] if isinstance(at, str) else at

        funcs = sorted((slot(at), func) for at, func in self._funcs)
        lines = sorted((slot(at), f, t, n) for at, f, t, n in self._lines)
        return funcs, lines

    def load(
        self,
        prog_type: str | int,
        items: Iterable[asm.Item],
        *,
        name: str | bytes = "",
        attach: str | int = 0,
        flags: int = 0,
        attach_btf_id: int = 0,
        attach_prog: load.AnyFd | None = None,
        fd_array: Sequence[load.AnyFd] | None = None,
    ) -> load.Fd:
        """Load the BTF and the program with it."""
        code, labels = asm.layout(items)
        funcs, lines = self.resolve(labels)
        with load.btf_load(self.btf.build()) as btf:
            return load.prog_load(
                prog_type,
                code,
                name=name,
                attach=attach,
                flags=flags,
                btf=btf,
                func_info=funcs,
                line_info=lines,
                attach_btf_id=attach_btf_id,
                attach_prog=attach_prog,
                fd_array=fd_array,
            )
