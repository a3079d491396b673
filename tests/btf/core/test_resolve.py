"""CO-RE relocations against another kernel: places, sizes, what is there and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pybpftool.btf.core.compat import essential
from pybpftool.btf.core.resolve import Resolved, Resolver, Targets, unsafe_resize
from pybpftool.btf.core.spec import KINDS, CoreError, parse
from pybpftool.btf.ext import Relocation
from pybpftool.btf.table import Btf
from tests.support import coreobjects
from tests.support.btfbuild import SIGNED, BtfBuilder


def all_resolved(directory: Path) -> dict[tuple[str, str], Resolved]:
    local, ext = coreobjects.program(directory)
    resolver = Resolver(local, Targets(coreobjects.kernel(directory)))
    found = [resolver.resolve(one) for one in ext.relocations["tc"]]
    return {(KINDS[one.local.kind], one.local.text()): one for one in found}


def test_values(tmp_path: Path) -> None:
    found = all_resolved(tmp_path)
    values = {key: one.new and one.new.value for key, one in found.items()}
    assert values == {
        ("byte_off", "struct task.in.x"): 32,
        ("byte_off", "struct task.in.y[1]"): 40,
        ("field_exists", "struct task.gone"): 0,
        ("field_exists", "struct task___old.state"): 0,
        ("byte_sz", "struct task.small"): 1,
        ("lshift_u64", "struct task.b"): 64 - 10,
        ("rshift_u64", "struct task.b"): 64 - 7,
        ("signed", "struct task.small"): 0,
        ("type_exists", "struct inner"): 1,
        ("type_exists", "struct nobody"): 0,
        ("type_size", "struct task"): 80,
        ("type_matches", "struct inner"): 0,
    }
    assert not any(one.is_broken for one in found.values())
    way = found["byte_off", "struct task.in.y[1]"].target
    assert way is not None
    # Through the union that has no name.
    assert way.steps == [0, 1, 1, 2, 1]
    assert way.text() == "struct task.in.y[1]"


def builder() -> tuple[BtfBuilder, int]:
    build = BtfBuilder()
    return build, build.add_int("int", 4, SIGNED)


def relocation(build: BtfBuilder, type_id: int, access: str, kind: int) -> tuple[Btf, Relocation]:
    return Btf.from_bytes(build.build()), Relocation(0, type_id, access, kind)


def test_missing_field_breaks_the_instruction() -> None:
    build, number = builder()
    local = relocation(build, build.add_struct("s", 4, [("a", number, 0)]), "0:0", 0)
    other, number = builder()
    other.add_struct("s", 4, [("b", number, 0)])
    resolver = Resolver(local[0], Targets(Btf.from_bytes(other.build())))
    resolved = resolver.resolve(local[1])
    assert resolved.is_broken
    assert resolved.target is None
    assert resolved.old is not None and resolved.old.value == 0


def test_flavors_have_to_agree() -> None:
    build, number = builder()
    local = relocation(build, build.add_struct("s___mine", 4, [("a", number, 0)]), "0:0", 0)
    for places, agrees in (((32, 32), True), ((0, 32), False)):
        other, number = builder()
        for name, place in zip(("s", "s___two"), places):
            other.add_struct(name, 8, [("a", number, place)])
        resolver = Resolver(local[0], Targets(Btf.from_bytes(other.build())))
        if agrees:
            resolved = resolver.resolve(local[1])
            assert resolved.new is not None and resolved.new.value == 4
        else:
            with pytest.raises(CoreError, match="disagree"):
                resolver.resolve(local[1])


@pytest.mark.parametrize(
    ("access", "kind", "sentence"),
    [
        ("", 0, "not a path"),
        ("0:x", 0, "not a path"),
        ("0:-1", 0, "not a path"),
        ("0:7", 0, "no member number 7"),
        ("0:0:0", 0, "no parts"),
        ("0:1:5", 0, "element 5 of an array of 3"),
        ("0:1", 8, "leads away"),
        ("0", 10, "not a value of an enum"),
        ("0", 99, "unknown kind 99"),
        (":".join(["0"] * 65), 0, "too many steps"),
    ],
)
def test_impossible(access: str, kind: int, sentence: str) -> None:
    build, number = builder()
    array = build.add_array(number, number, 3)
    struct = build.add_struct("s", 16, [("a", number, 0), ("b", array, 32)])
    with pytest.raises(CoreError, match=sentence):
        parse(*relocation(build, struct, access, kind))


def test_resize() -> None:
    for mine, theirs, is_unsafe in ((0, 0, False), (SIGNED, SIGNED, True), (0, SIGNED, True)):
        build = BtfBuilder()
        number = build.add_int("n", 4, mine)
        local = relocation(build, build.add_struct("s", 4, [("a", number, 0)]), "0:0", 0)
        other = BtfBuilder()
        number = other.add_int("n", 8, theirs)
        other.add_struct("s", 8, [("a", number, 0)])
        resolved = Resolver(local[0], Targets(Btf.from_bytes(other.build()))).resolve(local[1])
        assert unsafe_resize(resolved) is is_unsafe


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("task", "task"),
        ("task___old", "task"),
        ("a___b___c", "a___b"),
        ("a____b", "a____b"),
        ("___a", "___a"),
        ("a___", "a___"),
        ("a___b_", "a"),
    ],
)
def test_essential(name: str, plain: str) -> None:
    assert essential(name) == plain


@pytest.mark.parametrize("is_split", [False, True])
def test_names_that_are_expected_are_found_as_others(is_split: bool) -> None:
    b = BtfBuilder()
    names = [f"s{number}" for number in range(12)]
    for name in names:
        for flavor in ("", "", "___old", "_other"):
            b.add_struct(name + flavor, 8)
        b.add_typedef(name, 1)
    target = Btf.from_bytes(b.build())
    if is_split:
        b = BtfBuilder(first_id=target.count, base_strings=target.string_end)
        for name in ("", *names[::2], "s1___new"):
            b.add_struct(name, 4)
        target = Btf.from_bytes(b.build(), target)
    b = BtfBuilder()
    for name in ("", *names, "missing", "s2___mine"):
        b.add_struct(name, 8)
        b.add_typedef(name, 1)
    local = Btf.from_bytes(b.build())
    wanted = [local.name(type_id) for type_id in range(1, local.count)]
    expected, alone = Targets(target), Targets(target)
    expected.expect(wanted)
    for type_id in range(3, local.count):
        one_by_one = Targets(target).find(local, type_id)
        assert expected.find(local, type_id) == one_by_one == alone.find(local, type_id)
    assert len(expected.find(local, 3)) == (4 if is_split else 3)
