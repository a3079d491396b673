"""The kernel's disassembler of BPF instructions (``kernel/bpf/disasm.c``), in bulk.

An instruction (``struct bpf_insn``) is 8 bytes: opcode, two 4-bit registers, a
signed 16-bit offset, a signed 32-bit immediate. The first four bytes, its *head*,
decide nearly everything about its text, and real programs repeat heads: so each
head is turned once into a ``%``-format with one hole, and a whole run of
instructions becomes text in a single ``%`` operation whose arguments are the
immediates. Instructions whose immediate takes more thought (calls, 64-bit loads,
atomics, address-space casts) have a ``%s`` in their format and get text as argument.
"""

from __future__ import annotations

import sys
from _bisect import bisect_left
from itertools import compress

from pybpftool.uapi.bpf import (
    BPF_PSEUDO_CALL,
    BPF_PSEUDO_FUNC,
    BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_IDX_VALUE,
    BPF_PSEUDO_MAP_VALUE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pybpftool.insn.symbols import KernelSymbols

INSN_SIZE = 8
"""Bytes of one instruction slot."""

LDIMM64 = 0x18
"""Opcode of the 64-bit immediate load, the only instruction of two slots."""

CALL = 0x85
"""Opcode of a call (BPF_JMP | BPF_CALL) of a helper, a subprogram or a kfunc."""

_U32 = 0xFFFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF

# What C prints for a missing entry of a string table, in the way of glibc.
_NULL = "(null)"

_SIZES = ("u32", "u16", "u8", "u64")
# The table has no signed 64-bit entry: nothing is left to extend.
_SIGNED_SIZES = ("s32", "s16", "s8", _NULL)
_ALU = (
    *("+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>="),
    *("neg", "%=", "^=", "=", "s>>=", "endian", _NULL, _NULL),
)
_SIGNED_ALU = {0x30: "s/=", 0x90: "s%="}
_MOVSX = {8: "(s8)", 16: "(s16)", 32: "(s32)"}
_JUMPS = (
    *("jmp", "==", ">", ">=", "&", "!=", "s>", "s>="),
    *("call", "exit", "<", "<=", "s<", "s<=", _NULL, _NULL),
)
_ATOMICS = {0x00: ("+=", "add"), 0x50: ("&=", "and"), 0x40: ("|=", "or"), 0xA0: ("^=", "xor")}

# What stands for the opcode of the second half of a 64-bit load, which has none.
_NO_CODE = 0xFF

# Opcodes whose argument is text that their 8 bytes alone decide.
_CALL_CODES = (0x85, 0x86, 0x8D, 0x8E)
_ATOMIC_CODES = (0xC3, 0xCB, 0xD3, 0xDB)
_IS_PREPARED = bytes([code in _CALL_CODES or code in _ATOMIC_CODES for code in range(256)])
_IS_CALL = bytes([code in _CALL_CODES for code in range(256)])

# Conditional jumps against an immediate show it as unsigned hex, all else as signed.
_IS_UNSIGNED = bytes([code & 7 in (5, 6) and not code & 8 and code != 0x06 for code in range(256)])


def _template(code: int, dst: int, src: int) -> str:
    """The format of an opcode that is no ALU operation, with a hole for the offset.

    It is filled twice: first with the offset, then with the immediate.
    """
    kind = code & 7
    mode = code & 0xE0
    size = _SIZES[code >> 3 & 3]
    op = f"({code:02x})"
    # Takes the offset and shows nothing of it.
    no_off = "%.0s"
    if kind == 3:  # STX
        if mode == 0x60:
            return f"{op} *({size} *)(r{dst} %+d) = r{src}"
        if mode == 0xC0:
            return f"%%s{no_off}"
        return f"BUG_{code:02x}{no_off}"
    if kind == 2:  # ST
        if mode == 0x60:
            return f"{op} *({size} *)(r{dst} %+d) = %%d"
        if mode == 0xC0:
            return f"{op} nospec{no_off}"
        return f"BUG_st_{code:02x}{no_off}"
    if kind == 1:  # LDX
        if mode == 0x80:
            size = _SIGNED_SIZES[code >> 3 & 3]
        elif mode != 0x60:
            return f"BUG_ldx_{code:02x}{no_off}"
        return f"{op} r{dst} = *({size} *)(r{src} %+d)"
    if kind == 0:  # LD
        if mode == 0x20:
            return f"{op} r0 = *({size} *)skb[%%d]{no_off}"
        if mode == 0x40:
            return f"{op} r0 = *({size} *)skb[r{src} + %%d]{no_off}"
        if code == LDIMM64:
            return f"{op} r{dst} = %%s{no_off}"
        return f"BUG_ld_{code:02x}{no_off}"
    # JMP and JMP32
    if code in _CALL_CODES:
        return f"{op} call %%s{no_off}"
    if code == 0x05:
        return f"{op} goto pc%+d"
    if code == 0x0D:
        return f"{op} gotox r{dst}{no_off}"
    if code == 0xE5 and src == 0:
        # The other forms of this opcode show the immediate.
        return f"{op} may_goto pc%+d%%.0s"
    if code == 0x06:
        return f"{op} gotol pc%%+d{no_off}"
    if code == 0x95:
        return f"{op} exit{no_off}"
    reg = "w" if kind == 6 else "r"
    jump = _JUMPS[code >> 4]
    if code & 8:
        return f"{op} if {reg}{dst} {jump} {reg}{src} goto pc%+d"
    return f"{op} if {reg}{dst} {jump} 0x%%x goto pc%+d"


def _alu_format(code: int, dst: int, src: int, off: int) -> str:
    """The format of an ALU operation with a hole for the immediate, if that shows."""
    op = code & 0xF0
    reg = "w" if code & 7 == 4 else "r"
    start = f"({code:02x}) "
    if op == 0xD0:
        swap = "bswap" if code & 7 == 7 else "be" if code & 8 else "le"
        return f"{start}r{dst} = {swap}%d r{dst}"
    if op == 0x80:
        return f"{start}{reg}{dst} = -{reg}{dst}"
    if code == 0xBF and off == 1:
        return f"{start}r{dst} = addr_space_cast(r{src}, %s)"
    if code == 0xBF and off == -1:
        return f"{start}r{dst} = &(void __percpu *)(r{src})"
    sign = _SIGNED_ALU.get(op) if off == 1 else None
    name = (sign or _ALU[op >> 4]).replace("%", "%%")
    if not code & 8:
        return f"{start}{reg}{dst} {name} %d"
    cast = _MOVSX.get(off, "") if op == 0xB0 else ""
    return f"{start}{reg}{dst} {name} {cast}{reg}{src}"


def _shows_imm(code: int) -> bool:
    """Whether the format of an opcode has a hole (0xBF is settled by its offset)."""
    if code & 7 in (4, 7):
        return "%" in _alu_format(code, 0, 0, 0).replace("%%", "")
    return "%%" in _template(code, 0, 1) or "%%" in _template(code, 0, 0)


_HAS_HOLE = bytes(map(_shows_imm, range(256)))


def _atomic_text(code: int, dst: int, src: int, off: int, imm: int) -> str:
    """The whole text of a STX instruction in atomic mode."""
    size = _SIZES[code >> 3 & 3]
    width = "64" if code == 0xDB else ""
    place = f"({size} *)(r{dst} {off:+d})"
    start = f"({code:02x})"
    if imm in _ATOMICS:
        return f"{start} lock *{place} {_ATOMICS[imm][0]} r{src}"
    if imm & 1 and imm - 1 in _ATOMICS:
        name = _ATOMICS[imm - 1][1]
        return f"{start} r{src} = atomic{width}_fetch_{name}({place}, r{src})"
    if imm == 0xF1:
        return f"{start} r0 = atomic{width}_cmpxchg({place}, r0, r{src})"
    if imm == 0xE1:
        return f"{start} r{src} = atomic{width}_xchg({place}, r{src})"
    if imm == 0x100:
        return f"{start} r{dst} = load_acquire(({size} *)(r{src} {off:+d}))"
    if imm == 0x110:
        return f"{start} store_release({place}, r{src})"
    return f"BUG_{code:02x}"


def _load_text(src: int, imm: int, high: int) -> str:
    """What a 64-bit immediate load puts into its register."""
    if src == BPF_PSEUDO_MAP_FD:
        return f"map[id:{imm}]"
    if src == BPF_PSEUDO_MAP_VALUE:
        return f"map[id:{imm}][0]+{high}"
    if src == BPF_PSEUDO_MAP_IDX_VALUE:
        return f"map[idx:{imm}]+{high}"
    if src == BPF_PSEUDO_FUNC:
        return f"subprog[{imm:+d}]"
    return f"0x{(high & _U32) << 32 | imm & _U32:x}"


class FormatTable:
    """``%``-formats of instructions by head, made when first asked for.

    :param is_little: which byte order the heads have (least significant byte first:
        the opcode is the lowest byte and ``dst_reg`` the low nibble; else the highest).
    :param prefix: put before each format; may have holes of its own.
    :param suffix: makes what follows the format from ``(code, dst, src)``; ``{off}`` in
        it stands for the two bytes of the offset as ``0x..","0x..``.

    ``formats`` holds the entries; :meth:`fill` must have seen a head before it is looked
    up there. ``casts`` are the heads of address-space casts.
    """

    __slots__ = (
        "_is_little",
        "_prefix",
        "_shows_bytes",
        "_suffix",
        "_templates",
        "casts",
        "formats",
    )

    def __init__(
        self, is_little: bool, prefix: str, suffix: Callable[[int, int, int], str]
    ) -> None:
        self._is_little = is_little
        self._prefix = prefix
        self._suffix = suffix
        self._shows_bytes = "{off}" in suffix(0, 0, 0)
        self._templates: dict[int, str] = {}
        self.formats: dict[int, str] = {}
        self.casts: set[int] = set()

    def fill(self, heads: Iterable[int]) -> None:
        """Make the entries of all ``heads``."""
        formats = self.formats
        templates = self._templates
        is_little = self._is_little
        shows_bytes = self._shows_bytes
        for head in set(heads).difference(formats):
            # In an ALU operation the offset is part of the opcode.
            if is_little:
                key = head if head & 7 in (4, 7) else head & 0xFFFF
                raw = head >> 16
                first, second = raw & 0xFF, raw >> 8
            else:
                key = head if head >> 24 & 7 in (4, 7) else head & 0xFFFF0000
                raw = head & 0xFFFF
                first, second = raw >> 8, raw & 0xFF
            template = templates.get(key)
            if template is None:
                template = templates[key] = self._make(head)
            off = (raw ^ 0x8000) - 0x8000
            formats[head] = template % ((off, first, second) if shows_bytes else off)

    def _make(self, head: int) -> str:
        """The format with holes for the offset and, in the suffix, its bytes."""
        code, dst, src, off = split_head(head, self._is_little)
        if code & 7 in (4, 7):
            text = _alu_format(code, dst, src, off).replace("%", "%%") + "%.0s"
            if code == 0xBF and off == 1:
                self.casts.add(head)
        else:
            text = _template(code, dst, src)
        suffix = self._suffix(code, dst, src).replace("%", "%%")
        if self._shows_bytes:
            suffix = suffix.replace("{off}", '0x%02x","0x%02x')
        return self._prefix.replace("%", "%%") + text + suffix


def split_head(head: int, is_little: bool) -> tuple[int, int, int, int]:
    """``(code, dst_reg, src_reg, off)`` of an instruction's first four bytes."""
    if is_little:
        code = head & 0xFF
        dst = head >> 8 & 15
        src = head >> 12 & 15
        off = head >> 16
    else:
        code = head >> 24
        dst = head >> 20 & 15
        src = head >> 16 & 15
        off = head & 0xFFFF
    return code, dst, src, (off ^ 0x8000) - 0x8000


class Image:
    """The instructions of a program, laid out for work in bulk.

    :param insns: instruction slots; a last slot that is not complete is left out.
    :param byteorder: ``"<"`` or ``">"``.

    ``heads``, ``imms`` (signed) and ``values`` (all 8 bytes) are indexable by slot;
    ``codes`` are the opcodes, 0xFF for the second half of a 64-bit immediate load;
    ``is_start`` is None when every slot begins an instruction, else it holds 1 or 0
    for each slot; ``loads`` are the slots of the 64-bit immediate loads.
    """

    __slots__ = (
        "codes",
        "count",
        "data",
        "heads",
        "imms",
        "is_little",
        "is_start",
        "loads",
        "values",
    )

    def __init__(self, insns: bytes, byteorder: str = "<") -> None:
        count = len(insns) // INSN_SIZE
        if len(insns) != count * INSN_SIZE:
            insns = insns[: count * INSN_SIZE]
        self.data = insns
        self.count = count
        self.codes: bytes | bytearray = insns[::8]
        self.is_little = byteorder == "<"
        view = memoryview(insns)
        self.values = view.cast("Q") if count else view
        if self.is_little != (sys.byteorder == "little"):
            from array import array

            swapped = array("I", insns)
            swapped.byteswap()
            view = memoryview(swapped).cast("B")
        self.heads = view.cast("I")[::2] if count else view
        self.imms = view.cast("i")[1::2] if count else view
        self.loads: list[int] = []
        self.is_start: bytearray | None = None
        at = self.codes.find(LDIMM64)
        if at >= 0:
            codes = self.codes = bytearray(self.codes)
            is_start = self.is_start = bytearray(b"\1") * count
            while at >= 0:
                self.loads.append(at)
                if at + 1 < count:
                    codes[at + 1] = _NO_CODE
                    is_start[at + 1] = 0
                at = codes.find(LDIMM64, at + 2)

    def starts(self) -> Sequence[int]:
        """The slots at which an instruction begins, ascending."""
        if self.is_start is None:
            return range(self.count)
        return list(compress(range(self.count), self.is_start))

    def split(self, slot: int) -> tuple[int, int, int, int, int]:
        """``(code, dst_reg, src_reg, off, imm)`` of one slot."""
        return (*split_head(self.heads[slot], self.is_little), self.imms[slot])


def decode(insns: bytes, byteorder: str = "<") -> list[tuple[int, int, int, int, int]]:
    """``(code, dst_reg, src_reg, off, imm)`` of every slot, second halves included."""
    from struct import iter_unpack

    usable = len(insns) // INSN_SIZE * INSN_SIZE
    fields = iter_unpack(byteorder + "BBhi", insns[:usable])
    if byteorder == "<":
        return [(code, regs & 15, regs >> 4, off, imm) for code, regs, off, imm in fields]
    return [(code, regs >> 4, regs & 15, off, imm) for code, regs, off, imm in fields]


class CallNames:
    """How calls are shown: helpers by number, all else by the symbol that is called.

    :param nr_jited_ksyms: number of functions in the program's native image, 0 for a
        program that is interpreted.
    :param jited_ksyms: their addresses; empty when the kernel hides them.
    :param symbols: returns the kernel's symbols (None without any); called at most
        once, and only if a call cannot be shown without them.
    """

    __slots__ = ("_is_read", "_ksyms", "_nr_ksyms", "_read", "_symbols")

    def __init__(
        self,
        nr_jited_ksyms: int = 0,
        jited_ksyms: Sequence[int] = (),
        symbols: Callable[[], KernelSymbols | None] | None = None,
    ) -> None:
        self._nr_ksyms = nr_jited_ksyms
        self._ksyms = jited_ksyms
        self._read = symbols
        self._is_read = symbols is None
        self._symbols: KernelSymbols | None = None

    def _get_symbols(self) -> KernelSymbols | None:
        if not self._is_read and self._read:
            self._is_read = True
            self._symbols = self._read()
        return self._symbols

    def texts(self, image: Image, slots: Iterable[int]) -> dict[int, str]:
        """What follows ``call`` for the call instructions at ``slots``, by their 8 bytes."""
        from pybpftool.uapi.helpers import helper_names

        helpers = helper_names()
        values = image.values
        texts: dict[int, str] = {}
        by_address: list[tuple[int, int, int, int]] = []
        for value, slot in {values[slot]: slot for slot in slots}.items():
            _, _, src, off, imm = image.split(slot)
            if src == 0 and 0 <= imm < len(helpers):
                texts[value] = f"{helpers[imm]}#{imm}"
            elif src == BPF_PSEUDO_CALL and not self._nr_ksyms:
                # An interpreted program: there is no address to show.
                texts[value] = f"pc{off:+d}"
            else:
                by_address.append((value, src, off, imm))
        if not by_address:
            return texts
        symbols = self._get_symbols()
        ksyms = self._ksyms
        # An immediate beyond the listed functions is relative like any other.
        limit = min(self._nr_ksyms, len(ksyms))
        addresses = {
            value: ksyms[imm]
            for value, src, _, imm in by_address
            if src == BPF_PSEUDO_CALL and 0 <= imm < limit
        }
        if len(addresses) < len(by_address):
            base = symbols.call_base if symbols else 0
            for value, _, _, imm in by_address:
                addresses.setdefault(value, (base + imm) & _U64)
        names = symbols.names(addresses.values()) if symbols else {}
        for value, src, off, imm in by_address:
            address = addresses[value]
            name = names.get(address) or f"0x{address:x}"
            texts[value] = f"pc{off:+d}#{name}" if src == BPF_PSEUDO_CALL else f"{name}#{imm}"
        return texts


class Disassembler:
    """Texts of the instructions of one image as ``%``-formats and arguments.

    :meth:`pieces` hands out a run of slots; the caller joins formats, adds arguments
    of its own and does one ``%``.

    :param prefix:
    :param suffix: see :class:`FormatTable`.
    :param quote: applied to call texts (symbol names can hold any character).
    """

    __slots__ = ("_prepared", "_slots", "_table", "image")

    def __init__(
        self,
        image: Image,
        calls: CallNames,
        prefix: str = "",
        suffix: Callable[[int, int, int], str] = lambda code, dst, src: "",
        quote: Callable[[str], str] | None = None,
    ) -> None:
        self.image = image
        self._table = FormatTable(image.is_little, prefix, suffix)
        codes = image.codes
        mask = codes.translate(_IS_PREPARED)
        self._slots = list(compress(range(image.count), mask)) if 1 in mask else []
        self._prepared: dict[int, str] = {}
        mask = codes.translate(_IS_CALL)
        if 1 in mask:
            self._prepared = calls.texts(image, compress(range(image.count), mask))
            if quote:
                self._prepared = {key: quote(text) for key, text in self._prepared.items()}

    def pieces(self, begin: int, end: int) -> tuple[list[str], list[int | str], bytearray]:
        """Formats and arguments of the slots from ``begin`` to before ``end``.

        The third list has 1 for each slot whose format takes its argument, else 0.
        The second half of a load is there too, its format means nothing; the run may
        not end between the halves.
        """
        image = self.image
        table = self._table
        heads = image.heads[begin:end].tolist()
        numbers = image.imms[begin:end].tolist()
        codes = image.codes[begin:end]
        has_hole = bytearray(codes.translate(_HAS_HOLE))
        table.fill(heads)
        formats = list(map(table.formats.__getitem__, heads))
        imms: list[int | str] = list(numbers)
        unsigned = codes.translate(_IS_UNSIGNED)
        if 1 in unsigned:
            for at in compress(range(end - begin), unsigned):
                if numbers[at] < 0:
                    imms[at] = numbers[at] & _U32
        if table.casts:
            casts = table.casts
            for at, head in enumerate(heads):
                if head in casts and codes[at] != _NO_CODE:
                    imm = image.imms[begin + at]
                    imms[at] = f"{(imm & _U32) >> 16}, {imm & 0xFFFF}"
                    has_hole[at] = 1
        slots = self._slots
        if slots:
            prepared = self._prepared
            values = image.values
            for slot in slots[bisect_left(slots, begin) : bisect_left(slots, end)]:
                text = prepared.get(values[slot])
                if text is None:
                    text = prepared[values[slot]] = _atomic_text(*image.split(slot))
                imms[slot - begin] = text
        loads = image.loads
        if loads:
            shift = 12 if image.is_little else 16
            numbers.append(0)  # the upper half of a load that the image's end cuts off
            for slot in loads[bisect_left(loads, begin) : bisect_left(loads, end)]:
                at = slot - begin
                imms[at] = _load_text(heads[at] >> shift & 15, numbers[at], numbers[at + 1])
        return formats, imms, has_hole


def disassemble(insns: bytes, byteorder: str = "<", calls: CallNames | None = None) -> list[str]:
    """The text of each instruction, by slot; ``""`` for the second half of a 64-bit load."""
    image = Image(insns, byteorder)
    if not image.count:
        return []
    disassembler = Disassembler(image, calls or CallNames())
    formats, arguments, has_hole = disassembler.pieces(0, image.count)
    for slot in image.loads:
        if slot + 1 < image.count:
            formats[slot + 1] = ""
    return ("\n".join(formats) % tuple(compress(arguments, has_hole))).split("\n")
