"""What the seccomp filters of a task let it do: each system call's verdict.

A filter is run for each system call with what is known, its number and architecture; where it
looks at the arguments or the address of the caller, both ways are gone.
"""

from __future__ import annotations

from pybpftool.errors import FormatError
from pybpftool.insn.classic import JA, RET_A, RET_K, ClassicInsn, text
from pybpftool.records import Record
from pybpftool.uapi.syscalls import ARCHITECTURES, X32_BIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

# include/uapi/linux/seccomp.h: SECCOMP_RET_ACTION_FULL and what stands there
_ACTION, _DATA = 0xFFFF0000, 0xFFFF
_ERRNO, _TRAP, _TRACE = 0x00050000, 0x00030000, 0x7FF00000
_ACTIONS = {
    0x80000000: "kill_process",
    0x00000000: "kill_thread",
    _TRAP: "trap",
    _ERRNO: "errno",
    0x7FC00000: "user_notif",
    _TRACE: "trace",
    0x7FFC0000: "log",
    0x7FFF0000: "allow",
}
_ANY_DATA = 1 << 32  # set in a result whose data is not known
_NR, _ARCH = 0, 4  # offsets of struct seccomp_data
_SIZE = 64  # of struct seccomp_data
_DIVISIONS = (0x34, 0x3C)
# BPF_ALU with a constant and with X; there is one BPF_NEG, and BPF_MOD is refused.
_ARITHMETIC = frozenset({op | x for op in (*range(0, 0x90, 16), 0xA0) for x in (4, 12)} - {0x8C})
_MAX_ERRNO = 4095  # linux/err.h; the kernel makes larger ones this
_MOST_STEPS = 1 << 20
_OTHERS = 1 << 29  # a number that no system call has
_MOST_SMALL = 0xFFFF

_NUMBERS = {name: number for number, (name, _) in ARCHITECTURES.items()}
_X86_64 = _NUMBERS["x86_64"]


def native(machine: str) -> int | None:
    """AUDIT_ARCH_* of a kernel's own system calls by its ``uname -m``; None where unknown."""
    if machine.endswith("86"):
        machine = "i386"
    elif machine.startswith("aarch64"):
        machine = "aarch64"
    elif machine.startswith("arm"):
        machine = "armeb" if machine.endswith("b") else "arm"
    return _NUMBERS.get(machine)


class Task(Record):
    """A task and its filters, the oldest first.

    ``mode`` is 0 without seccomp, 1 for the strict mode (read, write, _exit, sigreturn), 2
    with filters (``Seccomp:`` in proc_pid_status(5)).
    """

    pid: int
    comm: str
    mode: int
    filters: Sequence[Sequence[ClassicInsn]]
    machine: str

    @property
    def mode_name(self) -> str:
        """The mode in a word."""
        return ("disabled", "strict", "filter")[self.mode] if self.mode < 3 else str(self.mode)

    def text(self, with_code: bool = True) -> str:
        """The filters as instructions, and the verdicts of each architecture."""
        head = f"pid {self.pid} ({self.comm}): seccomp {self.mode_name}"
        if not self.filters:
            return head + "\n"
        count = len(self.filters)
        parts = [f"{head}, {count} filter{'s' if count > 1 else ''}\n"]
        for at, insns in enumerate(self.filters if with_code else ()):
            last = " (added last, asked first)" if count > 1 and at == count - 1 else ""
            parts.append(f"\nfilter {at}{last}: {len(insns)} instructions\n")
            parts += [line + "\n" for line in annotated(insns, self.machine)]
        for arch, groups in self.verdicts().items():
            parts.append(f"\n{arch}:\n")
            width = max(len(verdict) for verdict in groups)
            for verdict, names in groups.items():
                parts += _wrapped(f"  {verdict:<{width}}  ", names)
        return "".join(parts)

    def json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "pid": self.pid,
            "comm": self.comm,
            "mode": self.mode_name,
            "filters": [[insn._asdict() for insn in insns] for insns in self.filters],
            "verdicts": self.verdicts(),
        }

    def verdicts(self) -> dict[str, dict[str, list[str]]]:
        """Architecture -> verdict -> the names of its system calls; ``others`` for the rest."""
        found: dict[str, dict[str, list[str]]] = {}
        if not self.filters:
            return found
        own = native(self.machine)
        named = {k for insns in self.filters for k in _compared(insns)}
        # The numbers of old architectures are small, and may be of anything else.
        archs = {k for k in named if k > _MOST_SMALL}
        for insns in self.filters:
            archs |= _notes(insns, own or 0)[1]
        for number, (name, table) in ARCHITECTURES.items():
            if number == own or number in archs:
                found[name] = self._grouped(number, table)
                if number == _X86_64 and any(k & X32_BIT and k < 1 << 31 for k in named):
                    x32 = {X32_BIT | nr: call for nr, call in table.items()}
                    found["x32"] = self._grouped(number, x32, X32_BIT)
        return found

    def _grouped(self, arch: int, table: dict[int, str], bit: int = 0) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for nr in sorted(table):
            groups.setdefault(self.verdict(arch, nr), []).append(table[nr])
        groups.setdefault(self.verdict(arch, _OTHERS | bit), []).append("others")
        return groups

    def verdict(self, arch: int, nr: int) -> str:
        """What happens to a system call, several words with ``|`` where arguments decide."""
        results = {0x7FFF0000}
        for insns in self.filters:
            ways = outcomes(insns, arch, nr)
            # The strictest of all filters counts: the least, as a signed number. Of equal ones
            # it is the one that was added last (seccomp_run_filters()).
            results = {min(new, old, key=_rank) for old in results for new in ways}
        return " | ".join([action_text(one) for one in sorted(results, key=_rank, reverse=True)])


