"""Programs: what ``struct bpf_prog_info`` and its surroundings say of them."""

from __future__ import annotations

import time

from pybpftool.errors import BpfError, KernelError, VanishedError
from pybpftool.kernel.interface import PROG_INFO, unpack_u32
from pybpftool.objects.holders import pids_text
from pybpftool.records import Record
from pybpftool.uapi.bpf import BPF_OBJ_NAME_LEN, BPF_PROG_INFO, PROG_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from pybpftool.btf.table import Btf
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.prog_metadata import MetadataReader, Variable

    Json = dict[str, Any]
    Holders = dict[int, list[tuple[int, str]]]

FULL_NAME_LENGTH = 128
"""Upstream's MAX_PROG_FULL_NAME: names completed from BTF are cut at 127 characters."""

_BTF_KIND_FUNC = 12

# The fields that a Program begins with, in the order of struct bpf_prog_info.
_FIELDS = (
    *("type", "id", "tag", "jited_prog_len", "xlated_prog_len", "load_time"),
    *("created_by_uid", "nr_map_ids", "name", "ifindex", "gpl_compatible"),
    *("netns_dev", "netns_ino", "nr_jited_ksyms", "btf_id", "nr_func_info"),
    *("run_time_ns", "run_cnt", "recursion_misses"),
    *("verified_insns", "attach_btf_obj_id", "attach_btf_id"),
)
_VERIFIED_INSNS_END = 4 + next(
    offset for name, offset, _ in BPF_PROG_INFO if name == "verified_insns"
)

# A second and how it is shown: programs of one load follow one another.
_last_time: list[Any] = [None, ""]


