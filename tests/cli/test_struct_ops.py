"""`struct_ops` on constructed kernels: listings and dumps by type, by id and name, mishaps."""

from __future__ import annotations

import struct

import pytest

from pybpftool.kernel.interface import BpfObject
from pybpftool.uapi import bpf as uapi
from tests.support.btfbuild import BtfBuilder
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel

STRUCT_OPS = uapi.MAP_TYPES.index("struct_ops")
KEY = bytes(4)


class OpsKernel(FakeKernel):
    """Maps 5 and 7 of struct_ops, map 6 of another type; program 3 implements a function."""

    found: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        btf = BtfBuilder()
        u32 = btf.add_int("unsigned int", 4)
        btf.add_struct("bpf_map_info", 12, [("type", u32, 0), ("id", u32, 32), ("hash", u32, 64)])
        proto = btf.add_func_proto(u32, [("", u32)])
        hook = btf.add_ptr(proto)
        ops = btf.add_struct(
            "cc_ops", 24, [("start", hook, 0), ("stop", hook, 64), ("n", u32, 128)]
        )
        self.value = btf.add_struct(
            "bpf_struct_ops_cc_ops", 32, [("state", u32, 0), ("data", ops, 64)]
        )
        self.btfs[1] = self.files["/sys/kernel/btf/vmlinux"] = btf.build()
        of_prog = BtfBuilder()
        func = of_prog.add_func("start_of_a_long_name", of_prog.add_func_proto(0))
        self.btfs[9] = of_prog.build()
        self.prog(3, btf_id=9, nr_func_info=1, name=b"start_of_a_long")
        self.arrays[3]["func_info"] = struct.pack("<II", 0, func)
        for id, name, start in ((5, b"first", 3), (7, b"second", 99)):
            self.map(
                id,
                type=STRUCT_OPS,
                name=name,
                key_size=4,
                value_size=32,
                max_entries=1,
                btf_vmlinux_value_type_id=self.value,
                btf_vmlinux_id=1,
            )
            self.elems[id] = {KEY: struct.pack("<IxxxxQQIxxxx", 1, start, 0, 8)}
        self.map(6, type=1, name=b"plain", key_size=4, value_size=4)

    def has_file(self, path: str) -> bool:
        return path in self.files

    def btf_name(self, id: int) -> str:
        return "vmlinux" if id == 1 else ""

    def structs_of(self, size: int, prefix: str, count: int) -> list[str]:
        return list(self.found) if (size, prefix, count) == (32, "bpf_struct_ops_", 2) else []


LINES = f"5: {'first':<15} {'cc_ops':<32}\n7: {'second':<15} {'cc_ops':<32}\n"
RECORDS = [
    {"id": 5, "name": "first", "kernel_struct_ops": "cc_ops"},
    {"id": 7, "name": "second", "kernel_struct_ops": "cc_ops"},
]


@pytest.mark.parametrize("words", [(), ("show",), ("li",)])
def test_lists_all(words: tuple[str, ...]) -> None:
    result = run("struct_ops", *words, kernel=OpsKernel())
    assert (result.status, result.text, result.err) == (0, LINES, b"")
    assert run("-j", "struct_ops", *words, kernel=OpsKernel()).json == RECORDS


@pytest.mark.parametrize("reference", ["id 7", "name second", "i 0x7", "n second"])
def test_lists_one(reference: str) -> None:
    kernel = OpsKernel()
    assert run("-j", "struct_ops", "show", *reference.split(), kernel=kernel).json == RECORDS[1:]
    assert (
        run("struct_ops", "show", *reference.split(), kernel=kernel).text
        == LINES.splitlines(True)[1]
    )
    assert kernel.opened == 0


def test_a_struct_found_by_its_size_is_believed_only_alone() -> None:
    kernel = OpsKernel()
    kernel.found = ("bpf_struct_ops_quick",)
    assert run("-j", "struct_ops", kernel=kernel).json[0]["kernel_struct_ops"] == "quick"
    kernel.found = ("bpf_struct_ops_quick", "bpf_struct_ops_other")
    assert run("-j", "struct_ops", kernel=kernel).json == RECORDS


