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
from pybpftool.kernel.own_programs import (
    ADD_K,
    CALL,
    EXIT_0,
    LD_IMM64,
    MAP_VALUE,
    MOV,
    MOV_K,
    PROG_TYPE_SYSCALL,
    STX_DW,
    Descriptors,
    Refused,
    array_of_one,
    assembled,
    call,
    element,
    loaded,
    run_once,
)
from pybpftool.kernel.syscall import Buffer, may_see_addresses
from pybpftool.reading import contents
from pybpftool.records import Record
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SNPRINTF = 165  # enum bpf_func_id
_FORMAT = b"%pS\0"
_TEXT = 240  # bytes of a symbol with its offset and size; longer ones are not found
_ROW = Struct(f"=Qq{_TEXT}s")  # the address, bytes of the text with its end, the text
_MOST = 128  # addresses a run, of which there are as many as needed
# The text is NAME+OFFSET/SIZE, then the module in brackets: of what follows the name.
_PLUS, _BEGIN, _MODULE = b"+0x", b"0/0x", b" ["
_PREFIX, _TAG = "bpf_prog_", 16

_F_RDONLY_PROG = 1 << 7

# What a reader of kallsyms sees of BPF programs depends on these (include/linux/filter.h:
# bpf_jit_kallsyms_enabled(); kernel/ksyms_common.c: kallsyms_show_value()).
_SETTINGS = (
    ("/proc/sys/net/core/bpf_jit_kallsyms", b"1"),
    ("/proc/sys/net/core/bpf_jit_harden", b"0"),
    ("/proc/sys/kernel/kptr_restrict", b"01"),
)


class Told(Record):
    """What is known of some addresses: none of those that stand in neither.

    ``names`` has those at which a function of a BPF program begins, and no name for those at
    which no symbol does. At the ``others`` a symbol of the kernel itself begins; it may have
    several names, of which %pS tells the first.
    """

    names: dict[int, str]
    others: list[int]


def function_names(addresses: Sequence[int]) -> Told | None:
    """The names of those functions of BPF programs that begin at some addresses.

    None where kallsyms must be asked: it would not show them, or the kernel does not let us
    load such a program.
    """
    if not are_shown():
        return None
    own = Descriptors()
    try:
        told = Told({}, [])
        if addresses:
            run = _Run(min(len(addresses), _MOST), own)
            for at in range(0, len(addresses), _MOST):
                run.add(told, addresses[at : at + _MOST])
        return told
    except Refused:
        return None
    finally:
        own.close()


def are_shown() -> bool:
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
        text = array_of_one(len(_FORMAT), _F_RDONLY_PROG, own)
        element(uapi.BPF_MAP_UPDATE_ELEM, text, Buffer.of(_FORMAT))
        # Formats must be what nobody changes.
        call(uapi.BPF_MAP_FREEZE, Struct("=I").pack(text))
        self._rows = array_of_one(_ROW.size * count, 0, own)
        code: list[object] = [
            (LD_IMM64, 6 | MAP_VALUE, self._rows),
            (LD_IMM64, 7 | MAP_VALUE, text),
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

    def add(self, told: Told, addresses: Sequence[int]) -> None:
        """Add what is known of some addresses, as many as there is room for."""
        rows = Buffer(_ROW.size * self._count)
        for row, address in enumerate(addresses):
            _ROW.pack_into(rows.data, row * _ROW.size, address, 0, b"")
        element(uapi.BPF_MAP_UPDATE_ELEM, self._rows, rows)
        run_once(self._prog)
        element(uapi.BPF_MAP_LOOKUP_ELEM, self._rows, rows)
        for address, length, text in _ROW.iter_unpack(rows.data):
            raw, plus, rest = text.partition(_PLUS)
            if not plus or not 0 < length <= _TEXT or not address:
                continue
            name = raw.decode("utf-8", "surrogateescape")
            if not rest.startswith(_BEGIN):
                told.names[address] = ""
            elif _is_program(name):
                told.names[address] = name
            elif _MODULE not in rest:
                told.others.append(address)


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
