"""Tail calls that find nothing: slots of program arrays that are empty and jumped to."""

from __future__ import annotations

import struct

from pybpftool.errors import BpfError
from pybpftool.inspect.enumeration import is_gone
from pybpftool.uapi.bpf import BPF_PSEUDO_MAP_FD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.inspect.owners import Graph

# Opcodes (include/uapi/linux/bpf.h, bpf_common.h) and the helper.
_CALL, _LD_IMM64 = 0x85, 0x18
_MOV_K, _MOV32_K, _MOV = 0xB7, 0xB4, 0xBF
_TAIL_CALL = 12  # BPF_FUNC_tail_call(ctx, map, index)
_CALLER_SAVED = range(6)
_JUMPS = (0x05, 0x06)  # classes BPF_JMP and BPF_JMP32


def empty_slots(
    graph: Graph, not_told: Callable[[str], None]
) -> Iterator[tuple[int, int, int | None]]:
    """(map, program, slot) of jumps into empty slots by programs that act somewhere.

    A slot that only the running program knows is None: then all slots are empty.
    """
    arrays = {id: item for id, item in graph.items("map").items() if item.type == "prog_array"}
    filled = {id: {int(key) for key, _ in slots} for id, slots in graph.slots.items()
              if id in arrays}  # fmt: skip
    for prog_id, item in graph.items("prog").items():
        used = [id for id in item.record.map_ids if id in arrays]
        if not used or not graph.roots(("prog", prog_id)):
            continue
        jumps: set[tuple[int, int | None]] = set()
        try:
            code = item.asked(graph.inventory.code.raw)
        except BpfError as error:
            if not is_gone(graph.inventory.kernel, "prog", prog_id):
                not_told(str(error))
            continue
        if code is None:
            not_told(f"the kernel does not show where program {prog_id} jumps to")
        else:
            jumps = set(jumps_in(code, graph.inventory.kernel.byteorder))
        for map_id in used:
            if map_id not in filled:
                continue  # what it holds could not be read, and has been said
            size = arrays[map_id].record.max_entries
            wanted = sorted({slot for id, slot in jumps if id == map_id and slot is not None})
            for slot in wanted:
                if slot not in filled[map_id] and slot < size:
                    yield map_id, prog_id, slot
            if not filled[map_id] and not wanted:
                yield map_id, prog_id, None


def jumps_in(code: bytes, byteorder: str) -> Iterator[tuple[int, int | None]]:
    """(map, slot) of the tail calls of a program; a slot that is no constant is None.

    ``code`` is what the kernel shows of it (xlated), in which maps stand by their ids.
    """
    # What registers hold since the last jump: ("map", id) or ("number", value).
    known: dict[int, tuple[str, int]] = {}
    unpack = struct.Struct(byteorder + "BBhi").unpack_from
    at = 0
    starts = _targets(code, byteorder)
    while at + 8 <= len(code):
        opcode, registers, _, imm = unpack(code, at)
        dst, src = (registers & 15, registers >> 4)
        if byteorder == ">":
            dst, src = src, dst
        if at // 8 in starts:
            known = {}
        if opcode == _LD_IMM64:
            known.pop(dst, None)
            if src == BPF_PSEUDO_MAP_FD:  # in a dump with the id of the map
                known[dst] = "map", imm & 0xFFFFFFFF
            at += 16
            continue
        if opcode in (_MOV_K, _MOV32_K):
            known[dst] = "number", imm & 0xFFFFFFFF
        elif opcode == _MOV:
            if src in known:
                known[dst] = known[src]
            else:
                known.pop(dst, None)
        elif opcode == _CALL:
            if imm == _TAIL_CALL and src == 0:
                kind, map_id = known.get(2, ("", 0))
                what, slot = known.get(3, ("", 0))
                if kind == "map":
                    yield map_id, slot if what == "number" else None
            for register in _CALLER_SAVED:
                known.pop(register, None)
        elif opcode & 7 not in _JUMPS and opcode & 7 not in (2, 3):  # not a store
            known.pop(dst, None)
        at += 8


def _targets(code: bytes, byteorder: str) -> set[int]:
    """The instructions that jumps lead to."""
    found = set()
    unpack = struct.Struct(byteorder + "BBhi").unpack_from
    for index in range(len(code) // 8):
        opcode, _, offset, imm = unpack(code, index * 8)
        if opcode & 7 in _JUMPS and opcode not in (_CALL, 0x95):
            found.add(index + 1 + (imm if opcode == 0x06 else offset))
    return found
