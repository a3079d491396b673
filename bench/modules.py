"""Types of kernel modules and of their kernel, out of an unpacked package of a kernel.

``$PYBPFTOOL_BENCH_KERNEL`` names the directory (with boot/vmlinuz-* and lib/modules), as
tests/tools/vm.py leaves it in its cache; without it the newest one there is taken.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.states import Words
from pybpftool.elf.sections import sections
from tests.tools.vm import cache_dir

NAMES = ("amdgpu", "xfs", "mac80211", "cfg80211")
# Beginnings of what a vmlinuz holds compressed, and the programs that unpack them.
_PACKED = (
    (b"\xfd7zXZ\0", ("xz", "-dc")),
    (b"\x28\xb5\x2f\xfd", ("zstd", "-dc")),
    (b"\x1f\x8b\x08", ("gzip", "-dc")),
)


def _kernel() -> Path:
    given = os.environ.get("PYBPFTOOL_BENCH_KERNEL")
    found = [Path(given)] if given else sorted(cache_dir().glob("*/"))
    found = [path for path in found if list(path.glob("boot/vmlinuz-*"))]
    if not found:
        raise OSError("no unpacked kernel: set PYBPFTOOL_BENCH_KERNEL")
    return found[-1]


def _types(data: bytes) -> bytes:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        return sections(file, (".BTF",))[1].get(".BTF", b"")


def _unpacked(image: bytes) -> bytes:
    """The types in a compressed kernel image."""
    for mark, command in _PACKED:
        for match in re.finditer(re.escape(mark), image):
            if shutil.which(command[0]) is None:
                break
            # What follows the compressed kernel makes the program fail at the end.
            done = subprocess.run(
                command, input=image[match.start() :], capture_output=True, check=False
            )
            if done.stdout.startswith(b"\x7fELF"):
                return _types(done.stdout)
    raise OSError("the kernel image is packed in a way that is not known here")


@contextlib.contextmanager
def state() -> Iterator[Words]:
    """Files with the types: ``base`` and one for each module."""
    root = _kernel()
    with tempfile.TemporaryDirectory(prefix="pybt-bench-") as folder:
        words = {"base": f"{folder}/vmlinux"}
        Path(words["base"]).write_bytes(_unpacked(next(root.glob("boot/vmlinuz-*")).read_bytes()))
        for name in NAMES:
            path = next(root.rglob(f"{name}.ko*"), None)
            if path is None:
                raise OSError(f"the kernel in {root} has no module {name}")
            data = path.read_bytes()
            words[name] = f"{folder}/{name}"
            Path(words[name]).write_bytes(
                _types(lzma.decompress(data) if path.suffix == ".xz" else data)
            )
        yield words
