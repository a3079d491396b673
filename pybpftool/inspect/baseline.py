"""``bpf.lock``: what programs cost when somebody last looked, for each kernel.

What the verifier walks and what it makes of a program differs from kernel to kernel, so that
the numbers stand in a section for each release and machine.
"""

from __future__ import annotations

from pybpftool.errors import FormatError
from pybpftool.inspect.policy import GROWING
from pybpftool.inspect.report import Finding
from pybpftool.inspect.toml import Table, parse_file
from pybpftool.inspect.unknown import Hidden, TooOld
from pybpftool.inspect.wording import nearest, shown
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pybpftool.inspect.bounds import Bound
    from pybpftool.inspect.items import Item
    from pybpftool.inspect.policy import Rule
    from pybpftool.inspect.report import Outcome
    from pybpftool.kernel.interface import Kernel

SCHEMA = 1


class Row(Record):
    """The numbers of one program; None where they were not known."""

    name: str
    type: str
    verified_insns: int | None
    bytes_xlated: int | None
    bytes_jited: int | None


class Section(Record):
    """The programs of one kernel."""

    release: str
    machine: str
    rows: list[Row]


class Baseline:
    """The sections of a file."""

    def __init__(self, path: str, sections: list[Section]) -> None:
        self.path = path
        self.sections = sections

    def of(self, kernel: Kernel) -> list[Row] | None:
        """The programs that a kernel had, None where it has no section."""
        for section in self.sections:
            if (section.release, section.machine) == (kernel.release, kernel.machine):
                return section.rows
        return None

    def with_section(self, section: Section) -> Baseline:
        """A copy in which a kernel has this section."""
        kernel = section.release, section.machine
        others = [one for one in self.sections if (one.release, one.machine) != kernel]
        sections = sorted([*others, section], key=lambda one: (one.release, one.machine))
        return Baseline(self.path, sections)

    def text(self) -> str:
        """The file."""
        lines = ["# Written by `pybpftool check --write`; one section for each kernel.",
                 f"schema = {SCHEMA}"]  # fmt: skip
        for section in self.sections:
            lines += ["", "[[kernel]]", f"release = {quoted(section.release)}"]
            lines.append(f"machine = {quoted(section.machine)}")
            for row in section.rows:
                lines += ["", "[[kernel.prog]]"]
                lines += [f"{key} = {quoted(value) if isinstance(value, str) else value}"
                          for key, value in row._asdict().items() if value is not None]  # fmt: skip
        return "\n".join(lines) + "\n"


def lock_path(path: str) -> str:
    """Where the baseline of a policy is: ``bpf.lock`` for ``bpf.toml``."""
    return (path[: -len(".toml")] if path.endswith(".toml") else path) + ".lock"


def quoted(text: str) -> str:
    """A basic string of TOML; bytes that are not UTF-8 become question marks."""
    text = text.encode("utf-8", "replace").decode()
    parts = []
    for character in text:
        if character in '"\\':
            parts.append("\\" + character)
        elif character < " " or character == "\x7f":
            parts.append(f"\\u{ord(character):04x}")
        else:
            parts.append(character)
    return '"' + "".join(parts) + '"'


def load(path: str) -> Baseline:
    """Read a file; raises BpfError or FormatError with file and line."""
    document = parse_file(path)
    _known(path, document, ("schema", "kernel"))
    if document.get("schema") != SCHEMA:
        line = document.lines.get("schema", 1)
        raise FormatError(f"{path}:{line}: this version reads baselines of schema {SCHEMA}")
    sections = []
    for table in _tables(path, document, "kernel"):
        _known(path, table, ("release", "machine", "prog"))
        rows = [_row(path, one) for one in _tables(path, table, "prog")]
        release, machine = (_text(path, table, key) for key in ("release", "machine"))
        sections.append(Section(release, machine, rows))
    return Baseline(path, sections)


