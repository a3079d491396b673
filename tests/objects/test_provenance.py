"""Tags of object files: what the kernel gives the programs that are loaded from them."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pybpftool.elf.relocatable import Relocatable, Section
from pybpftool.errors import BpfError
from pybpftool.inspect.fixture import Bpf
from pybpftool.kernel.live import LiveKernel
from pybpftool.objects.provenance import ObjectTags, Unsure
from tests.support import load
from tests.support.bpfc import find_clang
from tests.support.cli import run

CLANG = find_clang()
pytestmark = pytest.mark.skipif(CLANG is None, reason="there is no clang")

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#define __core __attribute__((preserve_access_index))
struct task_struct { int pid; int tgid; struct task_struct *real_parent; } __core;
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, int);
         __type(value, long); } counts SEC(".maps");
int limit = 5;
const volatile int mask = 3;
extern int LINUX_KERNEL_VERSION __kconfig;

SEC("socket") int plain(struct __sk_buff *skb) { return skb->len & 7; }

SEC("socket") int with_map(struct __sk_buff *skb)
{
    int key = skb->len & mask;
    long *count = bpf_map_lookup_elem(&counts, &key);
    if (count)
        __sync_fetch_and_add(count, 1);
    return limit;
}

static __noinline int inner(int a) { return a * 3 + limit; }
static __noinline int outer(int a) { return inner(a) + inner(a + 1); }
__noinline int global_one(int a) { return a ^ 5; }

SEC("socket") int calling(struct __sk_buff *skb)
{
    return outer(skb->len) + global_one(skb->mark) + inner(2);
}

static long each(__u32 index, void *context) { return index > 3; }

SEC("socket") int looping(struct __sk_buff *skb) { return bpf_loop(10, each, 0, 0); }

SEC("raw_tp/sys_enter") int core(void *ctx)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    int pid;
    bpf_probe_read_kernel(&pid, sizeof(pid), &task->real_parent);
    bpf_probe_read_kernel(&pid, sizeof(pid), &task->tgid);
    return pid & 1;
}

SEC("socket") int unsure(struct __sk_buff *skb) { return LINUX_KERNEL_VERSION > 0x50000; }
char _license[] SEC("license") = "GPL";
"""
NAMES = ("plain", "with_map", "calling", "looping", "core")


def compiled(directory: Path, text: str = SOURCE, level: str = "-O2") -> str:
    source, path = directory / "prog.bpf.c", directory / "prog.bpf.o"
    source.write_text(text)
    own = f"-I/usr/include/{platform.machine()}-linux-gnu"  # asm/types.h, on Debian
    words = [str(CLANG), "-target", "bpf", "-g", level, own, "-c", str(source), "-o", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"clang: {done.stderr[:200]}")
    return str(path)


@pytest.fixture
def pinned() -> Iterator[str]:
    with load.temp_bpffs() as place:
        yield place


@pytest.mark.live
@pytest.mark.parametrize("level", ["-O1", "-O2"])
def test_tags_are_those_of_the_kernel(tmp_path: Path, pinned: str, level: str) -> None:
    path = compiled(tmp_path, level=level)
    result = run("prog", "loadall", path, f"{pinned}/all")
    if result.status:
        pytest.skip(result.errors)
    tags = ObjectTags(path, LiveKernel())
    progs = {prog.name: prog for prog in Bpf(LiveKernel()).progs(pinned=f"{pinned}/all/*")}
    for name in NAMES:
        assert progs[name].tag in tags.of(name), name
    with pytest.raises(Unsure, match="LINUX_KERNEL_VERSION"):
        tags.of("unsure")
    policy = tmp_path / "bpf.toml"
    rule = (
        'schema = 1\n[[rule]]\nid = "r"\nprog = {{ name = "{}", pinned = "{}/*" }}\nobject = "{}"\n'
    )
    policy.write_text(rule.format("with_map", f"{pinned}/all", "prog.bpf.o"))
    assert run("check", str(policy)).status == 0
    policy.write_text(rule.format("unsure", f"{pinned}/all", "prog.bpf.o"))
    assert run("check", str(policy)).status == 2
    other = tmp_path / "other"
    other.mkdir()
    compiled(other, SOURCE.replace("return limit;", "return limit + 1;"))
    policy.write_text(rule.format("with_map", f"{pinned}/all", "other/prog.bpf.o"))
    result = run("check", str(policy))
    assert result.status == 1
    assert "expected  the program of" in result.text
    policy.write_text(rule.format("with_map", f"{pinned}/all", "none.o"))
    assert run("check", str(policy)).status == 2


def test_damaged_objects(tmp_path: Path) -> None:
    whole = Path(compiled(tmp_path)).read_bytes()
    path = tmp_path / "bad.o"
    for cut in range(0, len(whole), max(len(whole) // 60, 1)):
        path.write_bytes(whole[:cut])
        with pytest.raises(BpfError):
            tags = ObjectTags(str(path), LiveKernel())
            tags.of("calling")
            tags.of("core")


def test_sections_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many functions of one section a program calls."""
    count = 40
    names = [f"f{number}" for number in range(count)]
    text = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nint limit = 5;\n"
    text += "".join([f"static __noinline int {name}(int a) {{ return a * limit + {at}; }}\n"
                     for at, name in enumerate(names)])  # fmt: skip
    calls = " + ".join([f"{name}(skb->len)" for name in names])
    text += f'SEC("socket") int all(struct __sk_buff *skb) {{ return {calls}; }}\n'
    path = compiled(tmp_path, text)
    asked: list[str] = []
    for name in ("content", "relocations"):
        real = getattr(Relocatable, name)

        def once(self: Relocatable, section: Section, name: str = name, real: Any = real) -> Any:
            asked.append(f"{name} {section.name}")
            return real(self, section)

        monkeypatch.setattr(Relocatable, name, once)
    ObjectTags(path, LiveKernel()).of("all")
    assert asked.count("relocations .rel.text") == 1
    assert asked.count("content .text") == 1
