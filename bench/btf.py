"""Workloads of ``btf dump``: the running kernel's types, and a small object."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.run import Workload
from pybpftool.btf.parser import STRUCT, VMLINUX, Btf
from tests.support.elffile import object_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

FIXTURES = Path(__file__).parents[1] / "fixtures" / "btf"


@contextlib.contextmanager
def _object(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """An ELF object file of a few KiB with BTF that clang made."""
    with tempfile.NamedTemporaryFile(suffix=".o") as file:
        blob = FIXTURES.joinpath("clang1.btf").read_bytes()
        file.write(object_file({".BTF": blob, ".text": bytes(64)}))
        file.flush()
        yield ["btf", "dump", "file", file.name, *words]


def _small(*words: str) -> Callable[[], AbstractContextManager[Sequence[str] | None]]:
    return lambda: _object(words)


@contextlib.contextmanager
def _one_struct() -> Iterator[Sequence[str]]:
    root = Btf.from_file(VMLINUX).find("task_struct", STRUCT)
    yield ["btf", "dump", "file", VMLINUX, "format", "c", "root_id", str(root)]


def workloads() -> list[Workload]:
    """All workloads of this module; those on the kernel's types only where it has them."""
    found = [
        Workload("btf dump of an object file", [], 1.0, _small()),
        Workload("btf dump of an object file, C", [], 1.0, _small("format", "c")),
    ]
    if not os.path.exists(VMLINUX):
        return found
    dump = ["btf", "dump", "file", VMLINUX]
    file = os.path.join(tempfile.gettempdir(), f"btf-dump-{os.getpid()}")
    as_c = [*dump, "format", "c"]
    return [
        *found,
        Workload("btf dump vmlinux to a file", dump, 0.8, output=file),
        Workload("btf dump vmlinux to /dev/null", dump, 1.3, output="/dev/null"),
        Workload("btf dump vmlinux, JSON", ["-j", *dump], 1.6, output="/dev/null"),
        Workload("btf dump vmlinux, C, to a file", as_c, 2.2, output=file),
        Workload("btf dump vmlinux, C, to a pipe", as_c, 1.5),
        Workload("btf dump vmlinux, one struct as C", [], 0.8, _one_struct),
    ]


WORKLOADS = tuple(workloads())


def main() -> int:
    """``python -m bench.btf [UPSTREAM]``: time the workloads of this module alone."""
    from bench import run

    sys.argv += ["--only", "btf"]
    return run.main()


if __name__ == "__main__":
    sys.exit(main())
