"""rtnetlink messages through pyroute2: network devices, qdiscs, classes and filters.

Of pyroute2 only the codec (``pyroute2.netlink``) is used, with message classes of our
own: its tables of classifier attributes end before TCA_BPF_ID and TCA_BPF_TAG, and
importing all of the package takes half a second, the codec a twentieth of that.
"""

from __future__ import annotations

from pybpftool.errors import BpfError, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

RTM_SETLINK = 19
RTM_GETLINK = 18
RTM_GETQDISC = 38
RTM_GETTCLASS = 42
RTM_GETTFILTER = 46
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300

_ACTIONS = 32  # TCA_ACT_MAX_PRIO


def _import_codec() -> Any:
    """The package ``pyroute2.netlink`` without what ``pyroute2`` itself would import."""
    import logging

    # It logs tracebacks of messages that it cannot read; we report those ourselves.
    logging.getLogger("pyroute2").addHandler(logging.NullHandler())
    return _import_light()


def _import_light() -> Any:
    import sys
    from importlib import import_module
    from importlib.machinery import PathFinder
    from types import ModuleType

    name = "pyroute2.netlink"
    if "pyroute2" in sys.modules or name in sys.modules:
        return import_module(name)
    spec = PathFinder.find_spec("pyroute2")
    if spec is None or spec.submodule_search_locations is None:
        raise BpfError("the package pyroute2 is not installed")
    # A stand-in whose __init__ never runs; the real package is imported as ever by
    # whoever asks for it later.
    package = ModuleType("pyroute2")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["pyroute2"] = package
    try:
        return import_module(name)
    except (ImportError, AttributeError):
        pass  # another layout of the package: import all of it
    finally:
        del sys.modules["pyroute2"]
    return import_module(name)


_classes: tuple[Any, Any] | None = None


def _message_classes() -> tuple[Any, Any]:
    """Classes of ``struct ifinfomsg`` and ``struct tcmsg`` with the attributes of BPF."""
    global _classes
    if _classes is None:
        _classes = _define_classes(_import_codec())
    return _classes


def _define_classes(codec: Any) -> tuple[Any, Any]:
    nla: Any = codec.nla
    nlmsg: Any = codec.nlmsg

    class LinkMessage(nlmsg):  # type: ignore[misc]
        """RTM_NEWLINK and RTM_SETLINK (linux/if_link.h)."""

        prefix = "IFLA_"
        fields = (
            ("family", "B"),
            ("__align", "x"),
            ("ifi_type", "H"),
            ("index", "i"),
            ("flags", "I"),
            ("change", "I"),
        )
        nla_map = ((3, "IFLA_IFNAME", "asciiz"), (43, "IFLA_XDP", "xdp"))

        class xdp(nla):  # type: ignore[misc]
            nla_flags = 0x8000  # NLA_F_NESTED
            nla_map = (
                (1, "IFLA_XDP_FD", "int32"),
                (2, "IFLA_XDP_ATTACHED", "uint8"),
                (3, "IFLA_XDP_FLAGS", "uint32"),
                (4, "IFLA_XDP_PROG_ID", "uint32"),
                (5, "IFLA_XDP_DRV_PROG_ID", "uint32"),
                (6, "IFLA_XDP_SKB_PROG_ID", "uint32"),
                (7, "IFLA_XDP_HW_PROG_ID", "uint32"),
            )

    class bpf_action(nla):  # type: ignore[misc]
        nla_map = (
            (6, "TCA_ACT_BPF_NAME", "asciiz"),
            (8, "TCA_ACT_BPF_TAG", "hex"),
            (9, "TCA_ACT_BPF_ID", "uint32"),
        )

    class action(nla):  # type: ignore[misc]
        nla_map = ((1, "TCA_ACT_KIND", "asciiz"), (2, "TCA_ACT_OPTIONS", "get_options"))

        @staticmethod
        def get_options(message: Any, *arguments: Any, **named: Any) -> Any:
            return bpf_action if message.get_attr("TCA_ACT_KIND") == "bpf" else message.hex

    class bpf_filter(nla):  # type: ignore[misc]
        nla_map = (
            (1, "TCA_BPF_ACT", "actions"),
            (7, "TCA_BPF_NAME", "asciiz"),
            (10, "TCA_BPF_TAG", "hex"),
            (11, "TCA_BPF_ID", "uint32"),
        )

        class actions(nla):  # type: ignore[misc]
            nla_map = tuple((n, f"TCA_ACT_{n}", "action") for n in range(_ACTIONS + 1))

    bpf_filter.actions.action = action

    class ClassifierMessage(nlmsg):  # type: ignore[misc]
        """RTM_NEWQDISC, RTM_NEWTCLASS and RTM_NEWTFILTER (linux/rtnetlink.h)."""

        prefix = "TCA_"
        fields = (
            ("family", "B"),
            ("pad1", "B"),
            ("pad2", "H"),
            ("index", "i"),
            ("handle", "I"),
            ("parent", "I"),
            ("info", "I"),
        )
        nla_map = ((1, "TCA_KIND", "asciiz"), (2, "TCA_OPTIONS", "get_options"))

        @staticmethod
        def get_options(message: Any, *arguments: Any, **named: Any) -> Any:
            return bpf_filter if message.get_attr("TCA_KIND") == "bpf" else message.hex

    return LinkMessage, ClassifierMessage


