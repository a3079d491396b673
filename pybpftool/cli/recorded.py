"""Recorded kernels whose answers do not have the form of answers."""

from __future__ import annotations

import struct

from pybpftool.errors import BpfError, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args


def run_command(handler: Callable[[Context, Args], None], ctx: Context, args: Args) -> None:
    """Run a command; what a damaged snapshot makes of it becomes one sentence.

    The answers of a live kernel have the forms that our own code gave them, and a
    mistake there must show. A snapshot comes from anywhere.
    """
    if ctx.options.snapshot is None:
        handler(ctx, args)
        return
    guarded(lambda: handler(ctx, args))


def guarded(work: Callable[[], None]) -> None:
    """Do what asks a recorded kernel; what a damaged one makes of it becomes one sentence."""
    try:
        work()
    except BpfError:  # a NotFoundError is a LookupError, too
        raise
    except (TypeError, ValueError, LookupError, AttributeError, struct.error) as error:
        raise FormatError(
            f"the snapshot is damaged: an answer does not have the form of one ({error})"
        ) from None
