"""Programs attached to cgroups."""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.records import Record
from pybpftool.uapi.bpf import (
    ATTACH_TYPES,
    BPF_F_ALLOW_MULTI,
    BPF_F_ALLOW_OVERRIDE,
    BPF_F_PREORDER,
    BPF_F_QUERY_EFFECTIVE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.prog import ProgramReader

SHOWN_TYPES = tuple(
    ATTACH_TYPES.index(name)
    for name in (
        "cgroup_inet_ingress",
        "cgroup_inet_egress",
        "cgroup_inet_sock_create",
        "cgroup_inet_sock_release",
        "cgroup_inet4_bind",
        "cgroup_inet6_bind",
        "cgroup_inet4_post_bind",
        "cgroup_inet6_post_bind",
        "cgroup_inet4_connect",
        "cgroup_inet6_connect",
        "cgroup_unix_connect",
        "cgroup_inet4_getpeername",
        "cgroup_inet6_getpeername",
        "cgroup_unix_getpeername",
        "cgroup_inet4_getsockname",
        "cgroup_inet6_getsockname",
        "cgroup_unix_getsockname",
        "cgroup_udp4_sendmsg",
        "cgroup_udp6_sendmsg",
        "cgroup_unix_sendmsg",
        "cgroup_udp4_recvmsg",
        "cgroup_udp6_recvmsg",
        "cgroup_unix_recvmsg",
        "cgroup_sock_ops",
        "cgroup_device",
        "cgroup_sysctl",
        "cgroup_getsockopt",
        "cgroup_setsockopt",
        "lsm_cgroup",
    )
)
"""The attach types of cgroups in the order in which they are listed."""

# Which programs they take (bpf_prog_attach_check_attach_type() in kernel/bpf/syscall.c); those
# that are not here take programs of type cgroup_sock_addr.
_TAKEN = {
    "cgroup_inet_ingress": "cgroup_skb",
    "cgroup_inet_egress": "cgroup_skb",
    "cgroup_inet_sock_create": "cgroup_sock",
    "cgroup_inet_sock_release": "cgroup_sock",
    "cgroup_inet4_post_bind": "cgroup_sock",
    "cgroup_inet6_post_bind": "cgroup_sock",
    "cgroup_sock_ops": "sock_ops",
    "cgroup_device": "cgroup_device",
    "cgroup_sysctl": "cgroup_sysctl",
    "cgroup_getsockopt": "cgroup_sockopt",
    "cgroup_setsockopt": "cgroup_sockopt",
    "lsm_cgroup": "lsm",
}

# What attach types were called before they were called as in the header; by these
# a word may be short for them.
_INPUT_NAMES = {
    "cgroup_inet_ingress": "ingress",
    "cgroup_inet_egress": "egress",
    "cgroup_inet_sock_create": "sock_create",
    "cgroup_inet_sock_release": "sock_release",
    "cgroup_sock_ops": "sock_ops",
    "cgroup_device": "device",
    "cgroup_inet4_bind": "bind4",
    "cgroup_inet6_bind": "bind6",
    "cgroup_inet4_connect": "connect4",
    "cgroup_inet6_connect": "connect6",
    "cgroup_inet4_post_bind": "post_bind4",
    "cgroup_inet6_post_bind": "post_bind6",
    "cgroup_inet4_getpeername": "getpeername4",
    "cgroup_inet6_getpeername": "getpeername6",
    "cgroup_inet4_getsockname": "getsockname4",
    "cgroup_inet6_getsockname": "getsockname6",
    "cgroup_udp4_sendmsg": "sendmsg4",
    "cgroup_udp6_sendmsg": "sendmsg6",
    "cgroup_sysctl": "sysctl",
    "cgroup_udp4_recvmsg": "recvmsg4",
    "cgroup_udp6_recvmsg": "recvmsg6",
    "cgroup_getsockopt": "getsockopt",
    "cgroup_setsockopt": "setsockopt",
    "trace_raw_tp": "raw_tp",
    "trace_fentry": "fentry",
    "trace_fexit": "fexit",
    "modify_return": "mod_ret",
    "trace_fsession": "fsession",
    "sk_reuseport_select": "sk_skb_reuseport_select",
    "sk_reuseport_select_or_migrate": "sk_skb_reuseport_select_or_migrate",
}


def attach_type_number(word: str) -> int | None:
    """The attach type that a word names: in full, or shortened by its traditional name."""
    if word in ATTACH_TYPES:
        return ATTACH_TYPES.index(word)
    for number, name in enumerate(ATTACH_TYPES):
        if _INPUT_NAMES.get(name, name).startswith(word):
            return number
    return None


_FLAGS = {0: "", BPF_F_ALLOW_MULTI: "multi", BPF_F_ALLOW_OVERRIDE: "override"}
_PREORDER = "preorder"  # runs before those of the cgroups inside (v6.16)


class AttachedProgram(Record):
    """A program that is attached to a cgroup.

    ``attach_type`` is a number where it is newer than our tables. ``attach_flags`` are
    those it was attached with (BPF_F_*), None in lists of effective programs.
    ``attach_btf_obj_id`` and ``attach_btf_id`` name the hook of LSM_CGROUP programs (v6.0),
    ``attach_btf_name`` is the hook's name.
    """

    id: int
    attach_type: str | int
    attach_flags: int | None
    name: str
    attach_btf_name: str | None
    attach_btf_obj_id: int
    attach_btf_id: int

    @property
    def flags_text(self) -> str:
        """The flags in words."""
        flags = self.attach_flags or 0
        known = _FLAGS.get(flags & ~BPF_F_PREORDER)
        if known is None:
            return f"unknown({flags:x})"
        if flags & BPF_F_PREORDER:
            return f"{known},{_PREORDER}" if known else _PREORDER
        return known

    def text(self, is_nested: bool = False) -> str:
        """The line of the program; ``is_nested``: below the root of a tree."""
        kind = self.attach_type
        shown = "%-15s" % kind if isinstance(kind, str) else "type %-10d" % kind
        text = "%s%-8d %s" % ("    " if is_nested else "", self.id, shown)
        if self.attach_flags is not None:
            text += " %-15s" % self.flags_text
        text += " %-15s" % self.name
        if self.attach_btf_name is not None:
            text += " %-15s" % self.attach_btf_name
        elif self.attach_btf_id:
            text += f" attach_btf_obj_id={self.attach_btf_obj_id}"
            text += f" attach_btf_id={self.attach_btf_id}"
        return text + "\n"

    def json(self) -> dict[str, Any]:
        """The JSON properties of the program."""
        json: dict[str, Any] = {"id": self.id, "attach_type": self.attach_type}
        if self.attach_flags is not None:
            json["attach_flags"] = self.flags_text
        json["name"] = self.name
        if self.attach_btf_name is not None:
            json["attach_btf_name"] = self.attach_btf_name
        json["attach_btf_obj_id"] = self.attach_btf_obj_id
        json["attach_btf_id"] = self.attach_btf_id
        return json


class CgroupReader:
    """Describes the programs that queries found; keeps what it learnt about each."""

    __slots__ = ("_has_btf", "_kernel", "_known", "_reader", "_vmlinux_id")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._known: dict[int, tuple[str, int, int] | None] = {}
        self._reader: ProgramReader | None = None
        self._has_btf: bool | None = None
        self._vmlinux_id = 0

    def read(
        self, rows: list[tuple[int, int, int]], is_effective: bool = False
    ) -> list[AttachedProgram]:
        """The programs of (attach type, id, flags) rows; those that vanished are left out."""
        programs = []
        for attach_type, id, flags in rows:
            if id not in self._known:
                self._known[id] = self._describe(id)
            known = self._known[id]
            if known is None:
                continue
            name, obj_id, type_id = known
            hook = self._btf_name(obj_id, type_id)
            kind = _word(attach_type)
            shown = None if is_effective else flags
            programs.append(AttachedProgram(id, kind, shown, name, hook, obj_id, type_id))
        return programs

    def _describe(self, id: int) -> tuple[str, int, int] | None:
        from pybpftool.kernel.interface import PROG_INFO
        from pybpftool.objects.prog import ProgramReader

        if self._reader is None:
            self._reader = ProgramReader(self._kernel)
        try:
            obj: BpfObject = self._kernel.open("prog", id)
        except BpfError:
            return None
        try:
            info = PROG_INFO.decode(obj.info, self._kernel.byteorder)
            name = self._reader.name_of(obj)
            return name, info["attach_btf_obj_id"], info["attach_btf_id"]
        finally:
            self._kernel.close(obj)

    def _btf_name(self, obj_id: int, type_id: int) -> str | None:
        # Upstream quirk: until an LSM program has told which BTF is the kernel's, programs
        # without a hook have one with an empty name.
        if self._has_btf is None:
            self._has_btf = self._kernel.has_file("/sys/kernel/btf/vmlinux")
        if not self._has_btf:
            return None
        try:
            if not self._vmlinux_id and obj_id and self._kernel.btf_name(obj_id) == "vmlinux":
                self._vmlinux_id = obj_id
            if self._vmlinux_id != obj_id:
                return None
            if not type_id:
                return ""
            assert self._reader is not None
            btf = self._reader.btf(obj_id)
            return btf.name(type_id) if type_id < btf.count else None
        except BpfError:
            return None


class Cgroup(Record):
    """A cgroup with programs, or one that could not be queried (``error`` is the reason)."""

    path: str
    level: int
    programs: list[AttachedProgram]
    error: str

    def text(self) -> str:
        """The lines of the cgroup in a tree."""
        is_nested = self.level > 0
        return f"{self.path}\n" + "".join([prog.text(is_nested) for prog in self.programs])

    def json(self) -> dict[str, Any]:
        """The JSON object of the cgroup in a tree."""
        return {"cgroup": self.path, "programs": [prog.json() for prog in self.programs]}


def header(is_effective: bool) -> str:
    """The line above the programs in text."""
    if is_effective:
        return "%-8s %-15s %-15s\n" % ("ID", "AttachType", "Name")
    return "%-8s %-15s %-15s %-15s\n" % ("ID", "AttachType", "AttachFlags", "Name")


def programs_of(kernel: Kernel, path: str, is_effective: bool = False) -> list[AttachedProgram]:
    """The programs of one cgroup; raises KernelError when it cannot be queried.

    ``is_effective``: those that it inherits count, too.
    """
    rows = kernel.cgroup_programs(path, SHOWN_TYPES, _query_flags(is_effective))
    return CgroupReader(kernel).read(rows, is_effective)


def below(path: str, root: str) -> str:
    """A cgroup's path as the kernel writes it, from the root of the hierarchy."""
    return (path[len(root.rstrip("/")) :] if path.startswith(root) else path) or "/"


def attach_types(prog_types: Collection[str]) -> tuple[int, ...]:
    """Those of :data:`SHOWN_TYPES` that take programs of some of these types."""
    return tuple(
        number
        for number in SHOWN_TYPES
        if _TAKEN.get(ATTACH_TYPES[number], "cgroup_sock_addr") in prog_types
    )


def tree(
    kernel: Kernel, root: str, is_effective: bool = False, types: tuple[int, ...] = SHOWN_TYPES
) -> list[Cgroup]:
    """The cgroups from ``root`` down that have programs, each above those inside it.

    ``types`` are the attach types that each is asked for. A recording has answers for all
    of them together.
    """
    reader = CgroupReader(kernel)
    found = kernel.cgroup_tree(root, types, _query_flags(is_effective)) if types else []
    return [
        Cgroup(path, level, reader.read(rows, is_effective), error)
        for path, level, rows, error in found
    ]


def in_order(kernel: Kernel, cgroup: Cgroup) -> list[AttachedProgram]:
    """The programs of a cgroup, those of each hook in the order in which they run.

    They are listed as they were attached; those with BPF_F_PREORDER run first (v6.15), which
    most kernels do not tell of a program. A cgroup's own programs stand together among all
    that run for it: compute_effective_progs() in kernel/bpf/cgroup.c.
    """
    hooks: dict[object, list[AttachedProgram]] = {}
    for prog in cgroup.programs:
        hooks.setdefault((prog.attach_type, prog.attach_btf_name), []).append(prog)
    if len(hooks) == len(cgroup.programs):
        return cgroup.programs
    shared = {progs[0].attach_type for progs in hooks.values() if len(progs) > 1}
    types = SHOWN_TYPES  # a recording has answers for all of them together
    if kernel.is_live:
        types = tuple(number for number in types if ATTACH_TYPES[number] in shared)
    try:
        rows = kernel.cgroup_programs(cgroup.path, types, BPF_F_QUERY_EFFECTIVE)
    except BpfError:
        return cgroup.programs
    running: dict[object, list[int]] = {}
    for number, id, _ in rows:
        running.setdefault(_word(number), []).append(id)
    return [
        prog
        for progs in hooks.values()
        for prog in _as_they_run(progs, running.get(progs[0].attach_type, []))
    ]


def _word(attach_type: int) -> str | int:
    return ATTACH_TYPES[attach_type] if 0 <= attach_type < len(ATTACH_TYPES) else attach_type


def _as_they_run(progs: list[AttachedProgram], running: list[int]) -> list[AttachedProgram]:
    """Programs in the order in which they stand, next to each other, among those that run."""
    count = len(progs)
    attached = [prog.id for prog in progs]
    if count == 1 or running[:count] == attached:
        return progs
    wanted = sorted(attached)
    for start in range(len(running) - count + 1):
        found = running[start : start + count]
        if sorted(found) == wanted:
            waiting = progs.copy()
            return [waiting.pop([prog.id for prog in waiting].index(id)) for id in found]
    return progs


def collect(kernel: Kernel, is_effective: bool = False) -> Iterator[Cgroup]:
    """The cgroups with programs of the whole hierarchy, none where no cgroup2 is mounted."""
    root = kernel.cgroup_root()
    if root is not None:
        yield from tree(kernel, root, is_effective)


def _query_flags(is_effective: bool) -> int:
    return BPF_F_QUERY_EFFECTIVE if is_effective else 0
