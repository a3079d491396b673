"""Reading what a user named: descriptors that do not block, bounds, files that end early."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pybpftool.reading import Stream, read_all, read_some
from tests.support.cli import run


def test_a_file_is_read_as_a_whole(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    path = tmp_path / "f"
    path.write_bytes(data)
    for most, expected in ((None, data), (1 << 21, data[: 1 << 21]), (0, b""), (1 << 30, data)):
        fd = os.open(path, os.O_RDONLY)
        try:
            assert read_all(fd, most) == expected
        finally:
            os.close(fd)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            read_all(folder)
    finally:
        os.close(folder)


def test_a_stream_is_closed_with_the_last_reference(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "f").write_bytes(b"abcd")
    before = os.listdir("/proc/self/fd")
    read = Stream(f"{tmp_path}/f").read
    assert [read(3), read(3), read(3)] == [b"abc", b"d", b""]
    del read
    assert os.listdir("/proc/self/fd") == before
    assert not recwarn.list
    with pytest.raises(FileNotFoundError):
        Stream(f"{tmp_path}/none")


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    hear, tell = os.pipe()
    os.set_blocking(hear, False)

    def write() -> None:
        for piece in (b"a" * 10, b"b" * (1 << 17)):
            os.write(tell, piece)
        os.close(tell)

    later = threading.Timer(0.05, write)
    later.start()
    try:
        assert read_some(hear, 4) == b"aaaa"
        assert read_all(hear) == b"a" * 6 + b"b" * (1 << 17)
    finally:
        later.join()
        os.close(hear)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["check", "/dev/zero"], "more than 16 MiB"),
        (["batch", "file", "/dev/zero"], "more than 1 MiB"),
        (["cbpf", "dis", "/dev/zero"], "too large"),
        (["obj", "show", "/dev/zero"], "not a regular file"),
    ],
)  # fmt: skip
def test_what_has_no_end_is_refused(words: list[str], told: str) -> None:
    done = run(*words)
    assert done.status and told in done.errors
