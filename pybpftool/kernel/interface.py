"""What the rest of the package asks a kernel, live or recorded."""

from __future__ import annotations

import struct
import sys

from pybpftool.errors import BpfError
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import Any

KINDS = ("prog", "map", "link", "btf")
"""The kinds of objects that have ids of their own."""


class InfoLayout:
    """A ``struct bpf_*_info`` as field names and a struct format without padding."""

    __slots__ = ("_codes", "_decoders", "_fields", "names", "size")

    def __init__(self, fields: tuple[tuple[str, int, str], ...], size: int) -> None:
        self._fields = fields
        self.names = tuple(field[0] for field in fields)
        self.size = size
        self._codes = "".join(field[2] for field in fields)
        self._decoders: dict[str, struct.Struct] = {}

    def decode(self, data: bytes | bytearray, byteorder: str) -> dict[str, Any]:
        """The fields of ``data``, which is zero-padded when a kernel's struct is shorter."""
        decoder = self._decoders.get(byteorder)
        if decoder is None:
            decoder = self._decoders[byteorder] = struct.Struct(byteorder + self._codes)
        if len(data) < decoder.size:
            data = bytes(data).ljust(decoder.size, b"\0")
        return dict(zip(self.names, decoder.unpack_from(data)))

    def only(self, names: tuple[str, ...], byteorder: str) -> struct.Struct:
        """A struct that unpacks these fields alone; they must come in the layout's order.

        It wants data of at least its own size.
        """
        codes = [byteorder]
        for name, _, code in self._fields:
            codes.append(code if name in names else f"{struct.calcsize('=' + code)}x")
        return struct.Struct("".join(codes))


def unpack_u32(data: bytes, byteorder: str) -> tuple[int, ...]:
    """An array of 32-bit numbers; a rest of less than one is left out."""
    return struct.unpack_from(f"{byteorder}{len(data) // 4}I", data)


def unpack_u64(data: bytes, byteorder: str) -> tuple[int, ...]:
    """An array of 64-bit numbers; a rest of less than one is left out."""
    return struct.unpack_from(f"{byteorder}{len(data) // 8}Q", data)


PROG_INFO = InfoLayout(uapi.BPF_PROG_INFO, uapi.BPF_PROG_INFO_SIZE)
MAP_INFO = InfoLayout(uapi.BPF_MAP_INFO, uapi.BPF_MAP_INFO_SIZE)
BTF_INFO = InfoLayout(uapi.BPF_BTF_INFO, uapi.BPF_BTF_INFO_SIZE)

PROG_ARRAYS: dict[str, tuple[str, str, int | str]] = {
    # array: (field of its address, field of its length, field of its element size or that size)
    "xlated": ("xlated_prog_insns", "xlated_prog_len", 1),
    "jited": ("jited_prog_insns", "jited_prog_len", 1),
    "map_ids": ("map_ids", "nr_map_ids", 4),
    "jited_ksyms": ("jited_ksyms", "nr_jited_ksyms", 8),
    "jited_func_lens": ("jited_func_lens", "nr_jited_func_lens", 4),
    "func_info": ("func_info", "nr_func_info", "func_info_rec_size"),
    "line_info": ("line_info", "nr_line_info", "line_info_rec_size"),
    "jited_line_info": ("jited_line_info", "nr_jited_line_info", "jited_line_info_rec_size"),
    "prog_tags": ("prog_tags", "nr_prog_tags", 8),
}
"""The arrays that ``struct bpf_prog_info`` points to."""


class BpfObject:
    """An open program, map, link or BTF object.

    ``info`` is the kernel's ``struct bpf_*_info`` as bytes, as long as the kernel
    filled it (its pointers are null). ``orphaned`` is true for a program or map whose
    network device is gone (the info request fails with ENODEV). ``fd`` is a file
    descriptor on a live kernel and -1 on a recorded one. ``fdinfo`` is the text that
    :meth:`Kernel.fdinfo` answers with, where a :class:`Listing` has read it already, and
    ``arrays`` are those of a program that came with its info (:meth:`Kernel.prog_arrays`).
    Close it with :meth:`Kernel.close`; :meth:`Kernel.objects` does so itself.
    """

    __slots__ = ("arrays", "fd", "fdinfo", "id", "info", "kind", "orphaned")

    def __init__(
        self,
        kind: str,
        id: int,
        fd: int,
        info: bytes,
        orphaned: bool = False,
        fdinfo: bytes | None = None,
        arrays: dict[str, bytes] | None = None,
    ) -> None:
        self.kind = kind
        self.id = id
        self.fd = fd
        self.info = info
        self.orphaned = orphaned
        self.fdinfo = fdinfo
        self.arrays = arrays

    def __repr__(self) -> str:
        return f"<BpfObject {self.kind} {self.id}>"


