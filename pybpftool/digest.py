"""SHA digests without OpenSSL, whose library takes longer to load than many a command runs.

The module hashlib loads it first, and writes tracebacks of its own where memory or the right to
map code is missing.
"""

from __future__ import annotations

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def sha256(data: bytes | bytearray) -> Any:
    """The SHA-256 digest of ``data``, an object as those of hashlib."""
    return _made(("_sha2", "_sha256"), "sha256", data)


def sha1(data: bytes | bytearray) -> Any:
    """The SHA-1 digest of ``data``, an object as those of hashlib."""
    return _made(("_sha1",), "sha1", data)


def _made(modules: tuple[str, ...], name: str, data: bytes | bytearray) -> Any:
    # CPython's own, built in or beside it: _sha256 until 3.11, _sha2 since.
    for module in (*modules, "hashlib"):
        try:
            return getattr(__import__(module), name)(data)
        except ModuleNotFoundError:
            continue
        except ImportError as error:
            raise BpfError(f"cannot load Python's module {module}: {error}") from None
    raise BpfError("this Python has no SHA digests")
