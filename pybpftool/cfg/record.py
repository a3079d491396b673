"""Control-flow graphs as JSON."""

from __future__ import annotations

from pybpftool.cfg.graph import ENTRY, EXIT, FIRST_BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from pybpftool.cfg.graph import Function
    from pybpftool.cfg.listing import Listing
    from pybpftool.output.jsontext import JsonStream


def write_json(
    json: JsonStream,
    listing: Listing,
    opcodes: bool = False,
    linum: bool = False,
    only: Collection[int] | None = None,
    calls_only: bool = False,
) -> None:
    """Write a graph as one object with ``functions`` and ``calls``.

    Places are instruction slots of the whole program, blocks run from ``begin`` to
    before ``end``. Nodes are named as in DOT. ``idom`` is null for a node that no path
    leads to; a loop's ``sources`` are the blocks that lead back to its ``header``.

    :param only: the indexes of the functions to write, all by default.
    :param calls_only: leave out what is in the functions.
    """
    cfg = listing.cfg
    functions = [f for f in cfg.functions if only is None or f.index in only]
    json.begin_object()
    json.name("functions")
    json.array(_function(listing, f, opcodes, linum, calls_only) for f in functions)
    indexes = {function.index for function in functions}
    json.name("calls")
    json.array(
        {
            "from": call.caller,
            "block": node_name(call.caller, cfg.functions[call.caller].block_at(call.slot)),
            "pc": call.slot,
            "to": call.callee,
            "kind": call.kind,
        }
        for call in cfg.calls
        if call.caller in indexes
    )
    json.end()


def node_name(function: int, node: int) -> str:
    """The name of a node, as upstream's DOT has it."""
    return f"fn_{function}_bb_{node}"


def _function(
    listing: Listing, function: Function, opcodes: bool, linum: bool, calls_only: bool
) -> dict[str, Any]:
    index = function.index
    record: dict[str, Any] = {
        "index": index,
        "name": listing.names[index],
        "begin": function.begin,
        "end": function.end,
    }
    proto = listing.protos.get(function.begin)
    if proto:
        record["proto"] = proto
    if calls_only:
        return record
    idom = function.dominators()
    lines = listing.shown_lines(function)

    def dominator(node: int) -> str | None:
        return node_name(index, idom[node]) if idom[node] >= 0 and node != ENTRY else None

    record["entry"] = node_name(index, ENTRY)
    record["exit"] = node_name(index, EXIT)
    record["blocks"] = [
        {
            "name": node_name(index, block.number),
            "begin": block.begin,
            "end": block.end,
            "reachable": block.is_reachable,
            "idom": dominator(block.number),
            "insns": _instructions(listing, block.begin, block.end, lines, opcodes, linum),
        }
        for block in function.blocks
    ]
    record["edges"] = [
        {
            "from": node_name(index, edge.source),
            "to": node_name(index, edge.target),
            "kind": edge.kind,
            "back": edge.is_back,
            "retreating": edge.is_retreating,
        }
        for edge in function.edges
    ]
    record["loops"] = [
        {
            "header": node_name(index, loop.header),
            "sources": [node_name(index, node) for node in loop.sources],
            "blocks": [node_name(index, node) for node in loop.blocks if node >= FIRST_BLOCK],
        }
        for loop in function.loops()
    ]
    record["unknown_targets"] = function.has_unknown_targets
    return record


def _instructions(
    listing: Listing,
    begin: int,
    end: int,
    lines: dict[int, int],
    opcodes: bool,
    linum: bool,
) -> list[dict[str, Any]]:
    image = listing.cfg.image
    result = []
    for slot in range(begin, end):
        if image.is_start is not None and not image.is_start[slot]:
            continue
        record: dict[str, Any] = {}
        if slot in lines:
            line = lines[slot]
            record["src"] = listing.source(line)
            if linum:
                record["file"] = listing.file(line)
                record["line_num"], record["line_col"] = listing.lines.number(line)
        record["pc"] = slot
        record["disasm"] = listing.texts[slot]
        if opcodes:
            size = 16 if image.codes[slot] == 0x18 else 8
            code = image.data[8 * slot : 8 * slot + size]
            record["opcodes"] = [f"0x{byte:02x}" for byte in code]
        result.append(record)
    return result
