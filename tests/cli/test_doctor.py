"""``doctor``: each check finds what it is for, and nothing on a machine that is well."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pybpftool.errors import KernelError
from pybpftool.inspect.tail_calls import jumps_in
from pybpftool.inspect.wording import shell_quoted, shown
from pybpftool.kernel.interface import BpfObject
from tests.support import asm
from tests.support.cli import Result, run
from tests.support.fakeprogs import add_described, add_prog
from tests.support.hosts import Host, add_tcx, host, load_map
from tests.support.owners_golden import answer, cases

TABLES = [row for row in cases() if "doctor" in row[1].split()]
STATS = "/proc/sys/kernel/bpf_stats_enabled"


@pytest.mark.parametrize(("kernel", "command", "text"), TABLES, ids=lambda each: each[:60])
def test_recorded_kernels(kernel: str, command: str, text: str) -> None:
    assert answer(kernel, command) == text


def well() -> Host:
    """A host on which nothing is wrong."""
    kernel = host()
    kernel.files[STATS] = b"0\n"
    kernel.files["/proc/sys/net/core/bpf_jit_kallsyms"] = b"0\n"
    kernel.held["map"][8] = [(50, "agent")]
    kernel.files["/proc/kallsyms"] = b"ffffffff81000000 T __bpf_call_base\n"
    kernel.btf(1)
    kernel.holding = lambda name: []  # type: ignore[method-assign]
    kernel.pinned_elsewhere = lambda: ([], False)  # type: ignore[method-assign]
    kernel.namespaces = [("", 1, "", 1, "init")]
    return kernel


def doctor(kernel: Host, *checks: str) -> Result:
    result = run("doctor", *checks, kernel=kernel)
    again = run("-j", "doctor", *checks, kernel=kernel)
    assert again.status == result.status
    found = json.loads(again.out)["findings"]
    assert len(found) == int(result.text.splitlines()[-1].split()[0])
    for each in found:
        assert each["what"] and each["advice"] and each["label"]
    return result


def findings(kernel: Host, *checks: str) -> list[tuple[str, int]]:
    doctor(kernel, *checks)
    found = run("-j", "doctor", *checks, kernel=kernel).json["findings"]
    return [(each["check"], each.get("id", 0)) for each in found]


def test_nothing() -> None:
    result = doctor(well())
    assert (result.status, result.err) == (0, b""), result
    assert result.text == "0 findings; 3 programs, 2 maps, 1 link\n"


def test_held_by_nothing() -> None:
    kernel = well()
    add_prog(kernel, 40, b"", name=b"lonely", type=6)
    kernel.map(41, type=2, key_size=4, value_size=4, max_entries=1)
    assert findings(kernel, "unheld") == [("unheld", 40), ("unheld", 41)]
    assert doctor(kernel).status == 1


def test_what_many_have_in_common_is_said_once() -> None:
    kernel = well()
    for map_id in (41, 42):
        kernel.map(map_id, type=2, key_size=4, value_size=4, max_entries=1)
    result = doctor(kernel, "unheld")
    first, second, advice, one, other, total = result.text.splitlines()
    assert first.replace("41", "42") == second and advice.startswith("\t"), result
    assert (one, other) == ("\tpybpftool why map id 41", "\tpybpftool why map id 42")
    assert total == "2 findings; 3 programs, 4 maps, 1 link"


def test_nothing_is_called_unheld_where_holders_are_hidden() -> None:
    kernel = well()
    kernel.is_live = True
    kernel.files["/proc/self/status"] = b"Name:\tx\nCapEff:\t0000000000200000\n"
    add_prog(kernel, 40, b"", name=b"lonely", type=6)
    kernel.map(41, type=2, key_size=4, value_size=4, max_entries=1)
    kernel.pins["map"] = {41: ["/sys/fs/bpf/m"]}
    kernel.map(42, type=2, key_size=4, value_size=4, max_entries=1)
    result = doctor(kernel, "unheld", "unused")
    assert "unheld" not in result.text and "41" in result.text
    assert "no program and no process that can be seen uses it" in result.text
    assert "CAP_SYS_PTRACE" in result.errors


def test_pinned_and_acting_nowhere() -> None:
    kernel = well()
    add_prog(kernel, 40, b"", name=b"idle", type=6)
    add_prog(kernel, 41, b"", name=b"called", type=6)
    add_prog(kernel, 42, b"", name=b"socket", type=1)
    add_prog(kernel, 46, b"", name=b"called", type=31)  # a program of bpf(2) itself
    kernel.pins["prog"] = {40: ["/sys/fs/bpf/it's"], 41: ["/sys/fs/bpf/b"], 42: ["/sys/fs/bpf/c"],
                           46: ["/sys/fs/bpf/d"]}  # fmt: skip
    kernel.map(43, type=3, key_size=4, value_size=4, max_entries=1, name=b"jumps")
    kernel.elems[43] = {bytes(4): struct.pack("<I", 41)}
    add_prog(kernel, 44, load_map(2, 43), name=b"caller", type=3, maps=(43,))
    add_tcx(kernel, 61, 44, "eth0", 2)
    kernel.link(45, 6, struct.pack("<I", 0), prog=3)
    kernel.held["link"][45] = [(51, "other")]
    assert findings(kernel, "unattached") == [("unattached", 40), ("unattached", 45)]
    text = doctor(kernel, "unattached").text
    assert "rm '/sys/fs/bpf/it'\"'\"'s'" in text
    assert "pybpftool why prog id 40" in text
    assert "acts when somebody runs it by bpf(2)" in run("why", "prog", "46", kernel=kernel).text


def test_pinned_maps_of_nobody() -> None:
    kernel = well()
    kernel.map(40, type=2, key_size=4, value_size=4, max_entries=1, name=b"old")
    kernel.pins["map"] = {40: ["/sys/fs/bpf/old"], 7: ["/sys/fs/bpf/flows"]}
    assert findings(kernel, "unused") == [("unused", 40)]


def test_the_same_program_twice() -> None:
    kernel = well()
    add_prog(kernel, 40, b"", name=b"counter", type=3, tag=bytes(8))
    add_prog(kernel, 41, b"", name=b"counter", type=3, tag=bytes(8))
    for link, prog, device, ifindex in (
        (61, 40, "eth7", 7),
        (62, 41, "eth7", 7),
        (63, 41, "e8", 8),
    ):
        add_tcx(kernel, link, prog, device, ifindex)
    assert findings(kernel, "twice") == [("twice", 40)]
    assert "2 programs of this name and code at tcx/ingress dev eth7: 40, 41" in (
        doctor(kernel, "twice").text
    )


def test_the_same_program_in_two_functions_of_another_one() -> None:
    kernel = well()
    for id, link, function in ((40, 60, 3), (41, 61, 4)):  # first() and second() of program 1
        add_prog(kernel, id, b"", name=b"part", type=28, tag=bytes(8))
        kernel.link(link, 2, struct.pack("<III", 0, 1, function), prog=id)
    assert findings(kernel, "twice") == []
    kernel.link(61, 2, struct.pack("<III", 0, 1, 3), prog=41)
    assert findings(kernel, "twice") == [("twice", 40)]
    rows = run("attachments", "--filter", "hook=freplace", kernel=kernel).text
    assert rows.count("prog first") == rows.count("function first of prog 1 ") == 2


def test_the_same_program_in_two_programs_of_one_name() -> None:
    """Each device has its own dispatcher, of the same name and functions."""
    kernel = well()
    add_described(kernel, 39)
    for id, link, target in ((40, 60, 1), (41, 61, 39)):
        add_prog(kernel, id, b"", name=b"part", type=28, tag=bytes(8))
        kernel.link(link, 2, struct.pack("<III", 0, target, 3), prog=id)
    assert findings(kernel, "twice") == []


@pytest.mark.parametrize(
    ("count", "state"), [(15, "93 % full: 15 of 16"), (16, "full: 16 of 16"), (14, "")]
)
def test_full_maps(count: int, state: str) -> None:
    kernel = well()
    kernel.elems[7] = {struct.pack("<I", n): bytes(8) for n in range(count)}
    text = doctor(kernel, "full").text
    assert (state in text) if state else text.startswith("0 findings")


def test_lru_maps_are_full_by_design() -> None:
    kernel = well()
    kernel.map(40, type=9, key_size=4, value_size=4, max_entries=1)
    kernel.elems[40] = {bytes(4): bytes(4)}
    assert findings(kernel, "full") == []


def tail_call(map: int, slot: int | None) -> bytes:
    index = asm.mov64(asm.R3, slot) if slot is not None else asm.mov64(asm.R3, asm.R6)
    return load_map(2, map) + index + asm.call(12) + asm.mov64(asm.R0, 0) + asm.exit_()


def test_empty_slots() -> None:
    kernel = well()
    kernel.map(40, type=3, key_size=4, value_size=4, max_entries=4, name=b"jumps")
    kernel.map(41, type=3, key_size=4, value_size=4, max_entries=4, name=b"none")
    kernel.elems[40] = {bytes(4): struct.pack("<I", 3)}
    code = tail_call(40, 0)[:-8] + tail_call(40, 2)[:-8] + tail_call(41, None)
    add_prog(kernel, 42, code, name=b"caller", type=3, maps=(40, 41))
    add_tcx(kernel, 61, 42, "eth0", 2)
    text = doctor(kernel, "tail-call").text
    assert "map 40 prog_array jumps: slot 2 is empty, and prog 42 caller jumps there" in text
    assert "map 41 prog_array none: all slots are empty" in text
    assert text.endswith("2 findings; 4 programs, 4 maps, 2 links\n")


def test_constants_do_not_outlive_jumps() -> None:
    over = load_map(2, 5) + asm.mov64(asm.R3, 1) + asm.jeq(asm.R6, 0, 1) + asm.mov64(asm.R3, 2)
    assert list(jumps_in(over + asm.call(12), "<")) == []  # two ways lead to the call
    straight = load_map(2, 5) + asm.mov64(asm.R3, 1) + asm.mov64(asm.R7, 9) + asm.call(12)
    assert list(jumps_in(straight, "<")) == [(5, 1)]
    called = load_map(2, 5) + asm.mov64(asm.R3, 1) + asm.call(5) + asm.call(12)
    assert list(jumps_in(called, "<")) == []
    assert list(jumps_in(load_map(2, 5) + asm.call(12) + b"\0\1", "<")) == [(5, None)]


def test_statistics() -> None:
    kernel = well()
    kernel.files[STATS] = b"1\n"
    assert findings(kernel, "stats") == [("stats", 0)]
    assert "sysctl -w kernel.bpf_stats_enabled=0" in doctor(kernel, "stats").text


def test_processes_that_keep_statistics_on() -> None:
    kernel = well()
    kernel.holding = lambda name: [(70, "top\x1b[2J")] if name == "bpf-stats" else []  # type: ignore[method-assign]
    assert findings(kernel, "stats") == [("stats", 70)]
    (found,) = run("-j", "doctor", "stats", kernel=kernel).json["findings"]
    assert (found["kind"], found["label"]) == ("pid", "process 70 (top\x1b[2J)")
    text = doctor(kernel, "stats").text
    assert text.startswith("stats: process 70 (top\\x1b[2J): keeps run-time statistics on")
    del kernel.holding
    assert findings(kernel, "stats") == []  # a recording that was not asked


def test_hidden_from_the_walk() -> None:
    kernel = well()
    kernel.held["prog"][1] = [(60, "rootkit")]
    add_prog(kernel, 40, b"", name=b"newest", type=6)
    kernel.held["prog"][40] = [(50, "agent")]
    kernel.held["prog"][33] = [(60, "rootkit")]
    kernel.pins["map"] = {6: ["/sys/fs/bpf/hidden"]}
    assert findings(kernel, "hidden") == [("hidden", 33), ("hidden", 6)]
    text = doctor(kernel, "hidden").text
    assert "prog 33: the walk over all programs leaves it out; a descriptor of process 60" in text
    assert "map 6: the walk over all maps leaves it out; it is pinned at /sys/fs/bpf/hidden" in text


def test_hidden_from_kallsyms_or_only_there() -> None:
    kernel = well()
    kernel.files["/proc/sys/net/core/bpf_jit_kallsyms"] = b"1\n"
    add_prog(kernel, 40, b"", name=b"seen", type=6, tag=b"\1" * 8, jited_prog_len=9)
    add_prog(kernel, 41, b"", name=b"unseen", type=6, tag=b"\2" * 8, jited_prog_len=9)
    for id in (40, 41):
        kernel.held["prog"][id] = [(50, "agent")]
    kernel.files["/proc/kallsyms"] = (
        b"ffffffffc0000000 t bpf_prog_" + b"01" * 8 + b"_seen\t[bpf]\n"
        b"ffffffffc0000100 t bpf_prog_" + b"0f" * 8 + b"_ghost\t[bpf]\n"
        b"ffffffffc0000200 t bpf_trampoline_6442\t[bpf]\n"
    )
    text = doctor(kernel, "hidden").text
    assert "bpf_prog_" + "0f" * 8 + "_ghost: a compiled program in kallsyms" in text
    assert "prog 41: compiled, and kallsyms has no symbol of it" in text
    assert text.endswith("2 findings; 5 programs, 2 maps, 1 link\n")


@pytest.mark.parametrize("digest", [hashlib.sha1, hashlib.sha256])
def test_the_callback_that_the_verifier_adds_is_no_hidden_program(
    digest: Callable[[bytes], Any],
) -> None:
    """Of a program that throws; the kernel counts it among no program's functions."""
    kernel = well()
    add_prog(kernel, 40, b"", name=b"throws", type=6, tag=b"\1" * 8, jited_prog_len=9)
    kernel.held["prog"][40] = [(50, "agent")]
    tag = digest(asm.mov64(asm.R0, asm.R1) + asm.exit_()).hexdigest()[:16]
    kernel.files["/proc/kallsyms"] = (
        b"ffffffffc0000000 t bpf_prog_" + b"01" * 8 + b"_throws\t[bpf]\n"
        b"ffffffffc0000100 t bpf_prog_" + tag.encode() + b"_F\t[bpf]\n"
    )
    result = doctor(kernel, "hidden")
    assert result.status == 0, result.text


