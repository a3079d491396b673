"""Windows over BTF: types, members, prototypes, enums."""

from __future__ import annotations

import pytest

from pybpftool.btf.search import first, named
from pybpftool.btf.table import Btf
from pybpftool.btf.types import Types
from pybpftool.errors import BpfError, NotFoundError
from pybpftool.uapi.btf import FUNC, INT, STRUCT, TYPEDEF
from tests.support.btfbuild import SIGNED, BtfBuilder, Order


def types(order: Order = "little") -> Types:
    b = BtfBuilder(order)
    s32 = b.add_int("int", 4, encoding=SIGNED)
    u32 = b.add_int("unsigned int", 4)
    char = b.add_int("char", 1, encoding=SIGNED)
    pid_t = b.add_typedef("pid_t", s32)
    comm = b.add_array(char, u32, 16)
    inner = b.add_union("", 8, [("low", u32, 0), ("high", u32, 32)])
    se = b.add_struct("sched_entity", 16, [("weight", u32, 0), ("vruntime", u32, 64)])
    task = b.add_struct(
        "task",
        56,
        [("pid", pid_t, 0), ("", inner, 64), ("se", se, 128), ("comm", comm, 256)],
    )
    b.add_struct("flags", 4, [("a", u32, 0, 3), ("b", u32, 3, 5), ("c", u32, 16, 16)])
    b.add_enum("state", [("RUNNING", 0), ("DEAD", -1)], signed=True)
    b.add_enum64("wide", [("BIG", 1 << 40)])
    const_task = b.add_const(task)
    ptr = b.add_ptr(const_task)
    proto = b.add_func_proto(s32, [("task", ptr), ("len", u32)])
    b.add_func("kill_task", proto)
    b.add_func("task", proto)  # the name of a struct, too
    variadic = b.add_func_proto(0, [("fmt", b.add_ptr(b.add_const(char))), ("", 0)])
    b.add_func("printk", variadic)
    b.add_typedef("task_t", const_task)
    b.add_typedef("handler_t", b.add_ptr(proto))
    b.add_datasec(".bss", 8, [(b.add_var("counter", u32), 4, 4)])
    return Types(Btf.from_bytes(b.build()))


@pytest.mark.parametrize("order", ["little", "big"])
def test_members_have_offsets_in_bytes_and_bits(order: Order) -> None:
    task = types(order)["task"]
    assert task.kind == "struct"
    assert task.size == 56
    assert task.members["pid"].offset == 0
    assert task.members["comm"].offset == 32
    assert task.members["comm"].bit_offset == 256
    assert task.members["comm"].bit_size is None
    assert task.members["comm"].size == 16
    assert list(task.members) == ["pid", "low", "high", "se", "comm"]
    assert [member.name for member in task.declared] == ["pid", "", "se", "comm"]


def test_members_of_nameless_and_of_inner_structs_count_from_the_outermost() -> None:
    members = types()["task"].members
    assert members["high"].offset == 12
    assert members["se.vruntime"].offset == 24
    assert "se.nothing" not in members
    assert members.get("nothing") is None


def test_bit_fields() -> None:
    members = types()["flags"].members
    assert (members["b"].bit_offset, members["b"].bit_size) == (3, 5)
    assert members["b"].offset == 0
    assert members["c"].offset == 2
    assert str(members["b"]) == "unsigned int b:5"


def test_old_bit_fields_are_integers_of_odd_width() -> None:
    b = BtfBuilder()
    three = b.add_int("unsigned int", 4, bits=3, offset=2)
    b.add_struct("old", 4, [("f", three, 8)])
    member = Types(Btf.from_bytes(b.build()))["old"].members["f"]
    assert (member.bit_offset, member.bit_size) == (10, 3)


def test_an_unknown_member_is_a_lookup_error_with_what_may_be_meant() -> None:
    with pytest.raises(LookupError, match="'struct task' has no member 'pids': pid") as caught:
        types()["task"].members["pids"]
    assert isinstance(caught.value, NotFoundError)
    assert caught.value.candidates == ("pid",)


