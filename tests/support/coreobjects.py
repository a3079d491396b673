"""A program with CO-RE relocations, and kernels on which they mean something else."""

from __future__ import annotations

from pathlib import Path

from pybpftool.btf.ext import BtfExt
from pybpftool.btf.load import from_file
from pybpftool.btf.table import Btf
from pybpftool.elf.sections import read_sections
from tests.support.bpfc import compile_object

_HEAD = """
#define CORE __attribute__((preserve_access_index))
#define info __builtin_preserve_field_info
#define type_info(type, kind) __builtin_preserve_type_info(*(__typeof__(type) *)0, kind)
#define value_info(type, value, kind) __builtin_preserve_enum_value((type *)value, kind)
"""
# A kernel of which the program below knows another state.
KERNEL = """
enum color { GREEN = 7, RED = 9 };
struct inner { long pad; int x; int y[4]; };
struct hidden { int secret; };
struct task { char before[24]; union { long other; struct inner in; }; struct hidden *far;
              unsigned a : 3; unsigned b : 7; unsigned char small; struct task *next; };
typedef struct inner inner_t;
struct task task; enum color color; inner_t inner;
"""
PROGRAM = (
    _HEAD
    + """
enum color { RED = 1, BLUE = 2 };
struct inner { int x; int y[2]; } CORE;
struct hidden;
struct task { struct inner in; struct hidden *far; unsigned b : 7; int small; int gone; } CORE;
struct task___old { int state; } CORE;
struct nobody { int x; } CORE;
SEC("tc") long prog(struct task *t)
{
    long sum = t->in.x + t->in.y[1];
    sum += info(t->gone, 2) + info(((struct task___old *)t)->state, 2) + info(t->small, 1);
    sum += info(t->b, 4) + info(t->b, 5) + info(t->small, 3);
    sum += type_info(struct inner, 0) + type_info(struct nobody, 0) + type_info(struct task, 1);
    sum += type_info(struct inner, 2);
    return sum;
}
"""
)


def program(directory: Path, source: str = PROGRAM) -> tuple[Btf, BtfExt]:
    """BTF and .BTF.ext of a program that clang made."""
    path = compile_object(directory, source, "program")
    size, found = read_sections(path, (".BTF", ".BTF.ext"))
    btf = Btf.from_bytes(found[".BTF"])
    btf.pointer_size = size
    return btf, BtfExt(found[".BTF.ext"], btf)


def kernel(directory: Path, source: str = KERNEL) -> Btf:
    """The BTF of what stands for a kernel."""
    return from_file(compile_object(directory, source, "kernel"))