class Program(Record):
    """One loaded program; the first fields are those of ``struct bpf_prog_info``.

    Header: include/uapi/linux/bpf.h. ``type`` is the kernel's number, :attr:`type_name` its
    name. ``name`` is completed from BTF where the kernel cut it. Lengths are in bytes.
    ``load_time`` counts nanoseconds of the boot clock, ``loaded_at`` seconds since 1970.
    """

    type: int
    id: int
    tag: str
    jited_prog_len: int
    xlated_prog_len: int
    load_time: int
    created_by_uid: int
    nr_map_ids: int
    name: str
    ifindex: int
    gpl_compatible: bool
    netns_dev: int
    netns_ino: int
    nr_jited_ksyms: int
    btf_id: int
    nr_func_info: int
    run_time_ns: int
    run_cnt: int
    recursion_misses: int
    verified_insns: int | None
    """Instructions that the verifier walked (v5.16, aba64c7da983); None from older kernels."""
    attach_btf_obj_id: int
    """The BTF object of the function that the program is made for (v5.18); 0 for none."""
    attach_btf_id: int
    """The function that the program is made for, in that BTF; 0 for none."""
    orphaned: bool
    """Whether the device that the program was offloaded to is gone."""
    ifname: str | None
    """The device that it is offloaded to, where it is in our own network namespace."""
    loaded_at: int | None
    """None where the kernel does not tell, or nobody looked."""
    memlock: int | None
    """Memory charged for it, by fdinfo; None where the kernel does not tell, or nobody looked."""
    map_ids: tuple[int, ...]
    pinned: Sequence[str] | None
    """Its paths in bpf file systems; None where nobody looked, or nothing at all is pinned."""
    pids: Sequence[tuple[int, str]]
    """The processes that hold it, with their names, where those were looked for."""
    metadata: Sequence[Variable]
    """Its ``bpf_metadata_*`` variables, where those were looked for."""

    @property
    def type_name(self) -> str | None:
        """The name of the type; None for one that this version does not know."""
        return PROG_TYPES[self.type] if self.type < len(PROG_TYPES) else None

    @property
    def subprograms(self) -> int:
        """How many functions it is made of, the main one included; 0 where that is hidden."""
        return self.nr_func_info or self.nr_jited_ksyms

    def header_text(self) -> str:
        """The first line, as listings and dumps of several programs show it."""
        type = PROG_TYPES[self.type] if self.type < len(PROG_TYPES) else f"type {self.type}"
        name = f"name {self.name}  " if self.name else ""
        device = f"  offloaded_to {self._device()}" if self.ifindex else ""
        rest = "  gpl" if self.gpl_compatible else ""
        if self.run_time_ns:
            rest += f" run_time_ns {self.run_time_ns} run_cnt {self.run_cnt}"
        if self.recursion_misses:
            rest += f" recursion_misses {self.recursion_misses}"
        return f"{self.id}: {type}  {name}tag {self.tag}{device}{rest}\n"

    def _device(self) -> str:
        if self.ifname is not None:
            return self.ifname
        return f"ifindex {self.ifindex} ns_dev {self.netns_dev} ns_ino {self.netns_ino}"

    def text(self) -> str:
        """The lines of a listing."""
        text = self.header_text()
        if self.load_time:
            text += f"\tloaded_at {self._local_time()}  uid {self.created_by_uid}\n"
        text += f"\txlated {self.xlated_prog_len}B"
        text += f"  jited {self.jited_prog_len}B" if self.jited_prog_len else "  not jited"
        if self.memlock is not None:
            text += f"  memlock {self.memlock}B"
        if self.orphaned:
            text += "  orphaned"
        if self.map_ids:
            text += "  map_ids " + ",".join(map(str, self.map_ids))
        if self.pinned:
            text += "".join([f"\n\tpinned {path}" for path in self.pinned])
        if self.btf_id:
            text += f"\n\tbtf_id {self.btf_id}"
        if self.pids:
            text += pids_text(self.pids)
        text += "\n"
        if self.metadata:
            from pybpftool.objects.prog_metadata import texts

            lines = [f"\n\t\t{name} = {value}" for name, value in texts(self.metadata)]
            if lines:
                text += "\tmetadata:" + "".join(lines) + "\n"
        return text

    def _local_time(self) -> Any:
        second = self.loaded_at
        if second is None:
            return str(self.load_time // 1_000_000_000)
        known, text = _last_time
        if second != known:
            try:
                text = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
            except (OverflowError, ValueError, OSError):
                return str(self.load_time // 1_000_000_000)  # a recorded clock out of any calendar
            _last_time[:] = second, text
        return text

    def header_json(self, device: bool = True) -> Json:
        """The first JSON properties; dumps leave the network ``device`` out."""
        type = self.type
        json: Json = {"id": self.id, "type": PROG_TYPES[type] if type < len(PROG_TYPES) else type}
        if self.name:
            json["name"] = self.name
        json["tag"] = self.tag
        json["gpl_compatible"] = self.gpl_compatible
        if self.run_time_ns:
            json["run_time_ns"] = self.run_time_ns
            json["run_cnt"] = self.run_cnt
        if self.recursion_misses:
            json["recursion_misses"] = self.recursion_misses
        if device and self.ifindex:
            json["dev"] = {
                "ifindex": self.ifindex,
                "ns_dev": self.netns_dev,
                "ns_inode": self.netns_ino,
            }
            if self.ifname is not None:
                json["dev"]["ifname"] = self.ifname
        return json

    def json(self) -> Json:
        """The JSON properties of a listing."""
        json = self.header_json()
        if self.load_time:
            if self.loaded_at is not None:
                json["loaded_at"] = self.loaded_at
            json["uid"] = self.created_by_uid
        json["orphaned"] = self.orphaned
        json["bytes_xlated"] = self.xlated_prog_len
        json["jited"] = bool(self.jited_prog_len)
        if self.jited_prog_len:
            json["bytes_jited"] = self.jited_prog_len
        if self.memlock is not None:
            json["bytes_memlock"] = self.memlock
        if self.map_ids:
            json["map_ids"] = self.map_ids
        if self.btf_id:
            json["btf_id"] = self.btf_id
        if self.pinned is not None:
            json["pinned"] = self.pinned
        if self.pids:
            json["pids"] = [{"pid": pid, "comm": comm} for pid, comm in self.pids]
        if self.metadata:
            from pybpftool.objects.prog_metadata import values

            metadata = values(self.metadata)
            if metadata:
                json["metadata"] = metadata
        return json


class ProgramReader:
    """Reads programs of one kernel; keeps what several share.

    ``pins`` are the paths of pinned programs and ``held`` the processes that hold programs,
    by id. ``with_metadata``: look for ``bpf_metadata_*`` variables.
    """

    __slots__ = (
        *("_boot", "_btfs", "_fields", "_gpl", "_held", "_kernel", "_metadata", "_pins"),
        "_with_metadata",
    )

    def __init__(
        self,
        kernel: Kernel,
        pins: dict[int, list[str]] | None = None,
        held: Holders | None = None,
        with_metadata: bool = False,
    ) -> None:
        self._kernel = kernel
        self._pins = pins or None
        self._held = held or {}
        self._with_metadata = with_metadata
        self._fields = PROG_INFO.only(_FIELDS, kernel.byteorder)
        # A one-bit field is the lowest bit of its word, the highest on big-endian machines.
        self._gpl = 1 if kernel.byteorder == "<" else 1 << 31
        self._boot: int | bool | None = False  # not asked for yet
        self._btfs: dict[int, Btf] = {}
        self._metadata: MetadataReader | None = None

    def read(self, obj: BpfObject, is_brief: bool = False) -> Program:
        """The record of an open program; a brief one has what its header shows."""
        data = obj.info
        size = len(data)
        if size < self._fields.size:
            data = data.ljust(self._fields.size, b"\0")  # an older kernel's struct is shorter
        (
            type,
            id,
            tag,
            jited_len,
            xlated_len,
            load_time,
            uid,
            nr_map_ids,
            name,
            ifindex,
            gpl,
            netns_dev,
            netns_ino,
            nr_ksyms,
            btf_id,
            nr_func_info,
            run_time,
            run_cnt,
            misses,
            verified,
            attach_obj,
            attach_id,
        ) = self._fields.unpack_from(data)
        map_ids: tuple[int, ...] = ()
        loaded_at = memlock = None
        if not is_brief:
            memlock = self._memlock(obj)
            if nr_map_ids:
                map_ids = self._map_ids(obj)
            if load_time:
                loaded_at = self._loaded_at(load_time)
        pins = self._pins
        # fmt: off
        return Program._make((
            type, id, tag.hex(), jited_len, xlated_len, load_time, uid, nr_map_ids,
            self._full_name(obj, name, btf_id if nr_func_info else 0),
            ifindex, gpl & self._gpl != 0, netns_dev, netns_ino, nr_ksyms, btf_id, nr_func_info,
            run_time, run_cnt, misses, verified if size >= _VERIFIED_INSNS_END else None,
            attach_obj, attach_id, obj.orphaned,
            self._kernel.ifname(ifindex, netns_dev, netns_ino) if ifindex else None,
            loaded_at, memlock, map_ids,
            None if pins is None else pins.get(id, ()),
            self._held.get(id, ()),
            self._variables(map_ids) if map_ids and self._with_metadata else (),
        ))
        # fmt: on

    def _loaded_at(self, load_time: int) -> int | None:
        if self._boot is False:
            try:
                self._boot = self._kernel.boot_time_ns()
            except KernelError:
                self._boot = None  # a recording without it
        return None if self._boot is None else (self._boot + load_time) // 1_000_000_000

    def _variables(self, map_ids: tuple[int, ...]) -> Sequence[Variable]:
        if self._metadata is None:
            from pybpftool.objects.prog_metadata import MetadataReader

            self._metadata = MetadataReader(self._kernel)
        return self._metadata.read(map_ids, self.btf)

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
        if len(raw) < BPF_OBJ_NAME_LEN - 1 or not btf_id:
            return name
        try:
            func_info = self._kernel.prog_arrays(obj, ("func_info",))["func_info"]
            if len(func_info or b"") < 8:  # withheld, or a recording's
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


def collect(kernel: Kernel, pins: bool = False) -> Iterator[Program]:
    """All programs in the order of their ids, with their holders, and their paths if ``pins``.

    Raises KernelError where the kernel refuses details of one.
    """
    paths = kernel.pinned("prog") if pins else None
    listing = kernel.listing("prog")
    read = ProgramReader(kernel, paths, listing.held, with_metadata=True).read
    for obj in listing.objects():
        try:
            yield read(obj)
        except VanishedError:
            continue


programs = collect
"""The library's public name."""


def by_tag(kernel: Kernel, tag: bytes) -> Iterator[BpfObject]:
    """The programs with this tag (8 bytes), each open until the next is asked for."""
    for obj in kernel.objects("prog"):
        if obj.info[8:16] == tag:  # struct bpf_prog_info.tag
            yield obj


def by_name(kernel: Kernel, reader: ProgramReader, name: str) -> Iterator[BpfObject]:
    """The programs with this full name, each open until the next is asked for.

    If there is none, those whose longer name the kernel cut to these 15 bytes: it is what
    the kernel's messages and other tools show.
    """
    raw = name.encode("utf-8", "surrogateescape")
    # What the kernel keeps of it: the full name is only looked up where this fits.
    kept = raw[: BPF_OBJ_NAME_LEN - 1].ljust(BPF_OBJ_NAME_LEN, b"\0")
    is_found = False
    cut: list[int] = []
    for obj in kernel.objects("prog"):
        if obj.info[64:80] != kept:  # struct bpf_prog_info.name
            continue
        if reader.name_of(obj) == name:
            is_found = True
            yield obj
        elif len(raw) == BPF_OBJ_NAME_LEN - 1:
            cut.append(obj.id)
    for id in () if is_found else cut:
        try:
            obj = kernel.open("prog", id)
        except KernelError:
            continue  # it went meanwhile
        try:
            yield obj
        finally:
            kernel.close(obj)
