"""Which translated instructions and which machine code belong to which source line.

A line record tells where the code of a line begins, in translated instructions
(``insn_off`` of ``struct bpf_line_info``) and in machine code (``jited_line_info``). What
lies between one record and the next is the code of the first. A function without line
records is one group.
"""

from __future__ import annotations

from bisect import bisect_left

from pybpftool.cfg.listing import Listing
from pybpftool.jit.decode import Decoder, Instructions
from pybpftool.jit.names import Names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pybpftool.cfg.graph import Function
    from pybpftool.insn.program import XlatedProgram
    from pybpftool.jit.program import JitedFunction, JitedProgram


class Group:
    """The code of one line record.

    ``record`` is the record's index, None without one. ``slots`` are the instruction
    slots (second halves of loads left out), ``machine`` the indexes into the
    instructions of the function's machine code.
    """

    __slots__ = ("machine", "record", "slots")

    def __init__(self, record: int | None, slots: list[int], machine: range) -> None:
        self.record = record
        self.slots = slots
        self.machine = machine


class JoinedFunction:
    """One function in all its forms.

    ``flow`` is None for machine code that no translated function fits, ``native`` None
    for a function without machine code. ``targets`` are the names of jump and call
    targets by index into ``instructions``.
    """

    __slots__ = ("flow", "groups", "instructions", "name", "native", "proto", "symbol", "targets")

    def __init__(self, flow: Function | None, native: JitedFunction | None) -> None:
        self.flow = flow
        self.native = native
        self.name = ""
        self.proto = ""
        self.symbol = ""
        self.instructions = Instructions()
        self.targets: dict[int, str] = {}
        self.groups: list[Group] = []


class Joined:
    """A program in all its forms.

    :param xlated: the translated instructions.
    :param jited: the machine code, None for a program that is interpreted.
    :param jump_tables: see :meth:`pybpftool.cfg.graph.Cfg.build`.
    :param syntax: see :data:`pybpftool.adapters.capstone.SYNTAXES`.
    :param decoder: what decodes the machine code: that of a program before, which has learnt.
    """

    __slots__ = ("decoder", "functions", "listing")

    def __init__(
        self,
        xlated: XlatedProgram,
        jited: JitedProgram | None,
        jump_tables: Mapping[int, Sequence[int]] | None = None,
        syntax: str = "att",
        decoder: Decoder | None = None,
    ) -> None:
        self.listing = Listing(xlated, jump_tables)
        natives = jited.functions() if jited is not None else []
        self.functions = [
            JoinedFunction(flow, native)
            for flow, native in _paired(self.listing, xlated.functions(), natives)
        ]
        if jited is not None:
            decoder = decoder or Decoder(jited.machine, jited.byteorder, syntax)
            self._decode(jited, natives, decoder)
        self.decoder = decoder
        for function in self.functions:
            if function.flow is not None:
                function.name = self.listing.names[function.flow.index]
                function.proto = self.listing.protos.get(function.flow.begin, "")
            function.groups = _groups(self.listing, function, jited)

    def place(self, group: Group) -> tuple[str, int, str] | None:
        """File, line number and text of a group's source line; None for code without one."""
        if group.record is None:
            return None
        line, _ = self.listing.lines.number(group.record)
        return self.listing.file(group.record), line, self.listing.source(group.record)

    def rows(self, function: JoinedFunction) -> list[Group]:
        """The groups of a function, those that follow one another on one source line as one.

        A line has a record for each column at which code begins.
        """
        rows: list[Group] = []
        last = None
        for group in function.groups:
            place = self.place(group)
            if place is None or place != last:
                rows.append(group)
            else:
                before = rows[-1]
                parts = [part for part in (before.machine, group.machine) if part]
                machine = range(parts[0].start, parts[-1].stop) if parts else range(0)
                rows[-1] = Group(before.record, before.slots + group.slots, machine)
            last = place
        return rows

    def _decode(self, jited: JitedProgram, natives: list[JitedFunction], decoder: Decoder) -> None:
        instructions = [decoder.decode(native.code, native.address or 0) for native in natives]
        names = Names(jited, natives, instructions)
        for function in self.functions:
            native = function.native
            if native is not None:
                function.instructions = instructions[native.index]
                function.symbol = names.function(native)
                function.targets = dict(names.targets(native, function.instructions))


def _paired(
    listing: Listing, infos: list[tuple[int, int]], natives: list[JitedFunction]
) -> list[tuple[Function | None, JitedFunction | None]]:
    """Translated functions with their machine code.

    Both come in the order of the program's code; function records tell where each
    begins.
    """
    flows = listing.cfg.functions
    if len(infos) == len(natives):
        by_begin = {begin: native for (begin, _), native in zip(infos, natives)}
        pairs = [(flow, by_begin.pop(flow.begin, None)) for flow in flows]
        left = list(by_begin.values())
    else:
        count = max(len(flows), len(natives))
        padded = [*natives, *[None] * (count - len(natives))]
        pairs = list(zip(flows, padded))
        left = natives[len(flows) :]
    return [*pairs, *[(None, native) for native in left]]


def _groups(listing: Listing, function: JoinedFunction, jited: JitedProgram | None) -> list[Group]:
    """The groups of a function in the order of its translated code."""
    flow = function.flow
    native = function.native
    pcs = function.instructions.pcs
    if flow is None:
        return [Group(None, [], range(len(pcs)))]
    is_start = listing.cfg.image.is_start
    slots = [s for s in range(flow.begin, flow.end) if is_start is None or is_start[s]]
    records = listing.line_begins(flow)
    if not records:
        return [Group(None, slots, range(len(pcs)))]
    groups = []
    begins = [begin for begin, _ in records]
    has_machine_lines = False
    cuts = [0] * (len(records) + 1)
    cuts[-1] = len(pcs)
    if native is not None and jited is not None and native.address is not None and native.records:
        addresses = jited.line_addresses
        offsets = [
            addresses[record] - native.address if record in native.records else -1
            for _, record in records
        ]
        has_machine_lines = all(
            0 <= a <= b for a, b in zip(offsets, [*offsets[1:], len(native.code)])
        )
        if has_machine_lines:
            cuts[:-1] = [bisect_left(pcs, offset) for offset in offsets]
            cuts[0] = 0
    head = bisect_left(slots, begins[0])
    if head:
        groups.append(Group(None, slots[:head], range(0)))
    for i, (begin, record) in enumerate(records):
        end = begins[i + 1] if i + 1 < len(begins) else flow.end
        part = slots[bisect_left(slots, begin) : bisect_left(slots, end)]
        machine = range(cuts[i], cuts[i + 1]) if has_machine_lines else range(0)
        groups.append(Group(record, part, machine))
    if not has_machine_lines and pcs:
        groups.append(Group(None, [], range(len(pcs))))
    return groups
