"""``prog attach`` and ``prog detach``: maps of sockets and the flow dissector."""

from __future__ import annotations

from pybpftool.cli.refs import one_map, one_program
from pybpftool.control import require_live, sockets
from pybpftool.errors import UsageError
from pybpftool.uapi.bpf import ATTACH_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import BpfObject, Kernel

    Change = Callable[[Kernel, BpfObject, "BpfObject | None", int], None]

# libbpf's names, written out in full, and bpftool's older ones, which may be shortened; in the
# order of enum bpf_attach_type, in which upstream tries them.
_TYPES = (
    ("sk_skb_stream_parser", "stream_parser"),
    ("sk_skb_stream_verdict", "stream_verdict"),
    ("sk_msg_verdict", "msg_verdict"),
    ("flow_dissector", ""),
    ("sk_skb_verdict", "skb_verdict"),
)
_WITHOUT_MAP = "flow_dissector"


def attach(ctx: Context, args: Args) -> None:
    """``prog attach PROG ATTACH_TYPE [MAP]``."""
    _change(ctx, args, sockets.attach)


def detach(ctx: Context, args: Args) -> None:
    """``prog detach PROG ATTACH_TYPE [MAP]``."""
    _change(ctx, args, sockets.detach)


def _change(ctx: Context, args: Args, change: Change) -> None:
    kernel = ctx.kernel
    require_live(kernel)  # before it is told what the objects are
    prog = one_program(kernel, args)
    map: BpfObject | None = None
    try:
        name = _attach_type(args)
        # Upstream quirk: words that are left over go unread, a map of the flow dissector as well.
        if name != _WITHOUT_MAP:
            map = one_map(kernel, args, True)
        change(kernel, prog, map, ATTACH_TYPES.index(name))
    finally:
        kernel.close(prog)
        if map is not None:
            kernel.close(map)
    if ctx.json is not None:
        ctx.json.value(None)


def _attach_type(args: Args) -> str:
    word = args.take("an attach type")
    for name, short in _TYPES:
        if word == name or short.startswith(word):
            return name
    names = ", ".join(name for name, _ in _TYPES)
    raise UsageError(f"unknown attach type '{word}'; there are {names}")
