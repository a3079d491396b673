"""Modules and functions that a person can read in one go, but for those named here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent / "pybpftool"

MODULE_LINES = 450
FUNCTION_LINES = 60

# Why a module is longer.
LONG_MODULES = {
    "btf/c/declare.py": "declarations of one type follow one another; they share the names taken",
    "cfg/graph.py": "one algorithm: blocks, edges, dominators and loops of the same arrays",
    "insn/disasm.py": "one table of all opcodes and the loop over them",
    "kernel/interface.py": "every question of a kernel, with its answer in words: one class",
    "kernel/live.py": "one method a question, three lines each, and the walk that all lists share",
    "uapi/bpf.py": "generated",
}

# Why a function is longer: loops over hundreds of thousands of rows, in which calls cost.
LONG_FUNCTIONS = {
    "btf/c/order.py:visit": "a loop with a stack of its own in place of calls",
    "btf/c/text.py:_plain": "one branch a kind, for every member of a kernel's types",
    "btf/rawdump.py:_by_hand": "one branch a kind",
    "cfg/graph.py:_function": "one pass over a function's jumps",
    "kernel/live.py:_walk": "one pass over all ids, for listings of thousands",
}


def functions() -> Iterator[tuple[str, int]]:
    """``module:function`` and its lines, of all."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                yield f"{path.relative_to(ROOT)}:{node.name}", lines


def test_modules() -> None:
    long = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if len(path.read_text().splitlines()) > MODULE_LINES
    }
    assert long - LONG_MODULES.keys() == set(), f"more than {MODULE_LINES} lines"
    assert LONG_MODULES.keys() - long == set(), "these are short enough by now"


def test_functions() -> None:
    long = {name for name, lines in functions() if lines > FUNCTION_LINES}
    assert long - LONG_FUNCTIONS.keys() == set(), f"more than {FUNCTION_LINES} lines"
    assert LONG_FUNCTIONS.keys() - long == set(), "these are short enough by now"


def test_no_module_is_a_drawer_for_everything() -> None:
    names = {path.stem for path in ROOT.rglob("*.py")}
    assert not names & {"utils", "util", "common", "misc", "helpers_", "manager", "handler"}
