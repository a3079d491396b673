"""Control flow by brute force, from the instruction set (RFC 9669) alone.

Written without a look at ``pybpftool.cfg`` and without its helpers: one instruction at a
time, sets of pairs, no cleverness.
"""

from __future__ import annotations

import struct


class BruteFunction:
    """Blocks as (begin, end), edges as (begin of source or "entry", target or "exit", kind)."""

    def __init__(self) -> None:
        self.blocks: set[tuple[int, int]] = set()
        self.edges: set[tuple[object, object, str]] = set()


def fields(code: bytes, slot: int) -> tuple[int, int, int, int, int]:
    opcode, regs, off, imm = struct.unpack_from("<BBhi", code, slot * 8)
    return opcode, regs & 15, regs >> 4, off, imm


def instruction_slots(code: bytes) -> list[int]:
    slots = []
    slot = 0
    while slot < len(code) // 8:
        slots.append(slot)
        slot += 2 if fields(code, slot)[0] == 0x18 else 1
    return slots


def function_starts(code: bytes, known: list[int]) -> list[int]:
    starts = {0, *known}
    for slot in instruction_slots(code):
        opcode, _, src, off, imm = fields(code, slot)
        if opcode == 0x85 and src == 1:
            starts.add(slot + 1 + off)
        if opcode == 0x18 and src == 4:
            starts.add(slot + 1 + imm)
    return sorted(starts)


def ways_on(code: bytes, slot: int) -> list[tuple[object, str]]:
    """Where control goes after one instruction: (slot or "exit", how)."""
    opcode, _, _, off, imm = fields(code, slot)
    next_slot = slot + (2 if opcode == 0x18 else 1)
    if opcode == 0x95:
        return [("exit", "exit")]
    if opcode == 0x05:
        return [(slot + 1 + off, "jump")]
    if opcode == 0x06:
        return [(slot + 1 + imm, "jump")]
    is_jump_class = opcode % 8 in (5, 6)
    if is_jump_class and opcode >> 4 != 8:
        return [(next_slot, "false"), (slot + 1 + off, "true")]
    return [(next_slot, "next")]


def analyse(code: bytes, known: list[int]) -> list[BruteFunction]:
    slots = instruction_slots(code)
    starts = function_starts(code, known)
    functions = []
    for number, start in enumerate(starts):
        end = starts[number + 1] if number + 1 < len(starts) else len(code) // 8
        mine = [slot for slot in slots if start <= slot < end]
        entries = {start}
        for slot in mine:
            ways = ways_on(code, slot)
            if ways != [(slot + (2 if fields(code, slot)[0] == 0x18 else 1), "next")]:
                # Whatever comes after a jump or exit is a new block, as are its targets.
                entries.add(slot + 1)
                entries.update(target for target, _ in ways if isinstance(target, int))
        function = BruteFunction()
        function.edges.add(("entry", start, "entry"))
        block: list[int] = []
        for slot in mine:
            block.append(slot)
            width = 2 if fields(code, slot)[0] == 0x18 else 1
            following = slot + width
            if following < end and following not in entries:
                continue
            function.blocks.add((block[0], following))
            for target, how in ways_on(code, slot):
                if target == end:  # falls off the end
                    target, how = "exit", ("exit" if how == "next" else how)
                function.edges.add((block[0], target, how))
            block = []
        functions.append(function)
    return functions


def reachable(edges: set[tuple[object, object, str]], without: object = None) -> set[object]:
    """Nodes that a path from the entry leads to, not going through ``without``."""
    seen: set[object] = set[object]({"entry"}) - {without}
    grown = True
    while grown:
        grown = False
        for source, target, _ in edges:
            if source in seen and target not in seen and target != without:
                seen.add(target)
                grown = True
    return seen


def dominates(edges: set[tuple[object, object, str]], above: object, node: object) -> bool:
    """Whether ``node`` can be reached, but not without ``above``."""
    if node not in reachable(edges):
        return False
    return node == above or node not in reachable(edges, without=above)


def on_cycle(edges: set[tuple[object, object, str]], source: object, target: object) -> bool:
    """Whether the edge lies on a cycle."""
    seen = {target}
    grown = True
    while grown:
        grown = False
        for a, b, _ in edges:
            if a in seen and b not in seen:
                seen.add(b)
                grown = True
    return source in seen
