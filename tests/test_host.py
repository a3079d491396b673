"""One object for a kernel: lists, filters, the only one that fits, what is refused."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import pybpftool as bpf
from pybpftool.errors import KernelError, VanishedError
from pybpftool.kernel.interface import BpfObject
from tests.support.cli import run
from tests.support.fakekernel import FakeKernel

SNAPSHOT = str(Path(__file__).parent.parent / "fixtures" / "host" / "snapshot.zip")


@pytest.fixture(scope="module")
def host() -> bpf.Host:
    return bpf.load(SNAPSHOT)


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    kernel.prog(1, type=6, name=b"cali_in", maps=(5,), run_cnt=9)
    kernel.prog(2, type=6, name=b"cali_out", maps=(5, 6))
    kernel.prog(3, type=1, name=b"other")
    for id in (5, 6):
        kernel.map(id, type=1, name=b"m%d" % id, key_size=4, value_size=4, max_entries=id)
    kernel.held["prog"] = {1: [(70, "felix")], 3: [(71, "systemd"), (72, "felix")]}
    kernel.pins["prog"] = {2: ["/sys/fs/bpf/out"]}
    return kernel


class TestClosing:
    def test_with(self, kernel: FakeKernel) -> None:
        kernel.elems[5] = {bytes(4): bytes(4)}
        with bpf.Host(kernel) as host:
            map = host.map(id=5)
            opened = map.opened
            assert len(map) == len(opened) == 1 and kernel.opened == 1
        assert kernel.opened == 0
        with pytest.raises(bpf.BpfError, match="map 5 is closed"):
            len(opened)
        assert len(map) == 1  # opened again
        host.close()
        host.close()
        assert kernel.opened == 0

    def test_a_recording(self) -> None:
        with bpf.load(SNAPSHOT) as host:
            assert len(host.programs()) == 2
        with pytest.raises(bpf.BpfError, match=r"the snapshot '.*/snapshot.zip' is closed"):
            for prog in host.programs():
                prog.xlated  # noqa: B018
        host.close()

    def test_a_recording_is_closed_with_the_host(self) -> None:
        """Without the collector of cycles, which may come late."""
        gc.disable()
        try:
            before = sorted(os.listdir("/proc/self/fd"))
            for _ in range(3):
                host = bpf.load(SNAPSHOT)
                for prog in host.programs():
                    assert prog.xlated and prog.jited and prog.cfg()
                    assert prog.calls is not None
                    assert prog.maps
                assert [list(map.items()) for map in host.maps()]
                del host, prog
            assert sorted(os.listdir("/proc/self/fd")) == before
        finally:
            gc.enable()


class TestMisspelt:
    """A filter that no such object can have is refused, whether there are objects or not."""

    @pytest.mark.parametrize(
        ("form", "word", "sentence"),
        [
            ("programs", "nmae", "a program has no field 'nmae'; did you mean 'name'?"),
            ("program", "verified_insn", "a program has no field 'verified_insn'; did you mean"
             " 'verified_insns'?"),
            ("maps", "max_entrys", "a map has no field 'max_entrys'; did you mean 'max_entries'?"),
            ("map", "tpye", "a map has no field 'tpye'; did you mean 'type'?"),
            ("links", "devnam", "a link has no field 'devnam'; did you mean 'devname'?"),
            ("link", "name", "a link has no field 'name'"),
            ("btfs", "kernal_btf", "a BTF object has no field 'kernal_btf'; did you mean"
             " 'kernel_btf'?"),
            ("btf", "pin", "a BTF object has no field 'pin'"),
        ],
    )  # fmt: skip
    def test_in_each_form(self, host: bpf.Host, form: str, word: str, sentence: str) -> None:
        for one in (host, bpf.Host(FakeKernel())):
            with pytest.raises(TypeError) as refused:
                getattr(one, form)(**{word: "x"})
            assert str(refused.value).startswith(sentence)

    @pytest.mark.parametrize(
        ("form", "words"),
        [
            ("programs", "type type_name name pin pid comm id tag map_ids calls orphaned"),
            ("maps", "type type_name name pin pid comm id frozen users is_per_cpu"),
            ("links", "type pin pid comm id prog_id prog_name devname retprobe tp_name cookie"),
            ("btfs", "name pid comm id kernel_btf prog_ids"),
        ],
    )
    def test_what_objects_have_is_known(self, form: str, words: str) -> None:
        for word in words.split():
            assert getattr(bpf.Host(FakeKernel()), form)(**{word: "x"}) == []


class TestAsTheCommandLine:
    @pytest.mark.parametrize(
        ("words", "kind"), [("prog", "programs"), ("map", "maps"), ("btf", "btfs")]
    )
    def test_lists(self, host: bpf.Host, words: str, kind: str) -> None:
        records = getattr(host, kind)()
        shown = run("-j", "--snapshot", SNAPSHOT, words, "show")
        assert [record.as_json() for record in records] == shown.json
        text = run("--snapshot", SNAPSHOT, words, "show").text
        assert "".join(f"{record}\n" for record in records) == text

    def test_with_pins(self) -> None:
        shown = run("-j", "-f", "--snapshot", SNAPSHOT, "prog", "show").json
        assert [prog.as_json() for prog in bpf.load(SNAPSHOT, pins=True).programs()] == shown

    def test_what_has_no_ids(self, host: bpf.Host) -> None:
        shown = run("-j", "--snapshot", SNAPSHOT, "cgroup", "tree").json
        assert [cgroup.json() for cgroup in host.cgroups()] == shown
        effective = run(
            "-j", "--snapshot", SNAPSHOT, "cgroup", "tree", "/sys/fs/cgroup", "effective"
        ).json
        assert [cgroup.json() for cgroup in host.cgroups(effective=True)] == effective
        net = run("-j", "--snapshot", SNAPSHOT, "net", "show").json[0]
        assert {**host.networks()[""].json(), "netfilter": []} == net
        assert host.perf_events() == run("-j", "--snapshot", SNAPSHOT, "perf", "show").json == []


class TestFilters:
    @pytest.mark.parametrize(
        ("filters", "ids"),
        [
            ({}, [1, 2, 3]),
            ({"name": "cali_*"}, [1, 2]),
            ({"name": "CALI_*"}, []),
            ({"type": "xdp"}, [1, 2]),
            ({"type": ("xdp", "socket_*")}, [1, 2, 3]),
            ({"id": 2}, [2]),
            ({"id": 4}, []),
            ({"id": (1, 3)}, [1, 3]),
            ({"map_ids": 6}, [2]),
            ({"map_ids": {5, 6}}, [1, 2]),
            ({"run_cnt": lambda count: count > 5}, [1]),
            ({"comm": "fel*"}, [1, 3]),
            ({"pid": 71}, [3]),
            ({"pin": "/sys/fs/bpf/*"}, [2]),
            ({"pin": "/run/*"}, []),
            ({"type": "xdp", "comm": "felix"}, [1]),
            ({"ifname": None}, [1, 2, 3]),
        ],
    )
    def test_fields(self, kernel: FakeKernel, filters: dict[str, object], ids: list[int]) -> None:
        assert [prog.id for prog in bpf.Host(kernel).programs(**filters)] == ids
        assert kernel.opened == 0

    def test_a_type_without_a_name(self, kernel: FakeKernel) -> None:
        kernel.prog(9, type=999)
        assert [prog.id for prog in bpf.Host(kernel).programs(type=999)] == [9]


class TestTheOnlyOne:
    def test_found(self, kernel: FakeKernel) -> None:
        host = bpf.Host(kernel)
        assert host.program("other").id == host.program(id=3).id == 3
        assert host.program(pin="/sys/fs/bpf/out").id == 2
        assert host.map("m5", max_entries=5).id == 5

    def test_none_or_several(self, kernel: FakeKernel) -> None:
        host = bpf.Host(kernel)
        with pytest.raises(LookupError, match=r"^there is no program with name='cali_im': cali_in"):
            host.program("cali_im")
        with pytest.raises(bpf.NotFoundError) as raised:
            host.program(type="xdp")
        assert raised.value.candidates == ("1 xdp cali_in", "2 xdp cali_out")
        with pytest.raises(LookupError, match="there is no link with id=4"):
            host.link(id=4)
        with pytest.raises(TypeError, match="say which one"):
            host.program()

    def test_a_refusal_is_none(self, kernel: FakeKernel) -> None:
        class Refusing(FakeKernel):
            def open(self, kind: str, id: int) -> BpfObject:
                raise KernelError.of("cannot open", errno.EPERM)

        with pytest.raises(KernelError, match="cannot open"):
            bpf.Host(Refusing()).program(id=1)


class TestWhatAKernelHides:
    def test_holders(self) -> None:
        class Hiding(FakeKernel):
            def holders(self, kind: str) -> dict[int, list[tuple[int, str]]]:
                raise KernelError.of("cannot look at processes", errno.EPERM)

        kernel = Hiding()
        kernel.prog(1, name=b"one")
        host = bpf.Host(kernel)
        assert host.program("one").pids == ()
        with pytest.raises(KernelError, match="processes"):
            host.programs(comm="felix")

    def test_what_vanishes_is_left_out(self) -> None:
        class Vanishing(FakeKernel):
            def link_details(self, link: BpfObject) -> dict[str, bytes]:
                raise VanishedError.of("gone", errno.ENOENT)

            def objects(self, kind: str) -> Iterator[BpfObject]:
                info = bytes.fromhex("01000000 04000000 00000000") + bytes(100)
                yield BpfObject(kind, 4, -1, info)

        assert bpf.Host(Vanishing()).links() == []

    def test_the_kernels_types_need_no_list(self) -> None:
        kernel = FakeKernel()
        kernel.files["/sys/kernel/btf/vmlinux"] = b"BTF!"
        btf = bpf.Host(kernel).btf("vmlinux")
        assert (btf.id, btf.btf_size, btf.name) == (0, 4, "vmlinux")
        with pytest.raises(LookupError):
            bpf.Host(kernel).btf("module")


def test_it_says_what_it_is(host: bpf.Host) -> None:
    assert repr(host) == "<Host Linux 6.18.44-fc-v657 x86_64, recorded>"
    assert repr(bpf.live()).endswith(", live>")
