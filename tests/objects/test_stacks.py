"""Stacks of stack_trace maps."""

from __future__ import annotations

import struct

import pytest

from pybpftool.errors import BpfError
from pybpftool.objects.map import read
from pybpftool.objects.stacks import (
    Frame,
    KernelText,
    StackReader,
    UserText,
    counted,
    each_once,
)
from tests.support.fakekernel import FakeKernel
from tests.support.hosts import Host
from tests.support.stacks import BUILD_ID, KALLSYMS, stack_host


def reader(kernel: Host, id: int = 30) -> StackReader:
    obj = kernel.all["map"][id]
    return StackReader(kernel, obj, read(kernel, obj))


def test_kernel_symbols() -> None:
    text = KernelText(KALLSYMS)
    assert text.frame(0xFFFFFFFF81000008) == Frame(
        0xFFFFFFFF81000008, "kernel", "_stext", 8, "")  # fmt: skip
    # Data is no code: the function before it is meant.
    assert text.frame(0xFFFFFFFF81000210).symbol == "do_read"
    assert text.frame(0xFFFFFFFFC0100001).text() == "ffffffffc0100001 xfs_read+0x1 [xfs]"
    assert text.frame(0xFFFFFFFF80000000).text() == "ffffffff80000000 (unknown)"
    assert KernelText(b"").frame(1 << 63).name == "0x8000000000000000"


def test_frames() -> None:
    stacks = reader(stack_host())
    assert stacks.ids == [2, 5]
    assert [frame.name for frame in stacks.frames(5)] == ["do_read", "_stext"]
    kinds = [frame.kind for frame in stacks.frames(2)]
    assert kinds == ["bpf", "module", "user", "user", "user", "user"]
    assert [frame.name for frame in stacks.frames(2)][2:] == ["[unknown]"] * 4
    named = stacks.frames(2, 44)[2:]
    assert [frame.name for frame in named] == [
        "main", "/usr/bin/agent+0x1500", "[vdso]+0x10", "[unknown]"]  # fmt: skip
    assert named[0].text() == "0000000000401010 main+0x10 (/usr/bin/agent)"
    assert named[0].json() == {
        "address": 0x401010, "kind": "user", "symbol": "main", "offset": 16,
        "file": "/usr/bin/agent",
    }  # fmt: skip
    assert stacks.frames(9) == []
    # Of a process that has ended nothing is known.
    assert stacks.frames(2, 45)[2].name == "[unknown]"


S390X_SYMBOLS = b"""\
000003ff60001000 t xfs_read\t[xfs]
000003ffe0000000 T _stext
000003ffe0000100 t do_read
"""


def test_kernels_without_the_upper_half_of_addresses() -> None:
    kernel = stack_host()
    kernel.machine = "s390x"
    kernel.files["/proc/kallsyms"] = S390X_SYMBOLS
    addresses = 0x3FFE0000110, 0x3FF60001020, 0x3FFA0001020, 0x2AA00001010, 0x100
    kernel.elems[30] = {struct.pack("<I", 1): struct.pack("<8Q", *addresses, 0, 0, 0)}
    found = [(frame.kind, frame.symbol) for frame in reader(kernel).frames(1)]
    assert found == [
        ("kernel", "do_read"), ("module", "xfs_read"), ("user", ""), ("user", ""), ("user", "")
    ]  # fmt: skip


def test_build_ids() -> None:
    kernel = stack_host(True)
    assert [frame.name for frame in reader(kernel, 31).frames(1)] == [
        BUILD_ID.hex() + "+0x1010", "[unknown]"]  # fmt: skip
    kernel.build_ids[BUILD_ID] = "/usr/bin/agent"
    kernel.places["/usr/bin/agent", 0x1010] = {"symbol": "main", "symbol_offset": 0}
    assert [frame.name for frame in reader(kernel, 31).frames(1)] == ["main", "[unknown]"]


def test_another_type_is_refused() -> None:
    kernel = stack_host()
    with pytest.raises(BpfError, match="map 7 is of type hash, not stack_trace"):
        reader(kernel, 7)


class Counts(dict):  # type: ignore[type-arg]
    byteorder = "little"


def test_counts() -> None:
    stacks = reader(stack_host())
    assert [(one.times, len(one.frames)) for one in each_once(stacks)] == [(1, 6), (1, 2)]
    found = counted(stacks, Counts({b"\x05\0\0\0": b"\x07" + bytes(7), 2: [1, 2], 9: 4, 5: 0}))
    assert [(one.times, one.frames[-1].name) for one in found] == [
        (7, "do_read"), (3, "bpf_prog_1234567812345678_counter")]  # fmt: skip
    key = {"pid": 44, "kern_stack_id": 5, "user_stack_id": 2, "comm": "agent\0\0"}
    (one,) = [*counted(stacks, Counts({1: 0}))] or counted(
        stacks, _Pairs([(key, {"total": 8, "count": 3})])
    )
    assert (one.times, one.process) == (3, "agent")
    # The user's part first, each from the outermost on.
    names = [frame.name for frame in one.frames]
    assert names[0] == "[unknown]" and "main" in names and names[-2:] == ["_stext", "do_read"]
    # A stack that the kernel could not record (-EFAULT) leaves the other one.
    key = {"pid": 44, "kstack": 5, "ustack": -14, "comm": "x"}
    (one,) = counted(stacks, _Pairs([(key, 2)]))
    assert len(one.frames) == 2
    with pytest.raises(BpfError, match="no member for a stack's id"):
        counted(stacks, _Pairs([({"pid": 1}, 2)]))


def test_counts_of_a_big_endian_kernel() -> None:
    class Big(dict):  # type: ignore[type-arg]
        byteorder = "big"

    stacks = reader(stack_host())
    (one,) = counted(stacks, Big({b"\0\0\0\x05": bytes(7) + b"\x07"}))
    assert one.times == 7


class _Pairs:
    byteorder = "little"

    def __init__(self, pairs: list[tuple[object, object]]) -> None:
        self._pairs = pairs

    def items(self) -> list[tuple[object, object]]:
        return self._pairs


def test_files_of_any_name_in_memory() -> None:
    kernel = FakeKernel()
    path = "/tmp/a\x1c b\u2028zz-yy rwxp 00000000 00:00 1 /tmp/c"
    kernel.files["/proc/9/maps"] = (
        f"1000-2000 r-xp 00000400 08:01 7                          {path}\n"
        "3000-4000 rw-p 00000000 00:00 0 \n"
    ).encode()
    asked = []

    def file_place(path: str, offset: int) -> dict[str, object]:
        asked.append((path, offset))
        return {"symbol": "f", "symbol_offset": 1}

    kernel.file_place = file_place  # type: ignore[method-assign]
    frame = UserText(kernel, 9).frame(0x1010)
    assert asked == [(f"/proc/9/root{path}", 0x410)]
    assert frame == Frame(0x1010, "user", "f", 1, path)
