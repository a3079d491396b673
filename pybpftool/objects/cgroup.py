"""Programs attached to cgroups."""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.uapi.bpf import ATTACH_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.prog import ProgramReader

QUERY_EFFECTIVE = 1
"""BPF_F_QUERY_EFFECTIVE: count what a cgroup inherits, too."""
ALLOW_OVERRIDE, ALLOW_MULTI = 1, 2
"""BPF_F_ALLOW_OVERRIDE and BPF_F_ALLOW_MULTI."""

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


class AttachedProgram:
    """A program that is attached to a cgroup.

    ``flags`` are those it was attached with (BPF_F_*), 0 in lists of effective
    programs. ``btf_obj_id`` and ``btf_id`` name the LSM hook of LSM_CGROUP programs.
    ``btf_name`` is the hook's name; like upstream's it is empty (not None) for other
    programs, as long as no LSM program was met before.
    """

    __slots__ = ("attach_type", "btf_id", "btf_name", "btf_obj_id", "flags", "id", "name")

    id: int
    attach_type: int
    flags: int
    name: str
    btf_obj_id: int
    btf_id: int
    btf_name: str | None

    @property
    def attach_type_name(self) -> str | None:
        """The name of the attach type, None when this version does not know it."""
        number = self.attach_type
        return ATTACH_TYPES[number] if number < len(ATTACH_TYPES) else None

    @property
    def flags_text(self) -> str:
        """The flags in words."""
        known = {0: "", ALLOW_MULTI: "multi", ALLOW_OVERRIDE: "override"}
        return known.get(self.flags, f"unknown({self.flags:x})")


class CgroupReader:
    """Describes the programs that queries found; keeps what it learnt about each."""

    __slots__ = ("_has_btf", "_kernel", "_known", "_reader", "_vmlinux_id")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._known: dict[int, tuple[str, int, int] | None] = {}
        self._reader: ProgramReader | None = None
        self._has_btf: bool | None = None
        self._vmlinux_id = 0

    def read(self, rows: list[tuple[int, int, int]]) -> list[AttachedProgram]:
        """The programs of (attach type, id, flags) rows; those that vanished are left out."""
        programs = []
        for attach_type, id, flags in rows:
            if id not in self._known:
                self._known[id] = self._describe(id)
            known = self._known[id]
            if known is None:
                continue
            prog = AttachedProgram()
            prog.id = id
            prog.attach_type = attach_type
            prog.flags = flags
            prog.name, prog.btf_obj_id, prog.btf_id = known
            prog.btf_name = self._btf_name(prog.btf_obj_id, prog.btf_id)
            programs.append(prog)
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


class Cgroup:
    """A cgroup with programs, or one that could not be queried (``error`` is the reason)."""

    __slots__ = ("error", "level", "path", "programs")

    def __init__(self, path: str, level: int, programs: list[AttachedProgram], error: str) -> None:
        self.path = path
        self.level = level
        self.programs = programs
        self.error = error


def cgroup_programs(kernel: Kernel, path: str, query_flags: int) -> list[AttachedProgram]:
    """The programs of one cgroup; raises KernelError when it cannot be queried."""
    rows = kernel.cgroup_programs(path, SHOWN_TYPES, query_flags)
    return CgroupReader(kernel).read(rows)


def cgroup_tree(kernel: Kernel, root: str, query_flags: int) -> list[Cgroup]:
    """The cgroups from ``root`` down that have programs, each above those inside it."""
    reader = CgroupReader(kernel)
    return [
        Cgroup(path, level, reader.read(programs), error)
        for path, level, programs, error in kernel.cgroup_tree(root, SHOWN_TYPES, query_flags)
    ]
