"""TOML with lines, held against the standard library's reader where there is one."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpftool.errors import FormatError
from pybpftool.inspect.toml import Table, parse

DOCUMENTS = [
    "",
    "# only a comment",
    "a = 1\n",
    "a = -1\nb = +0\nc = 0x1F\nd = 0o17\ne = 0b101\nf = 1_000\n",
    "a = 1.5\nb = -0.25e-3\nc = 6e3\nd = inf\ne = -inf\n",
    'a = "x\\n\\t\\"\\\\\\u00e4\\U0001F600"\nb = \'c:\\n\'\n',
    'a = """\nfirst\nsecond \\\n   third"""\nb = \'\'\'\nx\'y\'\'\'\n',
    'a = """one""two"""""\nb = \'\'\'x\'\'\'\'\'\n',
    "a = [1, 2,\n  3, # three\n]\nb = []\nc = [[1], ['x']]\n",
    "a = { b = 1, c = { d = 'x' }, e.f = 2 }\n",
    "[a]\nb = 1\n[a.c]\nd = 2\n[e.f.g]\nh = 3\n[e]\ni = 4\n",
    "[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3\n[[a.e]]\nf = 4\n",
    "a.b.c = 1\na.b.d = 2\n\"quoted key\" = 3\n'q' = 4\n",
    "true = true\nfalse = false\n",
    "a = true#c\n\n\n  b = false  # d\n",
    "[ a . 'b' ]\nc = 1\n",
    "- = 1\n1 = 2\n1.2 = 3\n",
    "a = 1979-05-27\n", "a = 07:32:00\n",
    # refused
    "a", "a =", "a = ", "= 1", "a = 1 b = 2", "a = 1\na = 2", "[a", "[a]\n[a]", "[[a]]\n[a]",
    "[a]\n[[a]]", "a = 01", "a = 1__0", "a = _1", "a = 1_", "a = .5", "a = 5.", "a = 0x",
    "a = 'x\n'", 'a = "x\n"', 'a = "\\q"', 'a = "\\ud800"', "a = [1", "a = {b = 1", "a = {b = 1,}",
    "a = {b = 1\n}", "a = {b = 1}\na.c = 2", "a = {b = 1}\n[a.c]", "a = [{b = 1}]\n[[a]]",
    "a.b = 1\n[a]", "[a]\nb = 1\n[a.b]", "a = 1\n[a]", "a = 1\na.b = 2", "a = \"\x01\"", "# \x01",
    "a = tru", "a = text", "a = '''x", 'a = """x', "a = -0x1", "a = 1e", "a = 1e1.5", "[]", "[[]]",
    "a = {b = {c = 1}, b.d = 2}", "a.b.c = 1\n[a.b]", "[a.b]\nc = 1\n[a]\nb.d = 2",
]  # fmt: skip


def reference(text: str) -> object:
    """What tomllib reads; None where it refuses, or there is a date."""
    import tomllib  # type: ignore[import-not-found,unused-ignore]

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def ours(text: str) -> object:
    try:
        return parse(text, "p")
    except FormatError as error:
        assert str(error).startswith("p:"), error
        int(str(error).split(":")[1])
        return None


def same(one: object, other: object) -> bool:
    return repr(one) == repr(other)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
@pytest.mark.parametrize("text", DOCUMENTS)
def test_documents(text: str) -> None:
    wanted = reference(text)
    if "1979" in text or "07:32" in text:
        wanted = None
    assert same(ours(text), wanted), wanted


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
@pytest.mark.parametrize("seed", range(40))
def test_mutated(seed: int) -> None:
    """Documents with a few characters changed: the same answer, or both refuse."""
    chance = random.Random(seed)
    for _ in range(60):
        text = chance.choice(DOCUMENTS) + chance.choice(DOCUMENTS)
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(text) + 1)
            text = text[:at] + chance.choice("\"'[]{}=.,#\n \\ae10_-+") + text[at + 1 :]
        wanted = reference(text)
        if wanted is not None and "datetime" in repr(wanted):
            continue
        assert same(ours(text), wanted), text


@given(st.text(max_size=60))
def test_anything_is_read_or_refused_with_a_line(text: str) -> None:
    ours(text)


def test_lines() -> None:
    table = parse("a = 1\n\n[b]\nc = 2\nd = { e = 3 }\n[[f]]\n[[f]]\ng.h = 4\n", "p")
    assert table.lines == {"a": 1, "b": 3, "f": 6}
    assert table["b"].lines == {"c": 4, "d": 5}
    assert [inner.line for inner in table["f"]] == [6, 7]
    assert isinstance(table["f"][1]["g"], Table)
    assert table["f"][1]["g"].lines == {"h": 8}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a = 1\nb = text\n", "p:2: 'text' is not a value; text goes in quotes"),
        ("a = 1\n\nb\n", "p:3: expected '=' behind 'b', found the end of the line"),
        ("a = 1\na = 2", "p:2: 'a' is given twice"),
        ("a = [1\n", "p:2: expected ']' at the end of the list, found the end of the file"),
        ("a = 1979-05-27", "p:1: a date or time has no meaning here: '1979-05-27'"),
        ("a = " + "[" * 100, "p:1: values are nested too deeply"),
    ],
)
def test_sentences(text: str, sentence: str) -> None:
    with pytest.raises(FormatError) as refused:
        parse(text, "p")
    assert str(refused.value) == sentence
