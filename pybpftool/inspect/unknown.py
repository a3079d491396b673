"""What stands in place of a value that a kernel does not tell."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.errors import BpfError


class Hidden:
    """In place of a value: it is there, and the kernel does not show it to this reader.

    ``error`` is the refusal, where there was one.
    """

    __slots__ = ("error", "reason")

    def __init__(self, reason: str | BpfError) -> None:
        self.error = None if isinstance(reason, str) else reason
        self.reason = str(reason)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden)

    __hash__ = None  # type: ignore[assignment]  # equal ones are not the same

    def __str__(self) -> str:
        return self.reason


class TooOld:
    """In place of a value: the kernel is older than the field; ``since`` is its first version."""

    __slots__ = ("since",)

    def __init__(self, since: str) -> None:
        self.since = since

    def __str__(self) -> str:
        return f"told since Linux {self.since}"
