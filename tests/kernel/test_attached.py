"""Requests about links, tasks, cgroups and networks, against a bpf(2) made by hand."""

from __future__ import annotations

import ctypes
import errno
import os
import posix
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel import cgroups, links, net, perf
from pybpftool.kernel.interface import BpfObject
from pybpftool.uapi import bpf as uapi
from tests.support.descriptors import descriptors


def write(address: int, data: bytes) -> None:
    """Write to memory as the kernel would."""
    ctypes.memmove(address, data, len(data))


def read(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size)


def answering(
    monkeypatch: pytest.MonkeyPatch, module: Any, answer: Callable[[int, int, int], int]
) -> None:
    monkeypatch.setattr(module, "bpf", answer)


def link(type: int, union: bytes = b"", size: int = 64) -> BpfObject:
    info = (struct.pack("=IIIxxxx", type, 5, 6) + union).ljust(size, b"\0")
    return BpfObject("link", 5, 3, info)


class TestLinkDetails:
    def test_kprobe_multi(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def answer(cmd: int, attr: int, size: int) -> int:
            assert cmd == uapi.BPF_OBJ_GET_INFO_BY_FD
            fd, length, info = struct.unpack("=IIQ", read(attr, 16))
            assert fd == 3 and length >= 64
            addresses, count = struct.unpack("=QI", read(info + 16, 12))
            (cookies,) = struct.unpack("=Q", read(info + 40, 8))
            write(addresses, struct.pack("=2Q", 100, 200))
            if cookies:
                write(cookies, struct.pack("=2Q", 1, 2))
            assert count == 2
            write(info, struct.pack("=III", 8, 5, 6))
            write(attr + 4, struct.pack("=I", 64))
            return 0

        answering(monkeypatch, links, answer)
        union = struct.pack("=QI", 0, 2)
        details = links.link_details(link(8, union))
        assert struct.unpack("=2Q", details["addrs"]) == (100, 200)
        assert struct.unpack("=2Q", details["cookies"]) == (1, 2)
        assert len(details["info"]) == 64 and details["info"][:4] == struct.pack("=I", 8)
        # A kernel that does not know cookies is not given room for them.
        old = links.link_details(link(8, union, 40))
        assert struct.unpack("=2Q", old["cookies"]) == (0, 0)

    def test_names_that_are_too_long_are_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def answer(cmd: int, attr: int, size: int) -> int:
            info = struct.unpack("=IIQ", read(attr, 16))[2]
            name, length = struct.unpack("=QI", read(info + 16, 12))
            write(name, b"x" * length)
            return -errno.ENOSPC

        answering(monkeypatch, links, answer)
        assert links.link_details(link(1))["name"] == b"x" * 4096

    def test_refusal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answering(monkeypatch, links, lambda *_: -errno.EACCES)
        with pytest.raises(KernelError, match="details of link 5"):
            links.link_details(link(1))

    def test_types_without_details(self) -> None:
        for obj in (link(3), link(7), link(99)):
            assert links.link_details(obj) == {"info": obj.info}


class TestCgroupQuery:
    """`_Query._of_type` on kernels that know no flags of programs, or got more of them."""

    @pytest.fixture
    def query(self) -> cgroups._Query:
        return cgroups._Query((0, 1), 0)

    def test_kernels_without_flags_of_programs(
        self, query: cgroups._Query, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def answer(cmd: int, attr: int, size: int) -> int:
            fields = struct.unpack("=IIIIQIxxxxQ", read(attr, 40))
            if fields[6]:
                return -errno.EINVAL
            write(fields[4], struct.pack("=2I", 70, 71))
            write(attr + 12, struct.pack("=I", 2))
            write(attr + 24, struct.pack("=I", 2))
            return 0

        answering(monkeypatch, cgroups, answer)
        assert query._of_type(9, "/x", 1, 2) == [(1, 70, 2), (1, 71, 2)]

    @pytest.mark.parametrize("tells_flags", [True, False])
    def test_all_types_of_one_cgroup(
        self, tells_flags: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = []

        def answer(cmd: int, attr: int, size: int) -> int:
            _, type, _, _, ids, room, flags = struct.unpack("=IIIIQIxxxxQ", read(attr, 40))
            calls.append(type)
            if type == 2 or (flags and not tells_flags):
                return -errno.EINVAL
            write(attr + 12, struct.pack("=I", 2))
            write(attr + 24, struct.pack("=I", 2 * type))
            if type and ids and room:
                write(ids, struct.pack("=2I", 70, 71))
                if flags:
                    write(flags, struct.pack("=2I", 2, 66))
            return 0

        answering(monkeypatch, cgroups, answer)
        monkeypatch.setattr(
            cgroups, "repeated_call",
            lambda cmd, attr, size: (lambda at: min(answer(cmd, at, size), 0), (attr,)),
        )  # fmt: skip
        query = cgroups._Query((0, 1, 2), 0)
        last = 66 if tells_flags else 2
        for _ in range(2):
            assert query.programs(9, "/x") == [(1, 70, 2), (1, 71, last)]
        calls.clear()
        assert query.programs(9, "/x") == [(1, 70, 2), (1, 71, last)]
        # Where programs come without their flags, who they are is a question of its own.
        assert calls == ([0, 1] if tells_flags else [0, 1, 1])

    def test_more_programs_than_there_was_room_for(
        self, query: cgroups._Query, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rooms: list[int] = []

        def answer(cmd: int, attr: int, size: int) -> int:
            fields = struct.unpack("=IIIIQIxxxxQ", read(attr, 40))
            rooms.append(fields[5])
            write(attr + 24, struct.pack("=I", 100))
            if fields[5] < 100:
                return -errno.ENOSPC
            write(fields[4], struct.pack("=100I", *range(100)))
            return 0

        answering(monkeypatch, cgroups, answer)
        assert [id for _, id, _ in query._of_type(9, "/x", 1, 2)] == list(range(100))
        assert rooms == [66, 164]

    def test_a_type_that_is_refused(
        self, query: cgroups._Query, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answering(monkeypatch, cgroups, lambda *_: -errno.EPERM)
        with pytest.raises(KernelError, match="CAP_NET_ADMIN"):
            query._of_type(9, "/x", 1, 2)
        answering(monkeypatch, cgroups, lambda *_: -errno.ENOENT)  # detached meanwhile
        assert query._of_type(9, "/x", 1, 2) == []
        answering(monkeypatch, cgroups, lambda *_: -errno.EPERM)
        with pytest.raises(KernelError, match="CAP_NET_ADMIN"):
            query._drop_unknown(9, "/x", [-1, 0])
        answering(monkeypatch, cgroups, lambda *_: -errno.EIO)
        with pytest.raises(KernelError, match="'/x': Input/output"):
            query._drop_unknown(9, "/x", [-1, 0])
        answering(monkeypatch, cgroups, lambda *_: 0)  # it works at the second try
        query._drop_unknown(9, "/x", [-1, 0])
        assert query._types == (0, 1)

    def test_no_hierarchy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pybpftool.kernel.pins.told_mount_points", lambda _: [])
        assert cgroups.cgroup_root() is None

    def test_no_proc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unmounted(*_: object) -> NoReturn:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")

        monkeypatch.setattr("builtins.open", unmounted)
        with pytest.raises(KernelError, match="cannot tell where cgroups are mounted"):
            cgroups.cgroup_root()

    def test_walk(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """What the walk does with directories that it cannot open, list or that are elsewhere."""
        for name in ("a/b", "closed", "gone", "mounted/x"):
            (tmp_path / name).mkdir(parents=True)
        (tmp_path / "file").write_text("")
        monkeypatch.setattr(cgroups._Query, "programs", lambda *_: [(1, 2, 0)])
        opener, fstat, scandir = cgroups.open_cgroup, os.fstat, os.scandir
        numbers: dict[int, str] = {}

        def opened(path: str, parent: int | None = None) -> int:
            if path.endswith(("/closed", "/gone")):
                reason = errno.EACCES if path.endswith("closed") else errno.ENOENT
                raise KernelError.of(f"cannot open the cgroup '{path}'", reason)
            fd = opener(path, parent)
            numbers[fd] = path
            return fd

        class Status:
            def __init__(self, fd: int) -> None:
                status = fstat(fd)
                self.st_mode = status.st_mode
                self.st_nlink = 2 if numbers.get(fd, "").endswith("/b") else 3
                self.st_dev = -1 if numbers.get(fd, "").endswith("/mounted") else status.st_dev

        def scanned(fd: int) -> Any:
            if numbers.get(fd, "").endswith("/a/c"):
                raise OSError(errno.EIO, "broken")
            return scandir(fd)

        (tmp_path / "a/c").mkdir()
        monkeypatch.setattr(cgroups, "open_cgroup", opened)
        fake_os = SimpleNamespace(**{**vars(posix), "fstat": Status, "scandir": scanned})
        monkeypatch.setattr(cgroups, "posix", fake_os)
        rows = cgroups.cgroup_tree(str(tmp_path), (0,), 0)
        found = {path.removeprefix(str(tmp_path)): (level, error) for path, level, _, error in rows}
        assert found[""] == (0, "") and found["/a"] == (1, "") and found["/a/b"] == (2, "")
        assert "Permission denied" in found["/closed"][1]
        assert "/gone" not in found and "/mounted" not in found and "/file" not in found
        assert any("broken" in error for _, _, _, error in rows)


class TestPerf:
    @pytest.mark.parametrize(
        ("number", "words"),
        [(errno.EPERM, "CAP_SYS_ADMIN"), (errno.EINVAL, "too old"), (errno.EIO, "Input/output")],
    )
    def test_support(self, monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
        answering(monkeypatch, perf, lambda *_: -number)
        with pytest.raises(KernelError, match=words):
            perf.task_fds()

    @pytest.fixture
    def proc(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
        """A /proc of an outer pid namespace, in which we are process 4000."""
        self.status(tmp_path / "self", "4000\t7")
        for name in ("readlink", "stat", "listdir", "open"):
            function = getattr(os, name)

            def moved(path: Any, *rest: Any, _function: Any = function, **more: Any) -> Any:
                if isinstance(path, str) and path.startswith("/proc"):
                    path = str(tmp_path) + path.removeprefix("/proc")
                return _function(path, *rest, **more)

            monkeypatch.setattr(posix, name, moved)
        opened = lambda path, mode: Path(str(tmp_path) + path[5:]).open(mode)  # noqa: E731, SIM115
        monkeypatch.setattr(perf, "open", opened, raising=False)
        monkeypatch.setattr(posix, "getpid", lambda: 7)
        (tmp_path / "ns").write_text("")
        yield tmp_path

    def status(self, folder: Path, pids: str) -> None:
        (folder / "ns").mkdir(parents=True)
        (folder / "fd").mkdir()
        (folder / "task").mkdir()
        (folder / "status").write_text(f"Name:\tx\nNSpid:\t{pids}\nOther:\t1\n")

    def test_translation(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(posix, "readlink", lambda path: "4000")
        for name in ("self", "4000", "4001", "5000"):
            if name != "self":
                self.status(
                    proc / name, {"4000": "4000\t7", "4001": "4001\t8\t1"}.get(name, "5000")
                )
            target = proc / "namespace"
            target.touch()
            (proc / name / "ns" / "pid").symlink_to(target)
        self.status(proc / "6000", "nonsense")
        monkeypatch.setattr(perf, "_is_inside", lambda process, levels, own: levels < 2)
        assert [(pid, path) for pid, path in perf._tasks()] == [
            (7, "/proc/4000/fd"),
            (8, "/proc/4001/fd"),
        ]

    def test_a_status_that_is_cut_off(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(posix, "readlink", lambda path: "4000")
        self.status(proc / "4000", "")
        for name in ("self", "4000"):
            (proc / name / "ns" / "pid").write_text("")
            (proc / name / "status").write_text("Name:\tx\n")
        monkeypatch.setattr(perf, "_is_inside", lambda process, levels, own: True)
        assert list(perf._tasks()) == []

    def test_proc_of_a_stranger(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def nobody(path: str) -> str:
            raise FileNotFoundError(2, "gone")

        monkeypatch.setattr(posix, "readlink", nobody)
        with pytest.raises(BpfError, match="another pid namespace"):
            list(perf._tasks())

    def test_is_inside(self) -> None:
        status = os.stat("/proc/self/ns/pid")
        own = (status.st_dev, status.st_ino)
        assert perf._is_inside("/proc/self", 0, own)
        assert not perf._is_inside("/proc/self", 0, (0, 0))
        with pytest.raises(OSError):
            perf._is_inside("/proc/self", 64, own)


class TestNet:
    def test_flow_dissector(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answering(monkeypatch, net, lambda *_: -errno.EINVAL)
        assert net.flow_dissector("") == 0
        for number, words in ((errno.EPERM, "CAP_NET_ADMIN"), (errno.EIO, "Input/output")):
            answering(monkeypatch, net, lambda *_, n=number: -n)
            with pytest.raises(KernelError, match=words):
                net.flow_dissector("")
        for path in ("/nonexistent", "nul\0byte"):
            for question in (
                lambda p=path: net.flow_dissector(p),
                lambda p=path: net.device_programs(1, 46, p),
                lambda p=path: net.netlink_dump(b"", p),
            ):
                with pytest.raises(KernelError, match="network namespace"):
                    question()

    def test_no_such_device_type(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answering(monkeypatch, net, lambda *_: -errno.EINVAL)
        assert net.device_programs(1, 46, "") == []
        answering(monkeypatch, net, lambda *_: -errno.EIO)
        with pytest.raises(KernelError, match="of device 1: Input/output"):
            net.device_programs(1, 46, "")


def message(type: int, body: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), type, flags, 1, 0) + body


class FakeSocket:
    """A netlink socket that gives prepared answers."""

    def __init__(self, *answers: bytes | OSError) -> None:
        self.answers = list(answers)
        self.sent = 0
        self.closed = False

    def send(self, data: bytes) -> None:
        self.sent += 1

    def recv(self, size: int) -> bytes:
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


class TestNetlink:
    @pytest.fixture
    def use(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeSocket]:
        def use(*answers: bytes | OSError) -> FakeSocket:
            sock = FakeSocket(*answers)
            monkeypatch.setattr(net, "opened", lambda netns, protocol: sock)
            return sock

        return use

    def test_a_dump_over_several_blocks(self, use: Callable[..., FakeSocket]) -> None:
        first, second = message(16, b"abc\0"), message(16, b"defg")
        use(first + second, first + message(3, bytes(4)))
        assert net.netlink_dump(b"", "") == [first, second, first]

    def test_an_interrupted_dump_is_repeated(self, use: Callable[..., FakeSocket]) -> None:
        changed = message(16, b"", net._NLM_F_DUMP_INTR) + message(3)
        good = message(16, b"good") + message(3)
        sock = use(changed, good)
        assert net.netlink_dump(b"", "") == [message(16, b"good")] and sock.sent == 2
        sock = use(*[changed] * 9)
        assert len(net.netlink_dump(b"", "")) == 1 and sock.sent == net._TRIES

    def test_errors(self, use: Callable[..., FakeSocket]) -> None:
        refused = message(2, struct.pack("=i", -errno.ENODEV))
        use(refused)
        with pytest.raises(KernelError) as caught:
            net.netlink_dump(b"", "")
        assert caught.value.errno == errno.ENODEV
        sock = use(OSError(errno.ENOBUFS, "no room"))
        with pytest.raises(KernelError):
            net.netlink_dump(b"", "")
        assert sock.closed
        use(message(2, bytes(4)))
        assert net.netlink_dump(b"", "") == []
        for answers in ([b""], [b"\1\0\0\0" + bytes(12)]):
            use(*answers)
            assert net.netlink_dump(b"", "") == []

    def test_nothing_stays_open(self) -> None:
        from pybpftool.objects.rtnetlink import Codec

        request = Codec("<" if sys.byteorder == "little" else ">").request_links()
        before = descriptors()
        for path in ("", "/proc/self/ns/net"):
            assert net.netlink_dump(request, path)
        assert descriptors() == before


class TestWayBack:
    """A process must not answer from another network namespace without a word."""

    @pytest.fixture
    def refused(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
        """What setns() of our own namespace answers, one after the other."""
        answers: list[int] = []
        monkeypatch.setattr(net, "_away", {})
        calls: list[int] = []

        def setns(fd: int, kind: int) -> int:
            calls.append(fd)
            return 0 if len(calls) == 1 else answers.pop(0)

        monkeypatch.setattr(net, "setns", setns)
        before = descriptors()
        yield answers
        assert descriptors() == before

    def test_it_is_shut(self, refused: list[int]) -> None:
        refused += [-errno.EPERM, -errno.EPERM, -errno.EPERM, -errno.EPERM, 0]
        for _ in range(2):
            with pytest.raises(KernelError, match="cannot return to our own network namespace"):
                net.device_index("lo", "/proc/self/ns/net")
        with pytest.raises(KernelError, match="cannot return"):
            net.flow_dissector("")
        with pytest.raises(KernelError, match="cannot return"):
            net.network_namespaces()
        assert net.device_index("lo", "") == 1

    def test_a_question_that_fails(self, refused: list[int]) -> None:
        refused += [0]
        with pytest.raises(KernelError, match="no network device 'none'"):
            net.device_index("none", "/proc/self/ns/net")


def test_namespaces_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    from pybpftool.kernel import net

    monkeypatch.setattr(net, "_OWN", "/nonexistent/ns/net")
    with pytest.raises(KernelError, match="network namespace '/nonexistent/ns/net'"):
        net.network_namespaces()
