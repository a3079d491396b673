"""Numbers, memory and functions of C, as :mod:`ctypes` has them.

They come from the half of ctypes that is written in C. Its other half builds fifty types
when it is imported, which takes longer than all that a listing asks the kernel.
"""

from __future__ import annotations

import _ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from ctypes import (
        Structure,
        addressof,
        byref,
        c_bool,
        c_char,
        c_char_p,
        c_int,
        c_long,
        c_size_t,
        c_uint,
        c_ulong,
        c_ulonglong,
        c_void_p,
        get_errno,
        sizeof,
    )
    from typing import Any
else:
    from _ctypes import Structure, _SimpleCData, addressof, byref, get_errno, sizeof

    class c_bool(_SimpleCData):
        """``bool``."""

        _type_ = "?"

    class c_char(_SimpleCData):
        """``char``."""

        _type_ = "c"

    class c_int(_SimpleCData):
        """``int``."""

        _type_ = "i"

    class c_uint(_SimpleCData):
        """``unsigned int``."""

        _type_ = "I"

    class c_long(_SimpleCData):
        """``long``."""

        _type_ = "l"

    class c_ulong(_SimpleCData):
        """``unsigned long``."""

        _type_ = "L"

    c_size_t = c_ulong

    class c_ulonglong(_SimpleCData):
        """``unsigned long long``."""

        _type_ = "Q"

    class c_char_p(_SimpleCData):
        """``char *``: a string that ends with a zero byte, None for NULL."""

        _type_ = "z"

    class c_void_p(_SimpleCData):
        """``void *``: an address, None for NULL."""

        _type_ = "P"


__all__ = (
    "Library",
    "Structure",
    "addressof",
    "byref",
    "bytes_at",
    "c_bool",
    "c_char",
    "c_char_p",
    "c_function",
    "c_int",
    "c_long",
    "c_size_t",
    "c_uint",
    "c_ulong",
    "c_ulonglong",
    "c_void_p",
    "callback",
    "get_errno",
    "held_function",
    "sizeof",
)


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = c_int


class _HeldFunction(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI
    _restype_ = c_int


class Library:
    """A shared library by its name, or what the program itself is made of. Raises OSError.

    :param handle: what dlopen(3) gave for it, where it is open already.
    """

    __slots__ = ("_handle", "_name")

    def __init__(self, name: str | None, handle: int = 0) -> None:
        self._name = name or "the C library"
        if not handle:
            handle = _ctypes.dlopen(name, 0)  # type: ignore[arg-type]  # None as in dlopen(3)
        self._handle = handle

    def address(self, name: str) -> int:
        """Where a function is. Raises AttributeError where there is none of this name."""
        try:
            return _ctypes.dlsym(self._handle, name)
        except OSError:
            raise AttributeError(f"{self._name} has no function {name}()") from None

    def function(self, name: str) -> Any:
        """A function that returns an int; errno is :func:`get_errno`'s.

        Each time a new object, so that ``argtypes`` and ``restype`` are the caller's own.
        Raises AttributeError where there is none of this name.
        """
        return _Function(self.address(name))


_process = Library(None)


def c_function(name: str) -> Any:
    """A function of the C library, as :meth:`Library.function`."""
    return _process.function(name)


def held_function(name: str) -> Any:
    """As :func:`c_function`, but the interpreter's lock is held and errno not kept."""
    return _HeldFunction(_process.address(name))


def callback(function: Callable[..., int], *parameters: Any) -> Any:
    """A function for C to call, which returns an int; to be kept as long as it may be called."""

    class Callback(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL
        _restype_ = c_int
        _argtypes_ = parameters

    return Callback(function)


def bytes_at(address: int, size: int) -> bytes:
    """So many bytes of memory."""
    return (c_char * size).from_address(address).raw
