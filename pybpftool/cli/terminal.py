"""The terminal that standard output is, if it is one: colours and width."""

from __future__ import annotations

import os

from pybpftool.cli.grammar import nearest
from pybpftool.cnumber import decimal
from pybpftool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context

_WHENS = ("auto", "always", "never")


def is_colored(ctx: Context, when: str) -> bool:
    """Whether ``--color`` and the environment want colours."""
    if when not in _WHENS:
        hint = nearest(when, _WHENS) or "; there are auto, always, never"
        raise UsageError(f"--color is not '{when}'{hint}")
    if when != "auto":
        return when == "always"
    return (
        ctx.out.is_terminal
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "dumb") != "dumb"
    )


def terminal_width(ctx: Context) -> int:
    """The columns of the terminal that standard output is; 0 where it is none."""
    if not ctx.out.is_terminal:
        return 0
    given = decimal(os.environ.get("COLUMNS", ""))
    if given:
        return given
    try:
        return os.get_terminal_size(1).columns
    except OSError:
        return 0
