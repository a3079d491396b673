"""Maps in the memory of processes, of which no descriptor tells."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pybpftool.kernel import mapped_maps
from pybpftool.kernel.live import LiveKernel
from tests.support.children import told_child
from tests.support.mapped import MAPPED

pytestmark = pytest.mark.live


@pytest.fixture
def mapped() -> Iterator[tuple[int, list[int]]]:
    """A process, and the ids of the maps that it has in its memory alone."""
    with told_child(MAPPED) as (pid, words):
        yield pid, [int(word) for word in words]


def comm(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().rstrip("\n")


def test_by_an_iterator(mapped: tuple[int, list[int]]) -> None:
    pid, ids = mapped
    found = mapped_maps._by_iterator()
    if found is None:
        pytest.skip("this kernel has no task_vma iterator for us")
    assert [row for row in found if row[1] == pid] == [(id, pid, comm(pid)) for id in sorted(ids)]
    assert mapped_maps.find_mapped() and os.getpid() not in [row[1] for row in found]


def test_by_proc(mapped: tuple[int, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    pid, _ = mapped
    monkeypatch.setattr(mapped_maps, "can_iterate", lambda: False)
    found = mapped_maps.find_mapped()
    assert [row for row in found if row[1] == pid] == [(0, pid, comm(pid))]


def test_no_iterator_is_loaded_against_the_users_will(mapped: tuple[int, list[int]]) -> None:
    pid, _ = mapped
    kernel = LiveKernel()
    kernel.uses_iterators = False
    found = [row for row in kernel.mapped_maps() if row[1] == pid]
    assert found == [(0, pid, comm(pid))]
