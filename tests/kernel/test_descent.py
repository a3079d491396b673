"""Deep trees of directories: no recursion, few descriptors, no path that is too long."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pybpftool.kernel import cgroups, pins
from pybpftool.kernel.descent import Descent
from pybpftool.kernel.live import LiveKernel
from tests.support import load
from tests.support.descriptors import descriptors
from tests.support.nested import nested

DEEP = 1100
LONG = "n" * 200


def touch(level: int, fd: int) -> None:
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))


@pytest.mark.parametrize(("depth", "name"), [(DEEP, "d"), (40, LONG)])
def test_files_of_a_deep_tree(tmp_path: Path, depth: int, name: str) -> None:
    before = len(descriptors())
    most = 0
    with nested(str(tmp_path), depth, name, touch):
        found: list[str] = []
        for path, way in pins.files_below(str(tmp_path)):
            if len(found) % 50 == 0 or depth < DEEP:
                assert os.stat(way, follow_symlinks=False).st_nlink == 1
                most = max(most, len(os.listdir("/proc/self/fd")))
            found.append(path)
        expected = [f"{tmp_path}{f'/{name}' * level}/file" for level in range(1, depth + 1)]
        assert sorted(found) == sorted(expected)
    assert most < before + 15
    assert len(descriptors()) == before


@pytest.mark.parametrize(("depth", "name"), [(DEEP, "d"), (40, LONG)])
def test_cgroups_of_a_deep_tree(
    tmp_path: Path, depth: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def programs(self: object, fd: int, path: str) -> list[tuple[int, int, int]]:
        return [(1, len(os.listdir("/proc/self/fd")), 0)]

    monkeypatch.setattr(cgroups._Query, "programs", programs)
    before = len(descriptors())
    # What stands beside comes behind, when the way up is gone again.
    with nested(str(tmp_path), depth, name, lambda level, fd: os.mkdir(f"x{level}", dir_fd=fd)):
        rows = cgroups.cgroup_tree(str(tmp_path), (0,), 0)
    assert not any(error for *_, error in rows)
    assert len(rows) == 2 * depth + 1
    paths = {path: level for path, level, _, _ in rows}
    for level in range(1, depth + 1):
        above = f"{tmp_path}{f'/{name}' * level}"
        assert paths[above] == level and paths[f"{above}/x{level}"] == level + 1
    seen = set()
    for path, *_ in rows:
        assert os.path.dirname(path) in seen or path == str(tmp_path)
        seen.add(path)
    assert max(programs[0][1] for _, _, programs, _ in rows) < before + 15
    assert len(descriptors()) == before


def test_paths_of_a_deep_tree(tmp_path: Path) -> None:
    with nested(str(tmp_path), DEEP, "d", lambda level, fd: os.mkdir("x", dir_fd=fd)):
        found = cgroups.cgroup_paths(str(tmp_path))
        walked = [str(tmp_path)]
        for level in range(1, DEEP + 1):
            walked += [f"{tmp_path}{'/d' * level}", f"{tmp_path}{'/d' * level}/x"]
        assert sorted(found) == sorted(walked)
        seen = set()
        for path in found:
            assert os.path.dirname(path) in seen or path == str(tmp_path)
            seen.add(path)
    assert cgroups.cgroup_paths("/nonexistent") == cgroups.cgroup_paths("a\0b") == []


def test_directories_that_are_moved_meanwhile(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*"abcdefghijklmnopqrstuvwxyz")
    deep.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for place in (deep, *list(deep.parents)[:26]):
        (place / "file").touch()
    heard: list[OSError] = []
    found = []
    for path, _ in pins.files_below(str(tmp_path), heard.append):
        found.append(path)
        if path == str(deep / "file"):
            os.rename(tmp_path / "a/b/c", tmp_path / "elsewhere/c")
    # What is in a and b may be read or not; the rest is, and nothing twice.
    assert len(set(found)) == len(found)
    assert {error.errno for error in heard} <= {errno.ESTALE}
    assert str(tmp_path / "file") in found


def test_the_way_back_is_gone(tmp_path: Path) -> None:
    path = tmp_path.joinpath(*map(str, range(20)))
    path.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    before = len(descriptors())
    first = os.open(tmp_path, os.O_RDONLY)
    way = Descent(first, str(tmp_path))
    for name in range(20):
        way.enter(str(name), way.open(str(name)))
    assert Path(way.path) == path
    os.rename(tmp_path / "0/1/2/3/4", tmp_path / "elsewhere/4")
    with pytest.raises(OSError, match="moved away"):
        for _ in range(20):
            way.leave()
    assert (Path(way.path), way.fd) == (tmp_path, first)
    way.enter("elsewhere", way.open("elsewhere"))
    way.close()
    os.close(first)
    assert len(descriptors()) == before


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError):
        Descent(fd, str(tmp_path)).open("link")
    os.close(fd)


def test_paths(tmp_path: Path) -> None:
    fd = os.open("/", os.O_RDONLY)
    way = Descent(fd, "/")
    assert (way.path, way.prefix, way.reach("x")) == ("/", "/", "/x")
    os.close(fd)


@pytest.mark.live
def test_a_pin_that_no_path_reaches() -> None:
    with load.mounted_bpffs() as place, load.map_create("array", 4, 4, 1) as array:
        with nested(place, 30, LONG, lambda _, fd: load.obj_pin(array, f"/proc/self/fd/{fd}/pin")):
            found = LiveKernel().pinned("map")[load.object_id(array, "map")]
        assert sorted(map(len, found)) == [
            len(place) + level * (len(LONG) + 1) + 4 for level in range(1, 31)
        ]
