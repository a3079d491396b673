"""Which processes hold an object: the walk over /proc, on ordinary files instead of BPF objects."""

from __future__ import annotations

import contextlib
import ctypes
import os
import posix
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel import holders, syscall
from pybpftool.kernel.holders import find_holders, find_holding
from pybpftool.kernel.syscall import same_files
from pybpftool.kernel.tasks import comm_of

CLONE_FILES = 0x400


def eventfd(count: int) -> int:
    """os.eventfd() is not there before Python 3.10."""
    return int(ctypes.CDLL(None).eventfd(count, 0))


@pytest.fixture
def watched() -> object:
    """A descriptor of ours whose fdinfo has a number: an eventfd."""
    fd = eventfd(0x77)
    yield fd
    os.close(fd)


def find(key: bytes = b"eventfd-count:") -> dict[int, list[tuple[int, str]]]:
    # fdinfo shows the count in hexadecimal; the tests' counts have decimal digits only
    return find_holders(("anon_inode:[eventfd]",), key, same_files)


def test_processes_with_a_descriptor_of_a_name() -> None:
    name = "anon_inode:[eventfd]"
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        eventfd(1)
        os.write(write, b"1")
        signal.pause()  # until it is killed
        os._exit(0)
    try:
        os.read(read, 1)
        real = posix.listdir

        def listdir(path: str = ".") -> list[str]:
            return [str(pid), str(os.getpid())] if path == "/proc" else real(path)

        with mock.patch.object(posix, "listdir", listdir):
            assert find_holding(name, same_files) == [(pid, _comm())]
            assert find_holding("anon_inode:[none]", same_files) == []
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


def ours(found: dict[int, list[tuple[int, str]]], id: int) -> list[tuple[int, str]]:
    return [holder for holder in found.get(id, []) if holder[0] == os.getpid()]


@pytest.fixture(autouse=True)
def only_our_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others' eventfds have any number; look only at this process."""
    real = os.listdir

    def listdir(path: str = ".") -> list[str]:
        names = real(path)
        return (
            [n for n in names if not n.isdigit() or n == str(os.getpid())]
            if path == "/proc"
            else names
        )

    monkeypatch.setattr(posix, "listdir", listdir)


def _comm() -> str:
    return Path("/proc/self/comm").read_text().removesuffix("\n")


def test_a_holder_is_found_once(watched: int) -> None:
    again = os.dup(watched)
    number = int(_count(watched))
    assert ours(find(), number) == [(os.getpid(), _comm())]
    os.close(again)


def _count(fd: int) -> str:
    text = Path(f"/proc/self/fdinfo/{fd}").read_text()
    return text.partition("eventfd-count:")[2].split()[0]


@contextlib.contextmanager
def thread_with_descriptors_of_its_own(number: int) -> Iterator[None]:
    """A thread that has an eventfd with such a number where the others have none."""
    ready, leave = threading.Event(), threading.Event()

    def private() -> None:
        assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_FILES) == 0
        fd = eventfd(number)
        ready.set()
        leave.wait()
        os.close(fd)

    thread = threading.Thread(target=private)
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        leave.set()
        thread.join()


def test_a_thread_with_descriptors_of_its_own() -> None:
    with thread_with_descriptors_of_its_own(0x55):
        assert ours(find(), 55) == [(os.getpid(), _comm())]


