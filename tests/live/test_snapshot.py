"""A recording of this machine answers every command that reads as the machine did."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel.interface import Kernel
from pybpftool.kernel.live import LiveKernel
from pybpftool.kernel.snapshot import SnapshotKernel
from tests.support import attachments, corpus, load
from tests.support.cli import run
from tests.support.readcommands import FORMS, read_commands

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("utc")]


@pytest.fixture(scope="module")
def scene() -> Iterator[None]:
    """Everything of the corpus, loaded and attached."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(load.temp_netns())
        corpus.load_corpus(stack, own_netns=True)
        made = attachments.Scene(stack)
        attachments.add_links(made)
        attachments.add_perf(made)
        attachments.add_cgroups(made)
        yield


@pytest.fixture(scope="module")
def saved(scene: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("snapshot") / "saved.zip")
    result = run("snapshot", "save", path, "elements", "all")
    assert (result.status, result.out, result.err) == (0, b"", b"")
    return path


def all_forms(kernel: Kernel) -> Iterator[tuple[str, ...]]:
    for words in read_commands(kernel, every=15):
        has_variants = words[1] == "show" and words[0] != "cgroup"
        resolves = ((), ("--resolve",)) if words[0] in ("link", "perf", "net") else ((),)
        for form in FORMS if has_variants else FORMS[:2]:
            for resolve in resolves:
                yield (*form, *resolve, *words)


def test_every_command_that_reads(
    scene: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The clock is set a little all the time.
    start = LiveKernel().boot_time_ns()
    monkeypatch.setattr(LiveKernel, "boot_time_ns", lambda self: start)
    path = str(tmp_path / "saved.zip")
    before = {words: run(*words) for words in all_forms(LiveKernel())}
    assert run("snapshot", "save", path).status == 0
    steady = different = 0
    for words, live in before.items():
        replayed = run("--snapshot", path, *words)
        same = replayed.status == live.status and bool(replayed.err) == bool(live.err)
        if same and (live.status or replayed.out == live.out):
            steady += 1
        elif run(*words) == live:  # else others have changed something meanwhile
            different += 1
            print("differs:", *words)
    assert not different
    assert steady > len(before) // 2 > 200


def test_elements(saved: str) -> None:
    """Keys, values and look-ups of all maps that the corpus has."""
    live, replayed = LiveKernel(), SnapshotKernel.load(saved)
    types = set()
    for obj in live.objects("map"):
        recorded = replayed.open("map", obj.id)
        outcomes = []
        for kernel, map in ((live, obj), (replayed, recorded)):
            found: list[object] = []
            try:
                for batch in kernel.elements(map):
                    found.append((batch.keys, batch.values, batch.count, batch.errno))
                    types.add(map.info[:4])
            except KernelError as error:
                found.append(error.errno)
            outcomes.append(found)
        assert outcomes[0] == outcomes[1], obj
    assert len(types) > 5


def test_equal_answers_make_equal_files(saved: str, tmp_path: Path) -> None:
    again = tmp_path / "again.zip"
    result = run("--snapshot", saved, "snapshot", "save", str(again), "elements", "all")
    assert result.status == 0
    assert again.read_bytes() == Path(saved).read_bytes()
