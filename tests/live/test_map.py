"""``map show`` of so many maps that two processes list them."""

from __future__ import annotations

import contextlib
import posix
from collections.abc import Iterator

import pytest

from pybpftool.worker import Worker
from tests.support import corpus, load
from tests.support.cli import run

pytestmark = pytest.mark.live

MAPS = 40


@pytest.fixture(scope="module")
def ids() -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        yield [load.object_id(fd, "map") for fd in corpus.many_maps(stack, MAPS)]


@pytest.mark.parametrize("option", ["-f", "-j", "-p"])
def test_as_one_process_lists_them(
    option: str, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = run(option, "map", "show")
    monkeypatch.setattr(posix, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr("pybpftool.cli.listing._WORTH_TWO", MAPS)
    by_two = run(option, "map", "show")
    assert (by_two.status, by_two.out) == (0, alone.out)
    if option != "-f":
        assert {row["id"] for row in by_two.json} >= set(ids)


@pytest.mark.parametrize("option", ["-f", "-j"])
def test_a_process_that_fails(option: str, ids: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    alone = run(option, "map", "show")
    monkeypatch.setattr("pybpftool.cli.listing._WORTH_TWO", MAPS)
    monkeypatch.setattr(Worker, "receive", lambda self: None)
    assert run(option, "map", "show").out == alone.out


def test_maps_after_an_id(ids: list[int]) -> None:
    from pybpftool.kernel.live import LiveKernel

    kernel = LiveKernel()
    after = [obj.id for obj in kernel.objects_after("map", ids[4])]
    assert after == [obj.id for obj in kernel.objects("map") if obj.id > ids[4]]
    assert set(ids[5:]) <= set(after)
