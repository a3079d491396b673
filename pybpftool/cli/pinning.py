"""``pin``: give an object a path in a bpf file system, which is mounted where needed."""

from __future__ import annotations

import os

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import BpfObject, Kernel


def pin_fd(ctx: Context, fd: int, path: str) -> None:
    """Pin an open object at ``path``.

    The directory becomes a bpf file system if it is none, unless ``-n`` forbids it; a
    mount made for a pin that then fails is undone. Raises BpfError.
    """
    from pybpftool.kernel.elements import pin_object

    directory, mounts = _prepare(ctx, path)
    try:
        pin_object(fd, path)
    except BpfError:
        if mounts:
            from pybpftool.control.mounts import unmount

            unmount(directory, mounts)
        raise


def _prepare(ctx: Context, path: str) -> tuple[str, int]:
    """The directory of ``path`` and the number of mounts made on it."""
    from pybpftool.kernel.pins import is_bpffs

    if "\0" in path:
        raise BpfError("a path cannot contain a null byte")
    if os.access(path, os.F_OK):
        raise BpfError(f"cannot pin the object: '{path}' exists already")
    directory = os.path.dirname(path) or "."
    if is_bpffs(directory):
        return directory, 0
    if not os.access(directory, os.F_OK):
        raise BpfError(f"cannot pin the object: there is no directory '{directory}'")
    if ctx.options.nomount:
        raise BpfError(
            f"cannot pin the object: '{directory}' is in no bpf file system, and the option"
            " -n forbids to mount one"
        )
    from pybpftool.control.mounts import mount_bpffs

    return directory, mount_bpffs(directory)


def pin_command(ctx: Context, args: Args, open_one: Callable[[Kernel, Args], BpfObject]) -> None:
    """The command ``pin OBJECT FILE``; ``open_one`` takes the reference and opens the object."""
    kernel = ctx.kernel
    if not kernel.is_live:
        raise BpfError("the objects of a recorded kernel cannot be pinned")
    obj = open_one(kernel, args)
    try:
        path = args.take("the path to pin the object at")
        args.end()
        pin_fd(ctx, obj.fd, path)
    finally:
        kernel.close(obj)
    if ctx.json is not None:
        ctx.json.value(None)


def pin_program(ctx: Context, args: Args) -> None:
    """``prog pin PROG FILE``."""
    from pybpftool.cli.refs import one_program

    pin_command(ctx, args, one_program)
