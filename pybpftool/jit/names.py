"""Names for functions and for the targets of jumps and calls in machine code."""

from __future__ import annotations

from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pybpftool.jit.decode import Instructions
    from pybpftool.jit.program import JitedFunction, JitedProgram


class Names:
    """The names that one dump needs, looked up together.

    A target is shown as ``+0x2a`` (its ``pc``) within its own function, as
    ``SYMBOL`` where a symbol begins and as ``SYMBOL+0x2a`` inside another function of
    the program.
    """

    __slots__ = ("_bounds", "_functions", "_prog", "_symbols")

    def __init__(
        self,
        prog: JitedProgram,
        functions: Sequence[JitedFunction],
        instructions: Sequence[Instructions],
    ) -> None:
        self._prog = prog
        self._functions = functions
        # An address without code is not a place to jump to.
        self._bounds = sorted(
            (function.address, function.index)
            for function in functions
            if function.address is not None and function.code
        )
        wanted = set()
        for function, insns in zip(functions, instructions):
            if function.address is None:
                continue
            wanted.add(function.address)
            low = function.address
            high = low + len(function.code)
            wanted.update(t for t in insns.targets.values() if not low <= t < high)
        symbols = prog.symbols() if wanted else None
        self._symbols: dict[int, str] = symbols.names(wanted) if symbols else {}

    def function(self, function: JitedFunction) -> str:
        """The symbol of a function, its address without one, ``unknown`` without that."""
        if function.address is None:
            return "unknown"
        return self._symbols.get(function.address) or f"0x{function.address:016x}"

    def prototype(self, function: JitedFunction) -> str:
        """The declaration of a function, empty for none."""
        if self._prog.btf is None or function.type_id is None:
            return ""
        from pybpftool.btf.proto import prototype

        return prototype(self._prog.btf, function.type_id)

    def targets(self, function: JitedFunction, insns: Instructions) -> Iterator[tuple[int, str]]:
        """``(index of the instruction, name)`` for each target that has a name."""
        base = function.address or 0
        length = len(function.code)
        symbols = self._symbols
        for index, target in insns.targets.items():
            if 0 <= target - base < length:
                yield index, f"+0x{target - base:x}"
            elif function.address is not None:
                name = symbols.get(target) or self._inside(target)
                if name:
                    yield index, name

    def _inside(self, address: int) -> str:
        """``SYMBOL+0x…`` for an address within one of the program's functions, else empty."""
        at = bisect_right(self._bounds, (address, len(self._functions))) - 1
        if at < 0:
            return ""
        start, index = self._bounds[at]
        function = self._functions[index]
        if address - start >= len(function.code):
            return ""
        return f"{self.function(function)}+0x{address - start:x}"
