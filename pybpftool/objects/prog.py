"""Programs: what ``struct bpf_prog_info`` and its surroundings say of them."""

from __future__ import annotations

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.interface import MAP_INFO, PROG_INFO, unpack_u32
from pybpftool.uapi.bpf import BPF_PROG_INFO, PROG_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pybpftool.btf.table import Btf
    from pybpftool.kernel.interface import BpfObject, Kernel

NAME_LENGTH = 16
"""BPF_OBJ_NAME_LEN: the kernel cuts names at 15 characters."""
FULL_NAME_LENGTH = 128
"""Upstream's MAX_PROG_FULL_NAME: names completed from BTF are cut at 127 characters."""

_MAP_TYPE_ARRAY = 2
_BTF_KIND_FUNC = 12
_BTF_KIND_DATASEC = 15
_METADATA_PREFIX = "bpf_metadata_"


# The fields that Program keeps, in the order of struct bpf_prog_info.
_FIELDS = (
    "type",
    "id",
    "tag",
    "jited_prog_len",
    "xlated_prog_len",
    "load_time",
    "created_by_uid",
    "nr_map_ids",
    "name",
    "ifindex",
    "gpl_compatible",
    "netns_dev",
    "netns_ino",
    "btf_id",
    "nr_func_info",
    "run_time_ns",
    "run_cnt",
    "recursion_misses",
)


_LATE = ("verified_insns", "attach_btf_obj_id", "attach_btf_id", "nr_func_info", "nr_jited_ksyms")
_INFO_AT = {name: offset for name, offset, _ in BPF_PROG_INFO if name in _LATE}


class Program:
    """One loaded program.

    ``type_name`` is None for a type that this version does not know (``type`` is its
    number). ``load_time`` is in nanoseconds of the boot clock, ``run_time_ns`` in
    nanoseconds, sizes in bytes. ``memlock`` is None where the kernel does not tell.
    """

    __slots__ = (
        "_order",
        "btf_id",
        "gpl_compatible",
        "id",
        "ifindex",
        "info",
        "jited_size",
        "load_time",
        "map_ids",
        "memlock",
        "name",
        "netns_dev",
        "netns_ino",
        "nr_map_ids",
        "orphaned",
        "recursion_misses",
        "run_cnt",
        "run_time_ns",
        "tag",
        "type",
        "type_name",
        "uid",
        "xlated_size",
    )

    id: int
    type: int
    type_name: str | None
    name: str
    tag: str
    gpl_compatible: bool
    run_time_ns: int
    run_cnt: int
    recursion_misses: int
    ifindex: int
    netns_dev: int
    netns_ino: int
    load_time: int
    uid: int
    orphaned: bool
    xlated_size: int
    jited_size: int
    memlock: int | None
    map_ids: tuple[int, ...]
    nr_map_ids: int
    btf_id: int
    _order: str
    info: bytes
    """``struct bpf_prog_info``, as long as the kernel filled it."""

    @property
    def verified_insns(self) -> int | None:
        """Instructions that the verifier walked (v5.16, aba64c7da983); None from older kernels."""
        return self._number("verified_insns")

    @property
    def attach_btf_obj_id(self) -> int:
        """The BTF object of the function that the program is made for (v5.18); 0 for none."""
        return self._number("attach_btf_obj_id") or 0

    @property
    def attach_btf_id(self) -> int:
        """The function that the program is made for, in that BTF; 0 for none."""
        return self._number("attach_btf_id") or 0

    @property
    def subprograms(self) -> int:
        """How many functions it is made of, the main one included; 0 where that is hidden."""
        return self._number("nr_func_info") or self._number("nr_jited_ksyms") or 0

    def _number(self, name: str) -> int | None:
        offset = _INFO_AT[name]
        if len(self.info) < offset + 4:
            return None
        order: Any = self._order
        return int.from_bytes(self.info[offset : offset + 4], order)


