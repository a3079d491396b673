"""Light skeletons: what they define, and that the system's libbpf makes their loader."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pybpftool.control import libbpf
from pybpftool.control.loader import loader
from pybpftool.errors import BpfError, FormatError
from pybpftool.gen.light_skeleton import light_skeleton
from pybpftool.gen.opening import open_bytes, open_file
from tests.support.bpfc import compile_object
from tests.support.objbuild import small_object

SOURCE = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
         __type(key, int); __type(value, int); } flows SEC(".maps");
int seen = 3;
const volatile int limit = 5;
SEC("raw_tp/sys_enter") int raw(void *ctx) { return seen; }
SEC("raw_tp") int nowhere(void *ctx) { return 0; }
SEC("iter/task") int each(void *ctx) { return 0; }
SEC("fentry/f") int entry(void *ctx) { return limit; }
SEC("xdp") int packets(void *ctx)
{ int key = 1; return bpf_map_lookup_elem(&flows, &key) ? 1 : 2; }
"""


def test_members_and_attaching(tmp_path: Path) -> None:
    obj = open_file(compile_object(tmp_path, SOURCE))
    text = light_skeleton(obj, "t", b"\x95" + bytes(7), b"data", {"t.data": b"\x03\0\0\0"})
    assert "struct bpf_map_desc flows;" in text
    assert "struct bpf_prog_desc each;" in text
    assert "int packets_fd;" in text
    calls = {
        line.partition("int fd = ")[2]
        for line in text.splitlines()
        if line.startswith("\tint fd = ")
    }
    assert calls == {
        'skel_raw_tracepoint_open("sys_enter", prog_fd);',
        "skel_raw_tracepoint_open(NULL, prog_fd);",
        "skel_link_create(prog_fd, 0, BPF_TRACE_ITER);",
        "((void)prog_fd, 0); /* nothing that attaches by itself */",
    }
    assert '= "\\\n\\x03\\0\\0\\0";' in text
    assert "skel->maps.rodata.initial_value, 4096, PROT_READ,\n" in text
    assert "skel->maps.data.initial_value, 4096, PROT_READ | PROT_WRITE,\n" in text


def test_signed(tmp_path: Path) -> None:
    obj = open_file(compile_object(tmp_path, SOURCE))
    insns, data = b"\x95" + bytes(7), b" SIGNATURE; DIGEST;"
    text = light_skeleton(obj, "t", insns, data, {}, (b"\x30\x82", b"\xaa" * 32))
    assert (
        '\tstatic const char opts_sig[] __attribute__((__aligned__(8))) = "\\\n\\x30\\x82";' in text
    )
    assert text.count("\\xaa") == 32
    assert "\t} links;\n\t__s32 keyring_id;\n" in text
    assert "opts.keyring_id = skel->keyring_id;\n\terr = bpf_load_and_run" in text
    assert "keyring_id" not in light_skeleton(obj, "t", insns, data, {})


def test_nothing_to_load() -> None:
    from tests.support.objbuild import ObjBuilder

    text = light_skeleton(open_bytes(ObjBuilder().build(), "t"), "t", b"", b"", {})
    assert "ctx.sz = sizeof(skel->ctx);" in text
    assert "maps" not in text


def test_arena_is_refused(tmp_path: Path) -> None:
    source = """
    #define __arena __attribute__((address_space(1)))
    struct { __uint(type, 33); __uint(map_flags, 1024); __uint(max_entries, 10); }
        arena SEC(".maps");
    int __arena inside;
    SEC("syscall") int f(void *ctx) { inside++; return (long)&arena; }
    """
    obj = open_file(compile_object(tmp_path, source))
    with pytest.raises(FormatError, match="cannot fill an arena"):
        light_skeleton(obj, "t", b"", b"", {})


def _library() -> None:
    try:
        libbpf.library()
    except libbpf.LibbpfError:
        pytest.skip("no libbpf")


def test_loader(tmp_path: Path) -> None:
    _library()
    path = tmp_path / "small.o"
    path.write_bytes(small_object())
    made = loader(str(path), "small")
    assert made.insns and len(made.insns) % 8 == 0
    assert b"flows" in made.data
    assert made.initial == {"small.bss": bytes(4)}
    path.write_bytes(small_object()[:200])
    with pytest.raises(BpfError, match=r"small\.o"):
        loader(str(path), "small")


@pytest.mark.parametrize("compiler", ["gcc", "g++"])
def test_compiles(tmp_path: Path, compiler: str) -> None:
    _library()
    import shutil

    if shutil.which(compiler) is None or not Path("/usr/include/bpf/skel_internal.h").exists():
        pytest.skip("no compiler, or no headers of libbpf")
    path = compile_object(tmp_path, SOURCE)
    obj = open_file(path)
    (tmp_path / "t.h").write_text(light_skeleton(obj, "t", *loader(path, "t")))
    source = tmp_path / ("m.cpp" if compiler == "g++" else "m.c")
    source.write_text('#include <errno.h>\n#include "t.h"\nint main(void) { return !t__open(); }\n')
    made = tmp_path / "m"
    # libbpf's own header has warnings.
    words = [compiler, "-I", str(tmp_path), "-w", str(source), "-o", str(made)]
    result = subprocess.run(words, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert subprocess.run([str(made)], check=False).returncode == 0
