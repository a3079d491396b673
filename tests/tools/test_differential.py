"""The comparison finds what differs, and allows for nothing but what is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools import suites
from tests.tools.differential import Answer, Runner
from tests.tools.suites import OUT, Case, Live, case


def runner(pids: bool = False) -> Runner:
    return Runner(["ours"], "upstream", "/nowhere", 0, pids)


def same(ours: Answer, upstream: Answer, *, pids: bool = False) -> bool:
    return runner(pids).equal(ours, upstream)


def test_bytes_count() -> None:
    assert same(Answer(0, b"1: xdp\n", b""), Answer(0, b"1: xdp\n", b""))
    assert not same(Answer(0, b"1: xdp\n", b""), Answer(0, b"1: xdp \n", b""))
    assert not same(Answer(0, b"", b"", b"file"), Answer(0, b"", b"", b"filE"))


def test_outcome_counts() -> None:
    assert not same(Answer(0, b"a", b""), Answer(255, b"a", b"why"))
    assert not same(Answer(0, b"a", b"warning"), Answer(0, b"a", b""))
    assert same(Answer(1, b"", b"our words"), Answer(255, b"", b"other words"))


def test_a_silent_failure_of_upstream_wants_words_of_ours() -> None:
    assert same(Answer(255, b"", b"why"), Answer(255, b"", b""))
    assert not same(Answer(255, b"", b""), Answer(255, b"", b""))


def test_error_wording_is_free_in_json() -> None:
    ours = Answer(255, b'{"error":"no such \\"thing\\""}\n', b"")
    assert same(ours, Answer(255, b'{"error":"other"}\n', b""))
    assert not same(ours, Answer(255, b'{"errors":"other"}\n', b""))


TEXT = b"7: xdp  name x\n\txlated 16B\n"
PIDS = b"\tpids python(12), a]b(3)\n"
JSON = b'[{"id":7,"pids":[{"pid":12,"comm":"a\\"]"},{"pid":3,"comm":"b"}]}]\n'
PRETTY = b"""[{
        "id": 7,
        "pids": [{
                "pid": 12,
                "comm": "a"
            }
        ]
    }
]
"""


def test_holders_count_only_where_upstream_finds_any() -> None:
    assert same(Answer(0, TEXT + PIDS, b""), Answer(0, TEXT, b""))
    assert not same(Answer(0, TEXT + PIDS, b""), Answer(0, TEXT, b""), pids=True)
    assert not same(Answer(0, TEXT, b""), Answer(0, TEXT + PIDS, b""))
    assert same(Answer(0, JSON, b""), Answer(0, b'[{"id":7}]\n', b""))
    assert not same(Answer(0, JSON, b""), Answer(0, b'[{"id":7}]\n', b""), pids=True)
    assert same(Answer(0, PRETTY, b""), Answer(0, b'[{\n        "id": 7\n    }\n]\n', b""))


def test_a_tool_that_names_itself_is_wrong() -> None:
    assert same(Answer(0, TEXT + PIDS, b"", pid=5), Answer(0, TEXT, b""))
    assert not same(Answer(0, TEXT + PIDS, b"", pid=3), Answer(0, TEXT, b""))
    assert not same(Answer(0, JSON, b"", pid=12), Answer(0, b'[{"id":7}]\n', b""))
    assert not same(Answer(0, PRETTY, b"", pid=12), Answer(0, PRETTY, b""), pids=True)


def test_load_times_may_be_a_second_apart() -> None:
    text = b"1: xdp\n\tloaded_at 2026-11-22T13:00:%02d+0000  uid 0\n"
    assert same(Answer(0, text % 9, b""), Answer(0, text % 10, b""))
    assert not same(Answer(0, text % 9, b""), Answer(0, text % 11, b""))
    assert not same(Answer(0, text % 9 + b"x", b""), Answer(0, text % 10, b""))
    assert same(Answer(0, b'{"loaded_at":59}', b""), Answer(0, b'{"loaded_at":60}', b""))
    assert not same(Answer(0, b'{"loaded_at":5}', b""), Answer(0, b'{"loaded_at":7}', b""))
    assert not same(Answer(0, b'{"loaded_at":5}', b""), Answer(0, b'{"loaded_at": 6}', b""))


def tool(path: Path, body: str) -> str:
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return str(path)


def test_runs_both_and_explains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the second tool writes a file named like its third word
    first = tool(tmp_path / "first", 'echo "$@"; echo one; [ -z "$3" ] || echo x > "$3"\n')
    second = tool(tmp_path / "second", 'echo "$@"; echo two; [ -z "$3" ] || echo y > "$3"\n')
    compared = Runner([first], second, str(tmp_path), 1, False)
    found = compared.compare(case("prog dump"), "-j")
    assert (found.line, found.equal, found.tries) == ("-j prog dump", False, 2)
    text = list(compared.explain(found))
    assert "  -two" in text
    assert "  +one" in text
    again = Runner([first], first, str(tmp_path), 0, False)
    assert again.compare(case("prog show"), "").equal
    # The two files are compared, and their names are not, being in the output of neither.
    files = tool(tmp_path / "files", 'echo "$0" | cksum > "$2"\n')
    other = tool(tmp_path / "other", 'echo same > "$2"; [ "$1" = dump ]\n')
    found = Runner([files], other, str(tmp_path), 0, False).compare(case(["dump", OUT]), "")
    assert not found.equal
    assert found.upstream.file == b"same\n"
    assert not list(tmp_path.glob("out*"))


def test_suites_are_found_and_yield_cases() -> None:
    assert "prog" in suites.names()
    from tests.support.corpus import Corpus

    live = Live(Corpus())
    found = list(suites.get("prog").commands(live)) if not _needs_kernel() else []
    assert all(isinstance(item, Case) for item in found)


def _needs_kernel() -> bool:
    from tests.support import load

    return bool(load.why_no_bpf())


@pytest.mark.live
def test_live_objects_are_described() -> None:
    from tests.support import asm, load
    from tests.support.corpus import Corpus

    with load.prog_load("xdp", asm.ret(2), name="seen") as fd:
        number = load.object_id(fd)
        found = [item for item in Live(Corpus()).objects("prog") if item.id == number]
        assert (found[0].name, found[0].type, found[0].xlated) == ("seen", 6, 16)
        assert found[0].tag == load.prog_tag(fd)
