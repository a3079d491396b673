"""Numbers of requests of ioctl(2): ``_IO()`` and ``_IOW()`` of each architecture's asm/ioctl.h.

From include/uapi/asm-generic/ioctl.h and arch/*/include/uapi/asm/ioctl.h of Linux 6.18.
"""

from __future__ import annotations

_USUAL = 0, 1, 30
# Architecture -> _IOC_NONE, _IOC_WRITE, _IOC_DIRSHIFT. Those of 29 have three bits for it.
_DIRECTIONS = {
    "ppc": (1, 4, 29),
    "mips": (1, 4, 29),
    "mips64": (1, 4, 29),
    "sparc": (1, 4, 29),
    "alpha": (1, 4, 29),
    "parisc": (0, 2, 30),
}
_TYPE_SHIFT, _SIZE_SHIFT = 8, 16


def io(abi: str, type: int, number: int) -> int:
    """``_IO(type, number)``: a request that hands nothing over.

    :param abi: the architecture, as :func:`pybpftool.kernel.syscall.abi` names it.
    """
    none, _, shift = _DIRECTIONS.get(abi, _USUAL)
    return none << shift | type << _TYPE_SHIFT | number


def iow(abi: str, type: int, number: int, size: int) -> int:
    """``_IOW(type, number, …)``: a request that hands over ``size`` bytes."""
    _, write, shift = _DIRECTIONS.get(abi, _USUAL)
    return write << shift | size << _SIZE_SHIFT | type << _TYPE_SHIFT | number
