"""Manual pages: one for each word, each with what a page has to say."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pybpftool.cli.main import OBJECTS

MAN = Path(__file__).parents[1] / "man"
PAGES = sorted(MAN.glob("*.[1-9]"))
MAIN = MAN / "pybpftool.8"

# The order of mdoc(7); TABLES is our own.
ORDER = [
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "OPTIONS",
    "COMMANDS",
    "TABLES",
    "ENVIRONMENT",
    "FILES",
    "EXIT STATUS",
    "EXAMPLES",
    "SEE ALSO",
    "CAVEATS",
    "SECURITY CONSIDERATIONS",
]


def sections(page: Path) -> dict[str, str]:
    """The sections of a page by name."""
    parts = re.split(r"(?m)^\.Sh (.*)\n", page.read_text())
    return dict(zip(parts[1::2], parts[2::2]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
class TestEachPage:
    def test_is_of_linux(self, page: Path) -> None:
        lines = page.read_text().splitlines()
        assert lines[2] == ".Os Linux"
        assert lines[1].split() == [".Dt", page.stem.upper(), page.suffix[1:]]

    def test_says_which_rights_and_which_status(self, page: Path) -> None:
        found = sections(page)
        for name in ("EXIT STATUS", "EXAMPLES", "SEE ALSO", "SECURITY CONSIDERATIONS"):
            assert found.get(name, "").strip(), name

    def test_sections_in_order(self, page: Path) -> None:
        names = [name for name in sections(page) if name in ORDER]
        assert names == sorted(names, key=ORDER.index)

    def test_refers_to_pages_that_exist(self, page: Path) -> None:
        for name, section in re.findall(r"(?m)^\.Xr (pybpftool\S*) (\d)", page.read_text()):
            assert (MAN / f"{name}.{section}").is_file()

    def test_is_clean(self, page: Path) -> None:
        if shutil.which("mandoc") is None:
            pytest.skip("there is no mandoc")
        done = subprocess.run(
            ["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, check=False
        )
        assert done.stdout == b""


def test_each_word_has_its_page() -> None:
    words = {*OBJECTS} - {"help", "version"}
    assert {page.stem.partition("-")[2] for page in PAGES if page.suffix == ".8"} - {""} == words


def test_the_main_page_names_all() -> None:
    named = re.findall(r"(?m)^\.Xr (pybpftool-\S+) (\d)", sections(MAIN)["SEE ALSO"])
    others = sorted([page for page in PAGES if page != MAIN], key=lambda page: page.suffix)
    assert [f"{name}.{section}" for name, section in named] == [page.name for page in others]
    text = sections(MAIN)["DESCRIPTION"]
    for word in OBJECTS:
        if word not in ("help", "batch", "version"):
            assert f"pybpftool-{word} 8" in text, word
