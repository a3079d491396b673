"""``iter``: its words, and iterators of this kernel."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pybpftool.control import libbpf
from tests.support import load
from tests.support.bpfc import compile_object
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel

MAPS = """
struct bpf_iter__bpf_map { void *meta; void *map; };
static long (*bpf_seq_write)(void *seq, const void *data, __u32 len) = (void *)127;
SEC("iter/bpf_map") int maps(struct bpf_iter__bpf_map *ctx) { return 0; }
"""
ELEMENTS = """
struct bpf_iter__bpf_map_elem { void *meta; void *map; void *key; void *value; };
SEC("iter/bpf_map_elem") int elements(struct bpf_iter__bpf_map_elem *ctx) { return 0; }
"""
NO_ITERATOR = 'SEC("xdp") int passes(struct xdp_md *ctx) { return XDP_PASS; }'


def test_help() -> None:
    assert run("iter", "help").errors.startswith("Usage: pybpftool iter { show | list }")
    assert run("iter").status == 0
    result = run("-j", "iter", "help")  # as upstream
    assert result.out == b"\n"
    assert result.errors.startswith("Usage")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pin"], "expected an object file"),
        (["pin", "a.o"], "expected a path to pin at"),
        (["pin", "a.o", "p", "map"], "expected 'id', 'name' or 'pinned'"),
        (["pin", "/no/such.o", "p"], "No such file or directory"),
        (["bogus"], "unknown command 'bogus' for 'iter'"),
    ],
)
def test_words(words: list[str], sentence: str) -> None:
    assert_one_sentence(run("iter", *words), sentence)


def test_too_few_words_with_json() -> None:
    result = run("-j", "iter", "pin", "a.o")
    assert (result.status, list(result.json)) == (255, ["error"])
    assert result.errors == run("iter", "help").errors


def test_a_recorded_kernel_stays_as_it_is() -> None:
    result = run("iter", "pin", "a.o", "p", kernel=FakeKernel())
    assert_one_sentence(result, "a recorded kernel cannot be changed")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    try:
        libbpf.library()
    except libbpf.LibbpfError as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("objects")
    sources = {"maps": MAPS, "elements": ELEMENTS, "none": NO_ITERATOR, "empty": "int x = 1;"}
    # A section of libbpf 1.3.
    sources["beside"] = f'{MAPS}\nSEC("tcx/ingress") int new(void *ctx) {{ return 0; }}'
    return {name: compile_object(directory, text, name) for name, text in sources.items()}


@pytest.mark.live
class TestPin:
    @pytest.fixture
    def bpffs(self) -> Iterator[Path]:
        with load.temp_bpffs() as directory:
            yield Path(directory)

    def test_beside_a_section_that_older_libraries_do_not_know(
        self, objects: dict[str, str], bpffs: Path
    ) -> None:
        assert run("iter", "pin", objects["beside"], f"{bpffs}/i").status == 0

    @pytest.mark.parametrize("option", [[], ["-j"]])
    def test_pinned(self, option: list[str], objects: dict[str, str], bpffs: Path) -> None:
        result = run(*option, "iter", "pin", objects["maps"], f"{bpffs}/i", "words", "unread")
        assert (result.status, result.err) == (0, b"")
        assert result.text == ("\n" if option else "")
        assert (bpffs / "i").read_bytes() == b""
        link = run("-j", "link", "show", "pinned", f"{bpffs}/i").json
        assert (link["type"], link["target_name"]) == ("iter", "bpf_map")

    def test_elements_of_a_map(self, objects: dict[str, str], bpffs: Path) -> None:
        result = run("iter", "pin", objects["elements"], f"{bpffs}/i")
        assert_one_sentence(result, "cannot attach the program 'elements' as an iterator")
        with load.map_create("array", 4, 4, 1, name="t_iter") as fd:
            load.map_update(fd, struct.pack("=I", 0), b"abcd")
            id = load.object_id(fd, "map")
            words = (objects["elements"], f"{bpffs}/i", "map", "id", str(id))
            assert run("iter", "pin", *words).status == 0
            link = run("-j", "link", "show", "pinned", f"{bpffs}/i").json
            assert link["map_id"] == id

    @pytest.mark.parametrize(
        ("name", "sentence"),
        [("none", "cannot attach the program 'passes'"), ("empty", "there is no program in")],
    )
    def test_refused(self, name: str, sentence: str, objects: dict[str, str], bpffs: Path) -> None:
        assert_one_sentence(run("iter", "pin", objects[name], f"{bpffs}/i"), sentence)
        assert list(bpffs.iterdir()) == []

    def test_a_path_that_is_taken(self, objects: dict[str, str], bpffs: Path) -> None:
        for expected in (0, 255):
            assert run("iter", "pin", objects["maps"], f"{bpffs}/i").status == expected


RECORDED = sorted((Path(__file__).parents[2] / "fixtures" / "link").glob("debian-*"))


@pytest.mark.parametrize("place", RECORDED, ids=lambda place: str(place.name))
class TestRecorded:
    """Iterators of recorded kernels, held against what upstream printed of their links."""

    def links(self, place: Path) -> list[dict[str, Any]]:
        cases = (place / "cases.txt").read_text().splitlines()
        (name,) = [line.split()[0] for line in cases if line.endswith("  -j -f link list")]
        links = json.loads((place / "expected" / name).read_text())
        return [link for link in links if link["type"] == "iter"]

    def test_json(self, place: Path) -> None:
        links = self.links(place)
        assert len(links) > 20
        for link in links:
            del link["type"]
        result = run("-j", "--snapshot", str(place / "snapshot.zip"), "iter", "list")
        assert (result.status, result.json) == (0, links)

    def test_text(self, place: Path) -> None:
        expected = ""
        for link in self.links(place):
            words = [f"{name} {link[name]}" for name in _PARAMETERS if name in link]
            expected += f"{link['id']}: {'  '.join(words)}  prog {link['prog_id']}\n"
            expected += "".join(f"\tpinned {path}\n" for path in link["pinned"])
            holders = ", ".join(f"{holder['comm']}({holder['pid']})" for holder in link["pids"])
            expected += f"\tpids {holders}\n"
        result = run("--snapshot", str(place / "snapshot.zip"), "iter", "list")
        assert (result.status, result.text) == (0, expected)


_PARAMETERS = ("target_name", "map_id", "cgroup_id", "order", "tid", "pid")