class ProgramReader:
    """Reads programs of one kernel; keeps the BTF objects and maps that several share."""

    __slots__ = ("_btfs", "_fields", "_gpl", "_kernel", "_metadata_maps", "_order")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._fields = PROG_INFO.only(_FIELDS, kernel.byteorder)
        # A one-bit field is the lowest bit of its word, the highest on big-endian machines.
        self._order = "little" if kernel.byteorder == "<" else "big"
        self._gpl = 1 if kernel.byteorder == "<" else 1 << 31
        self._btfs: dict[int, Btf] = {}
        self._metadata_maps: dict[int, dict[str, Any] | None] = {}

    def read(self, obj: BpfObject) -> Program:
        """Everything that one listing entry needs but its holders, pins and metadata."""
        data = obj.info
        if len(data) < self._fields.size:
            data = data.ljust(self._fields.size, b"\0")  # an older kernel's struct is shorter
        prog = Program()
        (
            prog.type,
            prog.id,
            tag,
            prog.jited_size,
            prog.xlated_size,
            prog.load_time,
            prog.uid,
            prog.nr_map_ids,
            raw_name,
            prog.ifindex,
            gpl,
            prog.netns_dev,
            prog.netns_ino,
            prog.btf_id,
            nr_func_info,
            prog.run_time_ns,
            prog.run_cnt,
            prog.recursion_misses,
        ) = self._fields.unpack_from(data)
        prog.type_name = PROG_TYPES[prog.type] if prog.type < len(PROG_TYPES) else None
        prog.name = self._full_name(obj, raw_name, prog.btf_id if nr_func_info else 0)
        prog.tag = tag.hex()
        prog.gpl_compatible = bool(gpl & self._gpl)
        prog.orphaned = obj.orphaned
        prog.memlock = self._memlock(obj)
        prog.map_ids = self._map_ids(obj) if prog.nr_map_ids else ()
        prog.info = obj.info
        prog._order = self._order
        return prog

    def btf(self, id: int) -> Btf:
        """The parsed BTF object ``id``; raises KernelError or FormatError."""
        btf = self._btfs.get(id)
        if btf is None:
            from pybpftool.btf.load import from_id

            btf = self._btfs[id] = from_id(id, self._kernel)
        return btf

    def name_of(self, obj: BpfObject) -> str:
        """The program's name, completed from BTF where the kernel cut it."""
        info = PROG_INFO.decode(obj.info, self._kernel.byteorder)
        return self._full_name(obj, info["name"], info["btf_id"] if info["nr_func_info"] else 0)

    def _full_name(self, obj: BpfObject, field: bytes, btf_id: int) -> str:
        """The name from its field; ``btf_id`` is 0 where no BTF can complete it."""
        raw = field.partition(b"\0")[0]
        name = raw.decode("utf-8", "surrogateescape")
        if len(raw) < NAME_LENGTH - 1 or not btf_id:
            return name
        try:
            func_info = self._kernel.prog_arrays(obj, ("func_info",))["func_info"]
            if not func_info:
                return name
            # struct bpf_func_info: insn_off, type_id
            type_id = unpack_u32(func_info[4:8], self._kernel.byteorder)[0]
            btf = self.btf(btf_id)
            if btf.kind(type_id) != _BTF_KIND_FUNC:
                return name
            full = btf.name(type_id).encode("utf-8", "surrogateescape")
            return full[: FULL_NAME_LENGTH - 1].decode("utf-8", "surrogateescape")
        except BpfError:
            return name

    def _memlock(self, obj: BpfObject) -> int | None:
        try:
            text = self._kernel.fdinfo(obj)
        except KernelError:
            return None
        number = text.partition(b"memlock:\t")[2].partition(b"\n")[0]
        return int(number) if number.isdigit() else None

    def _map_ids(self, obj: BpfObject) -> tuple[int, ...]:
        try:
            ids = self._kernel.prog_arrays(obj, ("map_ids",))["map_ids"] or b""
        except KernelError:
            return ()
        return unpack_u32(ids, self._kernel.byteorder)

    def metadata(
        self, prog: Program, render: Callable[[Btf, int, bytes, int], Any]
    ) -> Iterator[tuple[str, Any]]:
        """The ``bpf_metadata_*`` variables of a program: (name without the prefix, value).

        ``render(btf, type_id, data, offset)`` makes the value of a variable of type
        ``type_id`` that stands at ``offset`` of the map value ``data``.
        """
        found = self._metadata_map(prog)
        if found is None:
            return
        info, value = found
        try:
            btf = self.btf(info["btf_id"])
            if btf.kind(info["btf_value_type_id"]) != _BTF_KIND_DATASEC:
                return
            for var, offset, _ in btf.secinfos(info["btf_value_type_id"]):
                name = btf.name(var)
                if name.startswith(_METADATA_PREFIX):
                    shown = render(btf, btf.type(var).size_or_type, value, offset)
                    yield name[len(_METADATA_PREFIX) :], shown
        except BpfError:
            return  # damaged BTF: what could be read has been shown

    def _metadata_map(self, prog: Program) -> tuple[dict[str, Any], bytes] | None:
        """The program's first map that can hold metadata, and its only value."""
        for id in prog.map_ids:
            try:
                info = self._rodata_info(id)
                if info is None:
                    continue
                obj = self._kernel.open("map", id)
                try:
                    return info, self._kernel.map_value(obj, bytes(4))
                finally:
                    self._kernel.close(obj)
            except KernelError:
                return None
        return None

    def _rodata_info(self, id: int) -> dict[str, Any] | None:
        """The info of map ``id`` if it is a .rodata section with BTF, else None."""
        if id in self._metadata_maps:
            return self._metadata_maps[id]
        obj = self._kernel.open("map", id)
        self._kernel.close(obj)
        info: dict[str, Any] | None = MAP_INFO.decode(obj.info, self._kernel.byteorder)
        if info is None or not (
            info["type"] == _MAP_TYPE_ARRAY
            and info["key_size"] == 4
            and info["max_entries"] == 1
            and info["btf_value_type_id"]
            and b".rodata" in info["name"]
        ):
            info = None
        self._metadata_maps[id] = info
        return info


def programs(kernel: Kernel) -> Iterator[Program]:
    """All programs of ``kernel`` in the order of their ids."""
    reader = ProgramReader(kernel)
    for obj in kernel.objects("prog"):
        yield reader.read(obj)


def by_tag(kernel: Kernel, tag: bytes) -> Iterator[BpfObject]:
    """The programs with this tag (8 bytes), each open until the next is asked for."""
    for obj in kernel.objects("prog"):
        if obj.info[8:16] == tag:  # struct bpf_prog_info.tag
            yield obj


def by_name(kernel: Kernel, reader: ProgramReader, name: str) -> Iterator[BpfObject]:
    """The programs with this full name, each open until the next is asked for."""
    raw = name.encode("utf-8", "surrogateescape")
    # What the kernel keeps of it: the full name is only looked up where this fits.
    kept = raw[: NAME_LENGTH - 1].ljust(NAME_LENGTH, b"\0")
    for obj in kernel.objects("prog"):
        if obj.info[64:80] == kept and reader.name_of(obj) == name:  # struct bpf_prog_info.name
            yield obj
