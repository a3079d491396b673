"""Programs attached to the network: XDP, tcx, netkit, tc filters, flow dissector, netfilter."""

from __future__ import annotations

from errno import EINVAL, ENODEV, ENOENT, ENXIO, EOPNOTSUPP

from pybpftool.errors import KernelError
from pybpftool.objects.rtnetlink import RTM_GETTCLASS, RTM_GETTFILTER, Codec, Qdiscs
from pybpftool.records import Record
from pybpftool.uapi.bpf import ATTACH_TYPES, BPF_LINK_TYPE_NETFILTER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import Any, Literal

    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.links.network import Netfilter
    from pybpftool.objects.symbols import Resolver

# linux/if_link.h: XDP_ATTACHED_NONE, _DRV, _SKB, _HW, _MULTI
_MODES = {1: "driver", 2: "generic", 3: "offload"}
_MULTI = 4
_MULTI_MODES = (("generic", "skb_prog_id"), ("driver", "drv_prog_id"), ("offload", "hw_prog_id"))

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
_HOOKS_HANDLE = 0xFFFF0000  # TC_H_CLSACT, TC_H_INGRESS
# Qdiscs that have no classes to ask for.
_CLASSLESS = frozenset(("noqueue", "clsact", "ingress", "pfifo_fast", "pfifo", "bfifo", "noop"))


class Prog(Record):
    """A program by its id; ``name`` is None unless names are asked for."""

    id: int
    name: str | None = None

    def text(self) -> str:
        """The id, with the name beside it."""
        return f"{self.id} ({self.name})" if self.name else str(self.id)

    def json(self) -> dict[str, Any]:
        """The JSON properties."""
        return {"id": self.id, "prog_name": self.name} if self.name else {"id": self.id}


class XdpDevice(Record):
    """A device with XDP: ``programs`` is (mode, program) for each.

    ``is_multi`` tells that several modes are in use at once, the listing's other form.
    """

    devname: str
    ifindex: int
    programs: list[tuple[str, Prog]]
    is_multi: bool

    def text(self) -> str:
        programs = "".join([f" {mode} id {prog.text()}" for mode, prog in self.programs])
        return f"{self.devname}({self.ifindex}){programs}\n"

    def json(self) -> dict[str, Any]:
        json: dict[str, Any] = {"devname": self.devname, "ifindex": self.ifindex}
        programs = [{"mode": mode, **prog.json()} for mode, prog in self.programs]
        if self.is_multi:
            json["multi_attachments"] = programs
        elif programs:
            json.update(programs[0])
        return json


class DeviceProgram(Record):
    """A tcx or netkit program. ``link_id`` is 0 when it was attached without a link."""

    devname: str
    ifindex: int
    kind: str
    name: str
    prog_id: int
    prog_flags: int
    link_id: int
    link_flags: int

    def text(self) -> str:
        text = f"{self.devname}({self.ifindex}) {self.kind}"
        if self.name:
            text += f" {self.name}"
        text += f" prog_id {self.prog_id} "
        if self.prog_flags:
            text += "prog_flags " + "".join(f"{bit} " for bit in bits(self.prog_flags))
        if self.link_id:
            text += f"link_id {self.link_id} "
            if self.link_flags:
                text += "link_flags " + "".join(f"{bit} " for bit in bits(self.link_flags))
        return text + "\n"

    def json(self) -> dict[str, Any]:
        json: dict[str, Any] = {"devname": self.devname, "ifindex": self.ifindex}
        json["kind"] = self.kind
        if self.name:
            json["name"] = self.name
        json["prog_id"] = self.prog_id
        json["prog_flags"] = bits(self.prog_flags)
        json["link_id"] = self.link_id
        json["link_flags"] = bits(self.link_flags)
        return json


class Filter(Record):
    """A tc filter that runs a BPF program.

    ``kind`` is the hook or the kind of the qdisc. ``actions`` is (name, program) of each
    BPF action, None when the filter has no list of actions; what the kernel does not tell
    is None. ``classifier`` is empty for one of BPF, and the kind of another with BPF actions.
    """

    devname: str
    ifindex: int
    kind: str
    name: str | None
    prog: Prog | None
    actions: list[tuple[str | None, Prog | None]] | None
    classifier: str = ""

    def text(self) -> str:
        text = f"{self.devname}({self.ifindex}) {self.kind}"
        if self.name is not None:
            text += f" {self.name}"
        if self.prog is not None:
            text += f" id {self.prog.text()}"
        if self.actions is not None:
            text += " act ["
            for name, prog in self.actions:
                text += "{" + (name or "")
                text += "}" if prog is None else f" id {prog.text()}}}"
            text += "] "
        return text + "\n"

    def json(self) -> dict[str, Any]:
        json: dict[str, Any] = {"devname": self.devname} if self.devname else {}
        json["ifindex"] = self.ifindex
        json["kind"] = self.kind
        if self.name is not None:
            json["name"] = self.name
        if self.prog is not None:
            json.update(self.prog.json())
        if self.actions is not None:
            actions = []
            for name, prog in self.actions:
                action: dict[str, Any] = {} if name is None else {"name": name}
                if prog is not None:
                    action.update(prog.json())
                actions.append(action)
            json["act"] = actions
        return json


