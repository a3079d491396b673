"""Links of cgroups, network namespaces and devices, sockmaps and netfilter hooks."""

from __future__ import annotations

from pybpftool.objects.links.source import word
from pybpftool.records import Record
from pybpftool.uapi.bpf import ATTACH_TYPES, LINK_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.objects.links.source import Json, LinkSource


class Cgroup(Record):
    """A cgroup, by the inode number of its directory; 0 after the link was detached.

    Kernel: bpf_cgroup_link_fill_link_info(), v5.8.
    """

    cgroup_id: int
    attach_type: str | int

    @classmethod
    def read(cls, source: LinkSource) -> Cgroup:
        cgroup_id, attach_type = source.values("cgroup")
        return cls(cgroup_id, word(ATTACH_TYPES, attach_type))

    def text(self) -> str:
        return f"\n\tcgroup_id {self.cgroup_id}  attach_type {self.attach_type}  "

    def json(self) -> Json:
        return {"cgroup_id": self.cgroup_id, "attach_type": self.attach_type}


class Netns(Record):
    """A network namespace.  Kernel: bpf_netns_link_fill_info(), v5.8."""

    netns_ino: int
    attach_type: str | int

    @classmethod
    def read(cls, source: LinkSource) -> Netns:
        info = source.fields("netns")
        return cls(info["netns_ino"], word(ATTACH_TYPES, info["attach_type"]))

    def text(self) -> str:
        return f"\n\tnetns_ino {self.netns_ino}  attach_type {self.attach_type}  "

    def json(self) -> Json:
        return {"netns_ino": self.netns_ino, "attach_type": self.attach_type}


class Device(Record):
    """A network device: XDP (v5.9), tcx (v6.6) and netkit (v6.7).

    ``ifindex`` is 0 once the device is gone; ``devname`` is None then, and for a device
    of another network namespace. The link of XDP tells no ``attach_type``.
    """

    devname: str | None
    ifindex: int
    attach_type: str | int | None

    @classmethod
    def read(cls, source: LinkSource) -> Device:
        info = source.fields(LINK_TYPES[source.type])
        ifindex, number = info["ifindex"], info.get("attach_type")
        attach_type = None if number is None else word(ATTACH_TYPES, number)
        return cls(source.device(ifindex), ifindex, attach_type)

    def text(self) -> str:
        # Upstream quirk: of a device that it cannot name, the index is not shown either.
        shown = "(unknown)" if self.ifindex else "(detached)"
        if self.devname is not None:
            shown = f"{self.devname}({self.ifindex})"
        text = f"\n\tifindex {shown}  "
        return text if self.attach_type is None else f"{text}attach_type {self.attach_type}  "

    def json(self) -> Json:
        devname = self.devname
        if devname is None:
            devname = "(unknown)" if self.ifindex else "(detached)"
        json: Json = {"devname": devname, "ifindex": self.ifindex}
        if self.attach_type is not None:
            json["attach_type"] = self.attach_type
        return json


class Sockmap(Record):
    """A sockmap or sockhash.  Kernel: sock_map_link_fill_info(), v6.10."""

    map_id: int
    attach_type: str | int

    @classmethod
    def read(cls, source: LinkSource) -> Sockmap:
        info = source.fields("sockmap")
        return cls(info["map_id"], word(ATTACH_TYPES, info["attach_type"]))

    def text(self) -> str:
        return f"\n\tmap_id {self.map_id}  attach_type {self.attach_type}  "

    def json(self) -> Json:
        return {"map_id": self.map_id, "attach_type": self.attach_type}


class Netfilter(Record):
    """A netfilter hook, in the numbers of ``linux/netfilter.h``.

    Kernel: bpf_nf_link_fill_link_info(), v6.4.
    """

    pf: int
    hooknum: int
    priority: int
    flags: int

    @classmethod
    def read(cls, source: LinkSource) -> Netfilter:
        info = source.fields("netfilter")
        return cls(info["pf"], info["hooknum"], info["priority"], info["flags"])

    def text(self) -> str:
        from pybpftool.uapi.netfilter import ARP_HOOKS, FAMILIES, INET_HOOKS

        family = FAMILIES.get(self.pf)
        hooks: tuple[str, ...] = ARP_HOOKS if family == "arp" else INET_HOOKS
        if family in (None, "netdev"):
            hooks = ()  # Upstream quirk: the family netdev has a name, its hooks have none.
        text = f"\n\tpf: {self.pf}" if family is None else f"\n\t{family}"
        hook = self.hooknum
        text += f" {hooks[hook]}" if hook < len(hooks) else f", hook {hook},"
        text += f" prio {self.priority}"
        return f"{text} flags 0x{self.flags:x}" if self.flags else text

    def json(self) -> Json:
        return {
            "pf": self.pf,
            "hook": self.hooknum,
            "prio": self.priority,
            "flags": self.flags,
        }
