"""Recording recorded kernels: every command answers from the copy as from the original."""

from __future__ import annotations

from collections.abc import Iterator
from errno import EINVAL, ENOENT
from pathlib import Path

import pytest

from pybpftool.errors import KernelError, VanishedError
from pybpftool.inspect.recorder import record
from pybpftool.kernel.interface import Batch, BpfObject
from pybpftool.kernel.recording import RecordingKernel
from pybpftool.kernel.snapshot import SnapshotKernel
from pybpftool.uapi.bpf import MAP_TYPES
from tests.support.cli import run
from tests.support.fakekernel import FakeKernel
from tests.support.readcommands import FORMS, read_commands

pytestmark = pytest.mark.usefixtures("utc")

FIXTURES = Path(__file__).parents[2] / "fixtures"
RECORDED = sorted(FIXTURES.glob("*/**/*.zip"))


@pytest.mark.parametrize("original", RECORDED, ids=lambda path: str(path.relative_to(FIXTURES)))
def test_every_command_that_reads(original: Path, tmp_path: Path) -> None:
    kernel = SnapshotKernel.load(str(original))
    copy = tmp_path / "copy.zip"
    recording = RecordingKernel(kernel)
    record(recording)
    copy.write_bytes(recording.archive())
    count = 0
    for words in read_commands(kernel, every=20):
        for form in FORMS if words[1] == "show" else FORMS[:2]:
            first = run("--snapshot", str(original), *form, *words)
            again = run("--snapshot", str(copy), *form, *words)
            assert again.status == first.status, (form, words, again.err)
            if not first.status:
                assert again.out == first.out, (form, words)
                count += 1
    assert count > 10
    second = tmp_path / "second.zip"
    assert run("--snapshot", str(copy), "snapshot", "save", str(second)).status == 0
    assert second.read_bytes() == copy.read_bytes()


def test_a_kernel_without_btf_objects_and_links(tmp_path: Path) -> None:
    """What an old kernel refuses to list is refused by its recording, too."""

    class Old(FakeKernel):
        def objects(self, kind: str) -> object:  # type: ignore[override]
            if kind in ("link", "btf"):
                raise KernelError(f"cannot list {kind}s: too old", EINVAL)
            return super().objects(kind)

    kernel = Old()
    kernel.prog(1)
    recording = RecordingKernel(kernel)
    record(recording)
    (tmp_path / "old.zip").write_bytes(recording.archive())
    replayed = SnapshotKernel.load(str(tmp_path / "old.zip"))
    assert [obj.id for obj in replayed.objects("prog")] == [1]
    for kind in ("link", "btf"):
        with pytest.raises(KernelError, match="too old"):
            list(replayed.objects(kind))


def test_objects_that_come_or_go_meanwhile_are_left_out(tmp_path: Path) -> None:
    """Half of their answers would end whole listings of the replay."""

    class Busy(FakeKernel):
        def elements(self, map: BpfObject) -> Iterator[Batch]:
            if map.id == 2:
                raise VanishedError("there is no map with id 2", ENOENT)
            return super().elements(map)

        def cgroup_root(self) -> str | None:
            self.prog(4)
            recording.close(recording.open("prog", 4))
            return None

    kernel = Busy()
    kernel.prog(1)
    for id in (2, 3):
        kernel.map(id, type=MAP_TYPES.index("array"))
    recording = RecordingKernel(kernel)
    record(recording)
    saved = tmp_path / "busy.zip"
    saved.write_bytes(recording.archive())
    replayed = SnapshotKernel.load(str(saved))
    assert [obj.id for obj in replayed.objects("prog")] == [1]
    assert [obj.id for obj in replayed.objects("map")] == [3]
    assert run("--snapshot", str(saved), "prog", "show").status == 0
