"""The exceptions that pybpftool raises; each message is one sentence for a person.

::

    BpfError                 everything that this package raises on purpose
    ├── UsageError           the words of a command line (never raised by the library)
    ├── FormatError          BTF, ELF or a snapshot that is not what it claims to be
    ├── NotFoundError        nothing fits, or more than one (a LookupError, too)
    └── KernelError          the kernel refused; ``errno`` says why
        ├── CutMap           a snapshot keeps the elements of a map in part or not
        ├── VanishedError    what was asked for is gone since it was listed
        └── LoadError        an object file was not loaded; ``log`` is the verifier's
"""

from __future__ import annotations

import posix
from errno import EACCES, ENODATA, ENODEV, ENOENT, ENOSYS, EOPNOTSUPP, EPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN = 8  # candidates that a message names


class BpfError(Exception):
    """Base of all errors of this package; ``str(error)`` is a sentence for the user."""


class UsageError(BpfError):
    """The words of a command line do not form a command."""


class FormatError(BpfError):
    """Data (BTF, ELF, a snapshot, kernel text) does not have the form that it claims."""


class NotFoundError(BpfError, LookupError):
    """Nothing fits what was asked for, or more than the one that was wanted.

    ``candidates`` are those that fit, or those that may have been meant; the message
    names the first of them.
    """

    def __init__(self, message: str, candidates: Sequence[object] = ()) -> None:
        shown = ", ".join(map(str, candidates[:_SHOWN]))
        rest = f" and {len(candidates) - _SHOWN} more" if len(candidates) > _SHOWN else ""
        super().__init__(f"{message}: {shown}{rest}" if candidates else message)
        self.candidates = tuple(candidates)


class KernelError(BpfError):
    """The kernel refused a request.

    ``errno`` is the positive error number; the message names what was asked for.
    """

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno

    @classmethod
    def of(cls, what: str, errno: int) -> KernelError:
        """``KernelError("<what>: <text of errno>")``."""
        return cls(f"{what}: {posix.strerror(errno)}", errno)


class VanishedError(KernelError):
    """An object that was there a moment ago is gone; listings leave it out."""


class CutMap(KernelError):
    """A snapshot keeps only the first ``kept`` elements of the map ``map_id``."""

    def __init__(self, id: int, kept: int) -> None:
        what = f"only the first {kept}" if kept else "no"
        super().__init__(f"the snapshot keeps {what} elements of map {id}", ENODATA)
        self.map_id = id
        self.kept = kept


class LoadError(KernelError):
    """An object file was not loaded.

    ``program`` is the program that the verifier refused and ``log`` all that it said, both
    empty where it was something else.
    """

    def __init__(self, message: str, errno: int, program: str = "", log: str = "") -> None:
        super().__init__(message, errno)
        self.program = program
        self.log = log


_NUMBERS = {
    EPERM: "permission",
    EACCES: "permission",
    ENOENT: "not_found",
    ENODEV: "not_found",
    ENOSYS: "unsupported",
    EOPNOTSUPP: "unsupported",
    524: "unsupported",  # the kernel's own ENOTSUPP, which Python has no name for
}


def kind_of(error: BpfError | str) -> str:
    """The kind of an error in one word that stays.

    ``not_found``, ``permission``, ``unsupported``, ``kernel`` (it refused for another
    reason), ``usage``, ``format``, or ``other``.
    """
    if isinstance(error, KernelError):
        return _NUMBERS.get(error.errno, "kernel")
    for kind, name in (
        (UsageError, "usage"),
        (FormatError, "format"),
        (NotFoundError, "not_found"),
    ):
        if isinstance(error, kind):
            return name
    return "other"
