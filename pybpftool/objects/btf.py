"""BTF objects of a kernel: who uses them, who holds them, and their types."""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.kernel.interface import BTF_INFO, MAP_INFO, PROG_INFO
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from pybpftool.btf.hashmap import AppendMap
    from pybpftool.btf.table import Btf
    from pybpftool.kernel.interface import BpfObject, Kernel

    Types = Btf

MAX_FILES = 64
"""How many files are merged at most, as upstream."""

# Where the id of a program's or map's BTF stands in struct bpf_prog_info and bpf_map_info.
_BTF_ID_AT = {"prog": 128, "map": 64}
_FIELDS = ("btf_size", "name_len", "kernel_btf")


class BtfObject(Record):
    """One BTF object (``struct bpf_btf_info``), with the programs and maps that use it.

    ``btf_size`` is in bytes. Only the kernel's own objects have a ``name``; ``kernel_btf``
    says whether it is one of these. ``pids`` are the processes that hold it.
    """

    id: int
    btf_size: int
    kernel_btf: bool
    name: str
    prog_ids: Sequence[int]
    map_ids: Sequence[int]
    pids: Sequence[tuple[int, str]]

    def text(self) -> str:
        """The lines of a listing."""
        shown = f"[{self.name}]" if self.kernel_btf else self.name or "<anon>"
        text = f"{self.id}: name {shown}  size {self.btf_size}B"
        if self.prog_ids:
            text += "  prog_ids " + ",".join(map(str, self.prog_ids))
        if self.map_ids:
            text += "  map_ids " + ",".join(map(str, self.map_ids))
        if self.pids:
            text += "\n\tpids " + ", ".join([f"{comm}({pid})" for pid, comm in self.pids])
        return text + "\n"

    def json(self) -> dict[str, Any]:
        """The JSON properties of a listing."""
        json: dict[str, Any] = {
            "id": self.id,
            "size": self.btf_size,
            "prog_ids": self.prog_ids,
            "map_ids": self.map_ids,
        }
        if self.pids:
            json["pids"] = [{"pid": pid, "comm": comm} for pid, comm in self.pids]
        json["kernel"] = self.kernel_btf
        if self.name:
            json["name"] = self.name
        return json


class BtfReader:
    """Reads BTF objects of one kernel; all programs and maps are listed once for their users."""

    __slots__ = ("_fields", "_holders", "_kernel", "_maps", "_progs")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._fields = BTF_INFO.only(_FIELDS, kernel.byteorder)
        self._progs = self._users("prog")
        self._maps = self._users("map")
        self._holders = kernel.holders("btf")

    def _users(self, kind: str) -> AppendMap:
        from pybpftool.btf.hashmap import AppendMap

        users = AppendMap()
        at = _BTF_ID_AT[kind]
        order: Any = "little" if self._kernel.byteorder == "<" else "big"
        for obj in self._kernel.objects(kind):
            btf_id = int.from_bytes(obj.info[at : at + 4], order)
            if btf_id:
                users.append(btf_id, obj.id)
        return users

    def read(self, obj: BpfObject) -> BtfObject:
        """The record of an open object."""
        data = obj.info.ljust(self._fields.size, b"\0")  # an older kernel's struct is shorter
        size, name_len, is_kernel = self._fields.unpack_from(data)
        id = obj.id
        return BtfObject(
            id,
            size,
            bool(is_kernel),
            self._kernel.btf_name(id) if name_len else "",
            self._progs.get(id),
            self._maps.get(id),
            self._holders.get(id, ()),
        )


def collect(kernel: Kernel) -> Iterator[BtfObject]:
    """All BTF objects in the order of their ids."""
    read = BtfReader(kernel).read
    for obj in kernel.objects("btf"):
        yield read(obj)


def load(
    kernel: Kernel, id: int, base: Btf | None = None, say: Callable[[str], object] | None = None
) -> Btf:
    """The types of a BTF object.

    A module's are split BTF: without a ``base`` the kernel's own is taken, which ``say`` is
    told.
    """
    from pybpftool.btf.load import VMLINUX, from_id, vmlinux

    if base is None and id:
        obj = kernel.open("btf", id)
        try:
            is_kernel = BTF_INFO.decode(obj.info, kernel.byteorder)["kernel_btf"]
            if is_kernel and kernel.btf_name(id) != "vmlinux":
                if say is not None:
                    say(f"no base BTF was given with -B; taking '{VMLINUX}'")
                base = vmlinux(kernel)
        finally:
            kernel.close(obj)
    return from_id(id, kernel, base)


def load_files(
    paths: list[str],
    base: Btf | None = None,
    say: Callable[[str], object] | None = None,
    read: Callable[[str, Btf | None], Btf] | None = None,
) -> Btf:
    """The types of a file, or those of several with one base, merged.

    ``read`` reads one of them: a recorded kernel has files of its own in /sys.
    """
    from pybpftool.btf.load import SYSFS, VMLINUX, from_file

    read = read or from_file
    files = [path for path in paths if path != VMLINUX]
    if len(files) < len(paths) and files and say is not None:
        say(f"'{VMLINUX}' is left out: it is the base of the other files")
    if len(files) > MAX_FILES:
        raise BpfError(f"at most {MAX_FILES} files are taken")
    if not files:
        return read(VMLINUX, base)
    if base is None and any(path.startswith(SYSFS) for path in files):
        base = read(VMLINUX, None)
    if len(files) == 1:
        return read(files[0], base)
    if base is None:
        raise BpfError("merging several BTF files needs a base: give -B, or files of " + SYSFS)
    from pybpftool.btf.merge import merge

    return merge([(path, read(path, base)) for path in files], base)


def map_types(kernel: Kernel, obj: BpfObject) -> tuple[int, int, int]:
    """The BTF object of a map, and the types of its keys and values there; 0 for none."""
    info = MAP_INFO.decode(obj.info, kernel.byteorder)
    return info["btf_id"], info["btf_key_type_id"], info["btf_value_type_id"]


def prog_types(kernel: Kernel, obj: BpfObject) -> int:
    """The BTF object of a program, 0 for none."""
    id: int = PROG_INFO.decode(obj.info, kernel.byteorder)["btf_id"]
    return id
