"""``prog dump jited``, ``visual`` and ``joined`` as commands."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.support import asm
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel
from tests.support.fakeprogs import add_described
from tests.support.jited import TARGET
from tests.support.recorded import Recorded, programs

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def add(kernel: FakeKernel, id: int, prog: Recorded, **fields: Any) -> None:
    record = prog.record
    arrays = {
        "xlated": prog.bytes("xlated"),
        "jited": prog.bytes("image"),
        "jited_ksyms": struct.pack(f"<{len(record['ksyms'])}Q", *record["ksyms"]),
        "jited_func_lens": struct.pack(f"<{len(record['func_lens'])}I", *record["func_lens"]),
        "func_info": prog.bytes("func_info"),
        "line_info": prog.bytes("line_info"),
        "jited_line_info": struct.pack(
            f"<{len(record['line_addresses'])}Q", *record["line_addresses"]
        ),
    }
    if record["btf"]:
        fields["btf_id"] = id
        kernel.btfs[id] = prog.bytes("btf")
    kernel.prog(
        id,
        xlated_prog_len=len(arrays["xlated"]),
        jited_prog_len=len(arrays["jited"]),
        nr_jited_ksyms=len(record["ksyms"]),
        nr_jited_func_lens=len(record["func_lens"]),
        nr_func_info=len(arrays["func_info"]) // 8,
        func_info_rec_size=8,
        nr_line_info=len(arrays["line_info"]) // 16,
        line_info_rec_size=16,
        nr_jited_line_info=len(record["line_addresses"]),
        jited_line_info_rec_size=8,
        name=prog.name.encode(),
        **fields,
    )
    kernel.arrays[id].update(arrays)


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    add(kernel, 1, programs()["count_ports"])
    add(kernel, 2, programs()["pt_alu64"], tag=b"\2" * 8)
    add(kernel, 3, programs()["pt_alu64"], tag=b"\2" * 8)
    kernel.files["/proc/kallsyms"] = programs()["count_ports"].kallsyms
    kernel.files["/proc/sys/kernel/kptr_restrict"] = b"2\n"
    kernel.files["/proc/sys/net/core/bpf_jit_harden"] = b"1\n"
    kernel.files["/proc/sys/net/core/bpf_jit_enable"] = b"0\n"
    return kernel


class TestJited:
    def test_plain(self, kernel: FakeKernel) -> None:
        result = run("prog", "dump", "jited", "id", "1", "opcodes", "linum", kernel=kernel)
        assert result.status == 0
        assert result.err == b""
        assert TARGET.sub("", result.text) == programs()["count_ports"].plain
        assert kernel.opened == 0

    def test_json(self, kernel: FakeKernel) -> None:
        result = run("-j", "prog", "dump", "jited", "id", "1", kernel=kernel)
        assert [function["proto"] for function in result.json] == [
            "int count_ports(struct xdp_md * ctx)",
            "int count(__u16 port)",
        ]
        assert run("-p", "prog", "dump", "jited", "id", "1", kernel=kernel).json == result.json

    def test_several(self, kernel: FakeKernel) -> None:
        tag = "02" * 8
        result = run("-j", "prog", "dump", "jited", "tag", tag, kernel=kernel)
        assert [item["id"] for item in result.json] == [2, 3]
        assert result.json[0]["insns"] == result.json[1]["insns"]
        text = run("prog", "dump", "jited", "tag", tag, kernel=kernel).text
        assert text.count("socket_filter") == 2

    def test_file(self, kernel: FakeKernel, tmp_path: Path) -> None:
        path = tmp_path / "image"
        result = run("prog", "dump", "jited", "id", "1", "file", str(path), kernel=kernel)
        assert (result.status, result.out) == (0, b"")
        assert path.read_bytes() == programs()["count_ports"].bytes("image")

    def test_syntax(self, kernel: FakeKernel) -> None:
        result = run("prog", "dump", "jited", "id", "1", "syntax", "intel", kernel=kernel)
        assert "\tmov\trbp, rsp\n" in result.text
        result = run("prog", "dump", "jited", "id", "1", "syntax", "masm", kernel=kernel)
        assert_one_sentence(result)
        assert_one_sentence(
            run("prog", "dump", "xlated", "id", "1", "syntax", "att", kernel=kernel)
        )

    def test_not_compiled(self, kernel: FakeKernel) -> None:
        kernel.prog(4, xlated_prog_len=16)
        kernel.arrays[4].update(jited=b"", xlated=asm.ret(0))
        for name in ("jited_ksyms", "jited_func_lens", "func_info", "line_info", "jited_line_info"):
            kernel.arrays[4][name] = b""
        result = run("prog", "dump", "jited", "id", "4", kernel=kernel)
        assert_one_sentence(result)
        assert "bpf_jit_enable is 0" in result.errors

    def test_withheld(self, kernel: FakeKernel) -> None:
        kernel.arrays[1]["jited"] = None
        result = run("prog", "dump", "jited", "id", "1", kernel=kernel)
        assert_one_sentence(result)
        assert "kernel.kptr_restrict (2) and net.core.bpf_jit_harden (1)" in result.errors

    def test_code_of_a_device(self, kernel: FakeKernel) -> None:
        add(kernel, 5, programs()["pt_alu64"], ifindex=7)
        result = run("prog", "dump", "jited", "id", "5", kernel=kernel)
        assert_one_sentence(result)
        assert "network device 7" in result.errors

    def test_machine_without_disassembler(self, kernel: FakeKernel) -> None:
        kernel.machine = "alpha"
        result = run("-j", "prog", "dump", "jited", "id", "1", kernel=kernel)
        assert result.status != 0
        assert result.json == {"error": "there is no disassembler for the machine code of alpha"}

    def test_lines_that_do_not_fit(self, kernel: FakeKernel) -> None:
        kernel.arrays[1]["jited_line_info"] = bytes(len(kernel.arrays[1]["jited_line_info"] or b""))
        result = run("prog", "dump", "jited", "id", "1", kernel=kernel)
        assert result.status == 0
        assert "does not fit the machine code" in result.errors
        assert "; if" not in result.text

    def test_live_kernel_reads_symbols_meanwhile(self, kernel: FakeKernel) -> None:
        expected = run("prog", "dump", "jited", "id", "1", kernel=kernel).out
        kernel.is_live = True
        result = run("prog", "dump", "jited", "id", "1", kernel=kernel)
        assert (result.out, result.err) == (expected, b"")

    def test_live_kernel_without_symbols(self, kernel: FakeKernel) -> None:
        del kernel.files["/proc/kallsyms"]
        kernel.is_live = True
        result = run("prog", "dump", "jited", "id", "1", kernel=kernel)
        assert result.status == 0
        assert "without their names" in result.errors
        assert "0xffffffff" in result.text


class TestVisual:
    def test_dot(self, kernel: FakeKernel) -> None:
        text = run("prog", "dump", "xlated", "id", "1", "visual", kernel=kernel).text
        assert text.startswith('digraph "DOT graph for eBPF program" {\n')
        assert text.count("subgraph") == 2
        words = ("visual", "opcodes", "linum")
        text = run("prog", "dump", "xlated", "id", "1", *words, kernel=kernel).text
        assert "\\ \\ \\ \\ 95 00" in text
        assert " line:" in text

    def test_not_with_json(self, kernel: FakeKernel) -> None:
        for mode in ("xlated", "jited"):
            result = run("-j", "prog", "dump", mode, "id", "1", "visual", kernel=kernel)
            assert result.status == 255
            assert "not JSON" in result.json["error"]

    def test_not_with_several(self, kernel: FakeKernel) -> None:
        result = run("prog", "dump", "xlated", "tag", "02" * 8, "visual", kernel=kernel)
        assert_one_sentence(result)

    def test_json(self, kernel: FakeKernel) -> None:
        words = ("prog", "dump", "xlated", "id", "1", "visual", "json")
        result = run(*words, kernel=kernel)
        assert result.status == 0
        assert set(result.json) == {"functions", "calls"}
        for mode in ("-j", "-p"):
            assert run(mode, *words, kernel=kernel).json == result.json
        full = run(*words, "opcodes", "linum", kernel=kernel).json
        insn = full["functions"][0]["blocks"][0]["insns"][0]
        assert insn["file"] == "/src/ports.bpf.c"
        assert len(insn["opcodes"]) == 8
        function = result.json["functions"][0]
        names = {function["entry"], function["exit"]} | {b["name"] for b in function["blocks"]}
        assert {edge["from"] for edge in function["edges"]} <= names
        assert {edge["to"] for edge in function["edges"]} <= names
        assert len(function["loops"]) == 1
        assert result.json["calls"][0]["to"] == 1

    def test_one_function(self, kernel: FakeKernel) -> None:
        words = ("prog", "dump", "xlated", "id", "1", "visual", "func")
        assert "cluster_0" not in run(*words, "count", kernel=kernel).text
        assert "cluster_1" not in run(*words, "0", kernel=kernel).text
        result = run(*words, "nothing", kernel=kernel)
        assert_one_sentence(result)
        assert "it has count_ports, count" in result.errors
        assert_one_sentence(run(*words, "count", "calls", kernel=kernel))

    def test_call_graph(self, kernel: FakeKernel) -> None:
        words = ("prog", "dump", "xlated", "id", "1", "visual")
        text = run(*words, "calls", kernel=kernel).text
        assert 'fn_1 [label="count\\n' in text
        record = run(*words, "json", "calls", kernel=kernel).json
        assert "blocks" not in record["functions"][0]

    @needs_dot
    @pytest.mark.parametrize("form", ["svg", "png", "pdf"])
    def test_pictures(self, kernel: FakeKernel, tmp_path: Path, form: str) -> None:
        path = tmp_path / "picture"
        words = ("prog", "dump", "xlated", "id", "1", "visual", form, str(path))
        result = run(*words, kernel=kernel)
        assert (result.status, result.out, result.err) == (0, b"", b"")
        assert path.stat().st_size > 1000
        assert run("-j", *words, kernel=kernel).json is None

    def test_without_graphviz(
        self, kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        path = tmp_path / "picture.svg"
        words = ("prog", "dump", "xlated", "id", "1", "visual", "svg", str(path))
        result = run(*words, kernel=kernel)
        assert_one_sentence(result)
        assert "'dot'" in result.errors
        assert not path.exists()

    def test_indirect_jumps(self, kernel: FakeKernel) -> None:
        code = asm.assemble([asm.gotox(asm.R1), asm.exit_(), asm.exit_()])
        kernel.prog(6, xlated_prog_len=len(code), maps=(7, 8, 9))
        kernel.arrays[6].update(xlated=code, jited_ksyms=b"", func_info=b"", line_info=b"")
        kernel.map(7, type=34, key_size=4, value_size=16, max_entries=2)
        kernel.map(8, type=2, key_size=4, value_size=16, max_entries=1)
        for index, slot in enumerate((2, 1)):
            kernel.values[7, struct.pack("<I", index)] = struct.pack("<IIII", 0, slot, 0, 0)
        text = run("prog", "dump", "xlated", "id", "6", "visual", kernel=kernel).text
        assert text.count('class="indirect"') == 2
        assert kernel.opened == 0


class TestJoined:
    def test_text(self, kernel: FakeKernel) -> None:
        result = run("prog", "dump", "joined", "id", "1", "linum", kernel=kernel)
        assert result.status == 0
        assert "; if (!seen) [file:/src/ports.bpf.c" in result.text
        assert " | " in result.text

    def test_control_characters_of_sources_do_not_reach_a_pager(self) -> None:
        kernel = FakeKernel()
        add_described(kernel, 1)
        kernel.btfs[9] = kernel.btfs[9].replace(b"return x + 1;", b"return\x1b[2J+1;")
        result = run("prog", "dump", "joined", "id", "1", kernel=kernel)
        assert b"\x1b" not in result.out and b"return\\x1b[2J+1;" in result.out

    def test_json(self, kernel: FakeKernel) -> None:
        result = run("-j", "prog", "dump", "joined", "id", "1", kernel=kernel)
        assert result.json[1]["name"] == "count"

    def test_several(self, kernel: FakeKernel) -> None:
        result = run("-j", "prog", "dump", "joined", "tag", "02" * 8, kernel=kernel)
        assert [item["id"] for item in result.json] == [2, 3]

    def test_page(self, kernel: FakeKernel, tmp_path: Path) -> None:
        path = tmp_path / "page.html"
        words = ("prog", "dump", "joined", "id", "1", "html", str(path))
        result = run(*words, kernel=kernel)
        assert (result.status, result.out, result.err) == (0, b"", b"")
        text = path.read_text()
        assert "<title>BPF program 1: socket_filter  name count_ports</title>" in text
        assert run("-j", *words, kernel=kernel).json is None
        several = ("prog", "dump", "joined", "tag", "02" * 8, "html", str(path))
        assert_one_sentence(run(*several, kernel=kernel))

    def test_interpreted(self, kernel: FakeKernel, tmp_path: Path) -> None:
        kernel.arrays[2]["jited"] = None
        result = run("prog", "dump", "joined", "id", "2", kernel=kernel)
        assert result.status == 0
        assert "Without machine code: " in result.errors
        path = tmp_path / "page.html"
        run("prog", "dump", "joined", "id", "2", "html", str(path), kernel=kernel)
        assert "Without machine code: " in path.read_text()

    def test_raw_code_is_not_joined(self, kernel: FakeKernel, tmp_path: Path) -> None:
        path = str(tmp_path / "raw")
        assert_one_sentence(run("prog", "dump", "joined", "id", "1", "file", path, kernel=kernel))
