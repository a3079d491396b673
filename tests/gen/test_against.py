"""``obj check``: what modules have counts, but only where the kernel itself has nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpftool.btf import load
from pybpftool.btf.core.resolve import Targets
from pybpftool.btf.table import Btf
from pybpftool.errors import FormatError
from pybpftool.gen.against import check, kernel_targets
from pybpftool.gen.opening import open_file
from tests.support.bpfc import compile_object
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.fakekernel import FakeKernel

SOURCE = """
#define CORE __attribute__((preserve_access_index))
struct of_kernel { int a; int b; } CORE;
struct of_module { int a; int b; } CORE;
extern void module_function(void) __attribute__((section(".ksyms")));
SEC("fentry/module_open") int entry(unsigned long long *ctx)
{
    struct of_kernel *one = (void *)ctx[0];
    struct of_module *two = (void *)ctx[1];
    module_function();
    return one->a + two->a;
}
SEC("fentry/module_open") int more(unsigned long long *ctx)
{
    struct of_kernel *one = (void *)ctx[0];
    struct of_module *two = (void *)ctx[1];
    return one->b + two->b;
}
"""


def blobs() -> tuple[bytes, bytes]:
    """The BTF of a kernel and of its module, which has a type of the kernel's name, too."""
    kernel = BtfBuilder()
    number = kernel.add_int("int", 4, SIGNED)
    kernel.add_struct("of_kernel", 8, [("a", number, 32)])
    (strings,) = struct.unpack_from("<I", kernel.build(), 20)  # str_len
    module = BtfBuilder(first_id=kernel.next_id, base_strings=strings)
    module.add_struct("of_module", 12, [("a", number, 64)])
    module.add_struct("of_kernel", 8, [("b", number, 32)])
    proto = module.add_func_proto(0)
    module.add_func("module_function", proto)
    module.add_func("module_open", proto)
    return kernel.build(), module.build()


EXPECTED = [
    ("more", "byte_off struct of_kernel.b"),
    ("more", "byte_off struct of_module.b"),
]


def test_modules(tmp_path: Path) -> None:
    kernel, module = blobs()
    base = Btf.from_bytes(kernel)
    obj = open_file(compile_object(tmp_path, SOURCE))
    asked: list[bool] = []

    def modules() -> Iterator[Btf]:
        asked.append(True)
        yield Btf.from_bytes(module, base)

    report = check("t.o", obj, Targets(base, modules))
    assert [(one.program, one.what) for one in report.findings] == EXPECTED
    assert asked == [True]
    alone = check("t.o", obj, Targets(base))
    assert {one.what for one in alone.findings} == {
        "byte_off struct of_kernel.b",
        "byte_off struct of_module.a",
        "byte_off struct of_module.b",
        "kernel function",
        "section fentry/module_open",
    }


def test_what_keeps_an_object_from_being_loaded(tmp_path: Path) -> None:
    """An instruction that always runs; not one behind a question, nor of an optional program."""
    source = """
    struct of_kernel { int a; int gone; } __attribute__((preserve_access_index));
    #define EXISTS(field) __builtin_preserve_field_info(field, 2)
    static long (*help)(void) = (void *)5;
    SEC("tc") int always(struct of_kernel *one) { help(); return one->gone; }
    SEC("?tc") int optional(struct of_kernel *one) { return one->gone; }
    SEC("tc") int asks(struct of_kernel *one) { return EXISTS(one->gone) ? one->gone : 0; }
    __attribute__((noinline)) int other(struct of_kernel *one) { return one ? one->gone : 0; }
    SEC("tc") int calls(struct of_kernel *one) { return other(one) + one->gone; }
    """
    base = Btf.from_bytes(blobs()[0])
    obj = open_file(compile_object(tmp_path, source))
    report = check("t.o", obj, Targets(base))
    assert sorted({(one.program, one.is_fatal) for one in report.findings}) == [
        ("always", True),
        ("asks", False),
        ("calls", False),
        ("optional", False),
        ("other", False),
    ]


class WithModule(FakeKernel):
    def btf_name(self, id: int) -> str:
        return {1: "vmlinux", 2: "module"}.get(id, "")


def test_modules_of_a_recorded_kernel(tmp_path: Path) -> None:
    kernel = WithModule()
    kernel.files[load.VMLINUX], kernel.btfs[2] = blobs()
    for id in (1, 2, 3):
        kernel.btf(id)
    report = check("t.o", open_file(compile_object(tmp_path, SOURCE)), kernel_targets(kernel))
    assert [(one.program, one.what) for one in report.findings] == EXPECTED


def test_modules_of_this_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, module = blobs()
    (tmp_path / "vmlinux").write_bytes(kernel)
    (tmp_path / "module").write_bytes(module)
    monkeypatch.setattr(load, "SYSFS", f"{tmp_path}/")
    monkeypatch.setattr(load, "VMLINUX", f"{tmp_path}/vmlinux")
    monkeypatch.setattr(load, "_vmlinux", None)
    fake = FakeKernel()
    fake.is_live = True
    (found,) = load.modules(fake)
    assert found.find("of_module") is not None
    (tmp_path / "module").write_bytes(b"nonsense")
    with pytest.raises(FormatError):
        list(load.modules(fake))
