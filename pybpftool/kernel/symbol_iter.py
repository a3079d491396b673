"""Names of the kernel's own symbols by their addresses, by a BPF iterator over them.

The kernel takes 30 to 60 ms to write /proc/kallsyms. A program on the iterator ``ksym``
(kernel/kallsyms.c: DEFINE_BPF_ITER_FUNC(ksym), v6.0, 647cafa22349) compares addresses and has
no line of text written. The kernel's own symbols come first, in the order of their addresses, so
the walk ends behind the last that is wanted.

The program, its map and the link live for some milliseconds, and end with their descriptors.
"""

from __future__ import annotations

import posix
from struct import Struct

from pybpftool.kernel.function_names import are_shown
from pybpftool.kernel.own_programs import (
    ADD_K,
    CALL,
    EXIT,
    EXIT_0,
    JEQ_K,
    LD_IMM64,
    LDX_DW,
    MAP_VALUE,
    MOV,
    MOV_K,
    OBJECT,
    PROBE_READ_KERNEL,
    PROBE_READ_KERNEL_STR,
    PROG_TYPE_SYSCALL,
    STX_DW,
    Descriptors,
    Programs,
    Refused,
    array_of_one,
    assembled,
    element,
    kernel_types,
    loaded,
    printing,
    run_once,
    text_arguments,
)
from pybpftool.kernel.syscall import Buffer
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pybpftool.kernel.typefind import KernelTypes

_KALLSYMS_LOOKUP_NAME = 179  # v5.16, d6aef08a872b
_JLT = 0xAD
_NAME = 240  # bytes of a name with its end; longer ones are not found
# From where on symbols are wanted; then what is printed of a symbol: its address, the first byte
# of its module's name, its own name.
_ROW = Struct(f"=QB7x{_NAME}s")
_FROM = Struct("=Q")
_VALUE = _FROM.size + _ROW.size


def kernel_names(addresses: Iterable[int]) -> dict[int, str]:
    """The names of those symbols of the kernel itself that begin at some addresses.

    Without those of several names, of modules and of BPF programs, and without any where the
    kernel has no such iterator, does not let us use it, or hides addresses: kallsyms must be
    asked for these.
    """
    wanted = sorted(addresses)
    types = kernel_types() if wanted and are_shown() else None
    if types is None:
        return {}
    own = Descriptors()
    try:
        return _Walk(types, own).names(wanted)
    except (Refused, OSError):
        return {}
    finally:
        own.close()


class _Walk:
    """A walk over all symbols, as far as asked for."""

    __slots__ = ("_from", "_iterator")

    def __init__(self, types: KernelTypes, own: Descriptors) -> None:
        offsets = types.offsets("kallsym_iter", "value", "name", "module_name")
        if offsets is None:
            raise Refused
        value, name, module = offsets
        self._from = array_of_one(_VALUE, 0, own)
        code = assembled(
            (MOV, 6, 1),
            (LDX_DW, 7, 6, OBJECT),
            (JEQ_K, 7, 0, "end", 0),
            (LDX_DW, 1, 7, value),
            (LD_IMM64, 8 | MAP_VALUE, self._from),
            (LDX_DW, 2, 8, 0),
            (_JLT, 1, 2, "end"),
            (ADD_K, 8, 0, 0, _FROM.size),
            (STX_DW, 8, 1, 0),
            (MOV, 1, 8),
            (ADD_K, 1, 0, 0, 8),
            (MOV_K, 2, 0, 0, 1),
            (MOV, 3, 7),
            (ADD_K, 3, 0, 0, module),
            (CALL, 0, 0, 0, PROBE_READ_KERNEL),
            (MOV, 1, 8),
            (ADD_K, 1, 0, 0, 16),
            (MOV_K, 2, 0, 0, _NAME),
            (MOV, 3, 7),
            (ADD_K, 3, 0, 0, name),
            (CALL, 0, 0, 0, PROBE_READ_KERNEL_STR),
            *printing(0, _ROW.size, 8),
        )
        self._iterator = Programs(types, "bpf_iter_ksym", 2, own).opened(code + EXIT_0)

    def names(self, wanted: list[int]) -> dict[int, str]:
        """See :func:`kernel_names`; ``wanted`` is sorted."""
        found: dict[int, str] = {}
        several = set()
        rest = iter(wanted)
        address = next(rest)
        self._begin(address)
        # No more than a row at a time: behind it, another beginning may hold.
        while len(row := posix.read(self._iterator, _ROW.size)) == _ROW.size:
            value, module, text = _ROW.unpack(row)
            if module:
                break  # the kernel's own have all been there
            if address < value:
                address = next((other for other in rest if other >= value), 0)
                if not address:
                    break
                self._begin(address)
            if address == value:
                name, _, _ = text.partition(b"\0")
                if value in found or len(name) + 1 >= _NAME:
                    several.add(value)
                found[value] = name.decode("utf-8", "surrogateescape")
        return {address: name for address, name in found.items() if address not in several}

    def _begin(self, address: int) -> None:
        """Pass over the symbols before this address."""
        value = Buffer.of(_FROM.pack(address).ljust(_VALUE, b"\0"))
        element(uapi.BPF_MAP_UPDATE_ELEM, self._from, value)


def symbol_address(name: str) -> int:
    """The address of the kernel's symbol of this name; 0 where the kernel does not tell it."""
    if not are_shown():
        return 0
    own = Descriptors()
    try:
        found = array_of_one(_FROM.size, 0, own)
        code = assembled(
            *text_arguments(name),
            (MOV_K, 3, 0, 0, 0),
            (LD_IMM64, 4 | MAP_VALUE, found),
            (CALL, 0, 0, 0, _KALLSYMS_LOOKUP_NAME),
        )
        run_once(loaded(code + EXIT, own, PROG_TYPE_SYSCALL))
        value = Buffer(_FROM.size)
        element(uapi.BPF_MAP_LOOKUP_ELEM, found, value)
        return int(_FROM.unpack(value.data)[0])
    except Refused:
        return 0
    finally:
        own.close()
