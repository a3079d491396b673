"""BTF to test with: recorded objects of compilers, and a built one with every kind.

    python -m tests.support.btfsamples BPFTOOL

records upstream's answers for all of them in fixtures/btf/expected/SAMPLE/FORM.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.btfbuild import BOOL, CHAR, EXTERN, GLOBAL, SIGNED, STATIC, BtfBuilder, Order

FIXTURES = Path(__file__).parents[2] / "fixtures" / "btf"
ANSWERS = FIXTURES / "expected"
FORMS: dict[str, tuple[list[str], list[str]]] = {
    "raw": ([], []),
    "json": (["-j"], []),
    "pretty": (["-jp"], []),
    "c": ([], ["format", "c"]),
    "unsorted": ([], ["format", "c", "unsorted"]),
    "root": ([], ["format", "c", "root_id", "5", "root_id", "2"]),
    "raw-root": ([], ["root_id", "5", "root_id", "2"]),
    "json-root": (["-j"], ["root_id", "5", "root_id", "2"]),
}


def every_kind(order: Order = "little") -> bytes:
    """An object with all kinds, and forms of them that compilers seldom make."""
    btf = BtfBuilder(order)
    i32 = btf.add_int("int", 4, SIGNED)
    u64 = btf.add_int("unsigned long", 8)
    char = btf.add_int("char", 1, CHAR)
    boolean = btf.add_int("_Bool", 1, BOOL)
    f64 = btf.add_float("double", 8)
    wide = btf.add_int("__int128", 16, SIGNED)
    fwd = btf.add_fwd("later")
    fwd_union = btf.add_fwd("later_union", union=True)
    enum = btf.add_enum("colour", [("RED", 0), ("GREEN", 7), ("BIG", 0xFFFFFFF0)])
    negative = btf.add_enum("sign", [("MINUS", -1), ("PLUS", 1)], signed=True)
    enum64 = btf.add_enum64("wide_enum", [("HUGE", 1 << 40), ("SMALL", 1)])
    plain64 = btf.add_enum64("plain64", [("LITTLE", 3)], signed=True)
    btf.add_enum("", [("LONE", 1), ("RED", 2)])
    anonymous = btf.add_enum("", [("INNER", 1)])
    pointer = btf.add_ptr(fwd)
    void_pointer = btf.add_ptr(0)
    const_char = btf.add_const(char)
    text = btf.add_ptr(const_char)
    tag = btf.add_type_tag("user", i32)
    tagged = btf.add_ptr(tag)
    attribute = btf.add_ptr(btf.add_type_tag("noderef", i32, kflag=True))
    volatile = btf.add_volatile(i32)
    restrict = btf.add_restrict(void_pointer)
    array = btf.add_array(i32, u64, 3)
    matrix = btf.add_array(array, u64, 2)
    proto = btf.add_func_proto(i32, [("first", text), ("", u64), ("", 0)])
    callback = btf.add_ptr(proto)
    empty_proto = btf.add_func_proto(0, [])
    callbacks = btf.add_array(callback, u64, 4)
    typedef = btf.add_typedef("number_t", i32)
    union = btf.add_union("", 8, [("a", i32, 0), ("b", u64, 0)])
    inner = btf.add_struct("inner", 4, [("x", typedef, 0)])
    inner_again = btf.add_struct("inner", 8, [("y", u64, 0)])
    outer = btf.add_struct(
        "outer",
        176,
        [
            ("i", i32, 0),
            ("flag", boolean, 32),
            ("bits", i32, 40, 3),
            ("more", u64, 64, 40),
            ("d", f64, 128),
            ("wide", wide, 256),
            ("c", enum, 384),
            ("n", negative, 416),
            ("e64", enum64, 448),
            ("p64", plain64, 512),
            ("", union, 576),
            ("choice", anonymous, 640),
            ("p", pointer, 704),
            ("t", tagged, 768),
            ("at", attribute, 832),
            ("v", volatile, 896),
            ("matrix", matrix, 928),
            ("cb", callbacks, 1152),
        ],
    )
    btf.add_struct("packed", 9, [("c", char, 0), ("l", u64, 8)])
    btf.add_struct("empty", 0, [])
    btf.add_struct("gap", 64, [("a", char, 0), ("b", char, 136), ("c", inner, 256)])
    btf.add_struct("users", 32, [("a", inner_again, 0), ("u", btf.add_ptr(fwd_union), 64)])
    btf.add_typedef("inner", inner)
    btf.add_typedef("of_void", 0)
    btf.add_typedef("__builtin_va_list", i32)
    var = btf.add_var("counter", outer, GLOBAL)
    hidden = btf.add_var("hidden", restrict, STATIC)
    btf.add_datasec(".data", 184, [(var, 0, 176), (hidden, 176, 8)])
    func = btf.add_func("work", proto, GLOBAL)
    btf.add_func("extern_work", empty_proto, EXTERN)
    btf.add_decl_tag("bpf_kfunc", func, -1)
    btf.add_decl_tag("bpf_fastcall", func, -1)
    btf.add_decl_tag("note", func, 1)
    return btf.build()


def blobs() -> dict[str, bytes]:
    """All samples by name."""
    found = {path.stem: path.read_bytes() for path in sorted(FIXTURES.glob("*.btf"))}
    found["every-little"] = every_kind("little")
    found["every-big"] = every_kind("big")
    return found


def answers() -> dict[str, dict[str, str]]:
    """What upstream printed for each sample in each of :data:`FORMS`."""
    return {
        name: {
            form: ANSWERS.joinpath(name, form).read_bytes().decode("utf-8", "surrogateescape")
            for form in FORMS
        }
        for name in blobs()
    }


def record(bpftool: str) -> None:
    """Ask upstream and keep its answers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sample")
        for name, blob in blobs().items():
            path.write_bytes(blob)
            ANSWERS.joinpath(name).mkdir(parents=True, exist_ok=True)
            for form, (options, words) in FORMS.items():
                command = [bpftool, *options, "btf", "dump", "file", str(path), *words]
                run = subprocess.run(command, capture_output=True, check=True, timeout=60)
                ANSWERS.joinpath(name, form).write_bytes(run.stdout)


if __name__ == "__main__":
    record(sys.argv[1])
