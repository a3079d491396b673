"""What a word could not look at: named at the end, once each, and in the exit status."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pybpftool.cli.context import Context

EXIT_PARTLY = 2


def tell_unseen(ctx: Context, sentences: Iterable[str], is_told: bool = False) -> None:
    """Say what could not be seen, on standard error; ``is_told``: the JSON has it already."""
    for sentence in sentences:
        ctx.status = EXIT_PARTLY
        if is_told:
            continue
        # Beside JSON, too, whose array has no place for it.
        ctx.aside(f"Not seen: {sentence}")
