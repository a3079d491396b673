"""``prog dump`` on a terminal: colours, a joined view that fits, and neither in pipes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.cli import assert_one_sentence, run
from tests.support.terminal import on_terminal

SNAPSHOT = str(Path(__file__).parents[2] / "fixtures" / "host" / "snapshot.zip")
PROG = ("id", "166795")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[\d*m", "", text).replace("\r\n", "\n")


@pytest.mark.parametrize("form", ["xlated", "jited"])
@pytest.mark.parametrize("more", ["", "linum", "opcodes"])
def test_the_text_is_the_same(form: str, more: str) -> None:
    words = ("prog", "dump", form, *PROG, *more.split())
    text = on_terminal("--snapshot", SNAPSHOT, *words)
    assert "\x1b[32m; int cali_entry(struct xdp_md *ctx)" in text
    assert plain(text) == run("--snapshot", SNAPSHOT, *words).text


@pytest.mark.parametrize("form", ["xlated", "jited", "joined"])
def test_who_does_not_want_colours(form: str) -> None:
    words = ("prog", "dump", form, *PROG)
    assert "\x1b" not in on_terminal("--snapshot", SNAPSHOT, *words, NO_COLOR="1")
    assert "\x1b" not in on_terminal("--snapshot", SNAPSHOT, *words, TERM="dumb")
    assert "\x1b" not in on_terminal("--snapshot", SNAPSHOT, *words, "--color", "never")
    assert "\x1b" not in run("--snapshot", SNAPSHOT, *words).text
    assert "\x1b" not in on_terminal("--snapshot", SNAPSHOT, "-j", *words)


def test_who_wants_them_in_a_pipe() -> None:
    words = ("--snapshot", SNAPSHOT, "prog", "dump", "xlated", *PROG)
    text = run(*words, "--color", "always").text
    assert text != plain(text) == run(*words).text
    assert_one_sentence(run(*words, "--color", "alway"), "did you mean 'always'")
    assert_one_sentence(run(*words, "--sort", "id"), "options of tables belong to 'show'")


@pytest.mark.parametrize("columns", [50, 64, 80, 100, 300])
def test_joined_fits(columns: int) -> None:
    words = ("prog", "dump", "joined", *PROG)
    text = plain(on_terminal("--snapshot", SNAPSHOT, *words, COLUMNS=str(columns)))
    assert max(map(len, text.splitlines())) <= columns
    # Nothing but blanks and the bar came or went.
    whole = run("--snapshot", SNAPSHOT, *words).text
    assert sorted(re.sub(r"[\s|;]", "", text)) == sorted(re.sub(r"[\s|;]", "", whole))
    if columns == 300:
        assert text == whole


def test_a_source_line_once() -> None:
    text = run("--snapshot", SNAPSHOT, "prog", "dump", "joined", *PROG).text
    assert text.count("; if (bpf_map_lookup_elem(&flows, &key))") == 1
    text = run("--snapshot", SNAPSHOT, "prog", "dump", "joined", *PROG, "linum").text
    assert text.count("; if (bpf_map_lookup_elem(&flows, &key))") == 2
