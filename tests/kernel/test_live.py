"""The live kernel's ways of failing, with bpf(2) played by a script."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import posix
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel import live, pins
from pybpftool.kernel.interface import BTF_INFO, PROG_INFO, BpfObject
from pybpftool.kernel.live import LiveKernel, c_string
from pybpftool.uapi import bpf as uapi
from tests.support.descriptors import descriptors
from tests.support.fakekernel import pack


class ScriptedBpf:
    """bpf(2) of a kernel whose answers a test sets; descriptors are ordinary files."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.refused: dict[int, int] = {}  # command -> errno
        self.refused_ids: dict[int, int] = {}  # id -> errno of GET_FD_BY_ID
        self.infos: list[bytes | int] = []  # one after the other; the last stays
        self.paths: dict[int, int] = {}  # file_flags -> errno of OBJ_GET
        self.flags: list[int] = []

    def __call__(self, cmd: int, attr: int, size: int) -> int:
        memory = (ctypes.c_char * size).from_address(attr)
        if cmd in self.refused:
            return -self.refused[cmd]
        if cmd in (uapi.BPF_PROG_GET_NEXT_ID, uapi.BPF_MAP_GET_NEXT_ID):
            start = struct.unpack_from("=I", memory)[0]
            following = [id for id in self.ids if id > start]
            if not following:
                return -errno.ENOENT
            struct.pack_into("=I", memory, 4, following[0])
            return 0
        if cmd in live._FD_BY_ID.values():
            id, _, flags = struct.unpack_from("=III", memory)
            self.flags.append(flags)
            if id in self.refused_ids:
                return -self.refused_ids[id]
            return os.open("/dev/null", os.O_RDONLY)
        if cmd == uapi.BPF_OBJ_GET_INFO_BY_FD:
            info = self.infos.pop(0) if len(self.infos) > 1 else self.infos[0]
            if isinstance(info, int):
                return -info
            _, length, address = struct.unpack_from("=IIQ", memory)
            info = info[:length]
            ctypes.memmove(address, info, len(info))
            struct.pack_into("=I", memory, 4, len(info))
            return 0
        if cmd == uapi.BPF_OBJ_GET:
            flags = struct.unpack_from("=QII", memory)[2]
            if flags in self.paths:
                return -self.paths[flags]
            return os.open("/dev/null", os.O_RDONLY)
        raise AssertionError(cmd)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedBpf]:
    script = ScriptedBpf()
    monkeypatch.setattr(live, "bpf", script)
    # The fast calls of a listing fail, so that each is made again in the plain way.
    monkeypatch.setattr(live, "repeated_call", lambda *call: (lambda *arguments: -1, ()))
    before = len(descriptors())
    yield script
    assert len(descriptors()) == before, "a descriptor was left open"


def prog_info(**fields: object) -> bytes:
    return pack(uapi.BPF_PROG_INFO, uapi.BPF_PROG_INFO_SIZE, "=", **fields)


def btf_info(**fields: object) -> bytes:
    return pack(uapi.BPF_BTF_INFO, uapi.BPF_BTF_INFO_SIZE, "=", **fields)


class TestListing:
    def test_what_vanished_is_left_out(self, script: ScriptedBpf) -> None:
        script.ids = [3, 5, 9]
        script.refused_ids = {5: errno.ENOENT}
        script.infos = [prog_info(id=3), prog_info(id=9)]
        assert [obj.id for obj in LiveKernel().objects("prog")] == [3, 9]

    def test_an_orphan(self, script: ScriptedBpf) -> None:
        script.ids = [3]
        script.infos = [errno.ENODEV]
        (obj,) = LiveKernel().objects("prog")
        assert (obj.id, obj.orphaned) == (3, True)
        assert PROG_INFO.decode(obj.info, "=")["id"] == 3

    def test_infos_of_older_and_newer_kernels(self, script: ScriptedBpf) -> None:
        script.ids = [3]
        for info in (prog_info(id=3, tag=b"12345678")[:80], prog_info(id=3) + bytes(100)):
            script.infos = [info]
            (obj,) = LiveKernel().objects("prog")
            assert obj.info == info
            assert PROG_INFO.decode(obj.info, "=")["id"] == 3

    @pytest.mark.parametrize(
        ("number", "part"),
        [
            (errno.EPERM, "CAP_SYS_ADMIN"),
            (errno.EINVAL, "too old"),
            (errno.ENOSYS, os.strerror(errno.ENOSYS)),
        ],
    )
    def test_refused(self, script: ScriptedBpf, number: int, part: str) -> None:
        script.refused[uapi.BPF_PROG_GET_NEXT_ID] = number
        with pytest.raises(KernelError, match=f"cannot list programs: .*{part}") as error:
            list(LiveKernel().objects("prog"))
        assert error.value.errno == number

    @pytest.mark.parametrize(
        ("number", "part"), [(errno.EPERM, "CAP_SYS_ADMIN"), (errno.EMFILE, "Too many open files")]
    )
    def test_one_that_is_refused(self, script: ScriptedBpf, number: int, part: str) -> None:
        script.ids = [3]
        script.refused_ids = {3: number}
        with pytest.raises(KernelError, match=f"cannot open map 3: .*{part}"):
            list(LiveKernel().objects("map"))

    def test_an_info_that_is_refused(self, script: ScriptedBpf) -> None:
        script.ids = [3]
        script.infos = [errno.EFAULT]
        with pytest.raises(KernelError, match="cannot get the info of program 3: Bad address"):
            list(LiveKernel().objects("prog"))

    def test_maps_are_opened_for_reading_only(self, script: ScriptedBpf) -> None:
        script.ids = [3]
        script.infos = [bytes(88)]
        list(LiveKernel().objects("map"))
        assert script.flags == [8]


