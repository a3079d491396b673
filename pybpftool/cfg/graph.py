"""The control-flow graph of a translated program.

A function's nodes are numbered as upstream numbers them: :data:`ENTRY` is 0,
:data:`EXIT` is 1, its basic blocks follow from 2 in the order of their code. All
places are instruction slots of the whole program.

What ends a block (RFC 9669, ``linux/bpf.h``): every jump, conditional or not, the
indirect jump ``gotox``, and ``exit``. Calls return, so they end none.
"""

from __future__ import annotations

from _bisect import bisect_left, bisect_right
from _operator import and_  # without the Python of operator
from itertools import compress

from pybpftool.errors import FormatError
from pybpftool.insn.disasm import Image
from pybpftool.uapi.bpf import (
    BPF_PSEUDO_CALL,
    BPF_PSEUDO_FUNC,
    BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_VALUE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ENTRY = 0
EXIT = 1
FIRST_BLOCK = 2
"""Numbers of the nodes of a function."""

# What an opcode does to the flow of control.
_PLAIN, _GOTO, _GOTOL, _GOTOX, _EXIT, _BRANCH = range(6)


def _flow(code: int) -> int:
    operation = code & 0xF0
    if code & 7 not in (5, 6) or operation == 0x80:
        return _PLAIN
    if code == 0x95:
        return _EXIT
    if operation == 0:
        return _GOTOX if code & 8 else _GOTOL if code == 0x06 else _GOTO
    return _BRANCH


_FLOW = bytes(map(_flow, range(256)))
# 1 becomes a mask of all bits.
_WHOLE = bytes([0, 255, *range(2, 256)])


class Block:
    """A basic block: the slots from ``begin`` to before ``end``.

    ``is_reachable`` tells whether a path leads to it from the function's beginning.
    """

    __slots__ = ("begin", "end", "is_reachable", "number")

    def __init__(self, number: int, begin: int, end: int, is_reachable: bool) -> None:
        self.number = number
        self.begin = begin
        self.end = end
        self.is_reachable = is_reachable

    def __repr__(self) -> str:
        return f"<Block {self.number}: {self.begin} to {self.end}>"


class Edge:
    """An edge between two nodes of a function.

    ``kind`` is

    - ``entry``: from ENTRY to the first block,
    - ``next``: the code goes on where another block begins,
    - ``jump``: ``goto`` or ``gotol``,
    - ``true``, ``false``: a conditional jump (or ``may_goto``) taken or not,
    - ``indirect``: one of the targets of ``gotox``,
    - ``exit``: to EXIT, by ``exit`` or at the end of the function's code.

    ``is_back`` marks an edge that closes a loop: its target dominates its source.
    ``is_retreating`` marks those and the edges that close a cycle which can be
    entered at several places (no compiler for BPF writes one, a verifier may see one).
    """

    __slots__ = ("is_back", "is_retreating", "kind", "source", "target")

    def __init__(
        self, source: int, target: int, kind: str, is_back: bool, is_retreating: bool
    ) -> None:
        self.source = source
        self.target = target
        self.kind = kind
        self.is_back = is_back
        self.is_retreating = is_retreating

    def __repr__(self) -> str:
        return f"<Edge {self.source} -> {self.target} {self.kind}>"


class Loop:
    """A natural loop: its header dominates all its blocks.

    ``sources`` are the nodes whose edges lead back to ``header``; ``blocks`` all of its
    nodes, ascending, the header among them.
    """

    __slots__ = ("blocks", "header", "sources")

    def __init__(self, header: int, sources: list[int], blocks: list[int]) -> None:
        self.header = header
        self.sources = sources
        self.blocks = blocks


class Call:
    """A call between functions of the program.

    ``kind`` is ``call``, or ``callback`` where the address of the function is taken (a
    64-bit load) for a helper to call it. ``slot`` is the instruction's.
    """

    __slots__ = ("callee", "caller", "kind", "slot")

    def __init__(self, caller: int, slot: int, callee: int, kind: str) -> None:
        self.caller = caller
        self.slot = slot
        self.callee = callee
        self.kind = kind


class Function:
    """One function: the slots from ``begin`` to before ``end``.

    ``index`` counts functions in the order of their code. ``heads`` are the first
    slots of the blocks, ascending. ``arcs`` are ``(source, target, kind)`` of the edges:
    by source, and of a conditional jump the edge for "false" first.
    ``has_unknown_targets`` tells that a ``gotox`` leads to places unknown; every block
    counts as reachable then.
    """

    __slots__ = (
        "_back",
        "_dominators",
        "_reached",
        "arcs",
        "begin",
        "end",
        "has_unknown_targets",
        "heads",
        "index",
    )

    def __init__(
        self,
        index: int,
        begin: int,
        end: int,
        heads: list[int],
        arcs: list[tuple[int, int, str]],
        has_unknown_targets: bool,
    ) -> None:
        self.index = index
        self.begin = begin
        self.end = end
        self.heads = heads
        self.arcs = arcs
        self.has_unknown_targets = has_unknown_targets
        self._reached: bytearray | None = None
        self._dominators: list[int] | None = None
        self._back: tuple[set[tuple[int, int]], set[tuple[int, int]]] | None = None

    @property
    def node_count(self) -> int:
        """How many nodes there are, ENTRY and EXIT included."""
        return len(self.heads) + FIRST_BLOCK

    def bounds(self, number: int) -> tuple[int, int]:
        """The slots of a block, from the first to before the second."""
        at = number - FIRST_BLOCK
        following = self.heads[at + 1] if at + 1 < len(self.heads) else self.end
        return self.heads[at], following

    def block_at(self, slot: int) -> int:
        """The number of the block that holds ``slot``."""
        return bisect_right(self.heads, slot) - 1 + FIRST_BLOCK

    @property
    def blocks(self) -> list[Block]:
        """The basic blocks in the order of their code, without ENTRY and EXIT."""
        reached = self.reached()
        return [
            Block(number, *self.bounds(number), bool(reached[number]))
            for number in range(FIRST_BLOCK, self.node_count)
        ]

    @property
    def edges(self) -> list[Edge]:
        """All edges, in the order of :attr:`arcs`."""
        back, retreating = self.cycles()
        return [
            Edge(source, target, kind, (source, target) in back, (source, target) in retreating)
            for source, target, kind in self.arcs
        ]

    def successors(self) -> list[list[int]]:
        """The targets of each node's edges, in the order of :attr:`arcs`."""
        result: list[list[int]] = [[] for _ in range(self.node_count)]
        for source, target, _ in self.arcs:
            result[source].append(target)
        return result

    def reached(self) -> bytearray:
        """For each node 1 or 0: whether a path leads to it from ENTRY."""
        if self._reached is None:
            count = self.node_count
            if self.has_unknown_targets:
                self._reached = bytearray(b"\1") * count
            else:
                reached = self._reached = bytearray(count)
                successors = self.successors()
                reached[ENTRY] = 1
                waiting = [ENTRY]
                while waiting:
                    for target in successors[waiting.pop()]:
                        if not reached[target]:
                            reached[target] = 1
                            waiting.append(target)
        return self._reached

    def _depth_first(self) -> tuple[list[int], set[tuple[int, int]]]:
        """Nodes in reverse postorder, and the edges to a node that is still on the path."""
        successors = self.successors()
        roots = [ENTRY]
        if self.has_unknown_targets:
            # Wherever the jump may lead: nothing but the entry dominates its targets.
            roots += range(FIRST_BLOCK, self.node_count)
        state = bytearray(self.node_count)  # 0 not seen, 1 on the path, 2 done
        postorder: list[int] = []
        retreating: set[tuple[int, int]] = set()
        for root in roots:
            if state[root]:
                continue
            state[root] = 1
            path = [(root, iter(successors[root]))]
            while path:
                node, targets = path[-1]
                for target in targets:
                    if not state[target]:
                        state[target] = 1
                        path.append((target, iter(successors[target])))
                        break
                    if state[target] == 1:
                        retreating.add((node, target))
                else:
                    state[node] = 2
                    postorder.append(node)
                    path.pop()
        postorder.reverse()
        return postorder, retreating

    def dominators(self) -> list[int]:
        """The immediate dominator of each node; its own number for ENTRY, -1 if unreachable.

        The algorithm is that of Cooper, Harvey and Kennedy ("A Simple, Fast Dominance
        Algorithm", 2001).
        """
        if self._dominators is not None:
            return self._dominators
        order, _ = self._depth_first()
        if self.has_unknown_targets:
            order.remove(ENTRY)
            order.insert(0, ENTRY)
        position = dict(zip(order, range(len(order))))
        predecessors: list[list[int]] = [[] for _ in range(self.node_count)]
        for source, target, _ in self.arcs:
            if source in position:
                predecessors[target].append(source)
        if self.has_unknown_targets:
            for node in range(FIRST_BLOCK, self.node_count):
                predecessors[node].append(ENTRY)
        idom = [-1] * self.node_count
        idom[ENTRY] = ENTRY
        changed = True
        while changed:
            changed = False
            for node in order[1:]:
                best = -1
                for other in predecessors[node]:
                    if idom[other] < 0:
                        continue
                    if best < 0:
                        best = other
                        continue
                    a, b = best, other
                    while a != b:
                        while position[a] > position[b]:
                            a = idom[a]
                        while position[b] > position[a]:
                            b = idom[b]
                    best = a
                if idom[node] != best:
                    idom[node] = best
                    changed = True
        self._dominators = idom
        return idom

    def dominates(self, above: int, node: int) -> bool:
        """Whether every path from ENTRY to ``node`` goes through ``above``."""
        idom = self.dominators()
        if idom[node] < 0:
            return False
        while node != above and node != ENTRY:
            node = idom[node]
        return node == above

    def cycles(self) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
        """``(source, target)`` of the edges that are back, and of those that are retreating."""
        if self._back is None:
            back: set[tuple[int, int]] = set()
            retreating: set[tuple[int, int]] = set()
            # Without an edge to an earlier block there is no cycle to look for.
            if any(target <= source and target != EXIT for source, target, _ in self.arcs):
                _, retreating = self._depth_first()
                for source, target in {(source, target) for source, target, _ in self.arcs}:
                    if target <= source and target != EXIT and self.dominates(target, source):
                        back.add((source, target))
                back |= {(a, b) for a, b in retreating if a < b and self.dominates(b, a)}
                retreating |= back
            self._back = back, retreating
        return self._back

    def loops(self) -> list[Loop]:
        """The natural loops, one for each header, by header."""
        back, _ = self.cycles()
        predecessors: list[list[int]] = [[] for _ in range(self.node_count)]
        for source, target, _ in self.arcs:
            predecessors[target].append(source)
        reached = self.reached()
        result = []
        for header in sorted({target for _, target in back}):
            sources = sorted({source for source, target in back if target == header})
            members = {header}
            waiting = [source for source in sources if source != header]
            members.update(waiting)
            while waiting:
                for source in predecessors[waiting.pop()]:
                    if source not in members and reached[source]:
                        members.add(source)
                        waiting.append(source)
            result.append(Loop(header, sources, sorted(members)))
        return result


class Cfg:
    """The control flow of one program.

    ``functions`` are in the order of their code, ``calls`` in that of the instructions.
    """

    __slots__ = ("calls", "functions", "image")

    def __init__(self, image: Image, functions: list[Function], calls: list[Call]) -> None:
        self.image = image
        self.functions = functions
        self.calls = calls

    @classmethod
    def build(
        cls,
        image: Image,
        starts: Iterable[int] = (),
        jump_tables: Mapping[int, Sequence[int]] | None = None,
    ) -> Cfg:
        """Build the graph of a program.

        :param image: the instructions (``Image(insns, byteorder)``).
        :param starts: first slots of functions as far as they are known (func_info);
            those that the code calls or takes the address of are found in it.
        :param jump_tables: slots that instruction arrays hold, by map id.

        Raises FormatError for code that jumps out of its function or between the two
        halves of an instruction.
        """
        if not image.count:
            raise FormatError("the program has no instructions")
        known = sorted({slot for slot in starts if _is_start(image, slot)} | {0})
        calls = _calls(image, known)
        begins = sorted({*known, *[target for _, target, _ in calls]})
        marks: bytes | bytearray = image.codes.translate(_FLOW)
        if image.is_start is not None:
            marks = bytes(map(and_, marks, image.is_start.translate(_WHOLE)))
        jumps = list(compress(range(image.count), marks))
        functions = []
        at = 0
        for index, begin in enumerate(begins):
            end = begins[index + 1] if index + 1 < len(begins) else image.count
            following = bisect_left(jumps, end, at)
            functions.append(
                _function(image, index, begin, end, jumps[at:following], marks, jump_tables)
            )
            at = following
        index_of = dict(zip(begins, range(len(begins))))
        return cls(
            image,
            functions,
            [
                Call(bisect_right(begins, slot) - 1, slot, index_of[target], kind)
                for slot, target, kind in calls
            ],
        )


def _is_start(image: Image, slot: int) -> bool:
    """Whether an instruction begins at ``slot``."""
    return 0 <= slot < image.count and (image.is_start is None or bool(image.is_start[slot]))


def _calls(image: Image, known: list[int]) -> list[tuple[int, int, str]]:
    """``(slot, target, kind)`` of all calls and callbacks whose target is told."""
    found: list[tuple[int, int, str]] = []
    codes = image.codes
    pending: list[tuple[int, int, int]] = []
    at = codes.find(0x85)
    while at >= 0:
        if _is_start(image, at):
            _, _, src, off, imm = image.split(at)
            if src == BPF_PSEUDO_CALL:
                pending.append((at, at + 1 + off, imm))
        at = codes.find(0x85, at + 1)
    for slot, target in _call_targets(image, pending, known):
        found.append((slot, target, "call"))
    for slot in image.loads:
        _, _, src, _, imm = image.split(slot)
        # A kernel that hides addresses zeroes the distance: it leads nowhere then.
        if src == BPF_PSEUDO_FUNC and _is_start(image, slot + 1 + imm):
            found.append((slot, slot + 1 + imm, "callback"))
    found.sort()
    return found


def _call_targets(
    image: Image, calls: list[tuple[int, int, int]], known: list[int]
) -> list[tuple[int, int]]:
    """``(slot, target)`` of calls given as (slot, target by the offset, immediate).

    The kernel tells the distance in the 16 bits of the offset: in a program that is
    larger, the target is one of several that lie 65536 slots apart. Function records
    decide; without them, all calls of one function (their immediate is its number)
    have to agree, and what comes before a function must not run into it.
    """
    if image.count <= 1 << 15:
        for slot, target, _ in calls:
            if not _is_start(image, target):
                raise FormatError(
                    f"instruction {slot} calls slot {target}, where no instruction begins"
                )
        return [(slot, target) for slot, target, _ in calls]
    starts = set(known)
    result: list[tuple[int, int]] = []
    shared: dict[int, set[int]] = {}
    options: dict[int, set[int]] = {}
    numbers = {slot: imm for slot, _, imm in calls}
    # A kernel that hides addresses zeroes the numbers too.
    has_numbers = any(numbers.values())
    for slot, target, imm in calls:
        places = set(range(target % 65536, image.count, 65536))
        if places & starts:
            places &= starts
        places = {place for place in places if _can_begin_function(image, place)} or {
            place for place in places if _is_start(image, place)
        }
        if not places:
            raise FormatError(f"instruction {slot} calls a slot where no instruction begins")
        options[slot] = places
        if has_numbers:
            shared[imm] = shared[imm] & places if imm in shared else places
    for slot, target, imm in calls:
        places = shared.get(imm) or options[slot]
        result.append((slot, min(places, key=lambda place: abs(place - target))))
    return result


def _can_begin_function(image: Image, slot: int) -> bool:
    """Whether control cannot run into ``slot`` from the instruction before it."""
    if not _is_start(image, slot):
        return False
    if not slot:
        return True
    flow = _FLOW[image.codes[slot - 1]]
    # A call of something that does not return can be last, too.
    return flow not in (_PLAIN, _BRANCH) or image.codes[slot - 1] == 0x85


def _function(
    image: Image,
    index: int,
    begin: int,
    end: int,
    jumps: list[int],
    marks: bytes | bytearray,
    jump_tables: Mapping[int, Sequence[int]] | None,
) -> Function:
    """Split one function into blocks and find its edges.

    :param jumps: its slots that end blocks, whose kinds are in ``marks``.
    """
    heads_of = image.heads
    imms = image.imms
    is_start = image.is_start
    is_little = image.is_little
    targets: list[int] = []
    indirect: list[int] | None = None
    leaders = {begin}
    for slot in jumps:
        flow = marks[slot]
        if slot + 1 < end:
            leaders.add(slot + 1)
        if flow in (_EXIT, _GOTOX):
            targets.append(-1)
            if flow == _GOTOX and indirect is None:
                indirect = _table_targets(image, begin, end, jump_tables)
                leaders.update(indirect)
            continue
        if flow == _GOTOL:
            target = slot + 1 + imms[slot]
        else:
            off = heads_of[slot] >> 16 if is_little else heads_of[slot] & 0xFFFF
            target = slot + 1 + (off ^ 0x8000) - 0x8000
        if not begin <= target < end or (is_start is not None and not is_start[target]):
            raise FormatError(
                f"instruction {slot} jumps to slot {target}, where no instruction of its"
                " function begins"
            )
        targets.append(target)
        leaders.add(target)
    heads = sorted(leaders)
    number = dict(zip(heads, range(FIRST_BLOCK, FIRST_BLOCK + len(heads))))
    arcs: list[tuple[int, int, str]] = [(ENTRY, FIRST_BLOCK, "entry")]
    add = arcs.append
    has_unknown = False
    last = FIRST_BLOCK + len(heads) - 1
    source = FIRST_BLOCK
    # One jump ends one block; blocks between two jumps run into the next.
    for slot, target in zip(jumps, targets):
        after = number.get(slot + 1, last + 1)
        while source < after - 1:
            add((source, source + 1, "next"))
            source += 1
        flow = marks[slot]
        if flow == _BRANCH:
            add((source, source + 1 if source < last else EXIT, "false"))
            add((source, number[target], "true"))
        elif flow == _EXIT:
            add((source, EXIT, "exit"))
        elif flow == _GOTOX:
            for place in indirect or ():
                add((source, number[place], "indirect"))
            has_unknown = has_unknown or not indirect
        else:
            add((source, number[target], "jump"))
        source += 1
    while source <= last:
        add((source, source + 1, "next") if source < last else (source, EXIT, "exit"))
        source += 1
    return Function(index, begin, end, heads, arcs, has_unknown)


def _table_targets(
    image: Image, begin: int, end: int, jump_tables: Mapping[int, Sequence[int]] | None
) -> list[int]:
    """The slots of a function that its indirect jumps may go to, ascending.

    Those in the instruction arrays that the function loads; in all arrays when it loads
    none (their address can come from elsewhere).
    """
    if not jump_tables:
        return []
    used = set()
    loads = image.loads
    for slot in loads[bisect_left(loads, begin) : bisect_left(loads, end)]:
        _, _, src, _, imm = image.split(slot)
        if src in (BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE) and imm in jump_tables:
            used.add(imm)
    tables = used or set(jump_tables)
    places = {place for id in tables for place in jump_tables[id]}
    return sorted(p for p in places if begin <= p < end and _is_start(image, p))