def test_symbols_of_programs_that_came_or_went_meanwhile() -> None:
    """The running kernel is asked once more, for all of them together."""
    kernel = well()
    kernel.files["/proc/sys/net/core/bpf_jit_kallsyms"] = b"1\n"
    kernel.is_live = True
    kernel.files["/proc/self/status"] = b"CapEff:\tffffffffffffffff\n"
    kernel.files["/proc/2/comm"] = b"kthreadd\n"
    add_prog(kernel, 90, b"", name=b"late", type=6, tag=b"\1" * 8, jited_prog_len=9)
    kernel.arrays[90]["prog_tags"] = b"\1" * 8 + b"\2" * 8
    late = kernel.all["prog"].pop(90)
    kernel.objects_after = lambda kind, id: iter([late] if id == 3 else [])  # type: ignore[method-assign]
    lines = [b"ffffffffc0000%03x t bpf_prog_%s_f\t[bpf]\n" % (tag, bytes([tag] * 8).hex().encode())
             for tag in range(1, 9)]  # fmt: skip
    reads = []
    ask = kernel.file

    def file(path: str) -> bytes:
        if path == "/proc/kallsyms":
            reads.append(path)
            return b"".join(lines if len(reads) == 1 else lines[:-2])
        return ask(path)

    kernel.file = file  # type: ignore[method-assign]
    found = run("-j", "doctor", "hidden", kernel=kernel).json["findings"]
    labels = [each["label"] for each in found]
    assert labels == [f"bpf_prog_{bytes([tag] * 8).hex()}_f" for tag in range(3, 7)]
    assert len(reads) == 2


