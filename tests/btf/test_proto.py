"""Prototypes as they stand above functions in dumps of instructions."""

from __future__ import annotations

from pybpftool.btf.proto import prototype, signature
from pybpftool.btf.table import Btf
from tests.support.btfbuild import STATIC, BtfBuilder


def test_forms() -> None:
    b = BtfBuilder()
    number = b.add_int("int", 4, 1)
    struct_s = b.add_struct("s", 4)
    union_u = b.add_union("u", 4)
    enum_e = b.add_enum("e", [("A", 1)])
    fwd = b.add_fwd("f")
    fwd_union = b.add_fwd("g", union=True)
    name = b.add_typedef("t", number)
    const = b.add_const(b.add_volatile(struct_s))
    pointer = b.add_ptr(b.add_ptr(const))
    restrict = b.add_restrict(b.add_ptr(0))
    array = b.add_array(name, number, 7)
    proto = b.add_func_proto(
        pointer, [("a", union_u), ("", enum_e), ("", fwd), ("r", restrict), ("", 0)]
    )
    func = b.add_func("work", proto)
    nested = b.add_func_proto(0, [("cb", b.add_ptr(proto)), ("x", array), ("", fwd_union)])
    var = b.add_var("v", number, STATIC)
    shared = b.add_var("w", number)
    section = b.add_datasec(".bss", 4, [(var, 0, 4)])
    tag = b.add_type_tag("tag", number)
    tagged = b.add_func("bad", b.add_func_proto(0, [("p", b.add_ptr(tag))]))
    real = b.add_float("double", 8)
    btf = Btf.from_bytes(b.build())
    inner = "const volatile struct s * * (union u a, enum e, struct f, restrict void * r, ...)"
    assert prototype(btf, proto) == inner
    assert prototype(btf, func) == inner.replace("(", "work(", 1)
    assert prototype(btf, nested) == f"void ({inner}* cb, t [7]x, union g)"
    assert prototype(btf, var) == "static int  v"
    assert prototype(btf, shared) == "int  w"
    assert prototype(btf, section) == 'section (".bss") '
    assert prototype(btf, real) == "double "
    assert prototype(btf, 0) == "void "
    assert prototype(btf, tagged) == prototype(btf, tag) == prototype(btf, 999) == ""
    assert signature(btf, proto) == inner
    assert signature(btf, func) is None
    assert signature(btf, 999) is None


def test_tags_of_types() -> None:
    """As attributes of C where they are asked for, which upstream's dumps are not."""
    b = BtfBuilder()
    space = b.add_ptr(b.add_type_tag("address_space(1)", 0, kflag=True))
    user = b.add_ptr(b.add_type_tag("user", b.add_int("char", 1)))
    odd = b.add_ptr(b.add_type_tag("odd;", 0, kflag=True))
    func = b.add_func("work", b.add_func_proto(space, [("u", user), ("o", odd)]))
    btf = Btf.from_bytes(b.build())
    assert prototype(btf, func) == ""
    assert prototype(btf, func, has_tags=True) == (
        "void __attribute__((address_space(1))) * work("
        'char __attribute__((btf_type_tag("user"))) * u, void * o)'
    )


def test_limits() -> None:
    b = BtfBuilder()
    number = b.add_int("n" * 100, 4)
    fits = b.add_func_proto(0, [("p" * 8, number)] * 9)
    long = b.add_func_proto(0, [("p" * 8, number)] * 10)
    many = b.add_func_proto(0, [("", 0)] * 2000)
    loop = b.add_ptr(b.next_id)
    chain = number
    for _ in range(450):
        chain = b.add_array(chain, number, 1)
    btf = Btf.from_bytes(b.build())
    assert len(prototype(btf, fits)) == len("void ()") + 9 * 109 + 8 * 2
    for type_id in (long, many, loop, chain):
        assert prototype(btf, type_id) == ""
        assert not signature(btf, type_id)
