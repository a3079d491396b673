"""The joined view as JSON."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.joined.model import Group, Joined, JoinedFunction
    from pybpftool.output.jsontext import JsonStream

_SEPARATORS = str.maketrans({",": " ", "(": " ", ")": " "})


def write_json(json: JsonStream, joined: Joined, opcodes: bool) -> None:
    """Write the view as an array of functions.

    A function has ``name``, ``proto`` and ``symbol`` where it has such a thing, and
    ``lines``: objects with ``src``, ``file``, ``line_num`` and ``line_col`` as far as they
    are known, ``xlated`` and ``jited``, the instructions as in dumps of that kind.
    """
    json.array(_function(joined, function, opcodes) for function in joined.functions)


def _function(joined: Joined, function: JoinedFunction, opcodes: bool) -> dict[str, Any]:
    record: dict[str, Any] = {
        key: text
        for key, text in (
            ("name", function.name),
            ("proto", function.proto),
            ("symbol", function.symbol),
        )
        if text
    }
    record["lines"] = [_group(joined, function, group, opcodes) for group in function.groups]
    return record


def _group(joined: Joined, function: JoinedFunction, group: Group, opcodes: bool) -> dict[str, Any]:
    listing = joined.listing
    record: dict[str, Any] = {}
    if group.record is not None:
        record["src"] = listing.source(group.record)
        record["file"] = listing.file(group.record)
        record["line_num"], record["line_col"] = listing.lines.number(group.record)
    image = listing.cfg.image
    record["xlated"] = xlated = []
    for slot in group.slots:
        insn: dict[str, Any] = {"pc": slot, "disasm": listing.texts[slot]}
        if opcodes:
            size = 16 if image.codes[slot] == 0x18 else 8
            insn["opcodes"] = _hex(image.data[8 * slot : 8 * slot + size])
        xlated.append(insn)
    record["jited"] = jited = []
    insns = function.instructions
    for index in group.machine:
        operation, _, operands = insns.texts[index].partition("\t")
        insn = {
            "pc": f"0x{insns.pcs[index]:x}",
            "operation": operation,
            "operands": operands.translate(_SEPARATORS).split() or [None],
        }
        if opcodes:
            insn["opcodes"] = _hex(insns.codes[index])
        if index in function.targets:
            insn["target"] = function.targets[index]
        jited.append(insn)
    return record


def _hex(code: bytes) -> list[str]:
    return [f"0x{byte:02x}" for byte in code]
