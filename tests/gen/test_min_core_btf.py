"""Reduced BTF: what is kept of a kernel, and that relocations mean the same with it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pybpftool.btf.core.resolve import Resolver, Targets
from pybpftool.btf.table import Btf
from pybpftool.errors import BpfError, FormatError
from pybpftool.gen.min_core_btf import reduce_btf, reduce_file
from pybpftool.uapi.btf import STRUCT, UNION
from tests.support import coreobjects
from tests.support.bpfc import compile_object


def test_kept(tmp_path: Path) -> None:
    path = compile_object(tmp_path, coreobjects.PROGRAM, "program")
    reduced = Btf.from_bytes(reduce_btf(coreobjects.kernel(tmp_path), [path]))
    task = reduced.find("task", STRUCT)
    assert task is not None
    assert [(one.name, one.bit_offset) for one in reduced.members(task)] == [
        ("", 192),
        ("b", 515),
        ("small", 528),
    ]
    inner = reduced.find("inner", STRUCT)
    assert inner is not None
    assert [one.name for one in reduced.members(inner)] == ["x", "y"]
    (union,) = [id for id in range(1, reduced.count) if reduced.kind(id) == UNION]
    assert [one.name for one in reduced.members(union)] == ["in"]
    for name in ("hidden", "color", "inner_t", "far", "task___old"):
        assert reduced.find(name) is None


def test_header(tmp_path: Path) -> None:
    """That of libbpf 1.8, without a layout."""
    path = compile_object(tmp_path, coreobjects.PROGRAM, "program")
    data = reduce_btf(coreobjects.kernel(tmp_path), [path])
    types, strings = struct.unpack_from("=I4xI", data, 12)
    assert struct.unpack_from("=HBBIIIIIII", data) == (
        0xEB9F, 1, 0, 32, 0, types, types, strings, 0, 0
    )  # fmt: skip
    assert len(data) == 32 + types + strings


def test_means_the_same(tmp_path: Path) -> None:
    path = compile_object(tmp_path, coreobjects.PROGRAM, "program")
    kernel = coreobjects.kernel(tmp_path)
    local, ext = coreobjects.program(tmp_path)
    reduced = Btf.from_bytes(reduce_btf(kernel, [path]))
    before, after = Resolver(local, Targets(kernel)), Resolver(local, Targets(reduced))
    for relocation in ext.relocations["tc"]:
        one, two = before.resolve(relocation), after.resolve(relocation)
        assert (one.new, one.is_broken)[1:] == (two.new, two.is_broken)[1:]
        assert (one.new and one.new.value) == (two.new and two.new.value)


def test_pointers_and_all_of_a_type(tmp_path: Path) -> None:
    source = """
    struct inner { int x; };
    struct whole { struct inner *far; struct inner near; int n[2]; };
    SEC("tc") long f(void *t)
    { return __builtin_preserve_type_info(*(struct whole *)0, 2); }
    """
    kernel = coreobjects.kernel(
        tmp_path,
        """
        struct inner { int x; int more; };
        struct whole { struct inner near; struct inner *far; int n[2]; long last; } w;
        """,
    )
    path = compile_object(tmp_path, source, "program")
    reduced = Btf.from_bytes(reduce_btf(kernel, [path]))
    whole, inner = reduced.find("whole"), reduced.find("inner")
    assert whole is not None and inner is not None
    assert [one.name for one in reduced.members(whole)] == ["near", "far", "n", "last"]
    assert [one.name for one in reduced.members(inner)] == ["x", "more"]


def test_no_relocations(tmp_path: Path) -> None:
    path = compile_object(tmp_path, 'SEC("tc") int f(void *c) { return 0; }')
    assert Btf.from_bytes(reduce_file(path, [path])).count == 1


def test_refused(tmp_path: Path) -> None:
    kernel = coreobjects.kernel(tmp_path)
    with pytest.raises(BpfError, match="No such file"):
        reduce_btf(kernel, [str(tmp_path / "none")])
    from tests.support.elffile import object_file

    path = tmp_path / "bare.o"
    path.write_bytes(object_file({".text": b"code"}))
    with pytest.raises(FormatError, match=r"no section \.BTF"):
        reduce_btf(kernel, [str(path)])
