"""``--table`` and the options beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pybpftool.cli.table import cell
from pybpftool.errors import KernelError
from pybpftool.inspect import columns
from pybpftool.kernel.interface import BpfObject
from pybpftool.objects.link import Link, LinkReader
from tests.support.cli import assert_one_sentence, run
from tests.support.hosts import host
from tests.support.terminal import on_terminal

SNAPSHOT = str(Path(__file__).parents[2] / "fixtures" / "host" / "snapshot.zip")

pytestmark = pytest.mark.usefixtures("utc")


def recorded(*words: str) -> str:
    result = run("--snapshot", SNAPSHOT, *words)
    assert (result.status, result.errors) == (0, "")
    return result.text


def test_programs() -> None:
    lines = recorded("prog", "--table").splitlines()
    assert lines[0].split() == ["id", "type", "name", "attached", "memlock", "age", "owner"]
    assert lines[2] == (
        "166795  xdp         cali_entry   xdp dev lo generic                            4.0K   5s"
        "  comm:felix"
    )
    assert len(lines) == 4


def test_columns_sort_and_filter() -> None:
    text = recorded("prog", "--columns", "id,name,verified_insns", "--sort", "-verified_insns",
                    "--filter", "name=cali_*")  # fmt: skip
    assert [line.split() for line in text.splitlines()[2:]] == [
        ["166795", "cali_entry", "31"],
        ["166796", "cali_egress", "12"],
    ]
    assert recorded("prog", "list", "--table", "--filter", "name=x").count("\n") == 2
    only = recorded("prog", "show", "name", "cali_entry", "--columns", "id,memlock")
    assert only.splitlines()[2:] == ["166795     4.0K"]
    full = recorded("map", "--table", "--full").splitlines()[0].split()
    assert "value_type" in full and full.count("owner") == 1


@pytest.mark.parametrize(
    ("words", "headers", "row"),
    [
        ("map", "id type name key value", "flows 8B 48B 64 8.6K cali_entry comm:felix"),
        ("link", "id type prog attached owner", ""),
        ("btf", "id name size prog_ids", "vmlinux 5.3M - - -"),
        ("net", "section netns devname", "xdp - lo - generic - 166795 -"),
        ("cgroup tree", "cgroup id attach_type", "/sys/fs/cgroup/web 166796 cgroup_inet_egress"),
        ("perf show", "pid fd prog_id", ""),
        ("iter list", "id target_name", ""),
        ("struct_ops", "id name kernel_struct_ops", ""),
    ],
)
def test_every_listing(words: str, headers: str, row: str) -> None:
    text = " ".join(recorded(*words.split(), "--table").split())
    assert text.startswith(headers)
    assert row in text


@pytest.mark.parametrize("word", ["prog", "map"])
def test_values_are_those_of_json(word: str) -> None:
    full = json.loads(recorded("-j", word, "show", "--full", "-f"))
    rows = json.loads(recorded("-j", word, "show", "--columns", "all", "-f"))
    for row, known in zip(rows, full):
        assert {key: row[key] for key in known} == known
    lines = [json.loads(line) for line in recorded(word, "--json-lines", "-f").splitlines()]
    assert [line["id"] for line in lines] == [row["id"] for row in rows]
    assert all(line.items() <= row.items() for line, row in zip(lines, rows))
    assert ("age" in rows[0]) == (word == "prog")


def test_names_are_escaped() -> None:
    kernel = host()
    info = bytearray(kernel.all["prog"][3].info)
    at = info.index(b"twin")
    info[at : at + 8] = b"a\x1b[1m\n\xff\0"
    kernel.all["prog"][3].info = bytes(info)
    result = run("prog", "--columns", "id,name", "--color", "always", kernel=host())
    assert result.out.startswith(b"\x1b[1m")
    result = run("prog", "--columns", "id,name", kernel=kernel)
    assert r"a\x1b[1m\x0a\xff" in result.text
    assert b"\x1b" not in result.out
    line = run("prog", "--json-lines", "--columns", "name", kernel=kernel).out.splitlines()[-1]
    assert json.loads(line) == {"name": "a\x1b[1m\n\udcff"}


def test_what_is_hidden_is_named_once() -> None:
    kernel = host()
    for obj in kernel.all["prog"].values():
        info = bytearray(obj.info)
        info[16:24] = bytes(8)  # jited_prog_len, xlated_prog_len
        obj.info = bytes(info)
    result = run("prog", "--columns", "id,xlated", kernel=kernel)
    assert result.status == 0
    assert [line.split() for line in result.text.splitlines()[2:]][1] == ["2", "?"]
    assert result.errors.count("'bytes_xlated' is hidden (?): this needs the capability") == 1
    assert "bytes_xlated" not in run("-j", "prog", "--columns", "xlated", kernel=kernel).text


def test_what_is_refused_is_said_and_the_rest_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: LinkReader, obj: BpfObject) -> Link:
        raise KernelError(f"link {obj.id} is shy", 1)

    monkeypatch.setattr(LinkReader, "read", refuse)
    result = run("link", "--columns", "id", kernel=host())
    assert result.status == 255
    assert result.text.splitlines() == ["id", "--"]
    assert result.errors == "Error: link 20 is shy\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["prog", "--columns", "ide"], "there is no column 'ide'; did you mean 'id'?"),
        (["btf", "--filter", "nmae=x"], "did you mean 'name'?"),
        (["map", "--sort", "memlok"], "did you mean"),
        (["prog", "dump", "xlated", "id", "2", "--table"], "belong to 'show', not to 'dump'"),
        (["map", "dump", "id", "7", "--filter", "id=1"], "belong to 'show'"),
        (["gen", "--table"], "option '--table' belongs to 'prog', 'map', 'link' and others"),
        (["o", "--table"], "option '--table' belongs to 'prog'"),  # obj, not owners
        (["--table", ""], "option '--table' belongs to 'prog'"),
        (["--columns", "help"], "option '--columns' belongs to 'prog'"),
        (["prog", "--color", "allways"], "did you mean 'always'?"),
        (["prog", "--table", "id", "99"], "unknown command"),
        (["prog", "show", "--table", "id", "99"], "no prog with id 99"),
        (["prog", "show", "--table", "id", "2", "x"], "unexpected argument 'x'"),
    ],
)
def test_refusals(words: list[str], sentence: str) -> None:
    kernel = host()
    assert_one_sentence(run(*words, kernel=kernel), sentence)


def test_lines_and_documents_exclude_one_another() -> None:
    result = run("-j", "prog", "--json-lines", kernel=host())
    assert result.status == 255
    assert result.json == {"error": "--json-lines goes without -j and -p"}


def test_help_is_help() -> None:
    assert run("prog", "help", "--table").errors.startswith("Usage:")


def test_a_terminal() -> None:
    text = on_terminal("--snapshot", SNAPSHOT, "prog", "--table", COLUMNS="60")
    assert text.lstrip().startswith("\x1b[1mid\x1b[0m")
    assert "…" in text
    assert "--  " not in text  # bold headers need no rule
    plain = on_terminal("--snapshot", SNAPSHOT, "prog", "--table", NO_COLOR="1", COLUMNS="60")
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 60
    assert "\x1b" not in on_terminal("--snapshot", SNAPSHOT, "prog", "--table", TERM="dumb")
    assert "\x1b" not in on_terminal("--snapshot", SNAPSHOT, "prog", "--table", "--color", "never")
    assert "…" not in on_terminal("--snapshot", SNAPSHOT, "prog", "--table", COLUMNS="200")


def test_a_cell_has_few_values_of_a_list() -> None:
    assert cell(columns.TEXT, tuple("abcdefgh")) == "a, b, c, d, e, f, g, h"
    assert cell(columns.TEXT, [*"abcdefghi", "\x1b"]) == "a, b, c, d, e, f, g, h, 2 more"