def _rank(result: int) -> int:
    action = result & _ACTION
    return action - (1 << 32) if action >> 31 else action


def action_text(result: int) -> str:
    """What a filter returns: ``allow``, ``errno EPERM``, ``trace 5``."""
    action, data = result & _ACTION, result & _DATA
    name = _ACTIONS.get(action)
    if name is None:
        return "kill_process"  # what the kernel makes of an action that it does not know
    if result & _ANY_DATA:
        return f"{name} ?" if action in (_ERRNO, _TRAP, _TRACE) else name
    if action == _ERRNO:
        from errno import errorcode

        data = min(data, _MAX_ERRNO)
        return f"errno {errorcode.get(data, data)}"
    return f"{name} {data}" if data and action in (_TRAP, _TRACE) else name


def outcomes(insns: Sequence[ClassicInsn], arch: int, nr: int) -> set[int]:
    """All that a filter can return for a system call, whatever its arguments are."""
    unknown = {action | _ANY_DATA for action in _ACTIONS}
    results: set[int] = set()
    start: tuple[Any, ...] = (0, 0, 0, (0,) * 16)
    seen = {start}
    waiting = [start]
    steps = 0
    while waiting:
        pc, a, x, memory = waiting.pop()
        steps += 1
        if steps > _MOST_STEPS:
            raise FormatError("the filter has more ways through it than can be followed")
        if pc >= len(insns):
            raise FormatError("the filter goes beyond its end")
        insn = insns[pc]
        if insn.code in (RET_K, RET_A):
            value = insn.k if insn.code == RET_K else a
            results |= {value} if value is not None else unknown
            continue
        divisor = (x if insn.code & 8 else insn.k) if insn.code in _DIVISIONS else 1
        if not divisor:  # a filter that divides by zero ends there, and returns 0
            results.add(0)
            if divisor == 0:
                continue
        for state in _steps(insn, pc, a, x, memory, arch, nr):
            if state not in seen:
                seen.add(state)
                waiting.append(state)
    return results


def _steps(
    insn: ClassicInsn, pc: int, a: int | None, x: int | None, memory: Any, arch: int, nr: int
) -> Iterable[tuple[Any, ...]]:
    """The states behind one instruction: None is a value that is not known."""
    code, jt, jf, k = insn
    kind = code & 7
    if code == JA:
        return ((pc + 1 + k, a, x, memory),)
    if kind == 5:
        taken = _holds(code & 0xF0, a, x if code & 8 else k)
        ways = (jt, jf) if taken is None else (jt if taken else jf,)
        return [(pc + 1 + way, a, x, memory) for way in ways]
    if code in (0x20, 0x00, 0x60, 0x80):  # ld: a word of seccomp_data, #k, M[k], #pktlen
        a = {0x20: {_NR: nr, _ARCH: arch}.get(k), 0x00: k, 0x80: _SIZE}.get(code)
        a = memory[k & 15] if code == 0x60 else a
    elif code in (0x01, 0x61, 0x81):
        x = k if code == 0x01 else _SIZE if code == 0x81 else memory[k & 15]
    elif code in (0x02, 0x03):
        at = k & 15
        memory = (*memory[:at], a if code == 0x02 else x, *memory[at + 1 :])
    elif code == 0x07:
        x = a
    elif code == 0x87:
        a = x
    elif code in _ARITHMETIC:
        other = x if code & 8 else k
        a = None if a is None or other is None else _arithmetic(code & 0xF0, a, other)
    else:
        raise FormatError(f"({pc:03d}) is no instruction that seccomp takes")
    return ((pc + 1, a, x, memory),)


