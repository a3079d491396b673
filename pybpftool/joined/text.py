"""The joined view as text: two columns below each source line."""

from __future__ import annotations

from itertools import zip_longest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.joined.model import Group, Joined, JoinedFunction
    from pybpftool.output.stream import Output

# Longer instructions push their machine code to the right instead of all others'.
_WIDEST = 60


def write_text(out: Output, joined: Joined, opcodes: bool, linum: bool) -> None:
    """Write the view of a program.

    Each function begins with its prototype and the symbol of its machine code. Below a
    source line stand its translated instructions and, after ``|``, its machine code.

    :param opcodes: put the bytes before each instruction.
    :param linum: add file, line and column to source lines.
    """
    for number, function in enumerate(joined.functions):
        if number:
            out.write("\n")
        title = function.proto or function.name
        symbol = function.symbol
        out.write(f"{title or symbol}:" + (f"  | {symbol}\n" if title and symbol else "\n"))
        lefts = [_xlated(joined, group, opcodes) for group in function.groups]
        width = max((len(row) for rows in lefts for row in rows), default=0)
        width = min(width, _WIDEST + (24 if opcodes else 0))
        for group, left in zip(function.groups, lefts):
            out.write(_line(joined, group, linum))
            right = machine_texts(function, group, opcodes)
            for a, b in zip_longest(left, right, fillvalue=""):
                out.write(f"{a:{width}} | {b}\n" if b else f"{a:{width}} |\n")


def _line(joined: Joined, group: Group, linum: bool) -> str:
    record = group.record
    if record is None:
        return ""
    listing = joined.listing
    text = f"; {listing.source(record)}"
    if linum:
        line, column = listing.lines.number(record)
        text += f" [file:{listing.file(record)} line_num:{line} line_col:{column}]"
    return text + "\n"


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