TEXT = """\
[{
        "bpf_map_info": {
            "type": 26,
            "id": 5,
            "hash": 4
        }
    },{
        "bpf_struct_ops_cc_ops": {
            "state": 1,
            "data": {
                "start": "unsigned int (unsigned int) start_of_a_long_name/prog_id:3",
                "stop": "unsigned int (unsigned int) 0",
                "n": 8
            }
        }
    }
]
"""


def test_dumps_values_by_their_types() -> None:
    result = run("struct_ops", "dump", "id", "5", kernel=OpsKernel())
    assert (result.status, result.text) == (0, TEXT)
    values = run("-j", "struct_ops", "dump", kernel=OpsKernel()).json
    assert [list(value) for value in values] == [["bpf_map_info"], ["bpf_struct_ops_cc_ops"]] * 2
    assert values[0]["bpf_map_info"]["id"] == 5
    # A program that is gone.
    start = values[3]["bpf_struct_ops_cc_ops"]["data"]["start"]
    assert start == "unsigned int (unsigned int) <unknown_prog_name>/prog_id:99"


def test_a_value_that_cannot_be_read_does_not_end_the_dump() -> None:
    kernel = OpsKernel()
    del kernel.elems[5]
    result = run("-j", "struct_ops", "dump", kernel=kernel)
    assert result.status == 255
    error, *rest = result.json
    assert "first (id 5)" in error["error"]
    assert len(rest) == 2


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("show", "id", "6"), "none of struct_ops"),
        (("show", "id", "99"), "99"),
        (("show", "id", "0"), "not a map id"),
        (("show", "id", "x"), "not a map id"),
        (("show", "id", "4294967296"), "not a map id"),
        (("show", "name", "nothing"), "no map of struct_ops has the name 'nothing'"),
        (("show", "name"), "ends there"),
        (("show", "first"), "got 'first'"),
        (("show", "id", "5", "6"), "unexpected argument '6'"),
        (("unregister",), "ends there"),
        (("unregister", "id", "5"), "a recorded kernel cannot be changed"),
        (("nonsense",), "unknown command"),
    ],
)
def test_mistakes_are_one_sentence(words: tuple[str, ...], part: str) -> None:
    result = run("struct_ops", *words, kernel=OpsKernel())
    assert result.status == 255
    assert_one_sentence(result, part)


@pytest.mark.parametrize("word", ["0", "x", "0x", "4294967301", "8"])
def test_text_of_a_dump_ends_with_a_line_break_whatever_the_id(word: str) -> None:
    result = run("struct_ops", "dump", "id", word, kernel=OpsKernel())
    assert (result.status, result.text) == (255, "\n")
    assert_one_sentence(result)
    shown = run("struct_ops", "show", "id", word, kernel=OpsKernel())
    assert (shown.status, shown.text) == (255, "")


@pytest.mark.parametrize("command", ["show", "dump"])
def test_a_name_that_nothing_has_is_an_empty_array(command: str) -> None:
    result = run("-j", "struct_ops", command, "name", "nothing", kernel=OpsKernel())
    assert (result.status, result.json) == (255, [])


@pytest.mark.parametrize("command", ["show", "dump"])
def test_a_kernel_without_types(command: str) -> None:
    kernel = OpsKernel()
    del kernel.files["/sys/kernel/btf/vmlinux"]
    result = run("struct_ops", command, kernel=kernel)
    assert result.status == 255
    assert_one_sentence(result, "CONFIG_DEBUG_INFO_BTF")


def test_help() -> None:
    result = run("struct_ops", "help", kernel=OpsKernel())
    assert (result.status, result.out) == (0, b"")
    assert b"struct_ops unregister MAP" in result.err


def test_kernels_that_do_not_tell_whose_types_they_are() -> None:
    """Before Linux 6.9 a map's info ends before the id of the kernel's BTF."""
    kernel = OpsKernel()
    for id in (5, 7):
        info = kernel.all["map"][id].info[:76]
        kernel.all["map"][id] = BpfObject("map", id, -1, info)
    del kernel.btfs[1]
    values = run("-j", "struct_ops", "dump", "id", "5", kernel=kernel).json
    expected = run("-j", "struct_ops", "dump", "id", "5", kernel=OpsKernel()).json
    assert values[-1] == expected[-1] and "bpf_struct_ops_cc_ops" in values[-1]
