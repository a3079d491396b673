"""Make a snapshot small enough to be kept in the repository.

    python -m tests.tools.trim_snapshot SNAPSHOT TARGET COMMANDS

COMMANDS is a JSON file of command lines (``[{"args": […], "stdin": "…"}, …]``).  They are replayed
on SNAPSHOT; answers that none of them asked for go, and of /proc/kallsyms only the symbols stay
that they looked up.  Bytes of medium length are written inline, where they
compress together.  The trimmed snapshot gives the same answers: that is checked before it stays.
"""

from __future__ import annotations

import json
import os
import re
import sys
import zipfile
from collections.abc import Iterable, Sequence
from typing import Any
from unittest import mock

from pybpftool.insn.symbols import KernelSymbols
from pybpftool.kernel.archive import Archive
from pybpftool.kernel.snapshot import SnapshotKernel
from tests.support.cli import Result, run

# Bytes up to this length stand in answers.json.
INLINE = 1 << 15
KALLSYMS = "file(/proc/kallsyms)"

Command = dict[str, Any]


def replay(path: str, commands: Iterable[Command]) -> list[Result]:
    """Run the commands on a snapshot."""
    return [
        run("--snapshot", path, *command["args"], stdin=command.get("stdin", "").encode())
        for command in commands
    ]


class _Watched(dict[str, Any]):
    """The answers of a snapshot, which notes those that somebody looks for."""

    def __init__(self, answers: dict[str, Any], asked: set[str]) -> None:
        super().__init__(answers)
        self._asked = asked

    def __contains__(self, question: object) -> bool:
        self._asked.add(str(question))
        return super().__contains__(question)

    def __getitem__(self, question: str) -> Any:
        self._asked.add(question)
        return super().__getitem__(question)

    def get(self, question: str, default: Any = None) -> Any:
        """The answer, or the default."""
        self._asked.add(question)
        return super().get(question, default)


def _observe(path: str, commands: Sequence[Command]) -> tuple[list[Result], set[str], bytes]:
    """Results, the questions asked, and the lines of kallsyms that were needed."""
    asked: set[str] = set()
    symbols: dict[int, str] = {}
    bases: set[int] = set()
    start, names = SnapshotKernel.__init__, KernelSymbols.names

    def watched_start(self: SnapshotKernel, archive: Archive) -> None:
        start(self, archive)
        self._answers = _Watched(self._answers, asked)

    def watched_names(self: KernelSymbols, addresses: Iterable[int]) -> dict[int, str]:
        found = names(self, addresses)
        symbols.update(found)
        bases.add(self.call_base)
        return found

    with (
        mock.patch.object(SnapshotKernel, "__init__", watched_start),
        mock.patch.object(KernelSymbols, "names", watched_names),
    ):
        results = replay(path, commands)
    for base in bases:
        symbols[base] = "__bpf_call_base"
    lines = [
        b"%016x %s %s\n" % (address, b"t" if name.startswith("bpf_prog_") else b"T", name.encode())
        for address, name in sorted(symbols.items())
    ]
    return results, asked, b"".join(lines)


def _without_programs(source: str, target: str, only: set[int]) -> None:
    """Copy a snapshot without the programs that are not in `only`."""
    with zipfile.ZipFile(source) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    content = json.loads(members["answers.json"])
    objects = content["objects"]
    objects["prog"] = [row for row in objects["prog"] if row[0] in only]
    for question in ("holders(prog)", "pinned(prog)"):
        answer = content["answers"].get(question, {})
        if "map" in answer:
            answer["map"] = [row for row in answer["map"] if row[0] in only]
    for question in list(content["answers"]):
        asked = re.search(r"\bprog:(\d+)", question)
        if asked and int(asked[1]) not in only:
            del content["answers"][question]
    members["answers.json"] = json.dumps(content).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def trim(
    source: str, target: str, commands: Sequence[Command], only_programs: set[int] | None = None
) -> None:
    """Write to `target` what `commands` need of `source`; SystemExit when the answers change.

    `only_programs`: the ids of the programs that stay.
    """
    if only_programs is not None:
        _without_programs(source, source + ".part", only_programs)
        source += ".part"
    before, asked, kallsyms = _observe(source, commands)
    with zipfile.ZipFile(source) as archive:
        manifest = archive.read("manifest.json")
        content = json.loads(archive.read("answers.json"))
        blobs = {
            info.filename.removeprefix("blobs/"): archive.read(info)
            for info in archive.infolist()
            if info.filename.startswith("blobs/")
        }
    kept: dict[str, bytes] = {}

    def inline(value: Any) -> Any:
        if isinstance(value, list):
            return [inline(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "blob" in value:
            data = blobs[value["blob"]]
            if len(data) <= INLINE:
                return {"hex": data.hex()}
            kept[value["blob"]] = data
            return value
        return {key: inline(item) for key, item in value.items()}

    answers = {}
    for question, answer in content["answers"].items():
        if question == KALLSYMS:
            answers[question] = {"hex": kallsyms.hex()}
            continue
        if question in asked:
            answers[question] = inline(answer)
    content = {"objects": inline(content["objects"]), "answers": answers}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("manifest.json", manifest)
        archive.writestr("answers.json", json.dumps(content, separators=(",", ":")))
        for name, data in kept.items():
            archive.writestr(f"blobs/{name}", data)
    for command, old, new in zip(commands, before, replay(target, commands)):
        if old != new:
            os.unlink(target)
            raise SystemExit(f"trimming would change the answer to {command['args']}")


def main() -> None:
    """Command line."""
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    with open(sys.argv[3], "rb") as file:
        trim(sys.argv[1], sys.argv[2], json.load(file))


if __name__ == "__main__":
    main()
