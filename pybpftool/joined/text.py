"""The joined view as text: two columns below each source line."""

from __future__ import annotations

from itertools import zip_longest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pybpftool.joined.model import Group, Joined, JoinedFunction
    from pybpftool.output.stream import Output

# Longer instructions push their machine code to the right instead of all others'.
_WIDEST = 60
# Below this a terminal is too narrow for two columns: it folds lines by itself.
_NARROWEST = 50
_BAR = " | "


def write_text(out: Output, joined: Joined, opcodes: bool, linum: bool, columns: int = 0) -> None:
    """Write the view of a program.

    Each function begins with its prototype and the symbol of its machine code. Below a
    source line stand its translated instructions and, after ``|``, its machine code.

    :param opcodes: put the bytes before each instruction.
    :param linum: add file, line and column to source lines, one for each column.
    :param columns: fold longer lines to this width; 0: leave them as long as they are.
    """
    columns = columns if columns >= _NARROWEST else 0
    for number, function in enumerate(joined.functions):
        if number:
            out.write("\n")
        title = function.proto or function.name
        symbol = function.symbol
        head = f"{title or symbol}:" + (f"  | {symbol}" if title and symbol else "")
        out.write("\n".join(_folded([head], columns, 4)) + "\n")
        groups = function.groups if linum else joined.rows(function)
        lefts = [_xlated(joined, group, opcodes) for group in groups]
        rights = [machine_texts(function, group, opcodes) for group in groups]
        width = min(_longest(lefts), _WIDEST + (24 if opcodes else 0))
        room = columns - len(_BAR)
        if columns:
            width = min(width, max(room // 2, room - _longest(rights)))
        for group, left, right in zip(groups, lefts, rights):
            source = _line(joined, group, linum)
            if source:
                out.write("\n;   ".join(_folded([source], columns, 0)) + "\n")
            if columns:
                left = _folded(left, width, 6)
                right = _folded(right, room - width, 6)
            for a, b in zip_longest(left, right, fillvalue=""):
                out.write(f"{a.ljust(width)} | {b}\n" if b else f"{a.ljust(width)} |\n")


def _longest(rows: Iterable[list[str]]) -> int:
    return max((len(row) for group in rows for row in group), default=0)


def _folded(rows: Iterable[str], width: int, indent: int) -> list[str]:
    """Rows that are no longer than ``width``, folded at blanks where there are any."""
    folded: list[str] = []
    for row in rows:
        rest = row
        while width and len(rest) > width - (0 if indent else 4):
            at = rest.rfind(" ", indent + 1, width - 3)
            at = at if at > 0 else width - 4
            folded.append(rest[:at].rstrip())
            rest = " " * indent + rest[at:].lstrip()
        folded.append(rest)
    return folded


def _line(joined: Joined, group: Group, linum: bool) -> str:
    record = group.record
    if record is None:
        return ""
    listing = joined.listing
    text = f"; {listing.source(record)}"
    if linum:
        line, column = listing.lines.number(record)
        text += f" [file:{listing.file(record)} line_num:{line} line_col:{column}]"
    return text


def _xlated(joined: Joined, group: Group, opcodes: bool) -> list[str]:
    texts = joined.listing.texts
    if not opcodes:
        return [f"{slot:4}: {texts[slot]}" for slot in group.slots]
    image = joined.listing.cfg.image
    rows = []
    for slot in group.slots:
        size = 16 if image.codes[slot] == 0x18 else 8
        code = image.data[8 * slot : 8 * slot + size].hex(" ")
        rows.append(f"{slot:4}: {code}  {texts[slot]}")
    return rows


def machine_texts(function: JoinedFunction, group: Group, opcodes: bool) -> list[str]:
    """The lines of a group's machine code."""
    insns = function.instructions
    rows = []
    for index in group.machine:
        mnemonic, tab, operands = insns.texts[index].partition("\t")
        text = f"{mnemonic:<7} {operands.strip()}" if tab else mnemonic
        name = function.targets.get(index)
        if name:
            text += f" <{name}>"
        code = f"{insns.codes[index].hex(' '):<30}  " if opcodes else ""
        rows.append(f"{insns.pcs[index]:4x}: {code}{text}")
    return rows
