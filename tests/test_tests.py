"""Rules of the tests themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent


def imported(path: Path) -> Iterator[str]:
    """Full names of what a file imports, at its top or late."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize(
    "path", [str(path.relative_to(TESTS)) for path in sorted(TESTS.rglob("*.py"))]
)
def test_nothing_imports_a_test(path: str) -> None:
    """What two tests need lives in tests/support."""
    parts = {name: name.split(".") for name in imported(TESTS / path)}
    wrong = [
        name
        for name, words in parts.items()
        if words[0] == "tests" and any(word.startswith("test_") for word in words)
    ]
    assert wrong == []
