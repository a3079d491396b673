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
from operator import and_

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pybpftool.insn.symbols import KernelSymbols

    Formatter = Callable[[int, int, int, int, str], str]

INSN_SIZE = 8
"""Bytes of one instruction slot."""

LDIMM64 = 0x18
"""Opcode of the 64-bit immediate load, the only instruction of two slots."""

PSEUDO_MAP_FD = 1
PSEUDO_MAP_VALUE = 2
PSEUDO_BTF_ID = 3
PSEUDO_FUNC = 4
PSEUDO_MAP_IDX = 5
PSEUDO_MAP_IDX_VALUE = 6
"""``src_reg`` of a 64-bit immediate load (``BPF_PSEUDO_*`` of ``linux/bpf.h``)."""

PSEUDO_CALL = 1
PSEUDO_KFUNC_CALL = 2
"""``src_reg`` of a call."""

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

# Opcodes whose argument is text that their 8 bytes alone decide.
_CALL_CODES = (0x85, 0x86, 0x8D, 0x8E)
_ATOMIC_CODES = (0xC3, 0xCB, 0xD3, 0xDB)
_IS_PREPARED = bytes([code in _CALL_CODES or code in _ATOMIC_CODES for code in range(256)])
_IS_CALL = bytes([code in _CALL_CODES for code in range(256)])

# Conditional jumps against an immediate print it as unsigned hex, all others print
# a signed decimal: the mask turns the one into the other.
_IMM_MASKS = [
    _U32 if code & 7 in (5, 6) and not code & 8 and code != 0x06 else -1 for code in range(256)
]


_INVERTED = bytes([1, 0]) + bytes(254)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _template(code: int, dst: int, src: int) -> str:
    """The format of an opcode that is no ALU operation, with a hole for the offset.

    It is filled twice: first with the offset, then with the immediate.
    """
    kind = code & 7
    mode = code & 0xE0
    size = _SIZES[code >> 3 & 3]
    op = f"({code:02x})"
    # "%.0s" takes an argument and shows nothing of it.
    no_off, no_imm = "%.0s", "%%.0s"
    if kind == 3:  # STX
        if mode == 0x60:
            return f"{op} *({size} *)(r{dst} %+d) = r{src}{no_imm}"
        if mode == 0xC0:
            return f"{no_off}%%s"
        return f"BUG_{code:02x}{no_off}{no_imm}"
    if kind == 2:  # ST
        if mode == 0x60:
            return f"{op} *({size} *)(r{dst} %+d) = %%d"
        if mode == 0xC0:
            return f"{op} nospec{no_off}{no_imm}"
        return f"BUG_st_{code:02x}{no_off}{no_imm}"
    if kind == 1:  # LDX
        if mode == 0x80:
            size = _SIGNED_SIZES[code >> 3 & 3]
        elif mode != 0x60:
            return f"BUG_ldx_{code:02x}{no_off}{no_imm}"
        return f"{op} r{dst} = *({size} *)(r{src} %+d){no_imm}"
    if kind == 0:  # LD
        if mode == 0x20:
            return f"{op} r0 = *({size} *)skb[%%d]{no_off}"
        if mode == 0x40:
            return f"{op} r0 = *({size} *)skb[r{src} + %%d]{no_off}"
        if code == LDIMM64:
            return f"{op} r{dst} = %%s{no_off}"
        return f"BUG_ld_{code:02x}{no_off}{no_imm}"
    # JMP and JMP32
    if code in _CALL_CODES:
        return f"{op} call %%s{no_off}"
    if code == 0x05:
        return f"{op} goto pc%+d{no_imm}"
    if code == 0x0D:
        return f"{op} gotox r{dst}{no_off}{no_imm}"
    if code == 0xE5 and src == 0:
        return f"{op} may_goto pc%+d{no_imm}"
    if code == 0x06:
        return f"{op} gotol pc%%+d{no_off}"
    if code == 0x95:
        return f"{op} exit{no_off}{no_imm}"
    reg = "w" if kind == 6 else "r"
    jump = _JUMPS[code >> 4]
    if code & 8:
        return f"{op} if {reg}{dst} {jump} {reg}{src} goto pc%+d{no_imm}"
    return f"{op} if {reg}{dst} {jump} 0x%%x goto pc%+d"


