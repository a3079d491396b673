"""rtnetlink requests that change a device, through pyroute2.

Of pyroute2 only the codec (``pyroute2.netlink``) is used: importing all of the package takes
half a second, the codec a twentieth of that. Dumps are read by
:mod:`pybpftool.objects.rtnetlink`.
"""

from __future__ import annotations

from pybpftool.adapters import missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RTM_SETLINK = 19
NLM_F_REQUEST, NLM_F_ACK = 1, 4


def _import_codec() -> Any:
    """The package ``pyroute2.netlink`` without what ``pyroute2`` itself would import."""
    import logging

    # It logs tracebacks of messages that it cannot read; we report those ourselves.
    logging.getLogger("pyroute2").addHandler(logging.NullHandler())
    return _import_light()


def _import_light() -> Any:
    import sys
    from importlib import import_module
    from importlib.util import find_spec
    from types import ModuleType

    name = "pyroute2.netlink"
    if "pyroute2" in sys.modules or name in sys.modules:
        return import_module(name)
    # By every finder: the installed command has one of its own, which knows more places.
    spec = find_spec("pyroute2")
    if spec is None or spec.submodule_search_locations is None:
        error = ModuleNotFoundError(name="pyroute2")
        raise missing("attaching to network devices", "pyroute2", error)
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


_class: Any = None


def _message_class() -> Any:
    """The class of ``struct ifinfomsg`` with the attributes of XDP."""
    global _class
    if _class is None:
        _class = _define_class(_import_codec())
    return _class


def _define_class(codec: Any) -> Any:
    nla: Any = codec.nla
    nlmsg: Any = codec.nlmsg

    class LinkMessage(nlmsg):  # type: ignore[misc]  # its base has no type
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

        class xdp(nla):  # type: ignore[misc]  # its base has no type
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

    return LinkMessage


def _encoded(type: int, flags: int, fields: dict[str, Any]) -> bytes:
    message = _message_class()()
    for name, value in fields.items():
        message[name] = value
    message["header"]["type"] = type
    message["header"]["flags"] = flags
    message["header"]["sequence_number"] = 1
    message["header"]["pid"] = 0
    message.encode()
    return bytes(message.data)


def request_set_xdp(ifindex: int, fd: int, flags: int) -> bytes:
    """A request to set a device's XDP program; ``fd`` -1 takes it away."""
    attributes = [("IFLA_XDP_FD", fd), ("IFLA_XDP_FLAGS", flags)]
    fields = {"index": ifindex, "attrs": [("IFLA_XDP", {"attrs": attributes})]}
    return _encoded(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, fields)
