"""Names of the functions of BPF programs by their addresses, without /proc/kallsyms.

There they come last, and the kernel takes 50 ms for what comes before. A program of type
SYSCALL has the kernel write ``%pS`` of each address (bpf_snprintf(), v5.13, 7b15523a989b),
which takes less than one. It knows the same list of functions (kernel/bpf/core.c:
bpf_ksym_find()), also where kallsyms leaves it out.

The program and its maps live for a millisecond, and end with their descriptors.
"""

from __future__ import annotations

from struct import Struct

from pybpftool.errors import KernelError
from pybpftool.kernel.syscall import ELEM_ATTR, Buffer, may_see_addresses
from pybpftool.kernel.task_iter import (
    ADD_K,
    CALL,
    EXIT_0,
    LD_IMM64,
    MAP_TYPE_ARRAY,
    MOV,
    MOV_K,
    PROG_TYPE_SYSCALL,
    STX_DW,
    TEST_RUN_SIZE,
    Descriptors,
    Refused,
    assembled,
    call,
    loaded,
)
from pybpftool.reading import contents
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SNPRINTF = 165  # enum bpf_func_id
_FORMAT = b"%pS\0"
_TEXT = 240  # bytes of a symbol with its offset and size; longer ones are not found
_ROW = Struct(f"=Qq{_TEXT}s")  # the address, bytes of the text with its end, the text
_MOST = 128  # addresses a run, of which there are as many as needed
_BEGIN = b"+0x0/0x"  # of what follows the name where an address is a function's first
_PREFIX, _TAG = "bpf_prog_", 16

_MAP_CREATE = Struct("=5I")  # map_type, key_size, value_size, max_entries, map_flags
_F_RDONLY_PROG = 1 << 7
_MAP_VALUE = 2 << 4  # BPF_PSEUDO_MAP_VALUE, as the source register

# What a reader of kallsyms sees of BPF programs depends on these (include/linux/filter.h:
# bpf_jit_kallsyms_enabled(); kernel/ksyms_common.c: kallsyms_show_value()).
_SETTINGS = (
    ("/proc/sys/net/core/bpf_jit_kallsyms", b"1"),
    ("/proc/sys/net/core/bpf_jit_harden", b"0"),
    ("/proc/sys/kernel/kptr_restrict", b"01"),
)


def function_names(addresses: Sequence[int]) -> dict[int, str] | None:
    """The names of those functions of BPF programs that begin at some addresses.

    None where kallsyms must be asked: it would not show them, or the kernel does not let us
    load such a program.
    """
    if not _are_shown():
        return None
    own = Descriptors()
    try:
        found: dict[int, str] = {}
        if addresses:
            run = _Run(min(len(addresses), _MOST), own)
            for at in range(0, len(addresses), _MOST):
                found.update(run.names(addresses[at : at + _MOST]))
        return found
    except Refused:
        return None
    finally:
        own.close()


def _are_shown() -> bool:
    """Whether kallsyms shows us BPF programs and their addresses."""
    try:
        for path, values in _SETTINGS:
            value = contents(path).strip()
            if len(value) != 1 or value not in values:
                return False
        return may_see_addresses()
    except (OSError, KernelError):
        return False


class _Run:
    """A program for so many addresses at a time, with its maps."""

    __slots__ = ("_count", "_prog", "_rows")

    def __init__(self, count: int, own: Descriptors) -> None:
        self._count = count
        text = _array(len(_FORMAT), _F_RDONLY_PROG, own)
        _element(uapi.BPF_MAP_UPDATE_ELEM, text, Buffer.of(_FORMAT))
        # Formats must be what nobody changes.
        call(uapi.BPF_MAP_FREEZE, Struct("=I").pack(text))
        self._rows = _array(_ROW.size * count, 0, own)
        code: list[object] = [
            (LD_IMM64, 6 | _MAP_VALUE, self._rows),
            (LD_IMM64, 7 | _MAP_VALUE, text),
        ]
        for row in range(0, _ROW.size * count, _ROW.size):
            code += [
                (MOV, 1, 6),
                (ADD_K, 1, 0, 0, row + 16),
                (MOV_K, 2, 0, 0, _TEXT),
                (MOV, 3, 7),
                (MOV, 4, 6),
                (ADD_K, 4, 0, 0, row),
                (MOV_K, 5, 0, 0, 8),
                (CALL, 0, 0, 0, _SNPRINTF),
                (STX_DW, 6, 0, row + 8),
            ]
        self._prog = loaded(assembled(*code) + EXIT_0, own, PROG_TYPE_SYSCALL)

    def names(self, addresses: Sequence[int]) -> dict[int, str]:
        """The names of functions that begin at some addresses, as many as there is room for."""
        rows = Buffer(_ROW.size * self._count)
        for row, address in enumerate(addresses):
            _ROW.pack_into(rows.data, row * _ROW.size, address, 0, b"")
        _element(uapi.BPF_MAP_UPDATE_ELEM, self._rows, rows)
        call(uapi.BPF_PROG_TEST_RUN, Struct("=I").pack(self._prog).ljust(TEST_RUN_SIZE, b"\0"))
        _element(uapi.BPF_MAP_LOOKUP_ELEM, self._rows, rows)
        found = {}
        for address, length, text in _ROW.iter_unpack(rows.data):
            raw, begin, _ = text.partition(_BEGIN)
            if begin and 0 < length <= _TEXT and address:
                name = raw.decode("utf-8", "surrogateescape")
                if _is_program(name):
                    found[address] = name
        return found


def _is_program(name: str) -> bool:
    """Whether a symbol is a BPF program's: ``bpf_prog_TAG`` and a name, as a rule.

    Functions of the kernel may have several names, of which this is not to choose one.
    """
    tag = name[len(_PREFIX) : len(_PREFIX) + _TAG]
    return (
        name.startswith(_PREFIX)
        and len(tag) == _TAG
        and all(digit in "0123456789abcdef" for digit in tag)
    )


def _array(size: int, flags: int, own: Descriptors) -> int:
    attr = _MAP_CREATE.pack(MAP_TYPE_ARRAY, 4, size, 1, flags)
    return own.keep(call(uapi.BPF_MAP_CREATE, attr))


def _element(command: int, fd: int, value: Buffer) -> None:
    """Write or read the only element of an array."""
    key = Buffer(4)
    call(command, ELEM_ATTR.pack(fd, key.address, value.address, 0))
