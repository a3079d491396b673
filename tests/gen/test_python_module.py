"""``gen python``: what its modules define, that mypy takes them, that they run."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pybpftool.control import libbpf
from pybpftool.errors import BpfError
from pybpftool.gen.opening import open_bytes, open_file
from pybpftool.gen.python_module import python_module
from tests.support import load
from tests.support.bpfc import compile_object
from tests.support.cli import run
from tests.support.objbuild import small_object

ROOT = Path(__file__).parent.parent.parent

SOURCE = """
typedef unsigned int u32; typedef unsigned long long u64;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) =
    (void *)2;
enum state { IDLE, OPEN = 5, name = 0xffffffff };
struct key { u32 saddr; unsigned short port; char proto; unsigned char bytes; };
struct deep {
    int a : 3; unsigned b : 5; signed long long c : 40;
    union { int x; float y; };
    struct { char in[4]; } from;
};
struct flow {
    struct key key; u64 bytes; char comm[16]; struct key others[2]; enum state state;
    struct deep deep; void *next; _Bool done; double ratio; unsigned char mac[6]; int __grid[2][3];
};
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16);
         __type(key, struct key); __type(value, struct flow); } flows SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 4);
         __type(key, u32); __type(value, u64); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(max_entries, 1);
         __type(value, struct key); } queue SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4);
         __uint(key_size, 4); __uint(value_size, 4); } class SEC(".maps");
u64 count; struct flow last; int numbers[4]; static int hidden; struct { int q; } nameless;
int start = 7;
const volatile int limit = 3;
char label[8] = "abc";
SEC("xdp") int entry(struct xdp_md *ctx)
{
    struct key k = { .saddr = 1, .port = 2, .proto = limit };
    struct flow f = {};
    u32 one = 1;
    u64 *counter = bpf_map_lookup_elem(&counts, &one);
    if (counter)
        *counter += 5;
    count += limit; last.bytes = 99; last.deep.b = 17; last.deep.c = -5;
    numbers[2] = start; hidden++;
    f.bytes = 42; f.key = k; f.others[1].port = 80; f.comm[0] = 'x'; f.state = OPEN;
    f.__grid[1][2] = 6;
    bpf_map_update_elem(&flows, &k, &f, 0);
    return 2;
}
SEC("raw_tp/sys_enter") int enter(void *ctx) { nameless.q++; return 0; }
"""

USE = """
from t_skel import Skel, flow, key, state

def use(skel: Skel) -> int:
    skel.rodata.limit = 6
    skel.bss.last.deep.b = 3
    skel.bss.numbers = [1, 2]
    skel.bss.numbers[1] += 1
    skel.maps.flows[key(saddr=1)] = flow(bytes=5, comm=b"x", others=[key()], state=state.OPEN)
    found = skel.maps.flows.get(key(saddr=1))
    total: int = sum(skel.maps.counts[1])
    for one, value in skel.maps.flows.items():
        total += one.saddr + value.bytes + value.grid[1][2]
    text: bytes = skel.data.label
    return total if found is None else found.deep.a + len(text)
