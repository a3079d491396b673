"""Whether a loaded program is the one of an object file: by the tag that the kernel gave it.

The tag is a hash of the instructions as they were handed over: relocated by the loader, before
the verifier changed them, with the descriptors of maps left out (bpf_prog_calc_tag() in
kernel/bpf/core.c): SHA-1, and SHA-256 since v6.18.  So the loader's work is done here again:
functions that are called are appended, CO-RE relocations are resolved by the kernel's BTF.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter

from pybpftool.btf.core.resolve import Resolver, Targets
from pybpftool.btf.ext import BtfExt
from pybpftool.btf.table import Btf
from pybpftool.elf.relocatable import (
    SHN_UNDEF,
    SHT_REL,
    STT_FUNC,
    STT_SECTION,
    Relocatable,
    read_file,
)
from pybpftool.errors import BpfError, FormatError
from pybpftool.insn.disasm import CALL, LDIMM64
from pybpftool.uapi.bpf import (
    BPF_PSEUDO_CALL,
    BPF_PSEUDO_FUNC,
    BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_VALUE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from pybpftool.elf.relocatable import Section, Symbol
    from pybpftool.kernel.interface import Kernel

_INVALID_CALL = 195896080  # what libbpf puts where a relocation finds nothing


class Unsure(BpfError):
    """The tag cannot be told without loading the object."""


class ObjectTags:
    """The tags that the programs of an object file get on one kernel."""

    def __init__(self, path: str, kernel: Kernel) -> None:
        self.path = path
        self._kernel = kernel
        self._elf = Relocatable(read_file(path))
        self._order: Any = "little" if self._elf.order == "<" else "big"
        self._functions: dict[str, Symbol] = {}
        self._by_place: dict[tuple[int, int], Symbol] = {}  # section and offset -> function
        for symbol in self._elf.symbols:
            if symbol.type == STT_FUNC and symbol.section != SHN_UNDEF:
                self._functions[symbol.name] = symbol
        for symbol in self._functions.values():
            self._by_place.setdefault((symbol.section, symbol.value), symbol)
        self._sections = {section.number: section for section in self._elf.sections}
        self._contents: dict[int, bytes] = {}
        self._relocations: dict[int, _Rows] = {}
        self._core: dict[str, _Rows] = {}
        self._tags: dict[str, tuple[str, str]] = {}
        btf, ext = self._elf.section_of(".BTF"), self._elf.section_of(".BTF.ext")
        self._btf = None if btf is None else Btf.from_bytes(self._elf.content(btf))
        self._ext: BtfExt | None = None
        if self._btf is not None and ext is not None:
            self._ext = BtfExt(self._elf.content(ext), self._btf)
        self._resolver: Resolver | None = None

    @property
    def names(self) -> list[str]:
        """The functions of the object."""
        return list(self._functions)

    def of(self, name: str) -> tuple[str, str]:
        """The tag of a program, as kernels before 6.18 make it and as those since.

        Raises :class:`Unsure`, or FormatError for an object that is damaged.
        """
        from pybpftool.digest import sha1, sha256

        symbol = self._functions.get(name)
        if symbol is None:
            raise BpfError(f"'{self.path}' has no program '{name}'")
        found = self._tags.get(name)
        if found is None:
            insns = bytes(_Linker(self, symbol).insns)
            found = sha1(insns).hexdigest()[:16], sha256(insns).hexdigest()[:16]
            self._tags[name] = found  # many programs may have been loaded from it
        return found

    # --- what the linker asks ---

    def section(self, symbol: Symbol) -> Section:
        """The section that a symbol is in."""
        section = self._sections.get(symbol.section)
        if section is None:
            raise FormatError(f"'{self.path}': the symbol '{symbol.name}' is in no section")
        return section

    def code(self, symbol: Symbol) -> bytes:
        """The instructions of a function."""
        section = self.section(symbol)
        content = self._contents.get(section.number)
        if content is None:
            content = self._contents[section.number] = self._elf.content(section)
        data = content[symbol.value : symbol.value + symbol.size]
        if len(data) != symbol.size or symbol.size % 8:
            raise FormatError(f"'{self.path}': the function '{symbol.name}' is cut off")
        return data

    def relocations(self, symbol: Symbol) -> dict[int, Symbol]:
        """Offset in a function -> the symbol that the instruction there refers to."""
        number = self.section(symbol).number
        rows = self._relocations.get(number)
        if rows is None:
            elf = self._elf
            rows = self._relocations[number] = _Rows(
                relocation
                for section in elf.sections
                if section.type == SHT_REL and section.info == number
                for relocation in elf.relocations(section)
            )
        symbols = self._elf.symbols
        return {
            at: symbols[relocation.symbol]
            for at, relocation in rows.of(symbol)
            if relocation.symbol < len(symbols)
        }

    def core(self, symbol: Symbol) -> dict[int, Any]:
        """Offset in a function -> its CO-RE relocation, resolved."""
        if self._ext is None or self._btf is None:
            return {}
        name = self.section(symbol).name or ""
        rows = self._core.get(name)
        if rows is None:
            rows = self._core[name] = _Rows(self._ext.relocations.get(name, []))
        return {at: self._resolve(relocation) for at, relocation in rows.of(symbol)}

    def _resolve(self, relocation: Any) -> Any:
        if self._resolver is None:
            from pybpftool.btf.load import vmlinux

            assert self._btf is not None
            self._resolver = Resolver(self._btf, Targets(vmlinux(self._kernel)))
        return self._resolver.resolve(relocation)

    def function_at(self, target: Symbol, offset: int) -> Symbol:
        """The function that a call to a symbol, plus an offset, means."""
        symbol = self._by_place.get((target.section, target.value + offset))
        if symbol is None:
            raise FormatError(f"'{self.path}' calls something that is not a function")
        return symbol

    @property
    def order(self) -> Any:
        """``little`` or ``big``."""
        return self._order


class _Rows:
    """The relocations of a section, found by the functions that they are in."""

    def __init__(self, relocations: Iterable[Any]) -> None:
        self._rows = sorted(relocations, key=attrgetter("offset"))
        self._offsets = [row.offset for row in self._rows]

    def of(self, symbol: Symbol) -> Iterator[tuple[int, Any]]:
        """Offset in the function and relocation."""
        first = bisect_left(self._offsets, symbol.value)
        end = bisect_left(self._offsets, symbol.value + symbol.size)
        for row in self._rows[first:end]:
            yield row.offset - symbol.value, row


class _Linker:
    """The instructions of a program with all functions that it calls."""

    def __init__(self, obj: ObjectTags, main: Symbol) -> None:
        self._obj = obj
        self._placed: dict[str, int] = {}
        self.insns = bytearray()
        self._append(main)
        self._link(main, 0)

    def _append(self, function: Symbol) -> None:
        self._placed[function.name] = len(self.insns) // 8
        self.insns += self._obj.code(function)

    def _number(self, at: int) -> int:
        return int.from_bytes(self.insns[at : at + 4], self._obj.order, signed=True)

    def _set(self, at: int, value: int) -> None:
        self.insns[at : at + 4] = (value & 0xFFFFFFFF).to_bytes(4, self._obj.order)

    def _source(self, at: int) -> int:
        return self.insns[at + 1] >> 4 if self._obj.order == "little" else self.insns[at + 1] & 15

    def _link(self, function: Symbol, depth: int) -> None:
        """Relocate a function that is in place, and append those that it calls."""
        if depth > 64:
            raise FormatError(f"'{self._obj.path}': functions call each other too deeply")
        begin = self._placed[function.name] * 8
        size = self._obj.code(function)
        relocations = self._obj.relocations(function)
        for at, resolved in self._obj.core(function).items():
            self._patch(begin + at, resolved)
        at = 0
        while at < len(size):
            code = self.insns[begin + at]
            target = relocations.get(at)
            if code == CALL and self._source(begin + at) == BPF_PSEUDO_CALL:
                self._call(function, begin + at, target, depth)
            elif code == CALL and target is not None:
                raise Unsure(f"it calls the kernel function '{target.name}'")
            elif code == LDIMM64:
                if target is not None:
                    self._load(begin + at, target, depth)
                at += 8
            at += 8

    def _call(self, function: Symbol, at: int, target: Symbol | None, depth: int) -> None:
        imm = self._number(at + 4)
        if target is None:
            # Inside a section: relative to the instruction.
            own = self._placed[function.name] * 8
            offset = at - own + 8 * (imm + 1)
            callee = self._obj.function_at(function, offset)
        elif target.section == SHN_UNDEF:
            raise Unsure(f"it calls '{target.name}', which is not in the object")
        else:
            offset = 8 * (imm + 1) if target.type == STT_SECTION else 0
            callee = self._obj.function_at(target, offset)
        self._place(callee, depth)
        self._set(at + 4, self._placed[callee.name] - at // 8 - 1)

    def _place(self, callee: Symbol, depth: int) -> None:
        if callee.name not in self._placed:
            self._append(callee)
            self._link(callee, depth + 1)

    def _load(self, at: int, target: Symbol, depth: int) -> None:
        if target.section == SHN_UNDEF:
            raise Unsure(f"it refers to '{target.name}', which the kernel or its configuration has")
        section = self._obj.section(target)
        name = section.name or ""
        if section.flags & 4:  # SHF_EXECINSTR: the address of a function
            callee = self._obj.function_at(target, 8 * (self._number(at + 4) // 8))
            self._place(callee, depth)
            self._set(at + 4, self._placed[callee.name] - at // 8 - 1)
            self._mark(at, BPF_PSEUDO_FUNC)
            return
        self._mark(at, BPF_PSEUDO_MAP_FD if name in (".maps", "maps") else BPF_PSEUDO_MAP_VALUE)
        # What the kernel leaves out of the tag: the descriptor and the offset behind it.
        self._set(at + 4, 0)
        self._set(at + 12, 0)

    def _mark(self, at: int, source: int) -> None:
        registers = self.insns[at + 1]
        if self._obj.order == "little":
            self.insns[at + 1] = registers & 0x0F | source << 4
        else:
            self.insns[at + 1] = registers & 0xF0 | source

    def _patch(self, at: int, resolved: Any) -> None:
        """Put the value of a CO-RE relocation where it belongs (bpf_core_patch_insn())."""
        new, old = resolved.new, resolved.old
        if new is None:
            registers = 0
            self.insns[at : at + 8] = bytes((CALL, registers, 0, 0, 0, 0, 0, 0))
            self._set(at + 4, _INVALID_CALL)
            return
        code = self.insns[at]
        kind = code & 7
        if kind in (4, 7):  # ALU: the value is the immediate
            self._set(at + 4, new.value)
        elif kind in (1, 2, 3):  # loads and stores: the offset, and the width of the field
            data = (new.value & 0xFFFF).to_bytes(2, self._obj.order)
            self.insns[at + 2 : at + 4] = data
            if old is not None and old.size != new.size and new.size:
                widths = {8: 0x18, 4: 0x00, 2: 0x08, 1: 0x10}
                if new.size not in widths:
                    raise Unsure("a field has a size that no instruction can read")
                self.insns[at] = code & ~0x18 | widths[new.size]
        elif code == LDIMM64:
            self._set(at + 4, new.value)
            self._set(at + 12, new.value >> 32)
