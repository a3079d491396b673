"""What the verifier's log says: why it refuses a program, where, and its statistics."""

from __future__ import annotations

from pybpftool.records import Record

_TAIL = 16  # lines of a log that are worth showing
# Lines that tell of the verifier's work and not of the program (print_verification_stats(),
# kernel/bpf/verifier.c).
_STATISTICS = ("processed ", "verification time ", "stack depth ", "insns processed ")
# From Linux 7.3 on, a line for each function: its instructions, and its stack at the end.
_FUNCTION, _OF_FUNCTION = "subprog ", " insns_self "
# There the reasons are explained once more, behind this: what, why, where, what to do.
_EXPLAINED = "Verification failed: "
# Lines between the instructions that explain how the verifier goes on.
_WORK = (
    "from ",
    "mark_precise: ",
    "propagating ",
    "parent ",
    "last_idx ",
    "caller:",
    "callee:",
    "cur state:",
    "old state:",
)
_REASONS = 3  # lines
_FUNCTIONS = 256  # BPF_MAX_SUBPROGS, include/linux/bpf_verifier.h


class Refusal(Record):
    """Why the verifier refuses a program.

    ``place`` is ``file.c:12`` where the kernel tells (v6.9), ``source`` the line of source;
    both are empty where the program has no line information.
    """

    reason: str
    place: str
    source: str


class Statistics(Record):
    """What verifying a program took; None for what the kernel did not tell.

    ``stack_depths`` are bytes, the main program's first.
    """

    insns: int | None = None
    states: int | None = None
    peak_states: int | None = None
    duration_us: int | None = None
    stack_depths: tuple[int, ...] = ()


def refusal(log: str) -> Refusal:
    """Read the end of the log of a program that was refused."""
    lines = [line for line in log.splitlines() if line and not _is_statistics(line)]
    explained = _explanation(lines)
    what = "".join(lines[explained : explained + 1]).removeprefix(_EXPLAINED)
    del lines[explained:]
    reasons: list[str] = []
    at = len(lines)
    while at and not _is_code(lines[at - 1]):
        at -= 1
        if not lines[at].startswith(_WORK):
            reasons.append(lines[at].strip())
    reasons = reasons[:_REASONS][::-1]
    place = source = ""
    for line in reversed(lines):
        if line.startswith("; "):
            source, at_sign, place = line[2:].rpartition(" @ ")
            if not at_sign:
                source, place = line[2:], ""
            break
    return Refusal("; ".join(reasons) or what, place, source.strip())


def _is_statistics(line: str) -> bool:
    return line.startswith(_STATISTICS) or (line.startswith(_FUNCTION) and _OF_FUNCTION in line)


def _explanation(lines: list[str]) -> int:
    """Where the reasons are explained; the number of lines where they are not."""
    found = (at for at in range(len(lines) - 1, -1, -1) if lines[at].startswith(_EXPLAINED))
    return next(found, len(lines))


def _is_code(line: str) -> bool:
    """Whether a line is an instruction, a state or a line of source."""
    if line.startswith("; "):
        return True
    number, colon, rest = line.partition(":")
    return bool(colon) and number.isdecimal() and rest[:2] in (" (", " R", " <")


def tail(log: str) -> str:
    """The last lines of a log, from the line of source at fault on where that is near."""
    lines = log.splitlines()
    explained = _explanation(lines)
    start = max(0, explained - _TAIL)
    for at in range(explained - 1, start, -1):
        if lines[at].startswith("; "):
            start = at
            break
    return "".join(f"{line}\n" for line in lines[start:])


def statistics(log: str) -> Statistics:
    """Read the statistics at the end of a log (BPF_LOG_STATS, v5.2)."""
    numbers: dict[str, int] = {}
    depths: tuple[int, ...] = ()
    for line in log.splitlines()[-_TAIL - _FUNCTIONS :]:
        words = line.split()
        if line.startswith(_FUNCTION) and _OF_FUNCTION in line:
            if words[-2] == "stack" and words[-1].isdecimal():
                depths += (int(words[-1]),)
        elif line.startswith("stack depth ") and len(words) > 2:
            parts = words[2].split("+")
            if all(part.isdecimal() for part in parts):
                depths = tuple(map(int, parts))
        elif line.startswith(_STATISTICS):
            for name, value in zip(words, words[1:]):
                if value.isdecimal():
                    numbers[name] = int(value)
    return Statistics(
        numbers.get("processed"),
        numbers.get("total_states"),
        numbers.get("peak_states"),
        numbers.get("time"),
        depths,
    )
