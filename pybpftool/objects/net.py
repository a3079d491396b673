"""Programs attached to the network: XDP, tcx, netkit, tc filters, flow dissector, netfilter."""

from __future__ import annotations

from pybpftool.errors import KernelError
from pybpftool.objects.link import NETFILTER, LinkReader, Netfilter
from pybpftool.uapi.bpf import ATTACH_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.kernel.interface import Kernel

# linux/if_link.h: XDP_ATTACHED_NONE, _DRV, _SKB, _HW, _MULTI
_MODES = {1: "driver", 2: "generic", 3: "offload"}
_MULTI = 4
_MULTI_MODES = (
    ("generic", "skb_prog_id"),
    ("driver", "drv_prog_id"),
    ("offload", "hw_prog_id"),
)

_DEVICE_TYPES = (
    ("tcx_ingress", "tcx/ingress"),
    ("tcx_egress", "tcx/egress"),
    ("netkit_primary", "netkit/primary"),
    ("netkit_peer", "netkit/peer"),
)

# linux/pkt_sched.h: TC_H_ROOT, and TC_H_CLSACT with TC_H_MIN_INGRESS and TC_H_MIN_EGRESS
_FILTER_PARENTS = (
    (0xFFFFFFFF, "root"),
    (0xFFFFFFF2, "clsact/ingress"),
    (0xFFFFFFF3, "clsact/egress"),
)


class XdpDevice:
    """A device with XDP: ``programs`` is (mode, program id) for each.

    ``is_multi`` tells that several modes are in use at once, the listing's other form.
    """

    __slots__ = ("ifindex", "is_multi", "name", "programs")

    def __init__(
        self, name: str, ifindex: int, programs: list[tuple[str, int]], is_multi: bool
    ) -> None:
        self.name = name
        self.ifindex = ifindex
        self.programs = programs
        self.is_multi = is_multi


class DeviceProgram:
    """A tcx or netkit program. ``link_id`` is 0 when it was attached without a link."""

    __slots__ = (
        "devname",
        "ifindex",
        "kind",
        "link_flags",
        "link_id",
        "prog_flags",
        "prog_id",
        "prog_name",
    )

    devname: str
    ifindex: int
    kind: str
    prog_name: str
    prog_id: int
    prog_flags: int
    link_id: int
    link_flags: int


class Filter:
    """A tc filter that runs a BPF program.

    ``kind`` is the hook or the kind of the qdisc. ``actions`` is (name, program id) of
    each BPF action, None when the filter has no list of actions; a name or an id that
    the kernel does not tell is None.
    """

    __slots__ = ("actions", "devname", "ifindex", "kind", "name", "prog_id")

    devname: str
    ifindex: int
    kind: str
    name: str | None
    prog_id: int | None
    actions: list[tuple[str | None, int | None]] | None


class Network:
    """What one network namespace has. ``flow_dissector`` is 0 when there is none.

    ``devices`` are the names of the devices that were looked at.
    """

    __slots__ = ("devices", "flow_dissector", "tc", "xdp")

    def __init__(
        self,
        devices: list[str],
        xdp: list[XdpDevice],
        tc: list[DeviceProgram | Filter],
        flow_dissector: int,
    ) -> None:
        self.devices = devices
        self.xdp = xdp
        self.tc = tc
        self.flow_dissector = flow_dissector


class Namespace:
    """A network namespace. ``path`` opens it and is empty for our own."""

    __slots__ = ("comm", "inode", "name", "path", "pid")

    def __init__(self, path: str, inode: int, name: str, pid: int, comm: str) -> None:
        self.path = path
        self.inode = inode
        self.name = name
        self.pid = pid
        self.comm = comm


def namespaces(kernel: Kernel) -> list[Namespace]:
    """The network namespaces that have a name or a task, our own first."""
    return [Namespace(*row) for row in kernel.network_namespaces()]


def bits(number: int) -> list[int]:
    """The powers of two that a number is the sum of, smallest first."""
    return [1 << n for n in range(32) if number >> n & 1]