def test_symbols_of_functions_that_cannot_be_told_are_no_findings() -> None:
    kernel = well()
    add_prog(kernel, 40, b"", name=b"calling", type=6, tag=b"\1" * 8, jited_prog_len=9)
    kernel.held["prog"][40] = [(50, "agent")]
    kernel.files["/proc/kallsyms"] = (
        b"ffffffffc0000000 t bpf_prog_" + b"01" * 8 + b"_calling\t[bpf]\n"
        b"ffffffffc0000100 t bpf_prog_" + b"0a" * 8 + b"_called\t[bpf]\n"
    )
    assert len(findings(kernel, "hidden")) == 1
    kernel.arrays[40]["prog_tags"] = b"\1" * 8 + b"\n" * 8
    assert findings(kernel, "hidden") == []
    kernel.arrays[40]["refused"] = None
    result = doctor(kernel, "hidden")
    assert (result.status, result.text.splitlines()[-1][:10]) == (2, "0 findings")
    assert result.errors == (
        "Not seen: cannot tell which symbols of kallsyms are functions of programs:"
        " cannot get the info of program 40: Operation not permitted\n"
    )


def test_whether_symbols_are_shown_cannot_be_told() -> None:
    kernel = well()
    shown = "/proc/sys/net/core/bpf_jit_kallsyms"
    kernel.files[shown] = KernelError("cannot open " + shown, errno.EACCES)
    assert doctor(kernel, "hidden").status == 0  # no program is compiled
    add_prog(kernel, 40, b"", name=b"compiled", type=6, tag=b"\1" * 8, jited_prog_len=9)
    kernel.held["prog"][40] = [(50, "agent")]
    result = doctor(kernel, "hidden")
    assert (result.status, result.errors) == (2, f"Not seen: cannot open {shown}\n")


