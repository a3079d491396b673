"""Records of a host: code, maps and types on demand."""

from __future__ import annotations

from pathlib import Path

import pytest

import pybpftool as bpf
from pybpftool.errors import BpfError
from tests.support.cli import run
from tests.support.fakekernel import FakeKernel

SNAPSHOT = str(Path(__file__).parent.parent / "fixtures" / "host" / "snapshot.zip")


@pytest.fixture(scope="module")
def host() -> bpf.Host:
    return bpf.load(SNAPSHOT)


class TestPrograms:
    def test_code_is_that_of_the_dumps(self, host: bpf.Host) -> None:
        prog = host.program("cali_entry")
        plain = run("-j", "--snapshot", SNAPSHOT, "prog", "dump", "xlated", "name", "cali_entry")
        assert [insn.text for insn in prog.xlated] == [row["disasm"] for row in plain.json]
        jited = run("-j", "--snapshot", SNAPSHOT, "prog", "dump", "jited", "name", "cali_entry")
        assert prog.jited.functions == [function["name"] for function in jited.json]
        assert prog.xlated is prog.xlated

    def test_the_graph_is_that_of_visual(self, host: bpf.Host) -> None:
        graph = host.program("cali_egress").cfg()
        words = ("prog", "dump", "xlated", "name", "cali_egress", "visual")
        assert graph.dot() == str(graph) == run("--snapshot", SNAPSHOT, *words).text
        assert graph.as_json() == run("--snapshot", SNAPSHOT, *words, "json").json
        assert repr(graph) == "<Graph of 1 functions>"

    def test_what_it_leads_to(self, host: bpf.Host) -> None:
        prog = host.program("cali_entry")
        assert [map.name for map in prog.maps] == ["flows", "drops"]
        assert prog.links == []
        assert prog.calls == frozenset({"__htab_map_lookup_elem"})

    def test_what_is_withheld(self) -> None:
        kernel = FakeKernel()
        kernel.prog(1, name=b"one", maps=(5,))
        kernel.arrays[1]["xlated"] = None
        prog = bpf.Host(kernel).program("one")
        assert prog.calls is None
        with pytest.raises(BpfError, match="instructions of program 1"):
            prog.xlated  # noqa: B018
        with pytest.raises(BpfError):
            prog.cfg()
        assert prog.maps == []  # map 5 is gone
        assert kernel.opened == 0

    def test_records_compare(self, host: bpf.Host) -> None:
        first, second = host.program("cali_entry"), host.program("cali_entry")
        assert first == second and hash(first) == hash(second)
        assert first != host.program("cali_egress")
        assert "name='cali_entry'" in repr(first)


class TestMaps:
    def test_elements(self, host: bpf.Host) -> None:
        with host.map("flows") as flows:
            assert len(flows) == 2 and flows
            key = {"saddr": 2, "port": 443, "proto": 6}
            assert flows[key]["bytes"] == 40 and key in flows
            assert {"saddr": 3} not in flows
            with pytest.raises(KeyError):
                flows[{"saddr": 3}]
            assert list(flows) == [each for each, _ in flows.items()]
            assert flows.raw[next(iter(flows.raw))][:8] == bytes([1, *[0] * 7])
        assert flows.get({"saddr": 3}) is None  # opened again
        flows.close()
        flows.close()

    def test_few_stay_open(self) -> None:
        kernel = FakeKernel()
        for id in range(1, 31):
            kernel.map(id, type=1, key_size=4, value_size=4, max_entries=9)
            kernel.elems[id] = {bytes([n, 0, 0, 0]): bytes([id, 0, 0, 0]) for n in range(5)}
        host = bpf.Host(kernel)
        maps = host.maps()
        assert kernel.opened == 0
        items = iter(maps[0].items())
        next(items)
        for map in maps:
            for _ in range(2):
                assert len(map) == 5
        assert kernel.opened == 8 + 1  # that which is half read
        assert len(list(items)) == 4
        del items
        assert kernel.opened == 8
        kernel.asked.clear()
        for map in maps[-8:]:
            assert map[bytes(4)] == bytes([map.id, 0, 0, 0])
        assert not kernel.asked.count("open")
        assert [len(map) for map in maps] == [5] * 30  # opened again
        del map, maps
        assert kernel.opened == 0
        assert list(host.map(id=3).values()) == [bytes([3, 0, 0, 0])] * 5
        assert kernel.opened == 0

    def test_types_are_parsed_once(self) -> None:
        flows = bpf.load(SNAPSHOT).map("flows")
        first = flows.opened.forms.types()
        assert first is not None
        flows.close()
        assert flows.opened.forms.types() is first
        assert len(list(flows.items())) == 2

    def test_the_record_stands_behind(self, host: bpf.Host) -> None:
        flows = host.map("flows")
        assert (flows.id, flows.type_name, flows.max_entries) == (30038, "hash", 64)
        assert repr(flows) == "<HostMap 30038 hash 'flows'>"
        assert flows == host.map("flows") != host.map("drops")
        assert len({flows, host.map("flows")}) == 1
        with pytest.raises(AttributeError):
            flows.nonsense  # noqa: B018
        with pytest.raises(AttributeError):
            flows._nonsense  # noqa: B018
        assert [prog.name for prog in flows.users] == ["cali_entry"]

    def test_a_map_that_is_not_looked_into_stays_closed(self) -> None:
        kernel = FakeKernel()
        kernel.map(5, type=1, key_size=4, value_size=4, name=b"m")
        kernel.elems[5] = {bytes(4): b"\1\0\0\0"}
        map = bpf.Host(kernel).map("m")
        assert kernel.opened == 0
        assert dict(map) == {bytes(4): b"\1\0\0\0"}
        assert kernel.opened == 1
        del map
        assert kernel.opened == 0


class TestTypes:
    def test_types(self, host: bpf.Host) -> None:
        btf = host.btf(id=23783)
        assert btf["flow"].members["port"].offset == 4
        assert "flow" in btf and "nonsense" not in btf and btf
        assert len(list(btf)) == len(btf)
        with pytest.raises(LookupError):
            btf["nonsense"]
        words = ("btf", "dump", "id", "23783", "format", "c")
        assert btf.c() == run("--snapshot", SNAPSHOT, *words).text
        assert btf == host.btf(id=23783) != host.btf("vmlinux")
        assert len({btf, host.btf(id=23783)}) == 1
        assert btf.map_ids and repr(btf) == "<HostBtf 23783 ''>"
        with pytest.raises(AttributeError):
            btf.nonsense  # noqa: B018

    def test_128_bits_and_bit_fields(self, host: bpf.Host) -> None:
        value = host.map("flows")[{"saddr": 1, "port": 80, "proto": 6}]
        assert value["total"] == 1 << 64
        assert (value["last_len"], value["dropped"], value["share"]) == (60, 1, 0.25)


def test_links() -> None:
    other = Path(__file__).parent.parent / "fixtures" / "link" / "debian-6.12" / "snapshot.zip"
    host = bpf.load(str(other))
    links = host.links()
    shown = run("-j", "--snapshot", str(other), "link", "show").json
    assert [link.as_json() for link in links] == shown
    assert (
        "".join(f"{link}\n" for link in links) == run("--snapshot", str(other), "link", "show").text
    )
    some = host.links(type="tracing", target_name="*")
    assert {link.type for link in some} <= {"tracing"}
    assert host.links(type="nonsense") == []
    assert host.links(prog_id=links[0].prog_id)[0] == links[0]
