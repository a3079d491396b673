"""Every command that reads, for every object that a kernel lists."""

from __future__ import annotations

from collections.abc import Iterator

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.interface import BTF_INFO, Kernel

FORMS: tuple[tuple[str, ...], ...] = ((), ("-j",), ("-p",), ("-f",), ("-f", "-j"))


def read_commands(kernel: Kernel, every: int = 1) -> Iterator[list[str]]:
    """Command lines without options; dumps only of each n-th object."""
    for kind in ("prog", "map", "link", "btf", "perf", "net"):
        yield [kind, "show"]
    yield ["net", "show", "all"]
    yield ["feature", "probe"]
    yield ["token", "show"]
    ids = {kind: _ids(kernel, kind) for kind in ("prog", "map", "link", "btf")}
    for kind, found in ids.items():
        for id in found[::every]:
            yield [kind, "show", "id", str(id)]
        yield [kind, "show", "id", "4294967295"]
    for id in ids["prog"][::every]:
        for words in ("xlated", "jited"):
            yield ["prog", "dump", words, "id", str(id)]
        yield ["prog", "dump", "xlated", "id", str(id), "opcodes", "linum"]
    yield from _btf_dumps(kernel, ids["btf"][::every])
    yield from _cgroup_commands(kernel)
    for name in _devices():
        yield ["net", "show", "dev", name]


def _ids(kernel: Kernel, kind: str) -> list[int]:
    try:
        return [obj.id for obj in kernel.objects(kind)]
    except BpfError:
        return []


def _btf_dumps(kernel: Kernel, ids: list[int]) -> Iterator[list[str]]:
    for id in ids:
        try:
            obj = kernel.open("btf", id)
        except KernelError:
            continue  # others load and unload meanwhile
        size = BTF_INFO.decode(obj.info, kernel.byteorder)["btf_size"]
        kernel.close(obj)
        root = [] if size < 1 << 16 else ["root_id", "1"]
        yield ["btf", "dump", "id", str(id), *root]
        yield ["btf", "dump", "id", str(id), *root, "format", "c"]


def _cgroup_commands(kernel: Kernel) -> Iterator[list[str]]:
    yield ["cgroup", "tree"]
    try:
        root = kernel.cgroup_root()
    except BpfError:
        root = None
    if root is None:
        return
    for words in ([], ["effective"]):
        yield ["cgroup", "tree", root, *words]
        for path in _cgroups(kernel, root):
            yield ["cgroup", "show", path, *words]


def _cgroups(kernel: Kernel, root: str) -> list[str]:
    try:
        return kernel.cgroup_paths(root)
    except BpfError:
        return [root]  # an old recording


def _devices() -> list[str]:
    return ["lo", "pybt_nothing"]
