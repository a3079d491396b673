"""Object files turned into the other byte order and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from pybpftool.errors import FormatError
from pybpftool.gen.byteorder import is_foreign, turned
from pybpftool.gen.description import Description
from pybpftool.gen.opening import open_bytes
from tests.support.bpfc import compile_object
from tests.support.objbuild import small_object


def test_as_if_made_so() -> None:
    assert turned(small_object("<")) == small_object(">")
    assert turned(small_object(">")) == small_object("<")
    assert is_foreign(small_object("<")) != is_foreign(small_object(">"))


def test_there_and_back(tmp_path: Path) -> None:
    source = """
    struct pair { int a; long b; } __attribute__((preserve_access_index));
    int seen = 1;
    SEC("tc") int f(struct pair *p) { seen += 1000; return p->b; }
    """
    data = Path(compile_object(tmp_path, source)).read_bytes()
    other = turned(data)
    assert turned(other) == data
    mine, theirs = (Description("", open_bytes(one, "t")) for one in (data, other))
    assert mine.json() == theirs.json()
    assert mine.relocations_json() == theirs.relocations_json()
    assert mine.core


def test_broken() -> None:
    whole = small_object()
    for at in range(len(whole)):
        try:
            turned(whole[:at] + b"\xff" + whole[at + 1 :])
        except FormatError:
            pass
    with pytest.raises(FormatError):
        turned(whole[:100])
