"""bpftool in Python: list, dump and explain the BPF objects of a Linux machine.

The command line lives in :mod:`pybpftool.cli`; the library's names are loaded on
first use, so that importing the package costs nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

UPSTREAM_VERSION = "7.8.0"
"""The bpftool release whose output this version reproduces."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf as Btf
    from pybpftool.errors import BpfError as BpfError
    from pybpftool.errors import FormatError as FormatError
    from pybpftool.errors import KernelError as KernelError
    from pybpftool.errors import NotFoundError as NotFoundError
    from pybpftool.host import Host as Host
    from pybpftool.host import live as live
    from pybpftool.host import load as load
    from pybpftool.kernel.interface import Kernel as Kernel
    from pybpftool.kernel.live import LiveKernel as LiveKernel
    from pybpftool.kernel.snapshot import SnapshotKernel as SnapshotKernel
    from pybpftool.objects.map import Map as Map
    from pybpftool.objects.map import maps as maps
    from pybpftool.objects.open_map import OpenMap as OpenMap
    from pybpftool.objects.prog import Program as Program
    from pybpftool.objects.prog import programs as programs
    from pybpftool.writable import WritableMap as WritableMap

_HOMES = {
    "Btf": "pybpftool.btf.table",
    "BpfError": "pybpftool.errors",
    "FormatError": "pybpftool.errors",
    "Host": "pybpftool.host",
    "Kernel": "pybpftool.kernel.interface",
    "KernelError": "pybpftool.errors",
    "LiveKernel": "pybpftool.kernel.live",
    "Map": "pybpftool.objects.map",
    "NotFoundError": "pybpftool.errors",
    "OpenMap": "pybpftool.objects.open_map",
    "Program": "pybpftool.objects.prog",
    "SnapshotKernel": "pybpftool.kernel.snapshot",
    "WritableMap": "pybpftool.writable",
    "live": "pybpftool.host",
    "load": "pybpftool.host",
    "maps": "pybpftool.objects.map",
    "programs": "pybpftool.objects.prog",
}

__all__ = ["UPSTREAM_VERSION", "__version__", *sorted(_HOMES)]  # noqa: PLE0604 - all are texts


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'pybpftool' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
