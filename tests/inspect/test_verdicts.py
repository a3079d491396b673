"""Verdicts of the verifier: tables, CSV, JSON, comparisons."""

from __future__ import annotations

import json

import pytest

from pybpftool.errors import FormatError
from pybpftool.inspect import verdicts
from pybpftool.inspect.verdicts import Verdict

GOOD = Verdict("dir/a.o", "first", "success", 120, 9, 4, (32, 0), 210)
BAD = Verdict("dir/a.o", "wrong", "failure", 7, 0, 0, (), None, "R0 !read_ok")
ODD = Verdict('x,"y".o', "p", "success")


def test_table() -> None:
    assert verdicts.table([GOOD, BAD]) == (
        "FILE  PROGRAM  VERDICT  INSNS  STATES  PEAK  STACK  TIME (us)\n"
        "a.o   first    success    120       9     4   32+0        210\n"
        "a.o   wrong    failure      7       0     0      -          -\n"
        "\n"
        "wrong: R0 !read_ok\n"
    )


def test_a_reason_that_programs_have_in_common_stands_once() -> None:
    some = [BAD._replace(program=f"p{at}", verdict="unknown", reason="no") for at in range(12)]
    rest = verdicts.table([*some[:2], BAD, some[2]]).partition("\n\n")[2]
    assert rest == "p0, p1, p2: no\nwrong: R0 !read_ok\n"
    assert verdicts.table(some).endswith("\n\np0, p1, p2, p3, p4, p5, p6, p7 and 4 more: no\n")


def test_csv_and_back() -> None:
    text = verdicts.csv([GOOD, BAD, ODD])
    assert text.splitlines()[1] == "a.o,first,success,210,120,9,4,32+0"
    back = verdicts.read(text)
    assert [verdict.key for verdict in back] == [v.key for v in (GOOD, BAD, ODD)]
    assert back[0] == GOOD._replace(file="a.o")


def test_json_and_back() -> None:
    assert "reason" not in GOOD.json()
    text = json.dumps([GOOD.json(), BAD.json()])
    back = verdicts.read(text)
    assert [(v.key, v.insns, v.verdict, v.reason) for v in back] == [
        (v.key, v.insns, v.verdict, v.reason) for v in (GOOD, BAD)
    ]


def test_json_with_a_file_that_could_not_be_read() -> None:
    back = verdicts.read(json.dumps([{"error": "no"}, GOOD.json()]))
    assert [verdict.key for verdict in back] == [GOOD.key]


def test_a_csv_of_veristat() -> None:
    text = "file_name,prog_name,verdict,duration,total_insns,total_states\nb.o,q,success,5,6,7\n"
    assert verdicts.read(text) == [Verdict("b.o", "q", "success", 6, 7, None, (), 5)]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "[", "[1]", "[{}]", '[{"file": 1}]',
    '[{"file": "a", "program": "b", "verdict": "c", "insns": "d"}]', "["  * 100_000])  # fmt: skip
def test_what_is_no_base(text: str) -> None:
    with pytest.raises(FormatError):
        verdicts.read(text)


def test_comparison() -> None:
    slower = GOOD._replace(insns=150, states=9)
    new = Verdict("a.o", "new", "success", 1, 0)
    found = verdicts.compare([GOOD, BAD], [slower, new])
    assert [comparison.is_worse for comparison in found] == [False, False, False]
    assert [line.split() for line in verdicts.comparison_table(found).splitlines()] == [
        ["FILE", "PROGRAM", "VERDICT", "INSNS", "OLD", "NEW", "CHANGE", "STATES", "OLD", "NEW",
         "CHANGE"],
        ["a.o", "first", "success", "120", "150", "+30", "(+25.00%)", "9", "9", "+0", "(+0.00%)"],
        ["a.o", "new", "missing", "->", "success", "-", "1", "-", "-", "0", "-"],
        ["a.o", "wrong", "failure", "->", "missing", "7", "-", "-", "0", "-", "-"],
    ]  # fmt: skip
    assert verdicts.compare([GOOD], [])[0].is_worse
    assert verdicts.compare([GOOD], [GOOD._replace(verdict="failure")])[0].is_worse
    assert not verdicts.compare([GOOD], [GOOD._replace(verdict="unknown")])[0].is_worse
    assert not verdicts.compare([GOOD._replace(verdict="unknown")], [BAD])[0].is_worse
    assert found[1].json() == {"old": None, "new": new.json()}