"""
WRONG = ("skel.bss.count = 'x'", "skel.bss.cuont", "skel.maps.flows[3]", "skel.maps.events[0]",
         "skel.maps.flows[key(port=b'x')]")  # fmt: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("python")
    obj = open_file(compile_object(place, SOURCE))
    (place / "t_skel.py").write_text(python_module(obj))
    return place


def module(directory: Path) -> ModuleType:
    made = ModuleType("t_skel")
    exec((directory / "t_skel.py").read_text(), made.__dict__)  # noqa: S102
    return made


def test_names(directory: Path) -> None:
    found = module(directory)
    assert found.__all__ == sorted(
        ["Bss", "Data", "Maps", "Progs", "Rodata", "Skel", "deep", "deep_from", "flow", "key",
         "nameless_type", "state"]
    )  # fmt: skip
    assert found.state.OPEN == 5
    assert found.state.name_ == 0xFFFFFFFF
    assert set(vars(found.flow)) >= {"key", "bytes", "comm", "grid"}
    text = (directory / "t_skel.py").read_text()
    assert 'self.class_ = _bpf.Map(file, "class", _bpf.U32, _bpf.U32)' in text
    assert "hidden" not in text


def test_layout(directory: Path) -> None:
    found = module(directory)
    one = found.flow(bytes=1, others=[found.key(), found.key(port=0x5040)])
    assert bytes(one)[8] == 1
    assert bytes(one)[32 + 8 + 4 : 32 + 8 + 6] == (0x5040).to_bytes(2, sys.byteorder)
    one.deep.c = -5
    assert one.deep.c == -5
    assert one.deep.from_.in_ == b""
    one.deep.y = 1.5
    assert one.deep.x == 0x3FC00000
    assert found.Skel.elf_bytes() == (directory / "t.o").read_bytes()


def test_equal_each_time(directory: Path) -> None:
    text = python_module(open_file(str(directory / "t.o")))
    assert text == (directory / "t_skel.py").read_text()


@pytest.mark.slow
def test_mypy(directory: Path) -> None:
    pytest.importorskip("mypy")
    (directory / "use.py").write_text(USE)
    body = "".join([f"    {line}\n" for line in WRONG])
    (directory / "wrong.py").write_text(
        f"from t_skel import Skel, key\ndef use(skel: Skel) -> None:\n{body}"
    )
    words = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(directory / "cache")]
    words += ["--follow-imports", "silent", "t_skel.py", "use.py", "wrong.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    result = subprocess.run(
        words, check=False, capture_output=True, text=True, cwd=directory, env=environment
    )
    errors = [line for line in result.stdout.splitlines() if ": error:" in line]
    assert [line.split(":")[:2] for line in errors] == [
        ["wrong.py", str(number)] for number in range(3, 3 + len(WRONG))
    ], result.stdout


def test_no_btf_no_maps() -> None:
    from tests.support.objbuild import EXEC, FUNC, RETURN, ObjBuilder

    build = ObjBuilder()
    build.symbol("main", build.section("xdp", RETURN, flags=EXEC), 0, 16, FUNC)
    text = python_module(open_bytes(build.build(), 'a"b'))
    assert '_name = "a\\u0022b"' in text
    assert 'self.main = _bpf.Program(file, "main")' in text
    compile(text, "t", "exec")
    compile(python_module(open_bytes(small_object(), "t")), "t", "exec")


@pytest.mark.live
def test_running(directory: Path) -> None:
    try:
        libbpf.library()
    except libbpf.LibbpfError as error:
        pytest.skip(str(error))
    found = module(directory)
    with found.Skel.open() as skel:
        with pytest.raises(BpfError, match="the map 'flows' is not loaded"):
            skel.maps.flows[found.key()]
        with pytest.raises(BpfError, match="is not loaded"):
            skel.attach()
        skel.rodata.limit = 6
        skel.data.start = 100
        skel.maps.flows.max_entries = 64
        skel.load()
        check_programs(found, skel)
        check_maps(found, skel)
        skel.attach()
        os.getppid()
        assert skel.bss.nameless.q > 0
        assert skel.progs.entry.link is None
        assert skel.progs.enter.link.fd > 0
        kept = skel.bss
        halfway = skel.maps.flows.items()
        next(halfway)
    with pytest.raises(BpfError, match="is not loaded"):
        list(halfway)
    with pytest.raises(BpfError, match="is closed"):
        kept.count  # noqa: B018
    for ask in (lambda: skel.maps.flows.max_entries, lambda: skel.progs.enter.fd, skel.load):
        with pytest.raises(BpfError, match=r"is closed|is not loaded"):
            ask()
    skel.close()


def check_programs(found: ModuleType, skel: object) -> None:
    bss, maps, progs = skel.bss, skel.maps, skel.progs  # type: ignore[attr-defined]
    assert progs.entry.run(bytes(64), repeat=2).retval == 2
    assert bss.count == 12
    assert bss.numbers == [0, 0, 100, 0]
    assert (bss.last.bytes, bss.last.deep.b, bss.last.deep.c) == (99, 17, -5)
    assert maps.flows.max_entries == 64
    value = maps.flows[found.key(saddr=1, port=2, proto=6)]
    assert (value.bytes, value.others[1].port, value.comm) == (42, 80, b"x")
    assert value.state is found.state.OPEN
    assert [list(row) for row in value.grid] == [[0, 0, 0], [0, 0, 6]]
    assert sum(maps.counts[1]) == 10
    with pytest.raises(BpfError, match="cannot be changed once it is loaded"):
        skel.rodata.limit = 1  # type: ignore[attr-defined]
    with pytest.raises(BpfError, match="does not tell where to attach it"):
        progs.entry.attach()
    bss.last.others[1].port = 9
    assert bss.last.others[1] == found.key(port=9)


def check_maps(found: ModuleType, skel: object) -> None:
    maps = skel.maps  # type: ignore[attr-defined]
    key = found.key(saddr=3)
    maps.flows[key] = found.flow(bytes=5)
    with pytest.raises(BpfError, match="already"):
        maps.flows.add(key, found.flow())
    assert key in maps.flows
    assert {one.saddr: value.bytes for one, value in maps.flows.items()} == {1: 42, 3: 5}
    del maps.flows[key]
    assert key not in maps.flows
    assert maps.flows.get(key) is None
    with pytest.raises(KeyError):
        del maps.flows[key]
    assert len(maps.flows) == 1
    maps.counts.set_all(2, 9)
    assert set(maps.counts[2]) == {9}
    with pytest.raises(BpfError, match="0 values are given"):
        maps.counts[2] = []
    maps.queue.push(found.key(port=7))
    with pytest.raises(BpfError, match="full"):
        maps.queue.push(found.key())
    assert maps.queue.peek() == maps.queue.pop() == found.key(port=7)
    with pytest.raises(IndexError):
        maps.queue.pop()
    maps.class_[0] = skel.progs.entry.fd  # type: ignore[attr-defined]
    assert dict(maps.class_.items()) == {0: skel.progs.entry.id}  # type: ignore[attr-defined]


PLACES = """
SEC("xdp") int pass_xdp(void *ctx) { return 2; }
SEC("cgroup_skb/egress") int pass_all(void *ctx) { return 1; }
"""


@pytest.mark.live
def test_attaching_to_a_device_and_a_cgroup(tmp_path: Path) -> None:
    try:
        libbpf.library()
    except libbpf.LibbpfError as error:
        pytest.skip(str(error))
    (tmp_path / "t_skel.py").write_text(python_module(open_file(compile_object(tmp_path, PLACES))))
    found = module(tmp_path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(load.temp_netns())
        path = stack.enter_context(load.temp_cgroup())
        cgroup = os.open(path, os.O_RDONLY)
        stack.callback(os.close, cgroup)
        skel = stack.enter_context(found.Skel.open())
        with pytest.raises(BpfError, match="is not loaded"):
            skel.progs.pass_xdp.attach_xdp(1)
        skel.load()
        links = [skel.progs.pass_xdp.attach_xdp(1), skel.progs.pass_all.attach_cgroup(cgroup)]
        rows = {row["link_id"]: row for row in run("-j", "attachments").json if "link_id" in row}
        device, group = (rows[load.object_id(link.fd, "link")] for link in links)
        assert (device["hook"], device["dev"]) == ("xdp", "lo")
        assert device["prog_id"] == skel.progs.pass_xdp.id
        assert group["hook"] == "cgroup_inet_egress"
        assert path.endswith(group["cgroup"])
        # Again: the link before is given back.
        again = skel.progs.pass_all.attach_cgroup(cgroup)
        assert again.fd > 0 and skel.progs.pass_all.link is again
        skel.progs.pass_xdp.attach_xdp("lo")
        for group_path in (path, Path(path)):
            found_again = skel.progs.pass_all.attach_cgroup(group_path)
            assert run("link", "show", "id", str(load.object_id(found_again.fd, "link"))).out
        for attach, nowhere in (
            (skel.progs.pass_xdp.attach_xdp, "nonesuch"),
            (skel.progs.pass_all.attach_cgroup, "/nonesuch"),
            (skel.progs.pass_all.attach_cgroup, "/etc/passwd"),
            (skel.progs.pass_all.attach_cgroup, "a\0b"),
        ):
            with pytest.raises(BpfError, match=r"nonesuch|passwd|impossible name"):
                attach(nowhere)
        for attach in (skel.progs.pass_xdp.attach_xdp, skel.progs.pass_all.attach_cgroup):
            with pytest.raises(TypeError):
                attach(None)
        wrong: list[tuple[Any, int]] = [
            (skel.progs.pass_xdp.attach_xdp, 9999),
            (skel.progs.pass_all.attach_xdp, 1),
            (skel.progs.pass_all.attach_cgroup, -1),
        ]
        for attach, place in wrong:
            with pytest.raises(BpfError, match=r"cannot attach|cannot be attached"):
                attach(place)
    held = [row for row in run("-j", "attachments").json if row.get("link_id") in rows]
    assert not {row["link_id"] for row in held} & {device["link_id"], group["link_id"]}
