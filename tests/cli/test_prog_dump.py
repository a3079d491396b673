"""``prog dump xlated``: words, several programs, files, what the kernel withholds."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pybpftool.cli.prog_form import Dump, DumpOptions
from pybpftool.errors import KernelError
from tests.support import asm
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel
from tests.support.fakeprogs import add_described, add_prog

CODE = asm.assemble([asm.mov64(asm.R0, 7), asm.exit_()])
TEXT = "   0: (b7) r0 = 7\n   1: (95) exit\n"


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    add_prog(kernel, 1, CODE, name=b"one")
    add_prog(kernel, 2, CODE, name=b"twin")
    add_prog(kernel, 3, asm.ret(1), name=b"twin", tag=b"\3" * 8)
    kernel.files["/proc/sys/kernel/kptr_restrict"] = b"2\n"
    kernel.files["/proc/sys/net/core/bpf_jit_harden"] = b"1\n"
    return kernel


class TestForms:
    def test_plain(self, kernel: FakeKernel) -> None:
        result = run("prog", "dump", "xlated", "id", "1", kernel=kernel)
        assert (result.status, result.text, result.err) == (0, TEXT, b"")
        assert kernel.opened == 0

    def test_opcodes(self, kernel: FakeKernel) -> None:
        assert run("prog", "dump", "xlated", "id", "1", "opcodes", kernel=kernel).text == (
            "   0: (b7) r0 = 7\n       b7 00 00 00 07 00 00 00\n"
            "   1: (95) exit\n       95 00 00 00 00 00 00 00\n"
        )

    def test_json(self, kernel: FakeKernel) -> None:
        result = run("-j", "prog", "dump", "xlated", "id", "1", kernel=kernel)
        assert result.json == [{"disasm": "(b7) r0 = 7"}, {"disasm": "(95) exit"}]
        pretty = run("-p", "prog", "dump", "xlated", "id", "1", kernel=kernel)
        assert pretty.json == result.json

    def test_functions_and_lines(self, kernel: FakeKernel) -> None:
        add_described(kernel, 5)
        text = run("prog", "dump", "xlated", "id", "5", kernel=kernel).text
        assert text == (
            "int first(int x):\n   0: (85) call pc+1\n   1: (95) exit\n"
            "int second(int x):\n; return x + 1;\n   2: (b7) r0 = 1\n   3: (95) exit\n"
        )
        with_numbers = run("prog", "dump", "xlated", "id", "5", "linum", kernel=kernel).text
        assert "; return x + 1; [file:dir/a.c line_num:12 line_col:3]\n" in with_numbers

    @pytest.mark.parametrize(
        "words", ["d x id 1", "dump xlated i 0x1", "du xl id 01", "dump x n one"]
    )
    def test_shortened(self, kernel: FakeKernel, words: str) -> None:
        assert run("prog", *words.split(), kernel=kernel).text == TEXT

    @pytest.mark.parametrize("words", ["opcodes linum", "linum opcodes", "o l", "l l o o"])
    def test_both_options_in_any_order(self, kernel: FakeKernel, words: str) -> None:
        both = run("prog", "dump", "xlated", "id", "1", *words.split(), kernel=kernel)
        assert both.text == run(
            "prog", "dump", "xlated", "id", "1", "opcodes", "linum", kernel=kernel
        ).text  # fmt: skip


class TestSeveral:
    def test_text(self, kernel: FakeKernel) -> None:
        result = run("prog", "dump", "xlated", "name", "twin", kernel=kernel)
        assert result.text == (
            f"2: socket_filter  name twin  tag 0001020304050607\n{TEXT}\n"
            "3: socket_filter  name twin  tag 0303030303030303\n"
            "   0: (b7) r0 = 1\n   1: (95) exit\n"
        )

    def test_json(self, kernel: FakeKernel) -> None:
        result = run("-j", "prog", "dump", "xlated", "name", "twin", kernel=kernel)
        assert [(row["id"], len(row["insns"])) for row in result.json] == [(2, 2), (3, 2)]
        assert list(result.json[0]) == ["id", "type", "name", "tag", "gpl_compatible", "insns"]
        pretty = run("-p", "prog", "dump", "xlated", "name", "twin", kernel=kernel)
        assert pretty.json == result.json

    def test_one_that_cannot_be_dumped_ends_it_with_valid_json(self, kernel: FakeKernel) -> None:
        kernel.arrays[3]["xlated"] = None
        for option in ("-j", "-p"):
            result = run(option, "prog", "dump", "xlated", "name", "twin", kernel=kernel)
            assert result.status == 255
            assert "kptr_restrict" in str(result.json)
        assert_one_sentence(run("prog", "dump", "xlated", "name", "twin", kernel=kernel))
        assert kernel.opened == 0

    def test_a_file_takes_only_one(self, kernel: FakeKernel, tmp_path: Path) -> None:
        path = tmp_path / "image"
        result = run("prog", "dump", "xlated", "name", "twin", "file", str(path), kernel=kernel)
        assert_one_sentence(result, "several programs match", "'file'")
        assert not path.exists()
        assert kernel.opened == 0


class TestWords:
    @pytest.mark.parametrize(
        ("words", "part"),
        [
            ("", "'jited', 'xlated'"),
            ("nonsense", "got 'nonsense'"),
            ("xlated", "after 'xlated'"),
            ("xlated id", "a program id"),
            ("xlated id 99", "99"),
            ("xlated id 1 nonsense", "unexpected argument 'nonsense'"),
            ("xlated id 1 opcodes nonsense", "unexpected argument 'nonsense'"),
            ("xlated id 1 file", "a file name"),
            ("xlated id 1 file x opcodes", "'file' cannot be combined"),
            ("xlated id 1 linum file x", "'file' cannot be combined"),
            ("xlated name nobody", "nobody"),
        ],
    )
    def test_wrong(self, kernel: FakeKernel, words: str, part: str) -> None:
        result = run("prog", "dump", *words.split(), kernel=kernel)
        assert result.out == b""
        assert_one_sentence(result, part)
        assert part in run("-j", "prog", "dump", *words.split(), kernel=kernel).json["error"]
        assert not os.path.exists("x")


class TestFile:
    def test_the_image(self, kernel: FakeKernel, tmp_path: Path) -> None:
        path = tmp_path / "image"
        result = run("prog", "dump", "xlated", "id", "1", "file", str(path), kernel=kernel)
        assert (result.status, result.out, result.err) == (0, b"", b"")
        assert path.read_bytes() == CODE
        path.write_bytes(b"x" * 100)
        path.chmod(0o644)
        result = run("-j", "prog", "dump", "xlated", "id", "1", "file", str(path), kernel=kernel)
        assert (result.status, result.out) == (0, b"null\n")
        assert path.read_bytes() == CODE
        assert stat.S_IMODE(path.stat().st_mode) == 0o644

    def test_a_folder_that_is_missing(self, kernel: FakeKernel, tmp_path: Path) -> None:
        path = str(tmp_path / "none" / "image")
        result = run("prog", "dump", "xlated", "id", "1", "file", path, kernel=kernel)
        assert_one_sentence(result, path, "No such file or directory")

    def test_a_full_disk(self, kernel: FakeKernel) -> None:
        result = run("prog", "dump", "xlated", "id", "1", "file", "/dev/full", kernel=kernel)
        assert_one_sentence(result, "/dev/full", "No space left on device")
        assert os.path.exists("/dev/full")


class TestWithheld:
    def test_by_sysctls(self, kernel: FakeKernel) -> None:
        kernel.arrays[1]["xlated"] = None
        result = run("prog", "dump", "xlated", "id", "1", kernel=kernel)
        assert_one_sentence(result, "kernel.kptr_restrict (2)", "net.core.bpf_jit_harden (1)")
        kernel.files.clear()
        result = run("prog", "dump", "xlated", "id", "1", kernel=kernel)
        assert_one_sentence(result, "kernel.kptr_restrict (unreadable)")

    def test_by_a_missing_capability(self, kernel: FakeKernel) -> None:
        kernel.prog(8, jited_prog_len=5)
        assert_one_sentence(run("prog", "dump", "xlated", "id", "8", kernel=kernel), "CAP_BPF")

    def test_of_an_orphan(self, kernel: FakeKernel) -> None:
        kernel.prog(8, orphaned=True)
        result = run("prog", "dump", "xlated", "id", "8", kernel=kernel)
        assert_one_sentence(result, "program 8", "device")

    def test_btf_that_is_gone(self, kernel: FakeKernel) -> None:
        add_described(kernel, 5)
        kernel.btfs.clear()
        assert_one_sentence(run("prog", "dump", "xlated", "id", "5", kernel=kernel), "BTF")

    def test_btf_that_is_damaged(self, kernel: FakeKernel) -> None:
        add_described(kernel, 5)
        kernel.btfs[9] = kernel.btfs[9][:30]
        assert_one_sentence(run("prog", "dump", "xlated", "id", "5", kernel=kernel))

    def helper_call(self, kernel: FakeKernel) -> None:
        # call to the helper that stands 0x100 after __bpf_call_base
        code = asm.assemble([asm.insn(0x85, imm=0x100), asm.exit_()])
        add_prog(kernel, 6, code, name=b"calls")

    def test_names_of_helpers(self, kernel: FakeKernel) -> None:
        self.helper_call(kernel)
        kernel.files["/proc/kallsyms"] = (
            b"ffffffff81000000 T __bpf_call_base\nffffffff81000100 T bpf_some_helper\n"
        )
        result = run("prog", "dump", "xlated", "id", "6", kernel=kernel)
        assert "(85) call bpf_some_helper#256\n" in result.text
        assert result.err == b""

    def test_symbols_that_are_hidden(self, kernel: FakeKernel) -> None:
        self.helper_call(kernel)
        kernel.files["/proc/kallsyms"] = (
            b"0000000000000000 T __bpf_call_base\n0000000000000000 T bpf_some_helper\n"
        )
        result = run("prog", "dump", "xlated", "id", "6", kernel=kernel)
        assert result.status == 0
        assert "bpf_some_helper" not in result.text
        assert result.errors.count("\n") == 1
        assert "kernel.kptr_restrict (2)" in result.errors
        assert run("-j", "prog", "dump", "xlated", "id", "6", kernel=kernel).err == b""

    def test_symbols_that_cannot_be_read(self, kernel: FakeKernel) -> None:
        self.helper_call(kernel)
        kernel.files["/proc/kallsyms"] = KernelError.of("cannot open /proc/kallsyms", errno.ENOENT)
        result = run("prog", "dump", "xlated", "id", "6", kernel=kernel)
        assert result.status == 0
        assert "Functions are shown without their names: cannot open" in result.errors


class TestDamaged:
    @pytest.mark.parametrize("length", [1, 7, 9, 15])
    def test_code_that_is_no_whole_number_of_instructions(
        self, kernel: FakeKernel, length: int
    ) -> None:
        add_prog(kernel, 8, CODE[:length])
        result = run("prog", "dump", "xlated", "id", "8", kernel=kernel)
        assert b"Traceback" not in result.err
        assert result.status == 0 or assert_one_sentence(result)

    @pytest.mark.parametrize("name", ["func_info", "line_info", "jited_ksyms"])
    def test_records_that_are_cut_or_withheld(self, kernel: FakeKernel, name: str) -> None:
        add_described(kernel, 5)
        whole = kernel.arrays[5].get(name) or b"\1" * 8
        for cut in (None, b"", whole[:3], whole[:9], b"\xff" * len(whole)):
            kernel.arrays[5][name] = cut
            for option in ([], ["-j"], ["-p"]):
                for form in ([], ["opcodes", "linum"]):
                    result = run(*option, "prog", "dump", "xlated", "id", "5", *form, kernel=kernel)
                    assert result.status == 0, result
                    assert b"exit" in result.out

    def test_a_record_size_that_cannot_be(self, kernel: FakeKernel) -> None:
        add_described(kernel, 5)
        arrays = dict(kernel.arrays[5])
        for size in (0, 1, 4, 0xFFFFFFFF):
            kernel.prog(5, xlated_prog_len=32, btf_id=9, nr_func_info=2, func_info_rec_size=size,
                        nr_line_info=1, line_info_rec_size=size)  # fmt: skip
            kernel.arrays[5] = dict(arrays)
            result = run("prog", "dump", "xlated", "id", "5", kernel=kernel)
            assert b"Traceback" not in result.err
            assert b"exit" in result.out


def test_big_endian() -> None:
    kernel = FakeKernel(">")
    code = bytes.fromhex("b7000000000000079500000000000000")
    add_prog(kernel, 1, code)
    assert run("prog", "dump", "xlated", "id", "1", kernel=kernel).text == TEXT


def test_the_form_of_a_dump_is_abstract() -> None:
    for call in (
        lambda: Dump().gather(None),  # type: ignore[arg-type]
        lambda: Dump().image(None),
        lambda: Dump().show(None, DumpOptions()),
    ):
        with pytest.raises(NotImplementedError):
            call()
