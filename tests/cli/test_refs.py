"""Wrong references: the nearest right name, and the ids among which to choose."""

from __future__ import annotations

from pathlib import Path

import pytest

from pybpftool.cli.grammar import Args
from pybpftool.cli.refs import find_maps, find_programs, one_map, one_program
from pybpftool.errors import BpfError
from pybpftool.kernel.interface import BpfObject
from pybpftool.kernel.snapshot import SnapshotKernel
from pybpftool.objects.prog import ProgramReader
from tests.support.cli import assert_one_sentence, run

SNAPSHOT = str(Path(__file__).parents[2] / "fixtures" / "host" / "snapshot.zip")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("prog show name cali_entr", "; did you mean 'cali_entry'?"),
        ("prog dump xlated name caliegress", "; did you mean 'cali_egress'?"),
        ("map dump name flowz", "; did you mean 'flows'?"),
        ("map show name nothing_alike", "has the name 'nothing_alike'\n"),
        ("--snaphot x prog show", "unknown option '--snaphot'; did you mean '--snapshot'?"),
        ("--zzz prog show", "unknown option '--zzz'\n"),
    ],
)
def test_did_you_mean(words: str, meant: str) -> None:
    assert meant in assert_one_sentence(run("--snapshot", SNAPSHOT, *words.split())) + "\n"


class Twins(SnapshotKernel):
    """A recorded kernel whose objects of a kind all have one name, and are many."""

    many = 2

    def objects(self, kind: str):  # type: ignore[no-untyped-def]
        at = {"prog": 64, "map": 24}[kind]
        (first, *_) = [(obj.info, obj.fd) for obj in super().objects(kind)]
        info = first[0][:at] + b"twin".ljust(16, b"\0") + first[0][at + 16 :]
        for id in range(7, 7 + self.many):
            yield BpfObject(kind, id, first[1], info)


def test_which_of_several() -> None:
    kernel = Twins.load(SNAPSHOT)
    assert isinstance(kernel, Twins)
    with pytest.raises(BpfError, match=r"^the maps 7 and 8 have the name 'twin'; give one"):
        one_map(kernel, Args(["name", "twin"]))
    with pytest.raises(BpfError, match=r"^the programs 7 and 8 match; give one of these ids$"):
        one_program(kernel, Args(["name", "twin"]))
    kernel.many = 11
    with pytest.raises(BpfError, match=r"maps 7, 8, 9, 10, 11, 12, 13, 14 and 3 more have"):
        one_map(kernel, Args(["name", "twin"]))
    assert len(list(find_maps(kernel, Args(["name", "twin"])))) == 11
    assert len(list(find_programs(kernel, ProgramReader(kernel), Args(["name", "twin"])))) == 11
