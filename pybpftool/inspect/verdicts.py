"""What the verifier makes of programs: as a table, CSV, JSON, and beside an earlier run."""

from __future__ import annotations

from pybpftool.cnumber import decimal
from pybpftool.errors import FormatError
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

# The columns of the CSV: the names are veristat's, whose files serve as a base, too.
_CSV = (
    "file_name",
    "prog_name",
    "verdict",
    "duration",
    "total_insns",
    "total_states",
    "peak_states",
    "stack_depth",
)
_NAMED = 8  # programs that have a reason in common
_HEAD = ("FILE", "PROGRAM", "VERDICT", "INSNS", "STATES", "PEAK", "STACK", "TIME (us)")


class Verdict(Record):
    """The verdict on one program; numbers that the kernel did not tell are None.

    ``verdict`` is ``success``, ``failure``, or ``unknown`` where the kernel judged nothing since a
    right or memory was missing; ``stack_depths`` are bytes of the program and of
    its functions.
    """

    file: str
    program: str
    verdict: str
    insns: int | None = None
    states: int | None = None
    peak_states: int | None = None
    stack_depths: tuple[int, ...] = ()
    duration_us: int | None = None
    reason: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What the verdicts of two runs meet by: the file's own name, and the program."""
        return self.file.rpartition("/")[2], self.program

    def json(self) -> dict[str, Any]:
        """As plain data; ``reason`` only where there is one."""
        record = self._asdict()
        record["stack_depths"] = list(self.stack_depths)
        if not self.reason:
            del record["reason"]
        return record

    def cells(self) -> list[str]:
        """As the row of a table."""
        depth = "+".join(map(str, self.stack_depths))
        numbers = (self.insns, self.states, self.peak_states, depth or None, self.duration_us)
        name = self.key[0]
        return [name, self.program, self.verdict, *("-" if n is None else str(n) for n in numbers)]


def table(verdicts: Sequence[Verdict]) -> str:
    """Verdicts in columns, and below why programs were refused: equal reasons once."""
    text = columns([_HEAD, *(verdict.cells() for verdict in verdicts)], 3)
    programs: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.reason:
            programs.setdefault(verdict.reason, []).append(verdict.program)
    reasons = "".join([f"{_some(names)}: {reason}\n" for reason, names in programs.items()])
    return f"{text}\n{reasons}" if reasons else text


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest


def columns(rows: Iterable[Sequence[str]], left: int) -> str:
    """Rows with their columns aligned, the first ``left`` of them at the left."""
    whole = list(rows)
    widths = [max(map(len, column)) for column in zip(*whole)]
    lines = []
    for row in whole:
        cells = [
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def csv(verdicts: Iterable[Verdict]) -> str:
    """Verdicts as comma-separated values with a line of names."""
    lines = [",".join(_CSV)]
    for verdict in verdicts:
        name, program = verdict.key
        depth = "+".join(map(str, verdict.stack_depths))
        numbers = (verdict.duration_us, verdict.insns, verdict.states, verdict.peak_states)
        cells = [_quoted(name), _quoted(program), verdict.verdict]
        cells += ["" if number is None else str(number) for number in numbers]
        lines.append(",".join([*cells, depth]))
    return "".join(f"{line}\n" for line in lines)


def _quoted(cell: str) -> str:
    if any(c in cell for c in ',"\n\r'):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def read(text: str) -> list[Verdict]:
    """Read back what :func:`csv` or ``-j`` wrote, or a CSV of veristat's. Raises FormatError."""
    if text.lstrip()[:1] == "[":
        return _from_json(text)
    import csv as csv_module

    try:
        rows = list(csv_module.DictReader(text.splitlines(), strict=True))
    except csv_module.Error as error:
        raise FormatError(f"it is no CSV: {error}") from None
    if not rows or not {"file_name", "prog_name", "verdict"} <= rows[0].keys():
        raise FormatError("it has no columns file_name, prog_name and verdict")
    return [_from_row(row) for row in rows]


def _from_row(row: dict[str, str]) -> Verdict:
    def number(name: str) -> int | None:
        return decimal(row.get(name) or "")

    depths = (row.get("stack_depth") or "").split("+")
    return Verdict(
        row["file_name"] or "", row["prog_name"] or "", row["verdict"] or "",
        number("total_insns"), number("total_states"), number("peak_states"),
        tuple(depth for depth in map(decimal, depths) if depth is not None), number("duration"),
    )  # fmt: skip


def _from_json(text: str) -> list[Verdict]:
    import json

    names = Verdict._fields
    try:
        records = json.loads(text)
        verdicts = [
            Verdict(**{name: record[name] for name in names if name in record})
            for record in records
            if [*record] != ["error"]  # of a file that could not be read
        ]
    except (ValueError, TypeError, RecursionError):
        raise FormatError("it is no JSON of 'obj verify'") from None
    wrong = [v for v in verdicts if not isinstance(v.file, str) or not isinstance(v.program, str)]
    numbers = (n for v in verdicts for n in (v.insns, v.states) if n is not None)
    if wrong or not all(isinstance(number, int) for number in numbers):
        raise FormatError("it is no JSON of 'obj verify'")
    return verdicts


class Comparison(Record):
    """A program in two runs; None where it is in one of them alone."""

    old: Verdict | None
    new: Verdict | None

    @property
    def is_worse(self) -> bool:
        """Whether it was verified before, and now is refused or missing."""
        return (
            self.old is not None
            and self.old.verdict == "success"
            and (self.new is None or self.new.verdict not in ("success", "unknown"))
        )

    def json(self) -> dict[str, Any]:
        """Both sides, None for the one that has no such program."""
        return {
            "old": None if self.old is None else self.old.json(),
            "new": None if self.new is None else self.new.json(),
        }


def compare(old: Iterable[Verdict], new: Iterable[Verdict]) -> list[Comparison]:
    """Programs of two runs side by side, in the order of the new one."""
    before = {verdict.key: verdict for verdict in old}
    found = [Comparison(before.pop(verdict.key, None), verdict) for verdict in new]
    return found + [Comparison(verdict, None) for verdict in before.values()]


def comparison_table(comparisons: Iterable[Comparison]) -> str:
    """Comparisons in columns: verdicts, instructions and states of both, and the change."""
    head = ("FILE", "PROGRAM", "VERDICT", "INSNS OLD", "NEW", "CHANGE", "STATES OLD", "NEW",
            "CHANGE")  # fmt: skip
    rows: list[Sequence[str]] = [head]
    for old, new in comparisons:
        one = old if new is None else new
        if one is None:
            continue
        verdicts = [side.verdict if side is not None else "missing" for side in (old, new)]
        verdict = verdicts[0] if verdicts[0] == verdicts[1] else " -> ".join(verdicts)
        rows.append(
            (
                *one.key,
                verdict,
                *_change(old and old.insns, new and new.insns),
                *_change(old and old.states, new and new.states),
            )
        )
    return columns(rows, 3)


def _change(old: int | None, new: int | None) -> tuple[str, str, str]:
    cells = ["-" if number is None else str(number) for number in (old, new)]
    if old is None or new is None:
        return cells[0], cells[1], "-"
    percent = f" ({100 * (new - old) / old:+.2f}%)" if old else ""
    return cells[0], cells[1], f"{new - old:+d}{percent}"
