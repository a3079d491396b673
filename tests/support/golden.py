"""Recordings of upstream's answers as text: ``fixtures/…/{ORIGIN,cases.txt,expected/,stdin/}``.

ORIGIN says with which kernel, upstream and command the folder was recorded, as ``name: value``
lines.  A line of cases.txt is a case: the file in expected/ with what upstream printed, ``ok`` or
``fails`` for its status, the words of the command line, quoted as for a shell, and perhaps
``< NAME``, a file in stdin/.  To add a case add a line and record again, or write both by hand.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
HEADER = """\
# expected/FILE  ok|fails  the words after `bpftool`  [< stdin/FILE]
"""


@dataclass(frozen=True)
class Case:
    """One command line, and what upstream answered."""

    args: Sequence[str]
    is_ok: bool
    stdout: bytes
    stdin: bytes = b""
    name: str = ""


def folders() -> list[Path]:
    """All folders with cases."""
    return sorted(path.parent for path in FIXTURES.rglob("cases.txt"))


def origin(folder: Path) -> dict[str, str]:
    """What ORIGIN says."""
    lines = folder.joinpath("ORIGIN").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def cases(folder: Path) -> list[Case]:
    """The cases of a folder, in their order."""
    found = []
    for line in folder.joinpath("cases.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, status, *words = shlex.split(line)
        if status not in ("ok", "fails"):
            raise ValueError(f"{folder}/cases.txt: neither ok nor fails: {line}")
        stdin = b""
        if len(words) > 1 and words[-2] == "<":
            stdin = folder.joinpath("stdin", words[-1]).read_bytes()
            words = words[:-2]
        stdout = folder.joinpath("expected", name).read_bytes()
        found.append(Case(tuple(words), status == "ok", stdout, stdin, name))
    return found


def write(folder: Path, facts: Mapping[str, str], recorded: Iterable[Case]) -> None:
    """Write a folder anew; expected/ and stdin/ have then only what the cases need."""
    for part in ("expected", "stdin"):
        for old in folder.glob(f"{part}/*"):
            old.unlink()
    folder.joinpath("expected").mkdir(parents=True, exist_ok=True)
    folder.joinpath("ORIGIN").write_text("".join(f"{k}: {v}\n" for k, v in facts.items()))
    lines = [HEADER]
    inputs: dict[bytes, str] = {}
    for number, case in enumerate(recorded, 1):
        words = re.sub(r"[^A-Za-z0-9]+", "-", " ".join(case.args)).strip("-")[:50]
        name = f"{number:03}-{words}"
        folder.joinpath("expected", name).write_bytes(case.stdout)
        line = f"{name}  {'ok' if case.is_ok else 'fails'}  {shlex.join(case.args)}"
        if case.stdin:
            if case.stdin not in inputs:
                inputs[case.stdin] = f"{len(inputs) + 1:02}.txt"
                folder.joinpath("stdin").mkdir(exist_ok=True)
                folder.joinpath("stdin", inputs[case.stdin]).write_bytes(case.stdin)
            line += f" < {inputs[case.stdin]}"
        lines.append(line + "\n")
    folder.joinpath("cases.txt").write_text("".join(lines))
