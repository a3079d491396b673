"""Machine code as columns: where each instruction lies, its bytes, its text, its target."""

from __future__ import annotations

from _bisect import bisect_right
from itertools import accumulate
from struct import Struct

from pybpftool.adapters.capstone import Disassembler
from pybpftool.jit import att

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.adapters.capstone import Block

_X86 = {"x86_64": True, "i386": False, "i486": False, "i586": False, "i686": False}
_LOCK, _WORD = 0xF0, 0x66
_PREFIXES = 4  # bytes among which prefixes of a jump can be
_FORMS = [f"{size}s" for size in range(64)]


class Instructions:
    """The instructions of one piece of machine code, in their order.

    ``pcs`` are offsets from its beginning, ``codes`` the bytes, ``texts`` are
    ``MNEMONIC<tab>OPERANDS`` (no tab without operands). ``targets`` holds, for the
    index of each direct jump and call, the address that it goes to.
    """

    __slots__ = ("codes", "pcs", "targets", "texts")

    def __init__(self) -> None:
        self.pcs: list[int] = []
        self.codes: list[bytes] = []
        self.texts: list[str] = []
        self.targets: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.pcs)


class Decoder:
    """Decodes machine code of one kernel.

    :param machine: the kernel's ``uname -m``.
    :param byteorder: ``"<"`` or ``">"``.
    :param syntax: ``"att"`` (spelt as LLVM does) or ``"intel"`` (as capstone does);
        without meaning but on x86.

    On x86 a leading lock prefix comes as an instruction of its own, as with LLVM.
    Bytes that are not an instruction come as ``.byte``. Raises BpfError where there is no
    disassembler for the machine.
    """

    __slots__ = (
        "_branches",
        "_cache",
        "_disassembler",
        "_is_64bit",
        "_is_att",
        "_locked",
        "_machine",
        "_mask",
        "_templates",
    )

    def __init__(self, machine: str, byteorder: str = "<", syntax: str = "att") -> None:
        self._disassembler = Disassembler(machine, byteorder, syntax)
        self._machine = machine
        self._is_att = syntax == "att"
        self._is_64bit = _X86.get(machine)
        # Instructions repeat: text by bytes, None for jumps whose text depends on the address.
        self._cache: dict[bytes, str | None] = {}
        self._templates: dict[bytes, tuple[str, int, bool]] = {}
        # Of jumps: what stands before the target, and how far that is.
        self._branches: dict[bytes, tuple[str, int | None]] = {}
        self._mask = 0xFFFFFFFFFFFFFFFF if self._is_64bit else 0xFFFFFFFF
        self._locked: set[bytes] = set()

    def decode(self, image: bytes, address: int = 0) -> Instructions:
        """The instructions of ``image``, whose first byte lies at ``address``."""
        result = Instructions()
        at = 0
        forms = _FORMS.__getitem__
        add = self._add_other if self._is_64bit is None else self._add_x86
        for block in self._disassembler.blocks(image, address):
            bounds = list(accumulate(block.sizes, initial=at))
            at = bounds.pop()
            # One "5s3s1s…" cuts the code in half the time that as many slices take.
            codes = list(Struct("".join(map(forms, block.sizes))).unpack_from(image, bounds[0]))
            add(result, block, bounds, codes, address)
        return result

    def _add_x86(
        self, result: Instructions, block: Block, pcs: list[int], codes: list[bytes], address: int
    ) -> None:
        """Append a block; the text of an instruction seen before is not made again."""
        cache = self._cache
        new = set(codes).difference(cache)
        if new:
            self._learn(block, pcs, codes, new, address)
        texts = list(map(cache.__getitem__, codes))
        branches: dict[int, int] = {}
        known = self._branches
        at = -1
        for _ in range(texts.count(None)):
            at = texts.index(None, at + 1)
            head, distance = known[codes[at]]
            if distance is None:
                target = int(block.operands(at), 0)
            else:
                target = address + pcs[at] + distance & self._mask
            texts[at] = f"{head}{target:x}"
            branches[at] = target
        base = len(result.pcs)
        if not self._locked.isdisjoint(codes):
            branches = self._split_locks(pcs, codes, texts, branches)
        for at, target in branches.items():
            result.targets[base + at] = target
        result.pcs += pcs
        result.codes += codes
        result.texts += texts  # type: ignore[arg-type]  # all are there by now

    def _split_locks(
        self,
        pcs: list[int],
        codes: list[bytes],
        texts: list[str | None],
        branches: dict[int, int],
    ) -> dict[int, int]:
        """Make lock prefixes instructions of their own; returns ``branches`` as they move."""
        locked = self._locked
        places = [i for i, code in enumerate(codes) if code in locked]
        for i in reversed(places):
            pc, code = pcs[i], codes[i]
            pcs[i : i + 1] = pc, pc + 1
            codes[i : i + 1] = code[:1], code[1:]
            texts.insert(i, "lock")
        return {at + bisect_right(places, at): target for at, target in branches.items()}

    def _learn(
        self, block: Block, pcs: list[int], codes: list[bytes], new: set[bytes], address: int
    ) -> None:
        """Make the texts of the instructions ``new`` of a block."""
        cache = self._cache
        templates = self._templates
        from_bytes = int.from_bytes
        rest = set()
        for code in new:
            known = templates.get(code[:-4]) or templates.get(code[:-8])
            if known:
                form, width, signed = known
                cache[code] = form % from_bytes(code[-width:], "little", signed=signed)
            else:
                rest.add(code)
        for i, code in enumerate(codes) if rest else ():
            if code in rest:
                rest.discard(code)
                cache[code] = self._text_x86(block, i, code, address + pcs[i])
                if not rest:
                    break

    def _text_x86(self, block: Block, index: int, code: bytes, place: int) -> str | None:
        mnemonic = block.mnemonic(index)
        operands = block.operands(index)
        if code == b"\xf0":
            return "lock"  # before an instruction that takes none
        if code[0] == _LOCK and len(code) > 1:
            self._locked.add(code)
            mnemonic = mnemonic.removeprefix("lock ")
        if att.is_branch(mnemonic, operands):
            head = att.spell(mnemonic, "", b"") if self._is_att else mnemonic
            # With prefix 66 the target may be cut to 16 bits.
            distance = None if _WORD in code[:_PREFIXES] else int(operands, 0) - place
            self._branches[code] = f"{head}\t0x", distance
            return None
        if not self._is_att or mnemonic == ".byte":
            return f"{mnemonic}\t{operands}" if operands else mnemonic
        is_64bit = self._is_64bit is True
        text = att.spell(mnemonic, operands, code, is_64bit)
        form = att.template(text, code, is_64bit) if code not in self._locked else None
        if form:
            self._templates[code[: -form[1]]] = form
        return text

    def _add_other(
        self, result: Instructions, block: Block, pcs: list[int], codes: list[bytes], address: int
    ) -> None:
        is_relative = self._disassembler.is_relative
        for i, pc in enumerate(pcs):
            mnemonic = block.mnemonic(i)
            operands = block.operands(i)
            target = branch_target(self._machine, mnemonic, operands, address + pc, is_relative)
            if target is not None:
                result.targets[len(result.texts)] = target
            result.texts.append(f"{mnemonic}\t{operands}" if operands else mnemonic)
        result.pcs += pcs
        result.codes += codes