def test_enums() -> None:
    found = types()
    assert found["state"].values == {"RUNNING": 0, "DEAD": -1}
    assert found["state"].name_of(-1) == "DEAD"
    assert found["state"].name_of(7) is None
    assert found["enum wide"].values == {"BIG": 1 << 40}
    assert found["state"].is_signed


def test_functions() -> None:
    found = types()
    kill = found["kill_task"]
    assert [str(param) for param in kill.params] == ["const struct task *task", "unsigned int len"]
    assert str(kill.returns) == "int"
    assert kill.c() == "int kill_task(const struct task *task, unsigned int len);\n"
    printk = found["printk"]
    assert printk.is_variadic
    assert [param.name for param in printk.params] == ["fmt"]
    assert printk.returns.kind == "void"
    assert str(printk) == "void printk(const char *fmt, ...)"
    assert [param.name for param in found["handler_t"].params] == ["task", "len"]


def test_declarations() -> None:
    found = types()
    assert found["task"].members["comm"].type.declare("comm") == "char comm[16]"
    handler = found["handler_t"].target
    assert handler.declare("h") == "int (*h)(const struct task *task, unsigned int len)"
    assert found["task_t"].members["pid"].type.declare("p") == "pid_t p"
    assert found["task_t"].resolved == found["task"]


def test_names_mean_types_of_data_first() -> None:
    found = types()
    assert found["task"].kind == "struct"
    assert found.find("task", "func").kind == "func"
    assert found["struct task"] == found["task"]
    assert "union task" not in found
    assert found[found["task"].id] == found["task"]
    with pytest.raises(LookupError, match="no type 'nothing'"):
        found["nothing"]
    with pytest.raises(LookupError, match="no type 999"):
        found[999]
    with pytest.raises(LookupError, match="no kind 'klass'"):
        found.find("task", "klass")


def test_looking_up_often_gives_the_same() -> None:
    found = types()
    names = [type.name for type in found if type.name] + ["nothing", "struct task"]
    first = [Types(found.btf).get(name) for name in names]
    assert [found.get(name) for name in names] == first
    assert [found.get(name) for name in names] == first


def test_selecting() -> None:
    found = types()
    assert [type.name for type in found.select("*task*")] == ["task", "kill_task", "task", "task_t"]
    assert [type.name for type in found.select("ta*", kind="struct")] == ["task"]
    assert len(list(found)) == len(found)


def test_split_btf_is_found_with_its_base() -> None:
    base = BtfBuilder()
    u32 = base.add_int("u32", 4)
    base.add_struct("shared", 4, [("x", u32, 0)])
    raw = base.build()
    below = Btf.from_bytes(raw)
    split = BtfBuilder(first_id=below.count, base_strings=below.string_end)
    split.add_struct("own", 4, [("y", u32, 0)])
    found = Types(Btf.from_bytes(split.build(), below))
    assert found["own"].members["y"].type.name == "u32"
    assert found["shared"].id == 2
    assert [type.name for type in found.select(kind="struct")] == ["shared", "own"]


def test_data_sections() -> None:
    variable = types()[".bss"].variables["counter"]
    assert (variable.offset, variable.size, str(variable)) == (4, 4, "unsigned int counter")


def test_what_a_type_does_not_have_is_said_in_a_sentence() -> None:
    with pytest.raises(BpfError, match="'int' has no members: it is of kind int"):
        _ = types()["int"].members
    with pytest.raises(BpfError, match="'struct task' is not a function"):
        _ = types()["struct task"].params
    with pytest.raises(BpfError, match="'struct task' refers to no other type"):
        _ = types()["struct task"].target


