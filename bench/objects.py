"""BPF object files to generate code of, which the clang at hand compiles."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.states import Words
from tests.support.bpfc import find_clang

_HEAD = """\
#define SEC(name) __attribute__((section(name), used))
typedef unsigned int u32;
struct flow { u32 from, to; char name[20]; };
static void *(*lookup)(void *map, const void *key) = (void *)1;
char LICENSE[] SEC("license") = "GPL";
"""
_MAP = """\
struct {{
    int (*type)[2]; int (*max_entries)[{0} + 1]; u32 *key; struct flow *value;
}} map{0} SEC(".maps");
"""
_VARIABLES = (
    "int var{0};",
    "const volatile struct flow var{0} = {{ {0} }};",
    "long var{0}[3] = {{ {0} }};",
    "char var{0} = {0} % 100;",
)
_PROGRAM = """\
SEC("xdp") int prog{0}(void *ctx)
{{
    u32 key = {0};
    struct flow *flow = lookup(&map{0}, &key);

    return flow ? flow->from + var{1} : 0;
}}
"""
# Types of the kernel, and a member of each, that programs look at.
_MEMBERS = (
    *("task_struct.pid", "file.f_flags", "inode.i_ino", "super_block.s_magic", "sk_buff.len"),
    *("net_device.ifindex", "bpf_prog.len", "bpf_map.max_entries", "cgroup.level"),
    *("vm_area_struct.vm_start", "dentry.d_flags", "pid.level"),
)
_RELOCATED = """\
struct {0} {{ int {1}; }} __attribute__((preserve_access_index));
SEC("raw_tp") int of_{0}(struct {0} **args) {{ return args[0]->{1}; }}
"""


def _source(programs: int, maps: int, variables: int) -> str:
    parts = [_HEAD, *map(_MAP.format, range(maps))]
    parts += [_VARIABLES[at % 4].format(at) + "\n" for at in range(variables)]
    parts += [_PROGRAM.format(at, at * 4) for at in range(programs)]
    return "".join(parts)


@contextlib.contextmanager
def _compiled(source: str) -> Iterator[Words]:
    clang = find_clang()
    if clang is None:
        raise OSError("there is no clang to compile an object with")
    with tempfile.TemporaryDirectory(prefix="pybt-bench-") as folder:
        made = Path(folder, "made.bpf.o")
        words = [clang, "-target", "bpf", "-g", "-O2", "-x", "c", "-c", "-", "-o", str(made)]
        done = subprocess.run(words, input=source, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"clang makes no object: {done.stderr.strip()[:200]}")
        yield {"object": str(made), "made": str(Path(folder, "linked.o"))}


def small() -> contextlib.AbstractContextManager[Words]:
    """Two programs, two maps and eight variables."""
    return _compiled(_source(2, 2, 8))


def large() -> contextlib.AbstractContextManager[Words]:
    """60 programs, 300 maps and 500 variables."""
    return _compiled(_source(60, 300, 500))


def relocated(types: int) -> contextlib.AbstractContextManager[Words]:
    """An object with a CO-RE relocation for each of so many of the kernel's types."""
    rows = [member.split(".") for member in _MEMBERS[:types]]
    return _compiled(_HEAD + "".join([_RELOCATED.format(*row) for row in rows]))
