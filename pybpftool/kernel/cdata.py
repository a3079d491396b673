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
        addressof,
        c_char,
        c_char_p,
        c_int,
        c_long,
        c_size_t,
        c_uint,
        c_ulong,
        c_void_p,
        get_errno,
    )
    from typing import Any
else:
    from _ctypes import _SimpleCData, addressof, get_errno

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

    class c_char_p(_SimpleCData):
        """``char *``: a string that ends with a zero byte, None for NULL."""

        _type_ = "z"

    class c_void_p(_SimpleCData):
        """``void *``: an address, None for NULL."""

        _type_ = "P"


__all__ = (
    "addressof",
    "c_char",
    "c_char_p",
    "c_function",
    "c_int",
    "c_long",
    "c_size_t",
    "c_uint",
    "c_ulong",
    "c_void_p",
    "get_errno",
    "held_function",
)


def _functions(flag: int) -> Callable[[str], Any]:
    """What makes the C library's functions, called with such a flag."""

    class Function(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL | flag
        _restype_ = c_int

    def make(name: str) -> Any:
        try:
            return Function(_ctypes.dlsym(_process, name))
        except OSError:
            raise AttributeError(f"the C library has no function {name}()") from None

    return make


_process = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # the program itself: dlopen(3)
_plain = _functions(_ctypes.FUNCFLAG_USE_ERRNO)
_held = _functions(_ctypes.FUNCFLAG_PYTHONAPI)


def c_function(name: str) -> Any:
    """A function of the C library, which returns an int; errno is :func:`get_errno`'s.

    Each time a new object, so that ``argtypes`` and ``restype`` are the caller's own.
    Raises AttributeError where there is none of this name.
    """
    return _plain(name)


def held_function(name: str) -> Any:
    """As :func:`c_function`, but the interpreter's lock is held and errno not kept."""
    return _held(name)
