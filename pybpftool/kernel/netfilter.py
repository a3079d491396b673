"""The BPF programs among the netfilter hooks of a network namespace (nfnetlink_hook, v6.4).

A link of netfilter does not tell in which namespace it is; this does.
"""

from __future__ import annotations

import struct

from pybpftool.errors import KernelError
from pybpftool.kernel.net import dumped, opened

# linux/netfilter/nfnetlink_hook.h, v5.14
_NETLINK_NETFILTER = 12
_HOOK_GET = 12 << 8  # NFNL_SUBSYS_HOOK, NFNL_MSG_HOOK_GET
_REQUEST, _DUMP = 1, 0x300
_HOOKNUM, _PRIORITY, _CHAIN_INFO = 1, 2, 6
_DESC, _TYPE = 1, 2  # of chain info
_TYPE_BPF, _BPF_ID = 2, 1
_HEADER = struct.Struct("=IHHIIBBH")  # struct nlmsghdr, struct nfgenmsg
_NESTED = 0x3FFF  # NLA_TYPE_MASK
_HOOKS = tuple((family, hook) for family in (2, 10) for hook in range(5))


def netfilter_programs(netns: str) -> list[tuple[int, int, int, int]]:
    """(protocol family, hook, priority, program) of each program of IPv4 and IPv6.

    Raises KernelError where the kernel has no such question (CONFIG_NETFILTER_NETLINK_HOOK).
    """
    found = []
    sock = opened(netns, _NETLINK_NETFILTER)
    try:
        for family, hook in _HOOKS:
            attribute = struct.pack("=HH", 8, _HOOKNUM) + struct.pack(">I", hook)
            head = _HEADER.pack(28, _HOOK_GET, _REQUEST | _DUMP, 1, 0, family, 0, 0)
            for message in dumped(sock, head + attribute):
                row = _program(message)
                if row is not None:
                    found.append((family, hook, *row))
    except OSError as error:
        raise KernelError.of("cannot ask for the hooks of netfilter", error.errno or 0) from None
    finally:
        sock.close()
    return found


def _program(message: bytes) -> tuple[int, int] | None:
    """(priority, program id) of a hook; None for one that is no program."""
    attributes = _attributes(message[_HEADER.size :])
    info = _attributes(attributes.get(_CHAIN_INFO, b""))
    id = _attributes(info.get(_DESC, b"")).get(_BPF_ID, b"")
    if _number(info.get(_TYPE, b"")) != _TYPE_BPF or len(id) != 4:
        return None
    return _number(attributes.get(_PRIORITY, b"")), _number(id)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _attributes(data: bytes) -> dict[int, bytes]:
    """Attributes of netlink by their numbers."""
    found = {}
    at = 0
    while at + 4 <= len(data):
        length, number = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        found[number & _NESTED] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found
