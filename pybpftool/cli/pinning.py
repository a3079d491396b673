"""The command ``pin``, which programs, maps and links have in common."""

from __future__ import annotations

from pybpftool.control import require_live

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import BpfObject, Kernel


def pin_command(ctx: Context, args: Args, open_one: Callable[[Kernel, Args], BpfObject]) -> None:
    """The command ``pin OBJECT FILE``; ``open_one`` takes the reference and opens the object."""
    from pybpftool.control.pin import pin

    kernel = ctx.kernel
    require_live(kernel)  # before it is told what the object is
    obj = open_one(kernel, args)
    try:
        path = args.take("the path to pin the object at")
        # Upstream quirk: what follows is not looked at.
        pin(kernel, obj.fd, path, may_mount=not ctx.options.nomount)
    finally:
        kernel.close(obj)
    if ctx.json is not None:
        ctx.json.value(None)


def pin_program(ctx: Context, args: Args) -> None:
    """``prog pin PROG FILE``."""
    from pybpftool.cli.refs import one_program

    pin_command(ctx, args, one_program)
