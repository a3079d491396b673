"""Machine code as records."""

from __future__ import annotations

import pytest

from pybpftool.jit.instruction import MachineCode
from tests.support.recorded import programs

pytest.importorskip("capstone")


@pytest.mark.parametrize("name", sorted(programs()))
def test_each_stands_in_the_dump(name: str) -> None:
    recorded = programs()[name]
    code = MachineCode(recorded.jited())
    rows = [" ".join(row.split()) for row in recorded.plain.splitlines()]
    rows = [row for row in rows if row]
    shown = {" ".join(f"{insn.pc:x}: {insn.text}".split()) for insn in code}
    missing = [text for text in shown if not any(row.startswith(text) for row in rows)]
    assert not missing
    assert b"".join(insn.code for insn in code) == code.data


def test_targets_functions_and_lines() -> None:
    recorded = next(p for p in programs().values() if len(p.record["func_lens"]) > 1 and p.btf())
    code = MachineCode(recorded.jited())
    assert len(code.functions) == len(recorded.record["func_lens"])
    assert any(insn.target in code.functions for insn in code)
    assert any(insn.line is not None and insn.line.text for insn in code)
    assert str(code).startswith(f"{code.functions[0]}:\n")
    assert repr(code) == f"<{len(code.data)} bytes of machine code>"
    assert code[0].pc == 0