def _holds(op: int, a: int | None, other: int | None) -> bool | None:
    if a is None or other is None:
        return None
    return {0x10: a == other, 0x20: a > other, 0x30: a >= other, 0x40: bool(a & other)}.get(op)


def _arithmetic(op: int, a: int, b: int) -> int:
    shift = b & 31
    results = {
        0x00: a + b,
        0x10: a - b,
        0x20: a * b,
        0x30: a // b if b else 0,
        0x40: a | b,
        0x50: a & b,
        0x60: a << shift,
        0x70: a >> shift,
        0x80: -a,
        0xA0: a ^ b,
    }
    return results[op] & 0xFFFFFFFF


def _compared(insns: Iterable[ClassicInsn]) -> set[int]:
    """The numbers that a filter compares with."""
    return {insn.k for insn in insns if insn.code & 7 == 5 and not insn.code & 8}


def annotated(insns: Sequence[ClassicInsn], machine: str) -> list[str]:
    """The lines of a seccomp filter, with names of system calls, architectures and verdicts.

    Where a filter has not asked for the architecture, the names are those of ``machine``.
    """
    notes, _ = _notes(insns, native(machine) or 0)
    lines = []
    for pc, insn in enumerate(insns):
        line = text(insn, pc)
        note = notes.get(pc)
        lines.append(f"{line}\t; {note}" if note else line)
    return lines


def _notes(insns: Sequence[ClassicInsn], native: int) -> tuple[dict[int, str], set[int]]:
    """What each instruction is about, and which architectures are asked for.

    A is followed along the ways through the filter.
    """
    notes: dict[int, str] = {}
    asked = set()
    # pc -> (what A holds, the architecture that is known there), "" where ways differ
    states: dict[int, tuple[str, int]] = {0: ("", 0)}
    for pc, insn in enumerate(insns):
        if pc not in states:
            continue
        held, arch = states[pc]
        code, jt, jf, k = insn
        if code == 0x20:
            held = _field(k)
            notes[pc] = held
        elif code == RET_K:
            notes[pc] = action_text(k)
        elif code & 7 in (0, 4) or code == 0x87:
            held = ""
        equal = arch
        if code == 0x15 and held == "arch" and k in ARCHITECTURES:
            notes[pc] = ARCHITECTURES[k][0]
            asked.add(k)
            equal = k
        elif code in (0x15, 0x25, 0x35) and held == "nr":
            notes[pc] = _call_name(arch or native, k)
        if code == JA:
            ways = [(pc + 1 + k, arch)]
        elif code & 7 == 5:
            ways = [(pc + 1 + jt, equal), (pc + 1 + jf, arch)]
        elif code & 7 == 6:
            ways = []
        else:
            ways = [(pc + 1, arch)]
        for target, known in ways:
            other = states.get(target)
            state = held, known
            if other is not None and other != state:
                state = (
                    held if other[0] == held else "",
                    known if other[1] == known else other[1] or known,
                )
            states[target] = state
    return notes, asked


def _field(offset: int) -> str:
    if offset == _NR:
        return "nr"
    if offset == _ARCH:
        return "arch"
    if 16 <= offset < 64:
        half = "" if offset % 8 == 0 else " (upper half)"
        return f"args[{(offset - 16) // 8}]{half}"
    return "instruction_pointer"


def _call_name(arch: int, nr: int) -> str:
    table = ARCHITECTURES.get(arch, ("", {}))[1]
    name = table.get(nr)
    if name is None and nr & X32_BIT and arch == _X86_64:
        rest = table.get(nr & ~X32_BIT)
        return f"x32 {rest}" if rest else "x32"
    return name or ""


def _wrapped(head: str, names: Sequence[str]) -> list[str]:
    """Names behind a head, on lines of at most 100 characters."""
    lines = []
    line = head
    for at, name in enumerate(names):
        word = name if at == len(names) - 1 else f"{name}, "
        if len(line) + len(word) > 100 and line.strip():
            lines.append(line.rstrip() + "\n")
            line = " " * len(head)
        line += word
    return [*lines, line.rstrip() + "\n"]