def test_hidden_from_one_of_two_walks() -> None:
    kernel = well()
    kernel.iterated = lambda kind: {  # type: ignore[method-assign]
        "prog": [1, 2, 3], "map": [6, 7, 8], "link": [],
    }[kind]  # fmt: skip
    assert findings(kernel, "hidden") == [("hidden", 6), ("hidden", 20)]
    text = doctor(kernel, "hidden").text
    assert "map 6: the walk over all maps leaves it out, the kernel's iterator has it" in text
    assert "link 20: the kernel's iterator over links leaves it out" in text
    kernel.iterated = lambda kind: {  # type: ignore[method-assign]
        "prog": [1, 2, 3], "map": [7, 8, 99], "link": [20],
    }[kind]  # fmt: skip
    assert findings(kernel, "hidden") == []  # 99 was made meanwhile


def test_what_could_not_be_judged() -> None:
    kernel = well()
    kernel.files[STATS] = KernelError("cannot open " + STATS, errno.EACCES)
    result = doctor(kernel)
    assert result.status == 2
    assert result.errors == f"Not seen: cannot open {STATS}\n"
    assert run("-j", "doctor", kernel=kernel).json["unseen"] == ["cannot open " + STATS]


def test_what_vanishes_after_it_was_listed_is_neither_found_nor_missed(tmp_path: Path) -> None:
    kernel = well()
    kernel.map(30, type=1, key_size=4, value_size=8, max_entries=4, name=b"brief")
    kernel.map(31, type=3, key_size=4, value_size=4, max_entries=4, name=b"jumps")
    kernel.map(32, type=26, key_size=4, value_size=8, max_entries=4, name=b"congestion")
    kernel.map(33, type=15, key_size=4, value_size=4, max_entries=4, name=b"sockets")
    add_prog(kernel, 34, b"", name=b"brief", type=6, maps=(31,))
    kernel.held["prog"][34] = [(50, "agent")]
    kernel.files["/proc/self/status"] = b"Name:\tx\nCapEff:\t000001ffffffffff\n"
    kernel.files["/proc/2/comm"] = b"kthreadd\n"
    kernel.is_live = True
    still_there = kernel.open

    def gone(kind: str, id: int) -> BpfObject:
        if id >= 30:
            raise KernelError(f"there is no {kind} with id {id}", errno.ENOENT)
        return still_there(kind, id)

    kernel.open = gone  # type: ignore[method-assign]
    result = run("doctor", kernel=kernel)
    assert (result.status, result.err) == (0, b""), result
    result = run("report", str(tmp_path / "page.html"), kernel=kernel)
    assert (result.status, result.err) == (0, b""), result
    page = (tmp_path / "page.html").read_text()
    assert "It has gone since it was listed." in page
    assert "there is no" not in page


def test_errors_are_status_2() -> None:
    result = run("doctor", "teeth", kernel=host())
    assert result.status == 2
    assert "expected 'unheld'" in result.errors


def test_names_stay_text() -> None:
    kernel = well()
    kernel.map(40, type=2, key_size=4, value_size=4, max_entries=1, name=b"\x1b]0;x\x07\n")
    kernel.pins["map"] = {40: ["/sys/fs/bpf/\x1b[2J\n$(reboot)"]}
    text = doctor(kernel, "unused").text
    assert "\x1b" not in text and len(text.splitlines()) == 4
    assert "rm $'/sys/fs/bpf/\\x1b[2J\\x0a$(reboot)'" in text


@pytest.mark.parametrize(
    "name", ["a b", "it's", "\t'\\x\n$(rm)", "é", "\udcff1", "\u202e2", "\x7f'"]
)
def test_quoted_paths_name_the_file(name: str) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    quoted = shell_quoted(name)
    assert shown(quoted) == quoted
    done = subprocess.run([bash, "-c", f"printf %s {quoted}"], capture_output=True, check=True)
    assert done.stdout == os.fsencode(name)
