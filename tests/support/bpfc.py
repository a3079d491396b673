"""BPF object files from C, compiled by clang; needs no header but the kernel's."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

_HEAD = """\
#include <linux/bpf.h>
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) __typeof__(val) *name
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
char LICENSE[] SEC("license") = "GPL";
"""


def find_clang() -> str | None:
    """The newest clang; one without a number only where no other is."""
    names = (*(f"clang-{version}" for version in range(30, 13, -1)), "clang")
    return next((path for name in names if (path := shutil.which(name))), None)


def bpf_clang() -> str:
    """A clang that makes BPF; skips the test where there is none."""
    clang = find_clang()
    if clang is None:
        pytest.skip("no clang")
    targets = subprocess.run([clang, "--print-targets"], check=False, capture_output=True)
    if b" bpf " not in targets.stdout:
        pytest.skip("this clang makes no BPF")
    return clang


def compile_object(directory: Path, source: str, name: str = "t") -> str:
    """The path of an object file; skips the test without a clang that makes BPF."""
    clang = find_clang()
    if clang is None:
        pytest.skip("no clang")
    head = directory / "head.h"
    head.write_text(_HEAD)
    file = directory / f"{name}.c"
    file.write_text(source)
    made = directory / f"{name}.o"
    triplet = f"/usr/include/{platform.machine()}-linux-gnu"
    words = [clang, "-target", "bpf", "-g", "-O2", "-I", triplet, "-include", str(head)]
    words += ["-c", str(file), "-o", str(made)]
    result = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    if "unable to create target" in result.stderr:
        pytest.skip("this clang makes no BPF")
    assert result.returncode == 0, result.stderr
    return str(made)