def _alu_format(code: int, dst: int, src: int, off: int) -> str:
    """The format of an ALU operation with a hole for the immediate."""
    op = code & 0xF0
    reg = "w" if code & 7 == 4 else "r"
    start = f"({code:02x}) "
    if op == 0xD0:
        swap = "bswap" if code & 7 == 7 else "be" if code & 8 else "le"
        return f"{start}r{dst} = {swap}%d r{dst}"
    if op == 0x80:
        return f"{start}{reg}{dst} = -{reg}{dst}%.0s"
    if code == 0xBF and off == 1:
        return f"{start}r{dst} = addr_space_cast(r{src}, %s)"
    if code == 0xBF and off == -1:
        return f"{start}r{dst} = &(void __percpu *)(r{src})%.0s"
    sign = _SIGNED_ALU.get(op) if off == 1 else None
    name = _escaped(sign or _ALU[op >> 4])
    if not code & 8:
        return f"{start}{reg}{dst} {name} %d"
    cast = _MOVSX.get(off, "") if op == 0xB0 else ""
    return f"{start}{reg}{dst} {name} {cast}{reg}{src}%.0s"


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
    if src == PSEUDO_MAP_FD:
        return f"map[id:{imm}]"
    if src == PSEUDO_MAP_VALUE:
        return f"map[id:{imm}][0]+{high}"
    if src == PSEUDO_MAP_IDX_VALUE:
        return f"map[idx:{imm}]+{high}"
    if src == PSEUDO_FUNC:
        return f"subprog[{imm:+d}]"
    return f"0x{(high & _U32) << 32 | imm & _U32:x}"


class FormatTable(dict[int, str]):
    """``%``-formats with one hole for the immediate, by head, made when first asked for.

    :param is_little: which byte order the heads have (least significant byte first:
        the opcode is the lowest byte and ``dst_reg`` the low nibble; else the highest).
    :param finish: makes the entry for ``(code, dst, src, off, format)``; it may add
        text and further holes.
    """

    __slots__ = ("_finish", "_is_little", "_templates", "casts")

    def __init__(self, is_little: bool, finish: Formatter | None = None) -> None:
        super().__init__()
        self._is_little = is_little
        self._finish = finish
        self._templates: dict[int, str] = {}
        self.casts: set[int] = set()

    def __missing__(self, head: int) -> str:
        code, dst, src, off = split_head(head, self._is_little)
        if code & 7 in (4, 7):
            text = _alu_format(code, dst, src, off)
            if code == 0xBF and off == 1:
                self.casts.add(head)
        else:
            key = code << 8 | dst << 4 | src
            template = self._templates.get(key)
            if template is None:
                template = self._templates[key] = _template(code, dst, src)
            text = template % off
        if self._finish:
            text = self._finish(code, dst, src, off, text)
        self[head] = text
        return text


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
    ``codes`` are the opcodes; ``is_start`` is None when every slot begins an
    instruction, else it holds 1 or 0 for each slot; ``loads`` are the slots of
    the 64-bit immediate loads.
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
        self.codes = insns[::8]
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
            self.is_start = bytearray(b"\1") * count
            while at >= 0:
                self.loads.append(at)
                if at + 1 < count:
                    self.is_start[at + 1] = 0
                at = self.codes.find(LDIMM64, at + 2)

    def starts(self) -> Sequence[int]:
        """The slots at which an instruction begins, ascending."""
        if self.is_start is None:
            return range(self.count)
        return list(compress(range(self.count), self.is_start))

    def split(self, slot: int) -> tuple[int, int, int, int, int]:
        """``(code, dst_reg, src_reg, off, imm)`` of one slot."""
        return (*split_head(self.heads[slot], self.is_little), self.imms[slot])

    def load_text(self, slot: int) -> str:
        """What the 64-bit immediate load at ``slot`` puts into its register.

        A load that is cut off by the end of the image has zeros as upper half.
        """
        src = split_head(self.heads[slot], self.is_little)[2]
        high = self.imms[slot + 1] if slot + 1 < self.count else 0
        return _load_text(src, self.imms[slot], high)


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
        from pybpftool.insn.helpers import helper_names

        helpers = helper_names()
        values = image.values
        texts: dict[int, str] = {}
        by_address: list[tuple[int, int, int, int]] = []
        for value, slot in {values[slot]: slot for slot in slots}.items():
            _, _, src, off, imm = image.split(slot)
            if src == 0 and 0 <= imm < len(helpers):
                texts[value] = f"{helpers[imm]}#{imm}"
            elif src == PSEUDO_CALL and not self._nr_ksyms:
                # An interpreted program: there is no address to show.
                texts[value] = f"pc{off:+d}"
            else:
                by_address.append((value, src, off, imm))
        if not by_address:
            return texts
        symbols = self._get_symbols()
        base = symbols.call_base if symbols else 0
        ksyms = self._ksyms
        # An immediate beyond the listed functions is relative like any other.
        limit = min(self._nr_ksyms, len(ksyms))
        addresses = {
            value: ksyms[imm] if src == PSEUDO_CALL and 0 <= imm < limit else (base + imm) & _U64
            for value, src, _, imm in by_address
        }
        names = symbols.names(addresses.values()) if symbols else {}
        for value, src, off, imm in by_address:
            address = addresses[value]
            name = names.get(address) or f"0x{address:x}"
            texts[value] = f"pc{off:+d}#{name}" if src == PSEUDO_CALL else f"{name}#{imm}"
        return texts


