"""capstone behind its adapter: every architecture, odd bytes, failures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pybpftool.adapters.capstone import Disassembler, _bundled_library
from pybpftool.errors import BpfError


def texts(machine: str, code: str, byteorder: str = "<", syntax: str = "att") -> list[str]:
    disassembler = Disassembler(machine, byteorder, syntax)
    return [
        f"{block.mnemonic(i)} {block.operands(i)}".strip()
        for block in disassembler.blocks(bytes.fromhex(code), 0x1000)
        for i in range(len(block.sizes))
    ]


@pytest.mark.parametrize(
    "machine,byteorder,code,expected",
    [
        ("x86_64", "<", "554889e5c9c3", ["pushq %rbp", "movq %rsp, %rbp", "leave", "retq"]),
        ("i686", "<", "5589e5c9c3", ["pushl %ebp", "movl %esp, %ebp", "leave", "retl"]),
        ("aarch64", "<", "fd7bbfa9c0035fd6", ["stp x29, x30, [sp, #-0x10]!", "ret"]),
        ("aarch64_be", ">", "fd7bbfa9c0035fd6", ["stp x29, x30, [sp, #-0x10]!", "ret"]),
        ("armv7l", "<", "04482de51eff2fe1", ["str r4, [sp, #-0x804]!", "bx lr"]),
        ("armv7b", ">", "04482de51eff2fe1", ["str r4, [sp, #-0x804]!", "bx lr"]),
        ("armv5teb", ">", "e52d4804e12fff1e", ["str r4, [sp, #-0x804]!", "bx lr"]),
        ("riscv64", "<", "130101ff13010101", ["addi sp, sp, -0x10", "addi sp, sp, 0x10"]),
        ("s390x", ">", "b904002307fe", ["lgr %r2, %r3", "br %r14"]),
        ("ppc64le", "<", "a602087c2000804e", ["mflr r0", "blr"]),
        ("ppc64", ">", "7c0802a64e800020", ["mflr r0", "blr"]),
        ("mips64", ">", "03e0000800000000", ["jr $ra", "nop"]),
        ("mips", "<", "0800e00300000000", ["jr $ra", "nop"]),
        ("sparc64", ">", "81c3e00801000000", ["retl", "nop"]),
    ],
)
def test_architectures(machine: str, byteorder: str, code: str, expected: list[str]) -> None:
    assert texts(machine, code, byteorder) == expected


def test_intel_syntax() -> None:
    assert texts("x86_64", "4889e5", syntax="intel") == ["mov rbp, rsp"]


def test_bytes_that_are_no_instruction() -> None:
    # 06 is not valid in 64-bit mode; what follows is decoded.
    assert texts("x86_64", "0690c3") == [".byte 0x06", "nop", "retq"]
    assert texts("x86_64", "0690c3", syntax="intel") == [".byte 0x06", "nop", "ret"]
    assert texts("aarch64", "ffffffffc0035fd6") == [".byte 0xff, 0xff, 0xff, 0xff", "ret"]


def test_an_instruction_that_is_cut_off() -> None:
    assert texts("x86_64", "9048b811") == ["nop", ".byte 0x48", "movb $0x11, %al"][:1] + texts(
        "x86_64", "48b811"
    )
    assert texts("aarch64", "c0035fd6c003") == ["ret", ".byte 0xc0, 0x03"]
    assert texts("x86_64", "") == []


def test_many_blocks_give_every_byte_once() -> None:
    image = bytes.fromhex("554889e548c7c0010000006690c9c3") * 1000
    sizes = [n for block in Disassembler("x86_64").blocks(image, 0) for n in block.sizes]
    assert sum(sizes) == len(image)
    assert len(sizes) == 6 * 1000


def test_library_alone_and_package_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "f0480110e8fbffffff0f1f440000" * 3
    alone = texts("x86_64", code)
    monkeypatch.setattr("pybpftool.adapters.capstone._bundled_library", lambda: None)
    assert texts("x86_64", code) == alone


def test_package_is_not_imported_for_x86() -> None:
    if _bundled_library() is None:
        pytest.skip("capstone is not the wheel of version 5")
    import subprocess

    script = (
        "import sys; from pybpftool.adapters.capstone import Disassembler;"
        "list(Disassembler('x86_64').blocks(b'\\x90', 0)); print('capstone' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert run.stdout.strip() == b"False"


def test_library_path_of_the_environment_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBCAPSTONE_PATH", "/nowhere")
    assert _bundled_library() is None


def test_unknown_machine() -> None:
    with pytest.raises(BpfError, match="no disassembler for the machine code of vax"):
        Disassembler("vax")


def test_machine_that_this_capstone_lacks() -> None:
    import capstone

    if hasattr(capstone, "CS_ARCH_LOONGARCH"):
        assert texts("loongarch64", "2000004c") == ["ret"]
    else:
        with pytest.raises(BpfError, match=r"capstone 5\.\d+ cannot .* loongarch64; a newer one"):
            Disassembler("loongarch64")


def test_without_capstone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pybpftool.adapters.capstone._bundled_library", lambda: None)
    monkeypatch.setitem(sys.modules, "capstone", None)
    with pytest.raises(BpfError, match="needs the Python package capstone"):
        Disassembler("x86_64")


def test_a_capstone_for_other_processors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pybpftool.adapters.capstone._bundled_library", lambda: None)
    (tmp_path / "capstone.py").write_text("raise OSError('wrong ELF class')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "capstone", raising=False)
    with pytest.raises(BpfError, match=r"capstone, which does not work \(wrong ELF class\)"):
        Disassembler("x86_64")