class TestListingWithHolders:
    """What is read while holders are looked for serves one listing, and only that."""

    @pytest.fixture(autouse=True)
    def holders(self, script: ScriptedBpf, monkeypatch: pytest.MonkeyPatch) -> None:
        script.ids = [3, 5]
        script.infos = [prog_info(id=3), prog_info(id=5)]

        def find_holders(names: object, key: object, same: object, texts: object,
                         *rest: object) -> dict[int, list[tuple[int, str]]]:  # fmt: skip
            assert isinstance(texts, dict)
            texts[3] = b"read from a holder"
            return {3: [(7, "holder")]}

        monkeypatch.setattr("pybpftool.kernel.holders.find_holders", find_holders)
        # On a machine with much to look at, an iterator would be asked.
        monkeypatch.setattr(LiveKernel, "uses_iterators", False)

    @pytest.mark.parametrize("kind", ["prog", "map"])
    def test_texts_are_not_read_again(self, kind: str) -> None:
        kernel = LiveKernel()
        listing = kernel.listing(kind)
        assert listing.held == {3: [(7, "holder")]}
        first, second = map(kernel.fdinfo, listing.objects())
        assert first == b"read from a holder"
        assert second.startswith(b"pos:")

    def test_no_file_is_left_open(self) -> None:
        before = descriptors()
        kernel = LiveKernel()
        assert all(kernel.fdinfo(obj) for obj in kernel.objects("prog"))
        assert len(descriptors()) == len(before) + 1
        del kernel
        assert descriptors() == before

    def test_nothing_of_it_stays(self) -> None:
        kernel = LiveKernel()
        kernel.holders("prog")
        listing = kernel.listing("prog")
        list(listing.objects())
        for objects in (kernel.objects("prog"), listing.objects()):
            assert all(kernel.fdinfo(obj).startswith(b"pos:") for obj in objects)

    def test_what_can_change_is_believed_for_a_second(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: clock[0])
        kernel = LiveKernel()
        for kind, expected in (("map", [None, None]), ("prog", [b"read from a holder", None])):
            listing = kernel.listing(kind)
            clock[0] += 1.1
            assert [obj.fdinfo for obj in listing.objects()] == expected


class TestOpen:
    def test_refused(self, script: ScriptedBpf) -> None:
        script.refused_ids = {1: errno.ENOENT, 2: errno.EPERM, 3: errno.EMFILE}
        kernel = LiveKernel()
        for id, part in ((1, "there is no BTF object with id 1"), (2, "CAP_SYS_ADMIN"), (3, "Too")):
            with pytest.raises(KernelError, match=part):
                kernel.open("btf", id)

    def test_closed_again_when_the_info_is_refused(self, script: ScriptedBpf) -> None:
        script.infos = [errno.EFAULT]
        with pytest.raises(KernelError, match="cannot get the info of link 1"):
            LiveKernel().open("link", 1)


