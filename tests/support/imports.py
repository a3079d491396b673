"""Every import of the package, read from its source: at the top, late, and for type checkers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "pybpftool"


def modules() -> dict[str, Path]:
    """The modules of the package by their full names."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def edges(name: str, source: str, known: set[str]) -> set[str]:
    """What a module imports: modules of the package (``package:name`` for a name that
    the package itself defines) and the full names of others."""
    tree = ast.parse(source)
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(_from(name, node, known))
    if _imports_by_name(tree):
        found.update(_named(name, tree, known))
    return found - {name}


def _from(name: str, node: ast.ImportFrom, known: set[str]) -> Iterator[str]:
    assert not node.level, f"{name}:{node.lineno} imports relatively; write the whole name"
    assert node.module is not None
    for alias in node.names:
        full = f"{node.module}.{alias.name}"
        if full in known:
            yield full
        elif node.module == PACKAGE:
            yield f"{PACKAGE}:{alias.name}"
        else:
            yield node.module


def _imports_by_name(tree: ast.Module) -> bool:
    """Whether a module imports what a string says: ``__import__()``, ``import_module()``."""
    return any(
        isinstance(node, ast.Name) and node.id in ("__import__", "import_module")
        for node in ast.walk(tree)
    )


def _named(name: str, tree: ast.Module, known: set[str]) -> Iterator[str]:
    """Modules whose names such a module has as strings, whole or within its own package."""
    own = name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for full in (node.value, f"{own}.{node.value}"):
                if full in known:
                    yield full


def graph() -> dict[str, set[str]]:
    """Module -> what it imports, of the whole package."""
    found = modules()
    return {name: edges(name, path.read_text(), set(found)) for name, path in found.items()}


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that reach one another (strongly connected components)."""
    reach: dict[str, set[str]] = {}
    for start in arrows:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for target in arrows.get(todo.pop(), ()):
                if target in arrows and target not in seen:
                    seen.add(target)
                    todo.append(target)
        reach[start] = seen
    groups = {
        tuple(sorted({other for other in reach[name] if name in reach[other]} | {name}))
        for name in arrows
        if name in reach[name]
    }
    return [list(group) for group in sorted(groups)]
