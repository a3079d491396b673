"""The exceptions that pybpftool raises; each message is one sentence for a person."""

from __future__ import annotations

import os


class BpfError(Exception):
    """Base of all errors of this package; ``str(error)`` is a sentence for the user."""


class UsageError(BpfError):
    """The words of a command line do not form a command."""


class FormatError(BpfError):
    """Data (BTF, ELF, a snapshot, kernel text) does not have the form that it claims."""


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
        return cls(f"{what}: {os.strerror(errno)}", errno)


class VanishedError(KernelError):
    """An object that was there a moment ago is gone; listings leave it out."""