def test_threads_that_share_are_not_looked_at_twice(watched: int) -> None:
    leave = threading.Event()
    threads = [threading.Thread(target=leave.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with mock.patch.object(holders, "_ids_in", wraps=holders._ids_in) as looked:
            find()
        assert looked.call_count == 1
    finally:
        leave.set()
        for thread in threads:
            thread.join()


def test_of_an_idle_process_only_threads_are_looked_at(watched: int) -> None:
    name, key = "anon_inode:[eventfd]", b"eventfd-count:"
    with thread_with_descriptors_of_its_own(0x56):
        later = eventfd(0x57)  # the thread has a copy of the table without this one
        try:
            everywhere = find_holders((name,), key, same_files)
            idle = find_holders((name,), key, same_files, idle={os.getpid()})
        finally:
            os.close(later)
    assert (ours(everywhere, 56), ours(everywhere, 57)) == ([(os.getpid(), _comm())],) * 2
    assert (ours(idle, 56), ours(idle, 57)) == ([(os.getpid(), _comm())], [])


@pytest.mark.parametrize(
    ("counts", "directories", "idle", "are_many"),
    [
        ({1: 5, 2: 0, 7: 3, 8: 0}, 24, {2, 8}, False),
        ({1: 0, 2: 0}, 22, set(), False),  # a kernel before 6.2 tells no numbers
        ({1: 5, 2: None, 3: 0}, 23, {3}, False),  # the second ends meanwhile
        ({1: 5, 2: 795}, 22, set(), True),
        ({1: 5}, 139, set(), False),
        ({1: 5}, 140, set(), True),  # of many processes not one is looked at
        ({}, 20, set(), False),
    ],
)
def test_processes_without_descriptors(
    counts: dict[int, int | None],
    directories: int,
    idle: set[int],
    are_many: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stat(path: str) -> mock.Mock:
        if path == "/proc":
            return mock.Mock(st_nlink=directories)
        size = counts[int(path.split("/")[2])]
        if size is None:
            raise FileNotFoundError
        return mock.Mock(st_size=size)

    monkeypatch.setattr(holders, "_limits", lambda: (120, 800))
    monkeypatch.setattr(posix, "listdir", lambda path: [*map(str, counts), "self", "stat"])
    monkeypatch.setattr(posix, "stat", stat)
    monkeypatch.setattr(holders, "_open_files", lambda: 799)
    found: set[int] = set()
    assert holders.are_many(found) == are_many
    assert found == idle
    monkeypatch.setattr(holders, "_open_files", lambda: 800)
    assert holders.are_many(found)


def test_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull):
        assert holders._open_files() > 0
    for answer in (b"", b"strange"):
        monkeypatch.setattr(posix, "read", lambda fd, size, answer=answer: answer)
        assert holders._open_files() == 0
    monkeypatch.setattr(posix, "open", mock.Mock(side_effect=OSError))
    assert holders._open_files() == 0


@pytest.mark.parametrize(
    ("release", "limits"),
    [
        ("6.15.99-amd64", holders._IF_COPIED),
        ("6.16.0", holders._IF_MAPPED),
        ("6.16-rc1", holders._IF_COPIED),
        ("7.0-1", holders._IF_COPIED),
        ("7.0.1", holders._IF_MAPPED),
        ("10.2.1", holders._IF_MAPPED),
        ("5.10.0", holders._IF_COPIED),
        ("strange", holders._IF_COPIED),
    ],
)
def test_an_iterator_pays_sooner_where_types_are_mapped(
    release: str, limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posix, "uname", lambda: mock.Mock(release=release))
    assert holders._limits() == limits


def test_a_kernel_that_does_not_tell_its_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "uname", mock.Mock(side_effect=OSError))
    assert holders._limits() == holders._IF_COPIED


def test_a_key_that_fdinfo_lacks(watched: int) -> None:
    assert find(b"prog_id:") == {}


def test_a_process_that_is_gone() -> None:
    assert holders._ids_in("/proc/nonexistent", ("x",), b"y:", None) == []
    assert comm_of(f"/proc/{1 << 30}") == ""


@pytest.mark.parametrize("function", ["readlink", "open"])
def test_descriptors_that_vanish(
    watched: int, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = os.open

    def gone(path: object, *args: object, **kwargs: object) -> object:
        if function == "open" and kwargs.get("dir_fd") is None:
            return real_open(path, *args, **kwargs)  # type: ignore[arg-type]
        raise FileNotFoundError

    monkeypatch.setattr(posix, function, gone)
    assert find() == {}


@pytest.mark.parametrize("is_listed", [True, False])
def test_who_refuses_one_descriptor_refuses_all(
    watched: int, is_listed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = mock.Mock(side_effect=PermissionError)
    monkeypatch.setattr(posix, "readlink", asked)
    numbers = os.listdir("/proc/self/fd")
    assert len(numbers) > 2
    if is_listed:
        assert holders._linking("/proc/self", numbers, ("x",)) == []
    else:
        assert holders._texts_in("/proc/self", numbers, ("x",), b"y:", None) == []
    assert asked.call_count == 1


def test_fdinfo_that_is_refused(watched: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = os.open

    def refuse(path: str, *args: object, **kwargs: object) -> int:
        if str(path).endswith("/fdinfo"):
            raise PermissionError
        return real_open(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(posix, "open", refuse)
    assert find() == {}


def test_a_folder_that_vanishes_while_it_is_read(
    watched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.listdir

    def listdir(path: str = ".") -> list[str]:
        if str(path).endswith("/fd"):
            raise FileNotFoundError
        return real(path)

    monkeypatch.setattr(posix, "listdir", listdir)
    assert find() == {}


def test_a_process_whose_threads_vanish(watched: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "stat", mock.Mock(side_effect=FileNotFoundError))
    assert ours(find(), int(_count(watched)))


def test_descriptors_that_only_answer_a_question_do_not_count(watched: int) -> None:
    number = int(_count(watched))
    names = ("anon_inode:[eventfd]",)
    again = os.dup(watched)
    try:
        one = find_holders(names, b"eventfd-count:", same_files, None, frozenset({watched}))
        assert ours(one, number) == [(os.getpid(), _comm())]
        both = frozenset({watched, again})
        assert ours(find_holders(names, b"eventfd-count:", same_files, None, both), number) == []
    finally:
        os.close(again)


def test_many_descriptors_are_read_by_two(watched: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "_WORTH_TWO", 1)
    number = int(_count(watched))
    texts: dict[int, bytes] = {}
    names = ("anon_inode:[eventfd]",)
    found = find_holders(names, b"eventfd-count:", same_files, texts)
    assert ours(found, number) == [(os.getpid(), _comm())]
    assert b"eventfd-count:" in texts[number]


def test_a_second_reader_that_fails(watched: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "_WORTH_TWO", 1)
    monkeypatch.setattr("pybpftool.worker.Worker.receive", lambda self: None)
    assert ours(find(), int(_count(watched)))


def test_descriptors_in_a_row_are_known_by_their_texts() -> None:
    row = [eventfd(0x10 + n) for n in range(6)]
    other = os.open("/dev/null", os.O_RDONLY)
    last = eventfd(0x20)
    names, key = ("anon_inode:[eventfd]",), b"eventfd-count:"
    numbers = [str(fd) for fd in (*row, other, last)]
    try:
        with mock.patch.object(posix, "readlink", wraps=os.readlink) as asked:
            held = holders._texts_in("/proc/self", numbers, names, key, b"eventfd-id:")
        assert [id for id, _ in held] == [10, 11, 12, 13, 14, 15, 20]
        assert asked.call_count == holders._IN_A_ROW + 1
    finally:
        for fd in (*row, other, last):
            os.close(fd)


READ_SEARCH, PTRACE, SYS_ADMIN, PERFMON, BPF = (1 << bit for bit in (2, 19, 21, 38, 39))


@pytest.mark.parametrize(
    ("ours", "wanted"),
    [
        (-1, False),  # all of them: /proc tells everything, and costs less
        (0, False),
        (PTRACE | READ_SEARCH | SYS_ADMIN, False),
        (PTRACE | 1 << 1 | SYS_ADMIN, False),
        (BPF, False),
        (PERFMON, False),
        (BPF | PERFMON, True),
        (SYS_ADMIN, True),
        (PTRACE | SYS_ADMIN, True),
        (READ_SEARCH | BPF | PERFMON, True),
    ],
)
def test_an_iterator_is_asked_for_what_proc_hides(
    ours: int, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syscall, "effective_capabilities", lambda: ours)
    monkeypatch.setattr(holders, "can_iterate", lambda: True)
    monkeypatch.setattr(holders, "_limits", lambda: (1 << 22, 1 << 40))
    assert holders.prefers_iterator() == wanted
    monkeypatch.setattr(holders, "_limits", lambda: (0, 0))
    assert holders.prefers_iterator()
    monkeypatch.setattr(holders, "can_iterate", lambda: False)
    assert not holders.prefers_iterator()


def test_capabilities_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise KernelError("refused", 1)

    monkeypatch.setattr(syscall, "effective_capabilities", refused)
    monkeypatch.setattr(holders, "_limits", lambda: (1 << 22, 1 << 40))
    assert not holders.prefers_iterator()