def _row(path: str, table: Table) -> Row:
    _known(path, table, Row._fields)
    numbers = []
    for key in GROWING:
        value = table.get(key)
        if value is not None and (type(value) is not int or value < 0):
            raise FormatError(f"{path}:{table.lines[key]}: '{key}' is a number")
        numbers.append(value)
    return Row(_text(path, table, "name"), _text(path, table, "type"), *numbers)


def _known(path: str, table: Table, keys: Iterable[str]) -> None:
    for key in table:
        if key not in keys:
            line = table.lines[key]
            raise FormatError(f"{path}:{line}: there is no '{key}' here{nearest(key, keys)}")


def _tables(path: str, table: Table, key: str) -> list[Table]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, Table) for one in found):
        raise FormatError(f"{path}:{table.lines[key]}: '{key}' is a list of tables")
    return found


def _text(path: str, table: Table, key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        raise FormatError(
            f"{path}:{table.lines.get(key, table.line)}: '{key}' is missing, or no text"
        )
    return value


def section_of(kernel: Kernel, programs: Iterable[Item]) -> Section:
    """The section that a kernel has now; twins stand once, with their largest numbers."""
    rows: dict[tuple[str, str], Row] = {}
    for item in programs:
        numbers = [item.get(key) for key in GROWING]
        row = Row(item.name, item.type, *[n if isinstance(n, int) else None for n in numbers])
        known = rows.get((item.name, item.type))
        if known is not None:
            pairs = zip(known[2:], row[2:])
            row = Row(*row[:2], *[max((n for n in pair if n is not None), default=None)
                                  for pair in pairs])  # fmt: skip
        rows[item.name, item.type] = row
    return Section(kernel.release, kernel.machine, [rows[key] for key in sorted(rows)])


def judge_growth(
    baseline: Baseline | None, kernel: Kernel, rule: Rule, items: list[Item], outcome: Outcome
) -> None:
    """Hold programs against the baseline: one that is missing fails, a new one is a note."""
    rows = None if baseline is None else baseline.of(kernel)
    if rows is None:
        where = f"{baseline.path} has no section for" if baseline is not None else "no baseline for"
        outcome.unknown.append(
            f"growth: {where} Linux {kernel.release} {kernel.machine};"
            " 'pybpftool check --write' makes it"
        )
        return
    known = {(row.name, row.type): row for row in rows}
    for item in items:
        row = known.get((_kept(item.name), item.type))
        if row is None:
            outcome.notes.append(f"{shown(item.label())} is not in the baseline")
            continue
        for key, bound in rule.checks["grows"].items():
            _grown(rule, item, key, bound, getattr(row, key), outcome)
    present = {(_kept(item.name), item.type) for item in items}
    for row in rows:
        if (row.name, row.type) not in present and _is_meant(rule, row):
            outcome.findings.append(
                Finding(
                    rule.id, rule.level, "program of the baseline", "loaded", "missing",
                    shown(f"prog {row.type} {row.name}"), 0, "", "pybpftool prog show", rule.line,
                )
            )  # fmt: skip


def _kept(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _is_meant(rule: Rule, row: Row) -> bool:
    """Whether the rule's selector fits a row, as far as a row can tell."""
    told: dict[str, Any] = {"name": row.name, "type": row.type}
    return all(key not in told or words.fit(told[key]) for key, words in rule.selector.items())


def _grown(
    rule: Rule, item: Item, key: str, bound: Bound, before: int | None, outcome: Outcome
) -> None:
    value = item.get(key)
    if isinstance(value, Hidden):
        outcome.unknown.append(f"{key} of {shown(item.label())} is hidden: {value}")
    elif isinstance(value, TooOld) or before is None:
        outcome.skipped.append(f"{key} of {shown(item.label())} is not in the baseline")
    elif value - before > bound.limit(before):
        limit = before + bound.limit(before)
        share = f" (+{100 * (value - before) / before:.1f}%)" if before else ""
        outcome.findings.append(
            Finding(
                rule.id, rule.level, f"growth of {key}", f"<= {limit:.0f}, {before} before",
                f"{value}{share}", shown(item.label()), item.id, "", item.command(), rule.line,
            )
        )  # fmt: skip
