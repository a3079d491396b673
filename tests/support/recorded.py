"""Programs recorded on x86-64 (Linux 6.18) with what bpftool 7.8.0 (LLVM 19) printed of them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from pybpftool.btf.table import Btf
from pybpftool.insn.program import XlatedProgram
from pybpftool.insn.symbols import KernelSymbols
from pybpftool.jit.program import JitedProgram

FIXTURES = Path(__file__).parents[2] / "fixtures"


class Recorded:
    """One program: its arrays, its BTF and the answers ``plain``, ``json`` and ``visual``."""

    def __init__(self, folder: Path) -> None:
        self.record: dict[str, Any] = json.loads(folder.joinpath("program.json").read_text())
        self.name: str = self.record["name"]
        self.kallsyms = folder.joinpath("kallsyms.txt").read_bytes()
        self.plain, self.json, self.visual = (
            folder.joinpath("expected", form).read_text() for form in ("plain", "json", "visual")
        )

    def bytes(self, field: str) -> bytes:
        """An array as bytes."""
        return bytes.fromhex(self.record[field])

    def btf(self) -> Btf | None:
        """The program's BTF, parsed."""
        return Btf.from_bytes(self.bytes("btf")) if self.record["btf"] else None

    def symbols(self) -> KernelSymbols:
        """The symbols that the dumps need."""
        return KernelSymbols(self.kallsyms)

    def jited(self, **changes: Any) -> JitedProgram:
        """The machine code."""
        record = self.record
        arguments: dict[str, Any] = {
            "image": self.bytes("image"),
            "func_lens": record["func_lens"],
            "ksyms": record["ksyms"],
            "func_info": self.bytes("func_info"),
            "func_info_rec_size": record["info"]["func_info_rec_size"],
            "line_info": self.bytes("line_info"),
            "line_info_rec_size": record["info"]["line_info_rec_size"],
            "line_addresses": record["line_addresses"],
            "btf": self.btf(),
            "symbols": self.symbols,
        }
        return JitedProgram(**{**arguments, **changes})

    def xlated(self, **changes: Any) -> XlatedProgram:
        """The translated instructions."""
        record = self.record
        arguments: dict[str, Any] = {
            "insns": self.bytes("xlated"),
            "nr_jited_ksyms": record["info"]["nr_jited_ksyms"],
            "jited_ksyms": record["ksyms"],
            "func_info": self.bytes("func_info"),
            "func_info_rec_size": record["info"]["func_info_rec_size"],
            "line_info": self.bytes("line_info"),
            "line_info_rec_size": record["info"]["line_info_rec_size"],
            "btf": self.btf(),
            "symbols": self.symbols,
        }
        return XlatedProgram(**{**arguments, **changes})


@functools.cache
def programs() -> dict[str, Recorded]:
    """The recorded programs by name."""
    found = [Recorded(path.parent) for path in sorted(FIXTURES.glob("jit/*/program.json"))]
    return {program.name: program for program in found}


@functools.cache
def compiled() -> list[tuple[str, bytes, list[int]]]:
    """``(name, translated instructions, first slots of functions)`` of compiled programs.

    The sources are beside them; each was compiled by clang 19 for four versions of the
    instruction set at three levels of optimisation, and translated by the verifier.
    """
    return [
        (record["name"], bytes.fromhex(record["insns"]), record["starts"])
        for record in json.loads(FIXTURES.joinpath("cfg", "compiled.json").read_text())
    ]