def _read(number: int, data: bytes, extract: Callable[[Any], T]) -> T:
    """What ``extract`` finds in a decoded message; raises FormatError for a damaged one."""
    message = _message_classes()[number](data)
    try:
        message.decode()
        return extract(message)
    except Exception as error:  # pyroute2 lets any of its internals' exceptions out
        raise FormatError(f"cannot read a netlink message ({type(error).__name__})") from None


def _text(value: str | bytes | None) -> str | None:
    """A name; pyroute2 leaves bytes as they are when they are not UTF-8."""
    if isinstance(value, bytes):
        return value.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return value


def decode_link(data: bytes) -> tuple[int, str, dict[str, int] | None]:
    """(ifindex, name, XDP attributes) of an RTM_NEWLINK message with its header.

    The attributes are ``attached`` (an enum of linux/if_link.h: XDP_ATTACHED_*),
    ``prog_id``, ``drv_prog_id``, ``skb_prog_id`` and ``hw_prog_id`` where present.
    """
    return _read(0, data, _link)


def _link(message: Any) -> tuple[int, str, dict[str, int] | None]:
    xdp = message.get_attr("IFLA_XDP")
    attributes = None
    if xdp is not None:
        attributes = {
            name.removeprefix("IFLA_XDP_").lower(): value
            for name, value in xdp["attrs"]
            if isinstance(value, int)
        }
    return int(message["index"]), _text(message.get_attr("IFLA_IFNAME")) or "", attributes


def decode_handle(data: bytes) -> tuple[int, str | None]:
    """(handle, kind) of an RTM_NEWQDISC or RTM_NEWTCLASS message with its header."""
    return _read(1, data, _handle)


def _handle(message: Any) -> tuple[int, str | None]:
    kind = message.get_attr("TCA_KIND")
    return int(message["handle"]), _text(kind)


def decode_filter(data: bytes) -> dict[str, Any] | None:
    """What an RTM_NEWTFILTER message tells of a BPF classifier, None for other kinds.

    Keys, where present: ``name``, ``id``, ``actions`` (a list of ``{"name", "id"}``,
    the BPF actions only).
    """
    return _read(1, data, _filter)


def _filter(message: Any) -> dict[str, Any] | None:
    options = message.get_attr("TCA_OPTIONS")
    if options is None or message.get_attr("TCA_KIND") != "bpf":
        return None
    result: dict[str, Any] = {}
    name, id = options.get_attr("TCA_BPF_NAME"), options.get_attr("TCA_BPF_ID")
    if name is not None:
        result["name"] = _text(name)
    if id is not None:
        result["id"] = id
    actions = options.get_attr("TCA_BPF_ACT")
    if actions is not None:
        result["actions"] = [
            _action(action)
            for _, action in actions["attrs"]
            if action.get_attr("TCA_ACT_KIND") == "bpf"
        ]
    return result


def _action(action: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}
    options = action.get_attr("TCA_ACT_OPTIONS")
    if options is not None:
        name, id = options.get_attr("TCA_ACT_BPF_NAME"), options.get_attr("TCA_ACT_BPF_ID")
        if name is not None:
            result["name"] = _text(name)
        if id is not None:
            result["id"] = id
    return result


def _encoded(number: int, type: int, flags: int, fields: dict[str, Any]) -> bytes:
    message = _message_classes()[number]()
    for name, value in fields.items():
        message[name] = value
    message["header"]["type"] = type
    message["header"]["flags"] = flags
    message["header"]["sequence_number"] = 1
    message["header"]["pid"] = 0
    message.encode()
    return bytes(message.data)


def request_links() -> bytes:
    """A request for all network devices."""
    fields = {"family": 17}  # AF_PACKET
    return _encoded(0, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, fields)


def request_tc(type: int, ifindex: int, parent: int = 0) -> bytes:
    """A request for a device's qdiscs, classes, or filters of one parent (``type`` is RTM_GET*)."""
    fields = {"index": ifindex, "parent": parent}
    return _encoded(1, type, NLM_F_REQUEST | NLM_F_DUMP, fields)


def request_set_xdp(ifindex: int, fd: int, flags: int) -> bytes:
    """A request to set a device's XDP program; ``fd`` -1 takes it away."""
    attributes = [("IFLA_XDP_FD", fd), ("IFLA_XDP_FLAGS", flags)]
    fields = {"index": ifindex, "attrs": [("IFLA_XDP", {"attrs": attributes})]}
    return _encoded(0, RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, fields)