class NetworkReader:
    """Reads networks of one kernel."""

    __slots__ = ("_kernel", "_names")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._names: dict[int, str] = {}

    def read(self, netns: str = "", ifindex: int = 0) -> Network:
        """What the namespace at the path ``netns`` has, on all devices or on one.

        Raises KernelError when devices or the flow dissector cannot be asked for; a
        device that vanishes meanwhile is left out.
        """
        from pybpftool.adapters.netlink import decode_link, request_links

        kernel = self._kernel
        flow_dissector = kernel.flow_dissector(netns)
        devices = []
        xdp = []
        for message in kernel.netlink_dump(request_links(), netns):
            index, name, attributes = decode_link(message)
            if ifindex and index != ifindex:
                continue
            devices.append((index, name))
            device = None if attributes is None else _xdp_device(name, index, attributes)
            if device is not None:
                xdp.append(device)
        tc: list[DeviceProgram | Filter] = []
        for index, name in devices:
            tc += self._device_programs(netns, index, name)
            tc += self._filters(netns, index, name)
        return Network([name for _, name in devices], xdp, tc, flow_dissector)

    def _device_programs(self, netns: str, ifindex: int, devname: str) -> Iterator[DeviceProgram]:
        for attach_type, kind in _DEVICE_TYPES:
            number = ATTACH_TYPES.index(attach_type)
            for row in self._kernel.device_programs(ifindex, number, netns):
                prog = DeviceProgram()
                prog.devname = devname
                prog.ifindex = ifindex
                prog.kind = kind
                prog.prog_id, prog.prog_flags, prog.link_id, prog.link_flags = row
                prog.prog_name = self._prog_name(prog.prog_id)
                yield prog

    def _prog_name(self, id: int) -> str:
        name = self._names.get(id)
        if name is None:
            from pybpftool.objects.prog import ProgramReader

            try:
                obj = self._kernel.open("prog", id)
            except KernelError:
                return ""
            try:
                name = self._names[id] = ProgramReader(self._kernel).name_of(obj)
            finally:
                self._kernel.close(obj)
        return name

    def _filters(self, netns: str, ifindex: int, devname: str) -> Iterator[Filter]:
        from pybpftool.adapters.netlink import (
            RTM_GETQDISC,
            RTM_GETTCLASS,
            RTM_GETTFILTER,
            decode_filter,
            decode_handle,
            request_tc,
        )

        parents = []
        for message in self._dump(request_tc(RTM_GETTCLASS, ifindex), netns):
            handle, kind = decode_handle(message)
            parents.append((handle, kind or "unknown"))
        for message in self._dump(request_tc(RTM_GETQDISC, ifindex), netns):
            handle, kind = decode_handle(message)
            if handle and kind != "clsact":
                parents.append((handle, kind or "unknown"))
        parents += _FILTER_PARENTS
        for handle, kind in parents:
            for message in self._dump(request_tc(RTM_GETTFILTER, ifindex, handle), netns):
                options = decode_filter(message)
                if options is None:
                    continue
                found = Filter()
                found.devname = devname
                found.ifindex = ifindex
                found.kind = kind
                found.name = options.get("name")
                found.prog_id = options.get("id")
                found.actions = None
                if "actions" in options:
                    found.actions = [(a.get("name"), a.get("id")) for a in options["actions"]]
                yield found

    def _dump(self, request: bytes, netns: str) -> list[bytes]:
        try:
            return self._kernel.netlink_dump(request, netns)
        except KernelError:
            # The device is gone, or has no such qdisc: nothing hangs there.
            return []


def _xdp_device(name: str, ifindex: int, attributes: dict[str, int]) -> XdpDevice | None:
    attached = attributes.get("attached", 0)
    if not attached:
        return None
    if attached == _MULTI:
        programs = [(mode, attributes[key]) for mode, key in _MULTI_MODES if key in attributes]
        return XdpDevice(name, ifindex, programs, True)
    mode = _MODES.get(attached)
    programs = []
    if mode is not None and "prog_id" in attributes:
        programs.append((mode, attributes["prog_id"]))
    return XdpDevice(name, ifindex, programs, False)


def netfilter_programs(kernel: Kernel) -> list[tuple[Netfilter, int]]:
    """(hook, program id) of all netfilter links in the order of families, hooks, priorities.

    The kernel does not tell to which network namespace one belongs.
    """
    reader = LinkReader(kernel)
    found = []
    order = "little" if kernel.byteorder == "<" else "big"
    for obj in kernel.objects("link"):
        if int.from_bytes(obj.info[:4], order) != NETFILTER:  # type: ignore[arg-type]
            continue
        link = reader.read(obj)
        if isinstance(link.target, Netfilter):
            found.append((link.target, link.prog_id))
    found.sort(key=_netfilter_order)
    return found


def _netfilter_order(row: tuple[Netfilter, int]) -> tuple[int, int, int, int]:
    return row[0].order