class Batch:
    """Some elements of a map: ``count`` keys one after the other, and their values likewise.

    ``values`` is None for keys whose values cannot be read; ``errno`` says why.
    """

    __slots__ = ("count", "errno", "keys", "values")

    def __init__(self, keys: bytes, values: bytes | None, count: int, errno: int = 0) -> None:
        self.keys = keys
        self.values = values
        self.count = count
        self.errno = errno

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """Each key with its value, of a batch that has values."""
        values = self.values or b""
        key, value = len(self.keys) // self.count, len(values) // self.count
        for at in range(self.count):
            yield self.keys[at * key : (at + 1) * key], values[at * value : (at + 1) * value]

    def first(self, count: int) -> Batch:
        """The first ``count`` elements alone."""
        keys = self.keys[: len(self.keys) // self.count * count]
        values = self.values
        if values is not None:
            values = values[: len(values) // self.count * count]
        return Batch(keys, values, count, self.errno)

    def __repr__(self) -> str:
        return f"<Batch of {self.count}>"


_UPPER_HALF = ("x86_64", "aarch64", "ppc64", "mips64", "riscv64", "loongarch64", "alpha")
_LEAST_ADDRESS = 0xFFFF  # nothing is mapped below (vm.mmap_min_addr), nor has a kernel code there


class Kernel:
    """The questions that commands ask.

    :meth:`prog_arrays` and those named in :data:`QUESTIONS` take objects, numbers,
    strings and bytes and answer with None, numbers, strings, bytes, lists, tuples and
    dicts of them, so that answers can be recorded and replayed. All raise
    :class:`pybpftool.errors.KernelError` with the kernel's errno.
    """

    byteorder: str = "<" if sys.byteorder == "little" else ">"
    """Byte order of the kernel's data, as the struct module writes it."""
    machine: str = ""
    """The kernel's ``uname -m``."""
    release: str = ""
    """The kernel's ``uname -r``."""
    host: str = ""
    """The name of the machine (``uname -n``), empty where a recording does not tell it."""
    is_live: bool = False
    """Whether the answers come from the running kernel (and can change it)."""

    def is_kernel_address(self, address: int) -> bool | None:
        """Whether an address is one of the kernel; None where only its symbols can tell.

        Most 64-bit kernels have the upper half of all addresses. s390x, sparc64 and parisc64 give
        the kernel an address space of its own, with the numbers that programs have as well,
        and where a 32-bit kernel begins is configured.
        """
        if self.machine.startswith(_UPPER_HALF):
            return bool(address >> 63 & 1)
        return None if address > _LEAST_ADDRESS else False

    def objects(self, kind: str) -> Iterator[BpfObject]:
        """All objects of ``kind`` in the order of their ids, each open until the next is asked for.

        An object that vanishes between two questions is left out.
        """
        raise NotImplementedError

    def was_read(self, kind: str, ids: Collection[int]) -> None:
        """Told at the end of a walk over a kind: which objects were asked everything.

        A recording keeps no others: what came or went meanwhile would have half of its answers.
        """

    def objects_after(self, kind: str, id: int) -> Iterator[BpfObject]:
        """As :meth:`objects`, those of larger ids than ``id``."""
        return (obj for obj in self.objects(kind) if obj.id > id)

    def open(self, kind: str, id: int) -> BpfObject:
        """Open one object by id (``BPF_*_GET_FD_BY_ID``)."""
        raise NotImplementedError

    def open_writable(self, id: int) -> BpfObject:
        """Open a map by id to change it as well, where the kernel can be changed."""
        raise NotImplementedError

    def open_pinned(self, path: str) -> BpfObject:
        """Open whatever is pinned at ``path`` (``BPF_OBJ_GET``)."""
        raise NotImplementedError

    def close(self, obj: BpfObject) -> None:
        """Close an object that :meth:`open` or :meth:`open_pinned` returned."""
        raise NotImplementedError

    def release_files(self) -> None:
        """Close what is open for questions to come; objects that are open stay so."""

    def prog_arrays(self, prog: BpfObject, names: tuple[str, ...]) -> dict[str, Any]:
        """Arrays of a program (names from :data:`PROG_ARRAYS`) and the info that goes with them.

        Each array is its bytes, or None where the kernel withholds it; ``"info"`` is
        the ``struct bpf_prog_info`` of the same request.
        """
        raise NotImplementedError

    def symbol_names(self, addresses: Sequence[int], may_walk: bool) -> dict[int, str] | None:
        """The names of symbols that begin at some addresses, empty where none does.

        Those that are left out, or all with None, must be looked for in ``/proc/kallsyms``. What
        that lists first takes a walk over symbols, half as long as reading it as far.
        """
        return None

    def symbol_address(self, name: str) -> int:
        """The address of a symbol of the kernel; 0 where ``/proc/kallsyms`` must be asked."""
        return 0

    def fdinfo(self, obj: BpfObject) -> bytes:
        """The text of ``/proc/self/fdinfo/FD`` for an open object."""
        raise NotImplementedError

    def btf_data(self, id: int) -> bytes:
        """The raw BTF of a BTF object."""
        raise NotImplementedError

    def btf_name(self, id: int) -> str:
        """The name of a BTF object: ``vmlinux``, a module, or empty."""
        raise NotImplementedError

    def map_value(self, map: BpfObject, key: bytes) -> bytes:
        """The value of one element as ``BPF_MAP_LOOKUP_ELEM`` gives it."""
        raise NotImplementedError

    def map_hash(self, map: BpfObject) -> bytes:
        """The SHA-256 of all values of a frozen array, each padded to eight bytes (v6.18).

        Kernel: array_map_get_hash() in kernel/bpf/arraymap.c. Refused with EINVAL for maps of
        other types, with EPERM for one that is not frozen, with E2BIG where the kernel is older.
        """
        raise NotImplementedError

    def elements(self, map: BpfObject) -> Iterator[Batch]:
        """All elements of an open map, in the order in which the kernel lists keys.

        A value is what :meth:`lookup` gives. An element that is there from the first to
        the last batch comes exactly once; slots of arrays of maps and programs that hold
        none are left out.
        """
        raise NotImplementedError

    def lookup(self, map: BpfObject, key: bytes | None) -> bytes:
        """The value at ``key``: of a per-CPU map the values of all possible CPUs.

        Each of these is padded to a multiple of eight bytes. Without a key, what a queue
        or stack would give next, which stays in it.
        """
        raise NotImplementedError

    def next_key(self, map: BpfObject, key: bytes | None) -> bytes:
        """The key after ``key``, or the first: KernelError with ENOENT at the end.

        The first one follows a key that is not in the map, too.
        """
        raise NotImplementedError

    def possible_cpus(self) -> int:
        """The number of possible CPUs, which is that of the values of a per-CPU element."""
        return sum(last - first + 1 for first, last in self._cpus("possible"))

    def online_cpus(self) -> list[int]:
        """The numbers of the CPUs that are online."""
        return [cpu for first, last in self._cpus("online") for cpu in range(first, last + 1)]

    def _cpus(self, which: str) -> list[tuple[int, int]]:
        """Runs of CPUs, (first, last) of each: ``0-3,8``, as the kernel lists them."""
        text = self.file(f"/sys/devices/system/cpu/{which}").decode("ascii", "replace").strip()
        runs = [part.partition("-") for part in text.split(",")]
        try:
            return [(int(first), int(last or first)) for first, _, last in runs]
        except ValueError:
            raise BpfError(f"cannot read the list of {which} CPUs: '{text}'") from None

    def pinned(self, kind: str) -> dict[int, list[str]]:
        """Paths in all mounted bpf file systems at which objects of ``kind`` are pinned, by id."""
        raise NotImplementedError

    def pinned_elsewhere(self) -> tuple[list[tuple[str, int, str, int, str]], bool]:
        """What is pinned in bpf file systems that other mount namespaces alone have.

        (kind, id, path, pid, comm) of each: the path leads there from our own namespace, through
        ``/proc/PID/root`` of a process that is in the other one. And whether some namespace or
        directory may not be looked at.
        """
        raise NotImplementedError

    def holders(self, kind: str) -> dict[int, list[tuple[int, str]]]:
        """Processes that hold a file descriptor of an object: id -> [(pid, comm), …]."""
        raise NotImplementedError

    def holding(self, name: str) -> list[tuple[int, str]]:
        """Other processes, (pid, comm), that hold a descriptor to an anonymous inode of a name.

        ``bpf-stats`` is what BPF_ENABLE_STATS opens.
        """
        raise NotImplementedError

    def mapped_maps(self) -> list[tuple[int, int, str]]:
        """Processes that have maps in their memory: (id, pid, comm) of each.

        The id is 0 where it cannot be told which map a process has there.
        """
        raise NotImplementedError

    def closed_processes(self) -> list[tuple[int, str]]:
        """The processes, (pid, comm), whose descriptors may not be looked at."""
        raise NotImplementedError

    def listing(self, kind: str) -> Listing:
        """Begin a listing of all objects of ``kind`` with their holders."""
        return Listing(self, kind)

    def iterated(self, kind: str) -> list[int]:
        """The ids of all programs, maps or links; see :mod:`pybpftool.kernel.object_iter`."""
        raise NotImplementedError

    def file(self, path: str) -> bytes:
        """The content of a file of /proc or /sys."""
        raise NotImplementedError

    def stream(self, path: str) -> Callable[[int], bytes]:
        """Like :meth:`file`, but as a ``read(size)`` for who may not need all of it.

        It returns empty bytes at the end of the file.
        """
        from io import BytesIO

        return BytesIO(self.file(path)).read

    def file_in_background(self, path: str) -> bytes:
        """Like :meth:`file`, for a thread beside others that compute."""
        return self.file(path)

    def structs_of(self, size: int, prefix: str, count: int) -> list[str]:
        """Names of structs of the kernel's own BTF, found without parsing it.

        Those of ``size`` bytes and ``count`` members, without bit-fields, that begin with
        ``prefix``; an empty list where they cannot be found so.
        """
        return []

    def boot_time_ns(self) -> int:
        """Wall clock minus boot clock, in nanoseconds: when the boot clock read zero."""
        raise NotImplementedError

    def ifname(self, ifindex: int, netns_dev: int, netns_ino: int) -> str | None:
        """The name of a network device, if it is in our own network namespace."""
        raise NotImplementedError

    def ifindex_name(self, ifindex: int) -> str | None:
        """The name of a network device of our own network namespace, None if there is none."""
        raise NotImplementedError

    def link_details(self, link: BpfObject) -> dict[str, bytes]:
        """What the info of a link points to; see :func:`pybpftool.kernel.links.link_details`."""
        raise NotImplementedError

    def task_fds(self) -> list[tuple[int, int, int, int, bytes, int, int]]:
        """All tasks' events with programs; see :func:`pybpftool.kernel.perf.task_fds`."""
        raise NotImplementedError

    def cgroup_root(self) -> str | None:
        """Where the cgroup2 hierarchy is mounted, None when it is not.

        Raises KernelError where that cannot be told.
        """
        raise NotImplementedError

    def cgroup_programs(
        self, path: str, attach_types: tuple[int, ...], query_flags: int
    ) -> list[tuple[int, int, int]]:
        """The programs of a cgroup; see :func:`pybpftool.kernel.cgroups.cgroup_programs`."""
        raise NotImplementedError

    def cgroup_tree(
        self, root: str, attach_types: tuple[int, ...], query_flags: int
    ) -> list[tuple[str, int, list[tuple[int, int, int]], str]]:
        """The programs of a hierarchy; see :func:`pybpftool.kernel.cgroups.cgroup_tree`."""
        raise NotImplementedError

    def cgroup_paths(self, root: str) -> list[str]:
        """The paths of a cgroup and of all inside it."""
        raise NotImplementedError

    def cgroup_ids(self, root: str) -> dict[int, str]:
        """The paths of a cgroup and of all inside it by their ids, which links tell."""
        raise NotImplementedError

    def has_file(self, path: str) -> bool:
        """Whether there is such a file, and it may be read."""
        raise NotImplementedError

    def netlink_dump(self, request: bytes, netns: str) -> list[bytes]:
        """Answers to a dump request; see :func:`pybpftool.kernel.net.netlink_dump`."""
        raise NotImplementedError

    def device_programs(
        self, ifindex: int, attach_type: int, netns: str
    ) -> list[tuple[int, int, int, int]]:
        """A device's tcx or netkit programs; see :func:`pybpftool.kernel.net.device_programs`."""
        raise NotImplementedError

    def netfilter_programs(self, netns: str) -> list[tuple[int, int, int, int]]:
        """(protocol family, hook, priority, program) of a namespace's programs of netfilter."""
        raise NotImplementedError

    def socket_map_programs(self, map: BpfObject) -> list[tuple[int, int]]:
        """The programs of an open sockmap or sockhash.

        See :func:`pybpftool.kernel.socket_maps.socket_map_programs`.
        """
        raise NotImplementedError

    def flow_dissector(self, netns: str) -> int:
        """The id of a network namespace's flow dissector, 0 when it has none."""
        raise NotImplementedError

    def device_index(self, name: str, netns: str) -> int:
        """The ifindex of a network device; raises KernelError when there is none."""
        raise NotImplementedError

    def network_namespaces(self) -> list[tuple[str, int, str, int, str]]:
        """Those of tasks and names; see :func:`pybpftool.kernel.net.network_namespaces`."""
        raise NotImplementedError

    def kept_network_namespaces(self) -> list[tuple[str, int, str, int, str]]:
        """The others; see :func:`pybpftool.kernel.kept_namespaces.kept_network_namespaces`."""
        raise NotImplementedError

    def namespace_path(self, word: str) -> str:
        """The path of the network namespace that a name, process id or path means."""
        raise NotImplementedError

    def features(self, full: bool, unprivileged: bool, ifindex: int) -> dict[str, Any]:
        """What bpf(2) can do; see :func:`pybpftool.kernel.features.features`."""
        raise NotImplementedError

    def file_place(self, path: str, offset: int) -> dict[str, Any]:
        """What stands at an offset of an ELF file; see :func:`pybpftool.elf.probes.file_place`."""
        raise NotImplementedError

    def build_id_file(self, build_id: bytes) -> str:
        """An ELF file by its id; see :func:`pybpftool.kernel.build_ids.build_id_file`."""
        raise NotImplementedError


class Listing:
    """The holders of all objects of a kind, and the objects, for one listing.

    What a kernel reads of the objects by the way, while it looks for their holders, is
    used for this listing and gone with it. :meth:`objects` can be asked for once.
    """

    __slots__ = ("_kernel", "held", "kind")

    def __init__(self, kernel: Kernel, kind: str) -> None:
        self._kernel = kernel
        self.kind = kind
        self.held = self._find_holders()
        """As :meth:`Kernel.holders` answers."""

    def _find_holders(self) -> dict[int, list[tuple[int, str]]]:
        return self._kernel.holders(self.kind)

    def objects(self, after: int = 0) -> Iterator[BpfObject]:
        """As :meth:`Kernel.objects`, those of larger ids than ``after``.

        A link of which nothing more has to be asked may come without a descriptor; what
        :meth:`Kernel.link_details` needs of it is opened there.
        """
        return self._kernel.objects_after(self.kind, after)


QUESTIONS = (
    "fdinfo",
    "btf_data",
    "btf_name",
    "map_hash",
    "pinned",
    "pinned_elsewhere",
    "holders",
    "holding",
    "mapped_maps",
    "closed_processes",
    "iterated",
    "file",
    "boot_time_ns",
    "ifname",
    "ifindex_name",
    "link_details",
    "file_place",
    "build_id_file",
    "task_fds",
    "cgroup_root",
    "cgroup_programs",
    "cgroup_tree",
    "cgroup_paths",
    "cgroup_ids",
    "has_file",
    "netlink_dump",
    "device_programs",
    "netfilter_programs",
    "socket_map_programs",
    "flow_dissector",
    "device_index",
    "network_namespaces",
    "kept_network_namespaces",
    "namespace_path",
    "features",
)
"""The methods of :class:`Kernel` whose answers a snapshot keeps."""