class Disassembler:
    """Texts of the instructions of one image as ``%``-formats and arguments.

    :meth:`pieces` hands out a run of slots; the caller joins formats, adds arguments
    of its own and does one ``%``.

    :param finish: see :class:`FormatTable`.
    :param quote: applied to call texts (symbol names can hold any character).
    """

    __slots__ = ("_prepared", "_slots", "_table", "image")

    def __init__(
        self,
        image: Image,
        calls: CallNames,
        finish: Formatter | None = None,
        quote: Callable[[str], str] | None = None,
    ) -> None:
        self.image = image
        self._table = FormatTable(image.is_little, finish)
        mask: bytes | bytearray = image.codes.translate(_IS_PREPARED)
        if image.is_start is not None and 1 in mask:
            mask = bytearray(map(and_, mask, image.is_start))
        self._slots = list(compress(range(image.count), mask)) if 1 in mask else []
        self._prepared: dict[int, str] = {}
        codes = image.codes
        slots = [slot for slot in self._slots if _IS_CALL[codes[slot]]]
        if slots:
            self._prepared = calls.texts(image, slots)
            if quote:
                self._prepared = {key: quote(text) for key, text in self._prepared.items()}

    def pieces(self, begin: int, end: int) -> tuple[list[str], list[int | str]]:
        """Formats and arguments of the slots from ``begin`` to before ``end``.

        Slots that are the second half of a load are there too (with meaningless content).
        """
        image = self.image
        table = self._table
        heads = image.heads[begin:end].tolist()
        signed = image.imms[begin:end].tolist()
        formats = list(map(table.__getitem__, heads))
        if min(signed, default=0) < 0:
            masks = map(_IMM_MASKS.__getitem__, image.codes[begin:end])
            signed = list(map(and_, signed, masks))
        imms: list[int | str] = list(signed)
        if table.casts:
            casts = table.casts
            for at, head in enumerate(heads):
                if head in casts:
                    imm = image.imms[begin + at]
                    imms[at] = f"{(imm & _U32) >> 16}, {imm & 0xFFFF}"
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
            for slot in loads[bisect_left(loads, begin) : bisect_left(loads, end)]:
                imms[slot - begin] = image.load_text(slot)
        return formats, imms


def disassemble(insns: bytes, byteorder: str = "<", calls: CallNames | None = None) -> list[str]:
    """The text of each instruction, by slot; ``""`` for the second half of a 64-bit load."""
    image = Image(insns, byteorder)
    if not image.count:
        return []
    formats, arguments = Disassembler(image, calls or CallNames()).pieces(0, image.count)
    if image.is_start is not None:
        for at in compress(range(image.count), image.is_start.translate(_INVERTED)):
            formats[at] = "%.0s"
            arguments[at] = ""
    return ("\n".join(formats) % tuple(arguments)).split("\n")