# Mnemonics of direct jumps and calls: whole ones, what others begin with, and what begins so too
# and is none.
_MNEMONICS = {
    "aarch64": ("b bl cbz cbnz tbz tbnz", "b. bc.", ""),
    "arm": ("b bl blx", "beq bne bh bl bc bm bp bv bg", ""),
    "riscv": ("j jal c.j c.jal", "beq bne blt ble bgt bge c.beqz c.bnez", ""),
    "s390x": ("", "j bra brc brx crj cgrj clrj clgrj cij cgij clij clgij", ""),
    "ppc": ("", "b", "bcd"),  # of decimal numbers
    "mips": (
        "b bal balc bc j jal jalx",
        "beq bne blt ble bgt bge bov bnv bz. bnz. bc0 bc1 bc2 bc3 bbit bposge",
        "bneg",  # negates a bit
    ),
    "sparc": ("call", "b fb", ""),
    "loongarch": ("b bl", "beq bne blt bge bceqz bcnez", ""),
}
_BRANCHES = {
    family: tuple(tuple(words.split()) for words in row) for family, row in _MNEMONICS.items()
}
# Of Power: jumps to a register, whose operands are no address.
_TO_REGISTER = ("lr", "lrl", "ctr", "ctrl", "tar", "tarl")


def branch_target(
    machine: str, mnemonic: str, operands: str, address: int, is_relative: bool = False
) -> int | None:
    """The address that a direct jump or call goes to; None for all other instructions.

    :param machine: ``uname -m`` of anything but x86.
    :param address: where the instruction lies.
    :param is_relative: whether the operand is the distance.
    """
    family = next((name for name in _BRANCHES if machine.startswith(name)), None)
    if family is None:
        return None
    whole, beginnings, others = _BRANCHES[family]
    if mnemonic not in whole and (
        not mnemonic.startswith(beginnings)
        or mnemonic.startswith(others)
        or (family == "ppc" and mnemonic.rstrip("+-").endswith(_TO_REGISTER))
    ):
        return None
    last = operands.rpartition(", ")[2].rpartition(" ")[2].removeprefix("#")
    try:
        value = int(last, 0)
    except ValueError:
        return None
    return (value + address if is_relative else value) & 0xFFFFFFFFFFFFFFFF
