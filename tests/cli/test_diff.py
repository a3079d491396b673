"""``diff``: objects meet by identity, fields and code are compared, statuses are 0, 1 and 2."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest

from pybpftool.errors import KernelError
from tests.support import asm
from tests.support.cli import Result, run
from tests.support.fakeprogs import add_prog
from tests.support.hosts import HELPER, Host, add_tcx, host, load_map, twin
from tests.support.saved import save


@pytest.fixture
def before(tmp_path: Path) -> str:
    return save(host(), tmp_path / "before.zip")


def diff(before: str, kernel: Host, *options: str) -> Result:
    result = run("diff", before, *options, kernel=kernel)
    # Recorded, the second kernel answers as it did.
    path = save(kernel, Path(before).with_name("after.zip"))
    again = run("diff", before, path, *options)
    assert (again.status, again.out) == (result.status, result.out)
    return result


def test_ids_and_tags_are_no_difference(before: str) -> None:
    result = diff(before, host(shift=100, map_id=900))
    assert (result.status, result.out, result.err) == (0, b"", b"")


def test_another_kernel_build_compares_names(before: str) -> None:
    other = host(shift=5)
    other.release = "6.19.0"
    other.files["/proc/kallsyms"] = (
        b"ffffffff82000000 T __bpf_call_base\nffffffff82000800 T bpf_trace_printk\n"
    )
    code = load_map(1, 7) + asm.insn(0x85, 0, 0, 0, 0x800) + asm.mov64(asm.R0, 0) + asm.exit_()
    other.arrays[7]["xlated"] = code
    assert (diff(before, other).status, diff(before, other).out) == (0, b"")


def test_came_and_went(before: str) -> None:
    kernel = host()
    del kernel.all["prog"][1], kernel.all["map"][8]
    twin(kernel, 30)
    result = diff(before, kernel)
    assert result.status == 1
    assert result.text.splitlines() == [
        "- prog socket_filter first: id 1",
        "+ prog xdp twin #2: id 30; owner comm:leaky",
        "- map array config: id 8",
    ]


def test_a_twin_that_went_is_the_one(before: str, tmp_path: Path) -> None:
    kernel = host()
    twin(kernel, 30)
    kernel.arrays[30]["xlated"] = asm.mov64(asm.R0, 3) + asm.exit_()
    both = save(kernel, tmp_path / "both.zip")
    del kernel.all["prog"][3]
    result = run("diff", both, kernel=kernel)
    assert result.status == 1
    assert result.text == "- prog xdp twin #1: id 3; owner comm:other\n"


def test_fields(before: str) -> None:
    kernel = host()
    kernel.map(7, type=1, key_size=4, value_size=8, max_entries=64, name=b"flows", map_flags=1)
    kernel.elems[8] = {bytes(4): struct.pack("<I", 6)}
    kernel.held["prog"][2] = [(51, "other")]
    kernel.pins["prog"] = {2: ["/sys/fs/bpf/counter"]}
    result = diff(before, kernel)
    assert result.status == 1
    lines = result.text.splitlines()
    assert lines[0] == (
        "~ prog sched_cls counter: pinned none → /sys/fs/bpf/counter;"
        " owner -unit:agent.service +comm:other"
    )
    assert lines[1] == "~ map hash flows: flags 0 → 1; max_entries 16 → 64"
    assert lines[2].startswith("~ map array config: content ")
    ignored = diff(before, kernel, "--ignore", "flags,max_entries", "--ignore", "frozen_content")
    assert [line.partition(":")[0] for line in ignored.text.splitlines()] == [
        "~ prog sched_cls counter"
    ]
    assert diff(before, kernel, "--only", "link").status == 0
    assert diff(before, kernel, "--owner", "unit:nobody*").status == 0


def test_a_link_that_moved(before: str) -> None:
    kernel = host()
    add_tcx(kernel, 20, 2, "eth1", 3)
    result = diff(before, kernel)
    assert result.status == 1
    assert result.text.splitlines() == [
        "~ prog sched_cls counter: attached -tcx/ingress dev eth0 +tcx/ingress dev eth1",
        "~ link tcx counter at tcx/ingress dev eth1:"
        " attached tcx/ingress dev eth0 → tcx/ingress dev eth1",
    ]


def changed_code() -> Host:
    kernel = host()
    code = asm.assemble(
        [
            asm.insn(0x85, src=1, off=1, imm=1),
            asm.exit_(),
            asm.insn(0x15, 1, 0, 1, 5),  # if r1 == 5 goto +1
            asm.mov64(asm.R0, 1),
            asm.exit_(),
        ]
    )
    described = {"nr_jited_ksyms": 0, "nr_func_info": 2, "func_info_rec_size": 8, "nr_line_info": 1}
    add_prog(kernel, 1, code, name=b"first", btf_id=9, line_info_rec_size=16, **described)
    fresh = host()
    kernel.arrays[1].update(
        func_info=fresh.arrays[1]["func_info"], line_info=fresh.arrays[1]["line_info"]
    )
    return kernel


def test_code(before: str) -> None:
    result = diff(before, changed_code(), "--code")
    assert result.status == 1
    lines = result.text.splitlines()
    assert lines[0] == (
        "~ prog socket_filter first: code 4 instructions → 5 instructions; bytes_xlated 32 → 40"
    )
    assert lines[1:] == [
        "    ; return x + 1; [dir/a.c:12]",
        "    +    2: (15) if r1 == 0x5 goto pc+1",
    ]


def test_a_jump_over_an_insertion_is_the_same(tmp_path: Path) -> None:
    first, second = host(), host()
    jump = asm.insn(0x15, 1, 0, 1, 5)
    longer = asm.insn(0x15, 1, 0, 2, 5)
    ends = asm.mov64(asm.R0, 0) + asm.exit_()
    add_prog(first, 5, jump + asm.mov64(asm.R0, 1) + ends, name=b"jump")
    add_prog(second, 5, longer + asm.mov64(asm.R0, 1) + asm.mov64(asm.R2, 9) + ends, name=b"jump")
    result = run("diff", save(first, tmp_path / "a.zip"), "--code", kernel=second)
    assert result.text.splitlines()[1:] == ["    +    2: (b7) r2 = 9"]
    # A target that is another instruction is a change.
    elsewhere = host()
    add_prog(elsewhere, 5, longer + asm.mov64(asm.R0, 1) + ends, name=b"jump")
    result = run("diff", save(first, tmp_path / "a.zip"), "--code", kernel=elsewhere)
    assert result.text.splitlines()[1:] == [
        "    -    0: (15) if r1 == 0x5 goto pc+1",
        "    +    0: (15) if r1 == 0x5 goto pc+2",
    ]


def test_callees_that_one_side_hides_are_no_change(tmp_path: Path) -> None:
    """Who lacks CAP_SYSLOG is shown zeros in place of callees and addresses of the kernel."""
    first, hidden, longer = host(), host(), host()
    variable = struct.pack("<BBhiBBhi", 0x18, 1, 0, 0x3000, 0, 0, 0, -1)
    call, end = asm.insn(0x85, imm=0x1000), asm.mov64(asm.R0, 0) + asm.exit_()
    zeros = bytes((0x18, 1)) + bytes(14) + asm.insn(0x85, imm=0)
    add_prog(first, 5, variable + call + end, name=b"calls")
    add_prog(hidden, 5, zeros + end, name=b"calls", tag=b"another")
    add_prog(longer, 5, zeros + asm.mov64(asm.R2, 9) + end, name=b"calls", tag=b"a third")
    saved = save(first, tmp_path / "a.zip")
    result = run("diff", saved, "--code", kernel=hidden)
    assert (result.status, result.out) == (2, b"")
    assert result.errors == (
        "Not compared: prog socket_filter calls: code:"
        " the kernel does not show what its instructions call\n"
    )
    result = run("diff", saved, "--code", kernel=longer)
    assert result.status == 1 and "Not compared" in result.errors
    assert result.text.splitlines()[1:] == ["    +    3: (b7) r2 = 9"]
    # What both hide is not known to be the same, either, but by its tag.
    saved = save(hidden, tmp_path / "b.zip")
    assert run("diff", saved, kernel=hidden).status == 0
    add_prog(hidden, 5, zeros + end, name=b"calls", tag=b"new")
    result = run("diff", saved, kernel=hidden)
    assert (result.status, result.out) == (2, b"") and "what its instr" in result.errors


def test_elements(before: str) -> None:
    kernel = host()
    kernel.elems[7] = {struct.pack("<I", 1): struct.pack("<Q", 3), struct.pack("<I", 2): bytes(8)}
    assert diff(before, kernel).status == 0
    result = diff(before, kernel, "--elements")
    assert result.status == 1
    assert result.text.splitlines() == [
        "~ map hash flows",
        "    ~ [01 00 00 00] = 00 00 00 00 00 00 00 00 → 03 00 00 00 00 00 00 00",
        "    + [02 00 00 00] = 00 00 00 00 00 00 00 00",
    ]


def test_json(before: str) -> None:
    kernel = host()
    twin(kernel, 30)
    kernel.map(7, type=1, key_size=4, value_size=8, max_entries=64, name=b"flows")
    result = run("-j", "diff", before, kernel=kernel)
    assert result.status == 1
    answer = result.json
    assert answer["summary"] == {
        "added": 1, "removed": 0, "changed": 1, "same": 5, "unknown": 0,
    }  # fmt: skip
    assert answer["changes"] == [
        {"change": "added", "kind": "prog", "type": "xdp", "name": "twin", "ordinal": 2,
         "new_id": 30, "owner": ["comm:leaky"], "attached": []},
        {"change": "changed", "kind": "map", "type": "hash", "name": "flows", "old_id": 7,
         "new_id": 7, "fields": {"max_entries": {"old": 16, "new": 64}}},
    ]  # fmt: skip
    assert answer["old"]["release"] == "6.18.0-fake"


def test_what_is_hidden_is_never_the_same(before: str) -> None:
    kernel = host()
    kernel.arrays[2]["xlated"] = None
    result = diff(before, kernel)
    assert (result.status, result.out) == (2, b"")
    assert result.errors == (
        "Not compared: prog sched_cls counter: code: the kernel does not show its instructions\n"
    )


def test_a_kind_that_may_not_be_listed(before: str) -> None:
    class Guarded(Host):
        def objects(self, kind: str):  # type: ignore[no-untyped-def]
            if kind == "link":
                raise KernelError.of("cannot list links", errno.EPERM)
            return super().objects(kind)

    kernel = Guarded()
    kernel.__dict__.update(host().__dict__)
    result = run("diff", before, kernel=kernel)
    assert result.status == 2
    assert "cannot list links" in result.errors
    assert "Traceback" not in result.errors


def test_hostile_names(before: str) -> None:
    kernel = host()
    add_prog(kernel, 40, asm.exit_(), name=b"a\x1b[31m\n\xff\xe2\x80\xae")
    result = diff(before, kernel)
    assert result.text == "+ prog socket_filter a\\x1b[31m\\x0a\\xff\\u202e: id 40\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["diff"], "expected the path of a snapshot"),
        (["diff", "/none.zip"], "cannot open the snapshot '/none.zip'"),
        (["diff", "a", "b", "c"], "unexpected argument 'c'"),
        (["diff", "a", "--only", "progs"], "there is no kind 'progs'; did you mean 'prog'?"),
        (["diff", "a", "--ignore", "max_entry"], "did you mean 'max_entries'?"),
        (["diff", "a", "--ignore"], "needs a value"),
    ],
)
def test_refusals(words: list[str], sentence: str) -> None:
    result = run(*words, kernel=host())
    assert sentence in result.errors
    assert len(result.errors.splitlines()) == 1
    assert result.status == (255 if words[-1] == "--ignore" else 2)


def test_options_of_diff_are_of_diff_alone() -> None:
    result = run("prog", "show", "--code", kernel=host())
    assert result.status == 255
    assert result.errors == "Error: option '--code' belongs to 'diff'\n"


def test_help() -> None:
    result = run("diff", "help")
    assert result.status == 0
    assert result.errors.startswith("Usage: pybpftool diff A [B]")


def test_helper_offset_is_what_the_fake_kernel_says() -> None:
    assert b"%x" % (0xFFFFFFFF81000000 + HELPER) in host().files["/proc/kallsyms"]  # type: ignore[operator]