class Network(Record):
    """What one network namespace has. ``flow_dissector`` is None when there is none.

    ``devices`` are the names of those looked at; ``unseen`` says why programs may be missing.
    ``all_tc`` has other filters with BPF actions, too; ``qdiscs`` are (device, kind).
    """

    devices: list[str]
    xdp: list[XdpDevice]
    tc: list[DeviceProgram | Filter]
    flow_dissector: Prog | None
    unseen: str = ""
    all_tc: Sequence[DeviceProgram | Filter] = ()
    qdiscs: Collection[tuple[str, str]] = ()

    def text(self) -> str:
        parts = ["xdp:\n"]
        parts += [device.text() for device in self.xdp]
        parts.append("\ntc:\n")
        parts += [prog.text() for prog in self.tc]
        parts.append("\nflow_dissector:\n")
        if self.flow_dissector is not None:
            parts.append(f"id {self.flow_dissector.text()}")
        parts.append("\n")
        return "".join(parts)

    def json(self) -> dict[str, Any]:
        dissector = self.flow_dissector
        return {
            "xdp": [device.json() for device in self.xdp],
            "tc": [prog.json() for prog in self.tc],
            "flow_dissector": [] if dissector is None else [dissector.json()],
        }


class NetfilterProgram(Record):
    """A program at a netfilter hook, attached by a link."""

    hook: Netfilter
    prog: Prog

    def text(self) -> str:
        return f"{self.hook.text()} prog_id {self.prog.text()}"

    def json(self) -> dict[str, Any]:
        return {**self.hook.json(), **self.prog.json()}


class Namespace(Record):
    """A network namespace. ``path`` opens it and is empty for our own."""

    path: str
    inode: int
    name: str
    pid: int
    comm: str

    def text(self) -> str:
        text = f"netns {self.inode}"
        if self.name:
            text += f"  name {self.name}"
        if self.pid:
            text += f"  pid {self.pid} ({self.comm})"
        return text + ("  own\n" if not self.path else "\n")

    def json(self) -> dict[str, Any]:
        json: dict[str, Any] = {"inode": self.inode}
        if self.name:
            json["name"] = self.name
        if self.pid:
            json["pid"] = self.pid
            json["comm"] = self.comm
        json["own"] = not self.path
        return json


def netfilter_text(programs: list[NetfilterProgram]) -> str:
    """The section of netfilter programs."""
    return "netfilter:\n" + "".join([prog.text() for prog in programs]) + "\n"


def namespaces(kernel: Kernel) -> list[Namespace]:
    """The network namespaces that have a name or a task, our own first."""
    return [Namespace(*row) for row in kernel.network_namespaces()]


def bits(number: int) -> list[int]:
    """The powers of two that a number is the sum of, smallest first."""
    return [1 << n for n in range(32) if number >> n & 1]


# The device is gone, has no such qdisc, or the kernel knows no such thing: nothing hangs there.
_NOTHING_THERE = (ENODEV, ENXIO, ENOENT, EINVAL, EOPNOTSUPP)


