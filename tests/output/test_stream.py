"""Standard output: blocks, terminals, pipes that break, disks that fill up."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from pathlib import Path

import pytest

from pybpftool.errors import BpfError
from pybpftool.output.stream import ClosedPipe as Closed
from pybpftool.output.stream import Output

_F_GETPIPE_SZ = 1032  # the module fcntl has it since Python 3.10


@pytest.fixture
def pipe() -> object:
    read, write = os.pipe()
    fcntl.fcntl(read, fcntl.F_SETFL, os.O_NONBLOCK)
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            pass


def got(read: int) -> bytes:
    """What has arrived so far."""
    try:
        return os.read(read, 1 << 20)
    except BlockingIOError:
        return b""


class TestBlocks:
    def test_nothing_is_written_before_a_block_is_full(self, pipe: tuple[int, int]) -> None:
        out = Output(pipe[1])
        assert not out.is_terminal
        out.write("x" * 100)
        assert got(pipe[0]) == b""
        out.flush()
        assert got(pipe[0]) == b"x" * 100
        out.flush()
        assert got(pipe[0]) == b""

    def test_the_first_block_is_small_and_the_next_ones_grow(self, pipe: tuple[int, int]) -> None:
        out = Output(pipe[1])
        sizes = []
        for _ in range(4000):
            out.write("0123456789")
            if arrived := got(pipe[0]):
                sizes.append(len(arrived))
        assert sizes[0] <= 1024
        assert len(sizes) >= 4
        assert all(late > early for early, late in zip(sizes, sizes[1:]))

    def test_everything_arrives_once_and_in_order(self, pipe: tuple[int, int]) -> None:
        received = bytearray()

        def drain() -> None:
            fcntl.fcntl(pipe[0], fcntl.F_SETFL, 0)
            while block := os.read(pipe[0], 1 << 16):
                received.extend(block)

        reader = threading.Thread(target=drain)
        reader.start()
        out = Output(pipe[1])
        for number in range(200_000):
            out.write("%d\n" % number)
        out.flush()
        os.close(pipe[1])
        reader.join()
        assert bytes(received) == b"".join(b"%d\n" % number for number in range(200_000))

    def test_discard(self, pipe: tuple[int, int]) -> None:
        out = Output(pipe[1])
        out.write("lost")
        out.discard()
        out.write("kept")
        out.flush()
        assert got(pipe[0]) == b"kept"


class TestCharacters:
    def test_bytes_of_the_kernel_come_back_as_they_were(self, pipe: tuple[int, int]) -> None:
        out = Output(pipe[1])
        raw = bytes(range(256))
        out.write(raw.decode("utf-8", "surrogateescape"))
        out.flush()
        assert got(pipe[0]) == raw

    def test_json_escapes_them(self, pipe: tuple[int, int]) -> None:
        out = Output(pipe[1])
        out.write("a")
        out.set_errors("backslashreplace")
        assert got(pipe[0]) == b"a"
        out.write('"\udcff\u00e4"')
        out.flush()
        assert got(pipe[0]) == b'"\\udcff\xc3\xa4"'


class TestTerminal:
    @pytest.fixture
    def terminal(self) -> object:
        leader, follower = os.openpty()
        yield leader, follower
        os.close(leader)
        os.close(follower)

    def test_every_write_is_shown_at_once(self, terminal: tuple[int, int]) -> None:
        out = Output(terminal[1])
        assert out.is_terminal
        out.write("now")
        assert os.read(terminal[0], 100) == b"now"
        for _ in range(50):
            out.write("x")
            assert os.read(terminal[0], 100) == b"x"

    def test_escape_sequences_are_shown_not_obeyed(self, terminal: tuple[int, int]) -> None:
        out = Output(terminal[1])
        out.write("a\x1b]0;title\x07\x9b31m\x7f\x00\rb\tc\n\u00e4")
        shown = os.read(terminal[0], 200)
        assert shown == b"a\\x1b]0;title\\x07\\x9b31m\\x7f\\x00\\x0db\tc\r\n\xc3\xa4"

    def test_a_pipe_gets_them_unchanged(self, pipe: tuple[int, int]) -> None:
        out = Output(pipe[1])
        out.write("\x1b[1m")
        out.flush()
        assert got(pipe[0]) == b"\x1b[1m"

    def test_raw_bytes_that_a_terminal_takes_for_controls(self, terminal: tuple[int, int]) -> None:
        """Byte 0x9b alone is CSI on a terminal that is not in UTF-8 mode."""
        out = Output(terminal[1])
        out.write("\udc9b31m")
        assert b"\x9b" not in os.read(terminal[0], 100)


class TestBroken:
    def test_closed_pipe(self, pipe: tuple[int, int]) -> None:
        os.close(pipe[0])
        out = Output(pipe[1])
        out.write("x")
        with pytest.raises(Closed):
            out.flush()
        with pytest.raises(Closed):
            out.write("x" * 1000)

    def test_full_disk(self) -> None:
        with open("/dev/full", "wb") as full:
            out = Output(full.fileno())
            out.write("x")
            with pytest.raises(BpfError, match="cannot write the output: No space left"):
                out.flush()

    def test_nothing_follows_a_lost_block(self, pipe: tuple[int, int]) -> None:
        with open("/dev/full", "wb") as full:
            out = Output(full.fileno())
            out.write("x")
            with pytest.raises(BpfError, match="No space left"):
                out.flush()
            os.dup2(pipe[1], full.fileno())  # there is space again
            out.write("y")
            with pytest.raises(BpfError, match="No space left"):
                out.flush()
        assert out.failure == "cannot write the output: No space left on device"

    def test_a_descriptor_that_is_not_open(self, pipe: tuple[int, int]) -> None:
        out = Output(pipe[1])
        os.close(pipe[1])
        with pytest.raises(BpfError, match="cannot write the output: Bad file descriptor"):
            out.write("x" * 1000)

    def test_nonblocking(self, pipe: tuple[int, int]) -> None:
        fcntl.fcntl(pipe[1], fcntl.F_SETFL, os.O_NONBLOCK)
        received = bytearray()

        def drain() -> None:
            fcntl.fcntl(pipe[0], fcntl.F_SETFL, 0)
            while block := os.read(pipe[0], 5000):
                received.extend(block)

        timer = threading.Timer(0.2, drain)  # by then the pipe is full
        timer.start()
        out = Output(pipe[1])
        out.write("y" * 500_000)
        out.flush()
        os.close(pipe[1])
        timer.join()
        assert bytes(received) == b"y" * 500_000


def test_much_output_widens_the_pipe() -> None:
    reader, writer = os.pipe()
    text = "x" * (1 << 20)
    got = bytearray()

    def read() -> None:
        while block := os.read(reader, 1 << 16):
            got.extend(block)

    thread = threading.Thread(target=read)
    thread.start()
    before = fcntl.fcntl(writer, _F_GETPIPE_SZ)
    out = Output(writer)
    out.write("few")
    out.flush()
    assert fcntl.fcntl(writer, _F_GETPIPE_SZ) == before
    out.write(text)
    out.flush()
    limit = int(Path("/proc/sys/fs/pipe-max-size").read_text())
    # Who has many pipes, and is not root, gets no more.
    if limit >= 1 << 20 and os.geteuid() == 0:
        assert fcntl.fcntl(writer, _F_GETPIPE_SZ) == 1 << 20
    os.close(writer)
    thread.join()
    os.close(reader)
    assert got == b"few" + text.encode()


def test_much_output_to_what_is_no_pipe(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        out = Output(file.fileno())
        out.write("y" * (1 << 19))
        out.flush()
    assert path.stat().st_size == 1 << 19


class TestEscape:
    HOSTILE = "a\x1b[31mb\x9bc\udc9bd\te\n"

    def test_in_pipes(self, pipe: tuple[int, int]) -> None:
        out = Output(pipe[1])
        out.write(self.HOSTILE)
        out.flush()
        assert got(pipe[0]) == self.HOSTILE.encode("utf-8", "surrogateescape")
        out.escape()
        out.write(self.HOSTILE)
        out.flush()
        assert got(pipe[0]) == b"a\\x1b[31mb\\x9bc\\x9bd\te\n"

    def test_what_another_process_wrote(self, pipe: tuple[int, int]) -> None:
        encoded = self.HOSTILE.encode("utf-8", "surrogateescape")
        out = Output(pipe[1])
        out.write("first ")
        out.write_encoded(memoryview(encoded))
        assert got(pipe[0]) == b"first " + encoded
        out.escape()
        out.write_encoded(memoryview(encoded))
        out.flush()
        assert got(pipe[0]) == b"a\\x1b[31mb\\x9bc\\x9bd\te\n"

    def test_json_stays_json(self, pipe: tuple[int, int]) -> None:
        out = Output(pipe[1], "backslashreplace")
        out.escape()
        out.write('["a\x9bb\x7f\udc9b"]\n')
        out.flush()
        text = got(pipe[0])
        assert text == b'["a\\u009bb\\u007f\\udc9b"]\n'
        assert json.loads(text) == ["a\x9bb\x7f\udc9b"]
