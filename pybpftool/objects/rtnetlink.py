"""rtnetlink messages read where they lie: of each a few attributes are wanted.

A dump of many devices has thousands of messages with some fifty attributes each; to
decode them all takes a hundred times as long as to walk past them.

Layouts: include/uapi/linux/{netlink,rtnetlink,if_link,pkt_cls}.h,
include/uapi/linux/tc_act/tc_bpf.h.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError

from pybpftool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

RTM_GETLINK, RTM_GETQDISC, RTM_GETTCLASS, RTM_GETTFILTER = 18, 38, 42, 46

_F_REQUEST, _F_DUMP = 1, 0x300
_AF_PACKET = 17
_HEADER = 16  # sizeof(struct nlmsghdr)
_BODY = 36  # with struct ifinfomsg or struct tcmsg behind it, 16 and 20 bytes
_LINK_BODY = 32

_IFLA_IFNAME, _IFLA_XDP = 3, 43
_XDP_ATTRIBUTES = {
    2: "attached",
    3: "flags",
    4: "prog_id",
    5: "drv_prog_id",
    6: "skb_prog_id",
    7: "hw_prog_id",
}
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_ACT, _TCA_BPF_NAME, _TCA_BPF_ID = 1, 7, 11
# linux/pkt_cls.h: TCA_BASIC_ACT and so on, the list of actions of each other kind of filter
_ACTIONS = {
    "basic": 3,
    "cgroup": 1,
    "flow": 9,
    "flower": 3,
    "fw": 4,
    "matchall": 2,
    "route": 6,
    "rsvp": 6,
    "rsvp6": 6,
    "tcindex": 7,
    "u32": 7,
}
_TCA_ACT_BPF_NAME, _TCA_ACT_BPF_ID = 6, 9
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER


class Codec:
    """Requests and answers of a kernel with this byte order (``<`` or ``>``)."""

    __slots__ = ("_attribute", "_link_request", "_tc_request", "_u32", "_words")

    def __init__(self, byteorder: str) -> None:
        self._attribute = Struct(byteorder + "HH").unpack_from  # nla_len, nla_type
        self._words = Struct(byteorder + "iI").unpack_from  # tcm_ifindex, tcm_handle
        self._u32 = Struct(byteorder + "I").unpack_from
        header = byteorder + "IHHII"
        self._link_request = Struct(header + "BxHiII")
        self._tc_request = Struct(header + "BBHiIII")

    def request_links(self) -> bytes:
        """A request for all network devices."""
        size = self._link_request.size
        flags = _F_REQUEST | _F_DUMP
        return self._link_request.pack(size, RTM_GETLINK, flags, 1, 0, _AF_PACKET, 0, 0, 0, 0)

    def request_tc(self, type: int, ifindex: int, parent: int = 0) -> bytes:
        """A request for a device's qdiscs, classes, or filters of one parent.

        :param type: RTM_GETQDISC, RTM_GETTCLASS or RTM_GETTFILTER. Kernels answer the
            first with the qdiscs of all devices (net/sched/sch_api.c: tc_dump_qdisc()).
        """
        size, flags = self._tc_request.size, _F_REQUEST | _F_DUMP
        return self._tc_request.pack(size, type, flags, 1, 0, 0, 0, 0, ifindex, 0, parent, 0)

    def _attributes(self, data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(type, beginning, end) of each attribute between two places."""
        attribute = self._attribute
        while at + 4 <= end:
            length, type = attribute(data, at)
            if length < 4 or at + length > end:
                raise FormatError("cannot read a netlink message: an attribute is cut off")
            yield type & _TYPE_MASK, at + 4, at + length
            at += (length + 3) & ~3

    def link(self, data: bytes) -> tuple[int, str, dict[str, int] | None]:
        """(ifindex, name, XDP attributes) of an RTM_NEWLINK message with its header.

        The attributes are ``attached`` (an enum of linux/if_link.h: XDP_ATTACHED_*),
        ``prog_id``, ``drv_prog_id``, ``skb_prog_id`` and ``hw_prog_id`` where present.
        """
        try:
            index = self._words(data, _HEADER + 4)[0]
            name, xdp = "", None
            for type, begin, end in self._attributes(data, _LINK_BODY, len(data)):
                if type == _IFLA_IFNAME:
                    name = _text(data, begin, end)
                elif type == _IFLA_XDP:
                    xdp = self._xdp(data, begin, end)
            return index, name, xdp
        except StructError:
            raise FormatError("cannot read a netlink message: it is cut off") from None

    def _xdp(self, data: bytes, begin: int, end: int) -> dict[str, int]:
        found = {}
        for type, at, after in self._attributes(data, begin, end):
            name = _XDP_ATTRIBUTES.get(type)
            if name is not None:
                found[name] = data[at] if after - at == 1 else self._u32(data, at)[0]
        return found

    def handle(self, data: bytes) -> tuple[int, int, str | None]:
        """(ifindex, handle, kind) of an RTM_NEWQDISC or RTM_NEWTCLASS message."""
        try:
            index, handle = self._words(data, _HEADER + 4)
            for type, begin, end in self._attributes(data, _BODY, len(data)):
                if type == _TCA_KIND:
                    return index, handle, _text(data, begin, end)
            return index, handle, None
        except StructError:
            raise FormatError("cannot read a netlink message: it is cut off") from None

    def filter(self, data: bytes) -> dict[str, Any] | None:
        """What an RTM_NEWTFILTER message tells of a filter that runs programs, else None.

        Keys, where present: ``name``, ``id``, ``actions`` (a list of ``{"name", "id"}``,
        the BPF actions only); for one that is no BPF classifier ``kind`` and ``actions``.
        """
        try:
            kind, options = self._kind_and_options(data, _BODY, len(data))
            if options is None:
                return None
            if kind in _ACTIONS:
                return self._other(data, kind, options)
            if kind != "bpf":
                return None
            return self._named(data, options, _TCA_BPF_NAME, _TCA_BPF_ID, _TCA_BPF_ACT)
        except StructError:
            raise FormatError("cannot read a netlink message: it is cut off") from None

    def _other(self, data: bytes, kind: str, options: tuple[int, int]) -> dict[str, Any] | None:
        try:
            found = self._named(data, options, -1, -1, _ACTIONS[kind])
        except FormatError:
            return None  # a listing has no room for these, and does not end at them
        return {"kind": kind, **found} if found.get("actions") else None

    def _kind_and_options(
        self, data: bytes, begin: int, end: int
    ) -> tuple[str | None, tuple[int, int] | None]:
        # TCA_KIND and TCA_OPTIONS have the numbers of TCA_ACT_KIND and TCA_ACT_OPTIONS.
        kind, options = None, None
        for type, at, after in self._attributes(data, begin, end):
            if type == _TCA_KIND:
                kind = _text(data, at, after)
            elif type == _TCA_OPTIONS:
                options = at, after
        return kind, options

    def _named(
        self, data: bytes, area: tuple[int, int], name: int, id: int, actions: int = -1
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for type, at, after in self._attributes(data, *area):
            if type == name:
                found["name"] = _text(data, at, after)
            elif type == id:
                found["id"] = self._u32(data, at)[0]
            elif type == actions:
                found["actions"] = list(self._actions(data, at, after))
        return found

    def _actions(self, data: bytes, begin: int, end: int) -> Iterator[dict[str, Any]]:
        for _, at, after in self._attributes(data, begin, end):
            kind, options = self._kind_and_options(data, at, after)
            if kind == "bpf":
                if options is None:
                    yield {}
                else:
                    yield self._named(data, options, _TCA_ACT_BPF_NAME, _TCA_ACT_BPF_ID)


class Qdiscs:
    """The qdiscs of the devices of a network namespace, asked for as they are needed.

    Most kernels answer with those of all devices, whichever one they are asked for, newer ones
    (7.3) do not. The ``first`` two devices tell which it is, and are in every recording.
    """

    __slots__ = ("_are_all", "_ask", "_asked_for", "_codec", "_first", "known")

    def __init__(
        self, codec: Codec, first: Sequence[int], ask: Callable[[bytes], list[bytes] | None]
    ) -> None:
        self._codec = codec
        self._first = first[:2]
        self._ask = ask
        self._are_all = False
        self._asked_for: set[int] = set()
        self.known: dict[int, list[tuple[int, str]]] = {}
        """(handle, kind) of each, by device; of devices that were asked for."""

    def of(self, ifindex: int) -> list[tuple[int, str]] | None:
        """(handle, kind) of a device's qdiscs, None where the kernel refuses to tell."""
        for index in (*self._first, ifindex):
            if self._are_all or index in self._asked_for:
                continue
            messages = self._ask(self._codec.request_tc(RTM_GETQDISC, index))
            if messages is None:
                return None
            self._asked_for.add(index)
            found: dict[int, list[tuple[int, str]]] = {}
            for message in messages:
                device, handle, kind = self._codec.handle(message)
                found.setdefault(device, []).append((handle, kind or "unknown"))
            self.known.update(found)
            self._are_all = not found.keys() <= {index}
        return self.known.get(ifindex, [])


def _text(data: bytes, begin: int, end: int) -> str:
    return data[begin:end].partition(b"\0")[0].decode("utf-8", "surrogateescape")