class NetworkReader:
    """Reads networks of one kernel. ``resolve``: names of programs that upstream does not show."""

    __slots__ = (
        "_codec", "_kernel", "_names", "_qdiscs", "_resolver", "_unseen",
    )  # fmt: skip

    def __init__(self, kernel: Kernel, resolve: bool = False) -> None:
        self._kernel = kernel
        self._codec = Codec(kernel.byteorder)
        self._names: dict[int, str] = {}
        self._unseen = ""
        self._resolver: Resolver | None = None
        if resolve:
            from pybpftool.objects.symbols import Resolver

            self._resolver = Resolver(kernel)

    def _prog(self, id: int) -> Prog:
        resolver = self._resolver
        return Prog(id, (resolver.prog_name(id) or None) if resolver is not None and id else None)

    def read(self, netns: str = "", ifindex: int = 0) -> Network:
        """What the namespace at the path ``netns`` has, on all devices or on one.

        Raises KernelError when devices or the flow dissector cannot be asked for; a
        device that vanishes meanwhile is left out.
        """
        kernel, codec = self._kernel, self._codec
        flow_dissector = kernel.flow_dissector(netns)
        self._unseen = ""
        devices: dict[int, str] = {}
        xdp = []
        first: list[int] = []
        for message in kernel.netlink_dump(codec.request_links(), netns):
            index, name, attributes = codec.link(message)
            first.append(index)
            if ifindex and index != ifindex:
                continue
            devices[index] = name
            device = None if attributes is None else self._xdp_device(name, index, attributes)
            if device is not None:
                xdp.append(device)
        self._qdiscs = Qdiscs(codec, first, lambda request: self._asked(request, netns))
        all_tc: list[DeviceProgram | Filter] = []
        for index, name in devices.items():
            all_tc += self._device_programs(netns, index, name)
            all_tc += self._filters(netns, index, name)
        tc = [each for each in all_tc if isinstance(each, DeviceProgram) or not each.classifier]
        dissector = self._prog(flow_dissector) if flow_dissector else None
        qdiscs = {
            (name, kind) for i, name in devices.items() for _, kind in self._qdiscs.known.get(i, ())
        }
        return Network(list(devices.values()), xdp, tc, dissector, self._unseen, all_tc, qdiscs)

    def _device_programs(self, netns: str, ifindex: int, devname: str) -> Iterator[DeviceProgram]:
        for attach_type, kind in _DEVICE_TYPES:
            number = ATTACH_TYPES.index(attach_type)
            try:
                rows = self._kernel.device_programs(ifindex, number, netns)
            except KernelError as error:
                self._missing(error)
                continue
            for row in rows:
                yield DeviceProgram(devname, ifindex, kind, self._prog_name(row[0]), *row)

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
        codec = self._codec
        for handle, kind in self._filter_parents(netns, ifindex):
            request = codec.request_tc(RTM_GETTFILTER, ifindex, handle)
            for message in self._dump(request, netns):
                options = codec.filter(message)
                if options is None:
                    continue
                actions = options.get("actions")
                if actions is not None:
                    actions = [(each.get("name"), self._known(each.get("id"))) for each in actions]
                prog = self._known(options.get("id"))
                other = options.get("kind", "")
                yield Filter(devname, ifindex, kind, options.get("name"), prog, actions, other)

    def _filter_parents(self, netns: str, ifindex: int) -> list[tuple[int, str]]:
        """(handle, kind) of what may have filters on a device: classes, qdiscs, hooks."""
        told = self._qdiscs.of(ifindex)
        is_known, qdiscs = told is not None, told or []
        parents = []
        if not is_known or not _CLASSLESS.issuperset([kind for _, kind in qdiscs]):
            request = self._codec.request_tc(RTM_GETTCLASS, ifindex)
            for message in self._dump(request, netns):
                _, handle, kind = self._codec.handle(message)
                parents.append((handle, kind or "unknown"))
        parents += [row for row in qdiscs if row[0] and row[1] != "clsact"]
        # All three hooks belong to the qdisc with this handle, clsact or ingress.
        if not is_known or any(handle == _HOOKS_HANDLE for handle, _ in qdiscs):
            parents += _FILTER_PARENTS
        return parents

    def _known(self, id: int | None) -> Prog | None:
        return None if id is None else self._prog(id)

    def _dump(self, request: bytes, netns: str) -> list[bytes]:
        return self._asked(request, netns) or []

    def _asked(self, request: bytes, netns: str) -> list[bytes] | None:
        try:
            return self._kernel.netlink_dump(request, netns)
        except KernelError as error:
            self._missing(error)
            return None

    def _missing(self, error: KernelError) -> None:
        """Keep why something may be missing, the first reason for all."""
        if error.errno not in _NOTHING_THERE and not self._unseen:
            self._unseen = str(error)

    def _xdp_device(self, name: str, ifindex: int, attributes: dict[str, int]) -> XdpDevice | None:
        attached = attributes.get("attached", 0)
        if not attached:
            return None
        is_multi = attached == _MULTI
        modes = _MULTI_MODES if is_multi else ((_MODES.get(attached, ""), "prog_id"),)
        programs = [
            (mode, self._prog(attributes[key])) for mode, key in modes if mode and key in attributes
        ]
        return XdpDevice(name, ifindex, programs, is_multi)

    def netfilter(self) -> list[NetfilterProgram]:
        """The programs of netfilter links in the order of families, hooks, priorities.

        The kernel does not tell to which network namespace one belongs.
        """
        order: Literal["little", "big"] = "little" if self._kernel.byteorder == "<" else "big"
        found = []
        for obj in self._kernel.objects("link"):
            if int.from_bytes(obj.info[:4], order) == BPF_LINK_TYPE_NETFILTER:
                prog_id = int.from_bytes(obj.info[8:12], order)
                found.append(NetfilterProgram(self._hook_of(obj), self._prog(prog_id)))
        found.sort(key=_hook)
        return found

    def _hook_of(self, obj: BpfObject) -> Netfilter:
        from pybpftool.objects.links.network import Netfilter
        from pybpftool.objects.links.source import LinkSource

        source = LinkSource(self._kernel)
        source.obj, source.info = obj, obj.info
        return Netfilter.read(source)


def collect(kernel: Kernel, resolve: bool = False) -> Network:
    """The network of our own namespace, as ``net show`` lists it."""
    return NetworkReader(kernel, resolve).read()


def _hook(program: NetfilterProgram) -> Netfilter:
    return program.hook  # a tuple of family, hook, priority and flags
