"""A kernel that tells what it refuses, for ``-d``: readers leave out what they may not see."""

from __future__ import annotations

import errno

from pybpftool.errors import KernelError
from pybpftool.kernel.interface import QUESTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pybpftool.kernel.interface import Kernel

_ANSWERED = (*QUESTIONS, "open", "open_pinned", "prog_arrays", "stream")
_LISTED = ("objects", "objects_after", "elements")
# With these a key that is not there, or the end of a map, is an answer.
_LOOKED_UP = ("lookup", "next_key", "map_value")


def tell_refusals(kernel: Kernel, tell: Callable[[str], object]) -> None:
    """Have ``tell`` called with a line for each refusal of this kernel, each line once.

    The errno stands behind its sentence, by its name.
    """
    told: set[str] = set()

    def refused(error: KernelError) -> None:
        number = errno.errorcode.get(error.errno, str(error.errno))
        line = f"refused: {error} ({number})\n"
        if line not in told:
            told.add(line)
            tell(line)

    for name in (*_ANSWERED, *_LOOKED_UP):
        setattr(kernel, name, _telling(getattr(kernel, name), refused, name in _LOOKED_UP))
    for name in _LISTED:
        setattr(kernel, name, _telling_each(getattr(kernel, name), refused))


def _telling(
    ask: Callable[..., Any], refused: Callable[[KernelError], None], may_lack: bool
) -> Callable[..., Any]:
    def asked(*args: Any) -> Any:
        try:
            return ask(*args)
        except KernelError as error:
            if not (may_lack and error.errno == errno.ENOENT):
                refused(error)
            raise

    return asked


def _telling_each(
    ask: Callable[..., Iterator[Any]], refused: Callable[[KernelError], None]
) -> Callable[..., Iterator[Any]]:
    def asked(*args: Any) -> Iterator[Any]:
        try:
            yield from ask(*args)
        except KernelError as error:
            refused(error)
            raise

    return asked