def test_types_that_contain_themselves_end() -> None:
    b = BtfBuilder()
    nameless = b.next_id
    b.add_struct("", 4, [("", nameless, 0)])
    b.add_struct("outer", 4, [("", nameless, 0)])
    found = Types(Btf.from_bytes(b.build()))
    with pytest.raises(BpfError, match="without end"):
        len(found["outer"].members)
    with pytest.raises(BpfError, match="without end"):
        str(found["outer"].layout())
    own = BtfBuilder()
    own.add_ptr(2)
    own.add_func_proto(0, [("left", 1), ("right", 1)])
    own.add_func("recursive", 2)
    with pytest.raises(BpfError, match="too many parameters"):
        str(Types(Btf.from_bytes(own.build()))["recursive"])
    loop = BtfBuilder()
    loop.add_typedef("a", 2)
    loop.add_typedef("b", 1)
    circle = Types(Btf.from_bytes(loop.build()))
    with pytest.raises(BpfError, match="refers to itself"):
        _ = circle["a"].resolved


def test_definitions_in_c() -> None:
    text = types()["task"].c()
    assert "typedef int pid_t;" in text
    assert "struct task {" in text


def test_they_print_themselves() -> None:
    found = types()
    assert repr(found["task"]) == f"<struct task, 56 bytes, id {found['task'].id}>"
    assert repr(found["task"].members["pid"]) == "<pid_t pid at byte 0>"
    assert repr(found["flags"].members["b"]) == "<unsigned int b:5 at bit 3>"
    assert repr(found["task"].members) == "<5 members of struct task>"


def named_task(order: Order = "little", many: int = 0) -> Btf:
    """A struct, a function and a typedef of the name `task`, a member and a parameter of it."""
    build = BtfBuilder(order)
    u32 = build.add_int("u32", 4)
    for number in range(many):
        build.add_struct(f"other{number}", 4, [("task", u32, 0)])
    build.add_func("task", build.add_func_proto(u32, [("task", u32)]))
    build.add_struct("task", 8, [("task", u32, 0), ("tasks", u32, 32)])
    build.add_typedef("task", u32)
    return Btf.from_bytes(build.build())


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("many", [0, 12_000])
def test_a_search_finds_all_of_a_name(order: Order, many: int) -> None:
    btf = named_task(order, many)
    assert named(btf, "task") == [many + 3, many + 4, many + 5]
    assert named(btf, "u32") == [1]
    assert named(btf, "tas") == named(btf, "ask") == named(btf, "") == named(btf, "tasks") == []
    for kind in (FUNC, STRUCT, TYPEDEF, INT):
        assert first(btf, "task", kind) == btf.find("task", kind)


def test_a_search_passes_over_numbers() -> None:
    """A word of the same value as the name's place, where no type begins."""
    build = BtfBuilder()
    place = build.string("sought")
    build.add_array(1, 1, place)
    build.add_struct("sought", place)
    assert named(Btf.from_bytes(build.build(), None, True), "sought") == [2]


def test_a_search_of_split_types() -> None:
    base = BtfBuilder()
    u32 = base.add_int("u32", 4)
    base.add_struct("shared", 4, [("x", u32, 0)])
    below = Btf.from_bytes(base.build())
    split = BtfBuilder(first_id=below.count, base_strings=below.string_end)
    split.add_struct("own", 4, [("y", u32, 0)])
    btf = Btf.from_bytes(split.build(), below)
    assert named(btf, "own") == [3]
    assert first(btf, "shared", STRUCT) == 2
    assert first(btf, "own", STRUCT) == 3
    assert first(btf, "own", INT) is None


@pytest.mark.parametrize("some", [1, 2, 3, 7, 8192])
def test_names_are_found_wherever_types_have_been_looked_for(
    some: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pybpftool.btf.section._SOME", some)
    b = BtfBuilder()
    b.add_struct("first", 0)
    for number in range(20):
        b.add_int(f"int{number}", 4)
        b.add_ptr(number + 1)
    b.add_typedef("last", 1)
    data = b.build()
    for type_id, name in ((1, "first"), *((2 + 2 * n, f"int{n}") for n in range(20)), (42, "last")):
        assert named(Btf.from_bytes(data, None, True), name) == [type_id]
        assert named(Btf.from_bytes(data), name) == [type_id]
