"""``prog show``: every combination of fields, text and JSON, and how programs are named."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from pybpftool.errors import KernelError
from pybpftool.uapi import bpf as uapi
from tests.support.btfbuild import GLOBAL, SIGNED, BtfBuilder
from tests.support.cli import Result, assert_one_sentence, run
from tests.support.fakekernel import FakeKernel

pytestmark = pytest.mark.usefixtures("utc")

TAG = "0001020304050607"
LOADED = 86_400_000_000_000  # a day after the boot
KPROBE, XDP = uapi.PROG_TYPES.index("kprobe"), uapi.PROG_TYPES.index("xdp")


def show(kernel: FakeKernel, *words: str) -> str:
    result = run("prog", "show", *words, kernel=kernel)
    assert (result.status, result.err) == (0, b""), result
    assert kernel.opened == 0
    return result.text


def records(kernel: FakeKernel, *words: str) -> Any:
    result = run("-j", "prog", "show", *words, kernel=kernel)
    assert (result.status, result.err) == (0, b""), result
    assert run("-p", "prog", "show", *words, kernel=kernel).json == result.json
    assert kernel.opened == 0
    return result.json


class TestFields:
    def test_the_least(self) -> None:
        kernel = FakeKernel()
        kernel.prog(7, memlock=None, xlated_prog_len=16)
        assert show(kernel) == f"7: socket_filter  tag {TAG}\n\txlated 16B  not jited\n"
        assert records(kernel) == [
            {
                "id": 7,
                "type": "socket_filter",
                "tag": TAG,
                "gpl_compatible": False,
                "orphaned": False,
                "bytes_xlated": 16,
                "jited": False,
            }
        ]

    def everything(self, byteorder: str = "<") -> FakeKernel:
        kernel = FakeKernel(byteorder)
        kernel.prog(
            0xFFFFFFFE,
            type=KPROBE,
            name=b"a_program",
            memlock=8192,
            gpl_compatible=1 if byteorder == "<" else 1 << 31,
            run_time_ns=(1 << 64) - 1,
            run_cnt=3,
            recursion_misses=4,
            ifindex=9,
            netns_dev=4,
            netns_ino=0xF0000000,
            load_time=LOADED,
            created_by_uid=1000,
            xlated_prog_len=528,
            jited_prog_len=350,
            btf_id=77,
            maps=(5, 6),
        )
        kernel.names[9] = "eth0"
        kernel.pins["prog"] = {0xFFFFFFFE: ["/sys/fs/bpf/a", "/sys/fs/bpf/b"]}
        kernel.held["prog"] = {0xFFFFFFFE: [(12, "one"), (34, "two words")]}
        return kernel

    @pytest.mark.parametrize("byteorder", ["<", ">"])
    def test_everything(self, byteorder: str) -> None:
        kernel = self.everything(byteorder)
        result = run("-f", "prog", "show", kernel=kernel)
        assert result.text == (
            f"4294967294: kprobe  name a_program  tag {TAG}  offloaded_to eth0  gpl"
            " run_time_ns 18446744073709551615 run_cnt 3 recursion_misses 4\n"
            "\tloaded_at 2023-11-15T22:13:20+0000  uid 1000\n"
            "\txlated 528B  jited 350B  memlock 8192B  map_ids 5,6"
            "\n\tpinned /sys/fs/bpf/a\n\tpinned /sys/fs/bpf/b"
            "\n\tbtf_id 77\n\tpids one(12), two words(34)\n"
        )
        (record,) = run("-fj", "prog", "show", kernel=kernel).json
        assert record == {
            "id": 0xFFFFFFFE,
            "type": "kprobe",
            "name": "a_program",
            "tag": TAG,
            "gpl_compatible": True,
            "run_time_ns": (1 << 64) - 1,
            "run_cnt": 3,
            "recursion_misses": 4,
            "dev": {"ifindex": 9, "ns_dev": 4, "ns_inode": 0xF0000000, "ifname": "eth0"},
            "loaded_at": 1_700_086_400,
            "uid": 1000,
            "orphaned": False,
            "bytes_xlated": 528,
            "jited": True,
            "bytes_jited": 350,
            "bytes_memlock": 8192,
            "map_ids": [5, 6],
            "btf_id": 77,
            "pinned": ["/sys/fs/bpf/a", "/sys/fs/bpf/b"],
            "pids": [{"pid": 12, "comm": "one"}, {"pid": 34, "comm": "two words"}],
        }
        assert list(record) == [
            "id", "type", "name", "tag", "gpl_compatible", "run_time_ns", "run_cnt",
            "recursion_misses", "dev", "loaded_at", "uid", "orphaned", "bytes_xlated", "jited",
            "bytes_jited", "bytes_memlock", "map_ids", "btf_id", "pinned", "pids",
        ]  # fmt: skip

    def test_pins_are_only_looked_for_on_demand(self) -> None:
        kernel = self.everything()
        assert "pinned" not in show(kernel)
        assert "pinned" not in records(kernel)[0]
        assert "pinned prog" not in kernel.asked

    def test_without_any_pin_there_is_no_list_of_pins(self) -> None:
        kernel = self.everything()
        kernel.pins.clear()
        assert "pinned" not in run("-fj", "prog", "show", kernel=kernel).json[0]

    def test_a_program_without_pin_beside_pinned_ones_has_an_empty_list(self) -> None:
        kernel = self.everything()
        kernel.prog(3)
        rows = run("-fj", "prog", "show", kernel=kernel).json
        assert [row["pinned"] for row in rows] == [[], ["/sys/fs/bpf/a", "/sys/fs/bpf/b"]]

    def test_a_device_of_another_namespace(self) -> None:
        kernel = FakeKernel()
        kernel.prog(1, type=XDP, ifindex=3, netns_dev=4, netns_ino=5)
        assert show(kernel).startswith(
            f"1: xdp  tag {TAG}  offloaded_to ifindex 3 ns_dev 4 ns_ino 5\n"
        )
        assert records(kernel)[0]["dev"] == {"ifindex": 3, "ns_dev": 4, "ns_inode": 5}

    def test_an_orphan(self) -> None:
        kernel = FakeKernel()
        kernel.prog(1, orphaned=True, type=0, tag=bytes(8))
        assert show(kernel) == (
            "1: unspec  tag 0000000000000000\n\txlated 0B  not jited  memlock 4096B  orphaned\n"
        )
        assert records(kernel)[0]["orphaned"] is True

    def test_a_type_that_is_not_known(self) -> None:
        kernel = FakeKernel()
        kernel.prog(1, type=4_000_000_000)
        assert show(kernel).startswith("1: type 4000000000  tag ")
        assert records(kernel)[0]["type"] == 4_000_000_000

    @pytest.mark.parametrize("number", range(len(uapi.PROG_TYPES)))
    def test_every_known_type(self, number: int) -> None:
        kernel = FakeKernel()
        kernel.prog(1, type=number)
        assert show(kernel).startswith(f"1: {uapi.PROG_TYPES[number]}  tag")

    def test_misses_without_statistics(self) -> None:
        kernel = FakeKernel()
        kernel.prog(1, recursion_misses=2, run_cnt=5)
        assert f"tag {TAG} recursion_misses 2\n" in show(kernel)
        assert "run_cnt" not in records(kernel)[0]

    def test_bytes_in_names(self) -> None:
        kernel = FakeKernel()
        kernel.prog(1, name=b"\xff\xc3\xa4\x1b[1m")
        kernel.held["prog"] = {1: [(5, '\udcfe\n"')]}
        result = run("prog", "show", kernel=kernel)
        assert b"name \xff\xc3\xa4\x1b[1m  tag" in result.out
        assert b'\tpids \xfe\n"(5)\n' in result.out
        (record,) = records(kernel)
        assert record["name"] == "\udcff\u00e4\x1b[1m"
        assert record["pids"] == [{"pid": 5, "comm": '\udcfe\n"'}]

    def test_a_clock_out_of_any_calendar(self) -> None:
        kernel = FakeKernel()
        kernel.prog(1, load_time=(1 << 64) - 1)
        kernel.boot = 1 << 90
        assert "loaded_at 18446744073  uid 0" in show(kernel)

    def test_an_empty_list(self) -> None:
        assert show(FakeKernel()) == ""
        assert run("-j", "prog", "show", kernel=FakeKernel()).out == b"[]\n"
        assert run("-p", "prog", "show", kernel=FakeKernel()).out == b"[]\n"

    def test_map_ids_that_the_kernel_withholds(self) -> None:
        kernel = FakeKernel()
        kernel.prog(1, maps=(1, 2))
        kernel.arrays[1] = {"refused": b""}
        assert "map_ids" not in show(kernel)
        assert "map_ids" not in records(kernel)[0]


class TestNames:
    def long_name(self, name: str, **changes: Any) -> FakeKernel:
        kernel = FakeKernel()
        btf = BtfBuilder()
        number = btf.add_int("int", 4, SIGNED)
        proto = btf.add_func_proto(number, [])
        func = btf.add_func(name, proto, GLOBAL)
        kernel.btfs[5] = btf.build()
        fields: dict[str, Any] = {"name": name.encode()[:15], "btf_id": 5, "nr_func_info": 1,
                  "func_info_rec_size": 8} | changes  # fmt: skip
        kernel.prog(1, **fields)
        kernel.arrays[1]["func_info"] = struct.pack("=II", 0, func)
        return kernel

    def test_completed_from_btf(self) -> None:
        name = "a_function_with_a_long_name"
        kernel = self.long_name(name)
        assert f"name {name}  tag" in show(kernel)
        assert records(kernel, "name", name)["name"] == name
        assert_one_sentence(run("prog", "show", "name", name[:14], kernel=kernel), name[:14])

    def test_the_15_bytes_that_the_kernel_keeps(self) -> None:
        name = "a_function_with_a_long_name"
        kernel = self.long_name(name)
        assert records(kernel, "name", name[:15])["name"] == name
        assert kernel.opened == 0
        # A program with just this name is the one that is meant.
        kernel.prog(2, name=name[:15].encode())
        assert records(kernel, "name", name[:15])["id"] == 2

    def test_completed_up_to_127_bytes(self) -> None:
        name = "n" * 200
        kernel = self.long_name(name)
        assert records(kernel)[0]["name"] == "n" * 127
        assert records(kernel, "name", "n" * 127)["id"] == 1
        assert_one_sentence(run("prog", "show", "name", "n" * 128, kernel=kernel), "127 bytes")

    def test_a_name_of_14_is_whole(self) -> None:
        kernel = self.long_name("fourteen_bytes")
        kernel.btfs.clear()
        assert records(kernel)[0]["name"] == "fourteen_bytes"

    @pytest.mark.parametrize(
        "damage",
        ["no btf", "no func_info", "wrong kind", "no such type", "no array", "garbage", "refused"],
    )
    def test_what_cannot_be_completed_stays_cut(self, damage: str) -> None:
        kernel = self.long_name("a_function_with_a_long_name")
        if damage == "no btf":
            kernel.btfs.clear()
        elif damage == "no func_info":
            kernel = self.long_name("a_function_with_a_long_name", nr_func_info=0)
        elif damage == "wrong kind":
            kernel.arrays[1]["func_info"] = struct.pack("=II", 0, 1)
        elif damage == "no such type":
            kernel.arrays[1]["func_info"] = struct.pack("=II", 0, 999)
        elif damage == "no array":
            kernel.arrays[1]["func_info"] = None
        elif damage == "garbage":
            kernel.btfs[5] = b"garbage"
        elif damage == "refused":
            kernel.arrays[1]["refused"] = b""
        assert records(kernel)[0]["name"] == "a_function_with"


class TestMetadata:
    def kernel(self, value: bytes | None = None, **changes: Any) -> FakeKernel:
        kernel = FakeKernel()
        btf = BtfBuilder()
        number = btf.add_int("int", 4, SIGNED)
        char = btf.add_int("char", 1, SIGNED)
        text = btf.add_array(char, number, 4)
        rows = [
            (btf.add_var("bpf_metadata_number", number), 0, 4),
            (btf.add_var("other", number), 4, 4),
            (btf.add_var("bpf_metadata_text", text), 8, 4),
        ]
        section = btf.add_datasec(".rodata", 12, rows)
        kernel.btfs[5] = btf.build()
        kernel.prog(1, maps=(3, 4))
        kernel.map(3, type=1, name=b"hash")
        fields = {
            "type": 2,
            "name": b"test.rodata",
            "key_size": 4,
            "value_size": 12,
            "max_entries": 1,
            "btf_id": 5,
            "btf_value_type_id": section,
        }
        fields |= changes
        kernel.map(4, **fields)
        kernel.values[4, bytes(4)] = (
            struct.pack("=ii", -5, 6) + b"abc\0" if value is None else value
        )
        return kernel

    def test_shown_below_the_program(self) -> None:
        kernel = self.kernel()
        assert show(kernel).endswith(
            'map_ids 3,4\n\tmetadata:\n\t\tnumber = -5\n\t\ttext = "abc"\n'
        )
        assert records(kernel)[0]["metadata"] == {"number": -5, "text": "abc"}

    @pytest.mark.parametrize(
        "changes",
        [
            {"type": 1},
            {"key_size": 8},
            {"max_entries": 2},
            {"btf_value_type_id": 0},
            {"name": b"test.data"},
            {"btf_value_type_id": 1},
            {"btf_value_type_id": 999},
            {"btf_id": 6},
        ],
    )
    def test_other_maps_hold_none(self, changes: dict[str, Any]) -> None:
        kernel = self.kernel(**changes)
        assert "metadata" not in show(kernel)
        assert "metadata" not in records(kernel)[0]

    def test_a_map_that_vanished(self) -> None:
        for id in (3, 4):
            kernel = self.kernel()
            del kernel.all["map"][id]
            assert "metadata" not in show(kernel)

    def test_a_value_that_is_refused(self) -> None:
        kernel = self.kernel()
        kernel.values.clear()
        assert "metadata" not in show(kernel)

    def test_a_value_that_is_too_short(self) -> None:
        kernel = self.kernel(value=b"\1\0")
        text = show(kernel)
        assert text.startswith("1: socket_filter")
        records(kernel)

    def test_maps_are_looked_at_once(self) -> None:
        kernel = self.kernel()
        kernel.prog(2, maps=(3, 4))
        opened: list[int] = []
        real = kernel.open
        kernel.open = lambda kind, id: (opened.append(id), real(kind, id))[1]  # type: ignore
        assert show(kernel).count("metadata:") == 2
        assert opened.count(3) == 1


class TestReferences:
    @pytest.fixture
    def kernel(self) -> FakeKernel:
        kernel = FakeKernel()
        kernel.prog(1, name=b"twin", tag=b"\xab" * 8)
        kernel.prog(2, name=b"twin")
        kernel.prog(3, name=b"twin_other")
        kernel.prog(4, name=b"single", tag=b"\xab" * 8)
        kernel.prog(5)
        kernel.map(1, type=1)
        kernel.pins = {"prog": {2: ["/pin/two"]}, "map": {1: ["/pin/map"]}}
        return kernel

    @pytest.mark.parametrize(
        ("words", "ids"),
        [
            ("id 1", [1]),
            ("id 0x2", [2]),
            ("i 03", [3]),
            ("name twin", [1, 2]),
            ("n single", [4]),
            ("tag abababababababab", [1, 4]),
            ("t ABABABABABABABAB", [1, 4]),
            ("pinned /pin/two", [2]),
            ("p /pin/two", [2]),
        ],
    )
    @pytest.mark.parametrize("command", ["show", "list", "s", "l"])
    def test_found(self, kernel: FakeKernel, words: str, ids: list[int], command: str) -> None:
        result = run("prog", command, *words.split(), kernel=kernel)
        assert result.status == 0
        lines = [line for line in result.text.splitlines() if not line.startswith("\t")]
        assert [int(line.split(":")[0]) for line in lines] == ids
        found = records(kernel, *words.split())
        if len(ids) == 1:
            assert found["id"] == ids[0]
        else:
            assert [record["id"] for record in found] == ids
        assert kernel.opened == 0

    def test_three_and_more_matches(self, kernel: FakeKernel) -> None:
        kernel.prog(6, name=b"twin")
        kernel.prog(7, name=b"twin")
        assert [record["id"] for record in records(kernel, "name", "twin")] == [1, 2, 6, 7]

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            ("id 9", "9"),
            ("id", "after 'id', but the command ends there"),
            ("id x1", "cannot read 'x1' as a program id"),
            ("id 4294967296", "too large"),
            ("id 0x", "cannot read '0x'"),
            ("name nobody", "no program has the name 'nobody'"),
            ("name", "after 'name', but"),
            ("tag 0000000000000000", "no program has the tag"),
            ("tag 00", "16 hexadecimal digits"),
            ("tag 00000000000000000", "16 hexadecimal digits"),
            ("tag 000000000000000g", "16 hexadecimal digits"),
            ("tag 00_0000000000000", "16 hexadecimal digits"),
            ("tag", "after 'tag', but"),
            ("pinned /pin/none", "/pin/none"),
            ("pinned /pin/map", "is a map, not a program"),
            ("pinned", "after 'pinned', but"),
            ("number 1", "got 'number'"),
            ("nonsense", "got 'nonsense'"),
            ("id 1 more", "unexpected argument 'more'"),
            ("id 1 more words", "unexpected argument 'more'"),
        ],
    )
    def test_not_found(self, kernel: FakeKernel, words: str, part: str) -> None:
        result = run("prog", "show", *words.split(), kernel=kernel)
        assert result.out == b""
        assert_one_sentence(result, part)
        as_json = run("-j", "prog", "show", *words.split(), kernel=kernel)
        assert (as_json.status, as_json.err) == (255, b"")
        assert part in as_json.json["error"]
        assert kernel.opened == 0

    def test_a_tag_with_blanks_inside(self, kernel: FakeKernel) -> None:
        assert_one_sentence(run("prog", "show", "tag", "ab abababababab", kernel=kernel))

    def test_a_name_that_is_no_text(self, kernel: FakeKernel) -> None:
        kernel.prog(8, name=b"\xff\xfe")
        assert show(kernel, "name", "\udcff\udcfe").startswith("8:")

    def test_an_empty_name_is_that_of_the_nameless(self, kernel: FakeKernel) -> None:
        result = run("prog", "show", "name", "", kernel=kernel)
        assert result.text.startswith("5:")


class TestFailures:
    def broken(self, refuse_after: int) -> FakeKernel:
        class Broken(FakeKernel):
            def objects(self, kind: str) -> Any:
                for number, obj in enumerate(super().objects(kind)):
                    if number == refuse_after:
                        raise KernelError("cannot list programs: this needs X", errno.EPERM)
                    yield obj

        kernel = Broken()
        for id in (1, 2, 3):
            kernel.prog(id)
        return kernel

    @pytest.mark.parametrize("count", [0, 2])
    def test_a_listing_that_is_refused(self, count: int) -> None:
        result = run("prog", "show", kernel=self.broken(count))
        assert_one_sentence(result, "this needs X")
        assert result.text.count("socket_filter") == count
        for option in ("-j", "-p"):
            as_json: Result = run(option, "prog", "show", kernel=self.broken(count))
            assert as_json.status == 255
            assert [row["id"] for row in as_json.json[:-1]] == [1, 2][:count]
            assert as_json.json[-1] == {"error": "cannot list programs: this needs X"}

    def test_output_starts_before_the_last_program_is_read(self) -> None:
        """A listing of many programs streams: nothing is read ahead."""
        import os

        from pybpftool.cli import main

        seen: list[int] = []
        read, write = os.pipe()
        os.set_blocking(read, False)

        class Watching(FakeKernel):
            def objects(self, kind: str) -> Any:
                for obj in super().objects(kind):
                    if obj.id == 100:
                        seen.append(len(os.read(read, 1 << 16)))
                    yield obj

        kernel = Watching()
        for id in range(1, 101):
            kernel.prog(id)
        saved = os.dup(1)
        os.dup2(write, 1)
        try:
            assert main.main(["prog", "show"], kernel) == 0
        finally:
            os.dup2(saved, 1)
            for fd in (saved, read, write):
                os.close(fd)
        assert seen[0] > 1000

    @pytest.mark.parametrize("word", ["xyz", "shows", "-1"])
    def test_unknown_commands(self, word: str) -> None:
        assert_one_sentence(run("prog", "--", word), f"unknown command '{word}' for 'prog'")

    def test_prog_alone_lists(self) -> None:
        kernel = FakeKernel()
        kernel.prog(1)
        assert run("prog", kernel=kernel).text.startswith("1: ")
