"""Copies of objects with struct_ops for an older libbpf: what they open as."""

from __future__ import annotations

from pathlib import Path

from pybpftool.elf.relocatable import Relocatable
from pybpftool.elf.struct_ops import Copy
from pybpftool.gen.bpf_object import BpfObject, Map
from pybpftool.gen.opening import open_bytes
from pybpftool.gen.struct_ops_copy import for_libbpf
from pybpftool.uapi.btf import DATASEC, FUNC, PTR
from tests.support.bpfc import compile_object

HEAD = """
struct tcp_control___old {
    char name[16];
    __u32 (*first)(void *sk);
    int number;
    __u32 (*newer)(void *sk);
    void (*second)(void *sk);
    int last;
};
SEC("struct_ops/a") __u32 first(unsigned long long *ctx) { return 2; }
SEC("struct_ops.s/second") void second(unsigned long long *ctx) { }
SEC("struct_ops/c") __u32 newer(unsigned long long *ctx) { return 2; }
"""
PLAIN = """
SEC(".struct_ops") struct tcp_control___old plain = {
    .name = "plain", .first = (void *)first, .second = (void *)second,
};
"""
LINKED = """
SEC(".struct_ops.link") struct tcp_control___old one = { .name = "one", .first = (void *)first };
SEC(".struct_ops.link") struct tcp_control___old two = {
    .name = "two", .second = (void *)second, .number = 7,
};
"""
MAYBE = """
SEC("?.struct_ops.link") struct tcp_control___old maybe = { .newer = (void *)newer };
"""
ALL = {"name", "first", "number", "newer", "second", "last"}


def copied(
    path: Path, text: str, known: set[str] | None = None, version: tuple[int, ...] = (1, 1)
) -> Copy | None:
    data = Path(compile_object(path, HEAD + text)).read_bytes()
    names = ALL if known is None else known
    return for_libbpf(data, version, {"tcp_control": names}.get)


def opened(copy: Copy | None) -> tuple[BpfObject, dict[str, Map]]:
    assert copy is not None
    obj = open_bytes(copy.data, "t")
    return obj, {one.name: one for one in obj.maps if one.kind == "struct_ops"}


def members(obj: BpfObject, entry: Map) -> dict[int, str]:
    """What an index in ``slots`` means."""
    assert obj.btf is not None
    found = obj.btf.members(entry.definition.value_type_id)
    return {index: found[index].name for index in entry.slots}


class TestSections:
    def test_all_in_one(self, tmp_path: Path) -> None:
        copy = copied(tmp_path, PLAIN + LINKED + MAYBE)
        obj, maps = opened(copy)
        assert copy is not None
        assert [one.name for one in obj.struct_ops_sections] == [".struct_ops"]
        assert list(maps) == ["plain", "one", "two", "maybe"]
        assert copy.linked == {"one", "two", "maybe"}
        assert copy.optional == {"maybe"}
        assert copy.unneeded == {"newer"}
        assert [(one.data or b"")[:6].rstrip(b"\0") for one in maps.values()] == [
            b"plain", b"one", b"two", b"",
        ]  # fmt: skip
        assert [list(one.slots.values()) for one in maps.values()] == [
            ["first", "second"], ["first"], ["second"], ["newer"],
        ]  # fmt: skip
        assert (maps["two"].data or b"")[24:28] == b"\7\0\0\0"

    def test_a_single_one_of_another_name(self, tmp_path: Path) -> None:
        copy = copied(tmp_path, LINKED)
        obj, maps = opened(copy)
        names = [one.name for one in Relocatable(obj.elf.bytes).sections]
        assert ".struct_ops" in names
        assert ".rel.struct_ops" in names
        assert list(maps) == ["one", "two"]
        assert copy is not None
        assert copy.linked == {"one", "two"}

    def test_maps_that_nobody_wants_alone(self, tmp_path: Path) -> None:
        """libbpf 1.1 would crash."""
        copy = copied(tmp_path, MAYBE)
        obj, _ = opened(copy)
        assert [one.name for one in obj.struct_ops_sections] == ["?.struct_ops.link"]
        assert copy is not None
        assert copy.unneeded == {"newer"}

    def test_btf_knows_one_section_of_this_name(self, tmp_path: Path) -> None:
        btf = opened(copied(tmp_path, PLAIN + LINKED))[0].btf
        assert btf is not None
        btf.check()
        sections = [id for id in range(1, btf.count) if btf.kind(id) == DATASEC]
        names = [btf.name(id) for id in sections]
        assert names.count(".struct_ops") == 1
        assert ".struct_ops.link" not in names

    def test_programs_that_sleep(self, tmp_path: Path) -> None:
        copy = copied(tmp_path, PLAIN)
        obj, _ = opened(copy)
        assert copy is not None
        assert copy.sleepable == {"second"}
        assert {one.name: one.section for one in obj.functions} == {
            "first": "struct_ops/a", "second": "struct_ops/s/second", "newer": "struct_ops/c",
        }  # fmt: skip
        assert obj.btf is not None
        assert obj.btf.find("second", FUNC) is not None

    def test_known_since_1_2(self, tmp_path: Path) -> None:
        copy = copied(tmp_path, PLAIN + LINKED, version=(1, 2))
        obj, _ = opened(copy)  # because of the flavor in the struct's name
        assert [one.name for one in obj.struct_ops_sections] == [".struct_ops", ".struct_ops.link"]
        assert copy is not None
        assert (copy.linked, copy.sleepable) == (frozenset(), frozenset())


class TestMembers:
    def test_not_set_and_not_in_the_kernel(self, tmp_path: Path) -> None:
        known = {"name", "first", "second", "number"}
        obj, maps = opened(copied(tmp_path, PLAIN, known))
        btf = obj.btf
        assert btf is not None
        id = maps["plain"].definition.value_type_id
        assert btf.name(id) == "tcp_control"
        found = btf.members(id)
        assert {one.name for one in found} <= known
        for index in (3, 5):
            assert btf.kind(found[index].type_id) == PTR
        offsets = [one.bit_offset for one in found]
        assert offsets == sorted(offsets)
        size = len(maps["plain"].data or b"")
        assert all(one.bit_offset // 8 + 8 <= size for one in found[3:])
        assert members(obj, maps["plain"]) == {1: "first", 4: "second"}

    def test_what_is_set_stays(self, tmp_path: Path) -> None:
        """libbpf says that the kernel does not have it."""
        obj, maps = opened(copied(tmp_path, LINKED, ALL - {"number"}))
        assert obj.btf is not None
        found = obj.btf.members(maps["two"].definition.value_type_id)
        assert found[2].name == "number"
        text = LINKED.replace(".number = 7", ".newer = (void *)newer")
        obj, maps = opened(copied(tmp_path, text, ALL - {"newer", "number"}))
        assert obj.btf is not None
        found = obj.btf.members(maps["one"].definition.value_type_id)
        assert found[3].name == "newer"
        assert found[2].name != "number"


def test_no_need(tmp_path: Path) -> None:
    assert copied(tmp_path, PLAIN, version=(1, 4)) is None
    assert copied(tmp_path, 'SEC("xdp") int p(void *ctx) { return 0; }') is None
    text = (HEAD + PLAIN).replace("___old", "").replace("struct_ops.s", "struct_ops")
    data = Path(compile_object(tmp_path, text)).read_bytes()
    assert for_libbpf(data, (1, 1), {"tcp_control": ALL}.get) is None
    assert for_libbpf(data, (1, 1), lambda name: None) is None