class TestPinned:
    def test_something_else_is_pinned(self, script: ScriptedBpf) -> None:
        with pytest.raises(BpfError, match="'/pin' is pinned, but is not a program"):
            LiveKernel().open_pinned("/pin")

    def test_a_pin_that_may_only_be_read(
        self, script: ScriptedBpf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script.paths = {0: errno.EACCES}
        script.infos = [prog_info(id=8)]
        monkeypatch.setattr(live, "_fd_kind", lambda fd: "prog")
        kernel = LiveKernel()
        obj = kernel.open_pinned("/pin")
        assert obj.id == 8
        kernel.close(obj)

    def test_an_info_that_is_refused(
        self, script: ScriptedBpf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script.infos = [errno.EFAULT]
        monkeypatch.setattr(live, "_fd_kind", lambda fd: "prog")
        with pytest.raises(KernelError, match="cannot get the info of the program pinned at '/p'"):
            LiveKernel().open_pinned("/p")

    @pytest.mark.parametrize(
        ("number", "file_system", "part"),
        [
            (errno.EACCES, 0xEF53, "not in a bpf file system"),
            (errno.EACCES, 0xCAFE4A11, "needs permission"),
            (errno.EACCES, None, "needs permission"),  # a directory that may not be searched
            (errno.EPERM, 0xEF53, "needs permission"),
            (errno.ENOENT, 0xEF53, "No such file"),
            (errno.ENOTDIR, 0xEF53, "Not a directory"),
        ],
    )
    def test_refused(
        self,
        script: ScriptedBpf,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        file_system: int | None,
        part: str,
    ) -> None:
        script.paths = {0: number, 8: number}
        monkeypatch.setattr("pybpftool.kernel.syscall.file_system_type", lambda path: file_system)
        with pytest.raises(KernelError, match=part) as error:
            LiveKernel().open_pinned("pin")
        assert error.value.errno == number

    def test_a_walk_passes_over_what_it_may_not_open(
        self, script: ScriptedBpf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths = [("/a", "/a"), ("/b", "/proc/self/fd/9/b")]
        monkeypatch.setattr(pins, "pinned_files", lambda: iter(paths))
        monkeypatch.setattr(pins, "repeated_call", lambda *call: (script, call))
        monkeypatch.setattr(posix, "readlink", lambda path, dir_fd: "anon_inode:bpf-prog")
        script.infos = [errno.EFAULT, prog_info(id=4)]
        assert LiveKernel().pinned("prog") == {4: ["/b"]}
        assert LiveKernel().pinned("map") == {}
        script.paths = {0: errno.EACCES}
        assert LiveKernel().pinned("prog") == {}

    def test_proc_that_is_not_mounted(
        self, script: ScriptedBpf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def gone(path: str, **kwargs: object) -> str:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")

        monkeypatch.setattr(posix, "readlink", gone)
        with pytest.raises(KernelError, match="cannot read /proc/self/fd/"):
            live._fd_kind(5)


class TestArrays:
    def test_a_count_that_grew_in_between(self, script: ScriptedBpf) -> None:
        """The second request is made again with room for all."""
        script.infos = [prog_info(id=1, nr_map_ids=3, map_ids=1), prog_info(id=1, nr_map_ids=2)]
        obj = BpfObject("prog", 1, 5, prog_info(id=1, nr_map_ids=1))
        arrays = LiveKernel().prog_arrays(obj, ("map_ids",))
        assert arrays["map_ids"] is None  # the second answer gave no address: withheld
        assert PROG_INFO.decode(arrays["info"], "=")["nr_map_ids"] == 2

    def test_refused(self, script: ScriptedBpf) -> None:
        script.infos = [errno.EPERM]
        with pytest.raises(KernelError, match="cannot get the info of program 1"):
            LiveKernel().prog_arrays(BpfObject("prog", 1, 5, prog_info(id=1)), ("xlated",))


class TestBtf:
    def test_data_that_grew_in_between(self, script: ScriptedBpf) -> None:
        script.infos = [btf_info(btf_size=4), btf_info(btf_size=9), btf_info(btf_size=9)]
        assert LiveKernel().btf_data(1) == bytes(9)

    @pytest.mark.parametrize("ask", [LiveKernel.btf_data, LiveKernel.btf_name])
    def test_refused(self, script: ScriptedBpf, ask: Callable[..., object]) -> None:
        script.infos = [btf_info(btf_size=4), errno.EFAULT]
        with pytest.raises(KernelError, match="of BTF object 7: Bad address"):
            ask(LiveKernel(), 7)

    def test_the_layout_covers_the_request(self) -> None:
        assert BTF_INFO.size == 32


def test_map_values_that_are_refused(script: ScriptedBpf, monkeypatch: pytest.MonkeyPatch) -> None:
    script.refused[uapi.BPF_MAP_LOOKUP_ELEM] = errno.ENOENT
    with pytest.raises(KernelError, match="cannot look up an element of map 5"):
        LiveKernel().map_value(BpfObject("map", 5, 5, bytes(80)), bytes(4))


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = LiveKernel()
    (tmp_path / "f").write_bytes(b"x" * 3_000_000)
    assert kernel.file(str(tmp_path / "f")) == b"x" * 3_000_000
    with pytest.raises(KernelError, match=r"cannot open .*No such file"):
        kernel.file(str(tmp_path / "none"))
    with pytest.raises(KernelError, match=r"cannot read .*Is a directory"):
        kernel.file(str(tmp_path))


def test_devices_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: str) -> os.stat_result:
        raise FileNotFoundError

    monkeypatch.setattr(posix, "stat", gone)
    assert LiveKernel().ifname(1, 2, 3) is None


def test_c_strings() -> None:
    assert c_string(b"abc\0def") == "abc"
    assert c_string(bytearray(b"\xff")) == "\udcff"


@pytest.mark.parametrize("order", [*itertools.permutations(range(5), 3), (0, 1, 2, 3, 4), ()])
def test_descriptors_are_closed_together_and_no_other(order: tuple[int, ...]) -> None:
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
    opened = [fds[number] for number in order]
    others = set(fds) - set(opened)
    live._close_all(opened)
    assert opened == []
    for fd in others:
        os.close(fd)  # fails where it is closed already
    for number in order:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fds[number])
