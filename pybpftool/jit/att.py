"""x86 operands in the spelling of LLVM's AT&T printer, out of capstone's.

Both print AT&T syntax, but not alike. This module turns the one into the other:

====================  ==========================  ============================
what                  capstone                    LLVM (and upstream)
====================  ==========================  ============================
displacement          ``-0x10(%rbp)``             ``-16(%rbp)``
absolute address      ``%gs:0xffffffff83b0e028``  ``%gs:-2085560280``
base and index        ``(%rax, %rbx, 8)``         ``(%rax,%rbx,8)``
8-bit immediate       ``$0xfe``                   ``$-2`` (shift counts: ``$254``)
16-bit immediate      ``$0xfff0``                 ``$65520``
32-bit, 32-bit op     ``$-0x80000000``            ``$2147483648``
32-bit, 64-bit op     ``$0xfffffffffffffffe``     ``$-2``
64-bit immediate      ``$18446612686862127928``   ``$-131386847423688``
shift by one          ``$1, %rax``                ``%rax``
registers of xchg     ``%edi, %edx``              ``%edx, %edi``
branch target         ``9``                       ``0x9``
repeat prefix         ``rep movsb``               ``rep``, two tabs, ``movsb``
CET and MPX prefixes  ``notrack``, ``bnd``        none, ``repne`` and two tabs
====================  ==========================  ============================

A leading ``lock`` is an instruction of its own, as LLVM decodes it (see
:mod:`pybpftool.jit.decode`).
"""

from __future__ import annotations

_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3))
# Opcodes of the one-byte map with an immediate of one byte that is a signed number.
_SIGNED_BYTE = frozenset(
    (
        *(0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, 0x34, 0x3C, 0xA8),
        *(0x6A, 0x6B, 0x80, 0x82, 0x83, 0xC6, 0xF6),
        *range(0xB0, 0xB8),
    )
)
# Those with a byte that counts or numbers something; 0F, 62, C4, C5 lead other maps,
# all of whose immediates are such bytes.
_UNSIGNED_BYTE = frozenset(
    (0xC0, 0xC1, 0xCD, 0xD4, 0xD5, *range(0xE4, 0xE8), 0x0F, 0x62, 0xC4, 0xC5)
)
_SHIFTS_BY_ONE = (0xD0, 0xD1)
_PREFIX_WORDS = {
    "rep": "rep\t\t",
    "repz": "rep\t\t",
    "repe": "rep\t\t",
    "repnz": "repne\t\t",
    "repne": "repne\t\t",
    "lock": "lock\t\t",
    "bnd": "repne\t\t",
    "notrack": "",
}
_BRANCHES = ("j", "call", "loop", "xbegin")


def _opcode(code: bytes, is_64bit: bool) -> tuple[int, bool, bool, int]:
    """``(opcode, has prefix 66, has REX.W, offset of the opcode)``; -1 for none."""
    at = 0
    is_word = False
    while at < len(code) and code[at] in _PREFIXES:
        is_word = is_word or code[at] == 0x66
        at += 1
    is_quad = False
    if is_64bit and at < len(code) and code[at] & 0xF0 == 0x40:  # REX
        is_quad = bool(code[at] & 8)
        at += 1
    return code[at] if at < len(code) else -1, is_word, is_quad, at


def immediate_form(code: bytes, is_64bit: bool = True) -> tuple[int, bool] | None:
    """``(bytes, is_signed)`` of the immediate at the end of an instruction that has one.

    None where the encoding is cut off.
    """
    opcode, is_word, is_quad, at = _opcode(code, is_64bit)
    if at + 1 >= len(code):
        return None
    if opcode in _SIGNED_BYTE:
        return 1, True
    if opcode in _UNSIGNED_BYTE:
        return 1, False
    if 0xB8 <= opcode <= 0xBF and is_quad:
        return 8, True
    if opcode == 0xC2 or (is_word and not is_quad):
        return 2, False
    return 4, is_quad or (opcode == 0x68 and is_64bit)


def is_branch(mnemonic: str, operands: str) -> bool:
    """Whether this is a jump or call to an address that the instruction itself holds."""
    return operands[:1].isdigit() and mnemonic.rpartition(" ")[2].startswith(_BRANCHES)


def spell(mnemonic: str, operands: str, code: bytes, is_64bit: bool = True) -> str:
    """``MNEMONIC<tab>OPERANDS`` in LLVM's spelling (no tab without operands)."""
    if " " in mnemonic:
        prefix, _, rest = mnemonic.partition(" ")
        mnemonic = _PREFIX_WORDS.get(prefix, f"{prefix} ") + rest
    if not operands:
        return mnemonic
    if "(" in operands:
        head, _, rest = operands.partition("(")
        inner, _, tail = rest.partition(")")
        operands = f"{head}({inner.replace(', ', ',')}){tail}"
    if operands.startswith("$1, ") and _opcode(code, is_64bit)[0] in _SHIFTS_BY_ONE:
        operands = operands[4:]
    if mnemonic.startswith("xchg") and operands.count("%") == 2 and "(" not in operands:
        first, _, second = operands.partition(", ")
        if second[:1] == "%" and ":" not in operands:
            operands = f"{second}, {first}"
    if "0x" in operands or "$" in operands:
        parts = operands.split(", ")
        is_single = operands.count("$") == 1
        for i, part in enumerate(parts):
            if part[0] == "$":
                parts[i] = _immediate_text(part, code if is_single else b"", is_64bit)
            elif "0x" in part:
                parts[i] = _displacement_text(part)
        operands = ", ".join(parts)
    return f"{mnemonic}\t{operands}"


def _immediate_text(part: str, code: bytes, is_64bit: bool) -> str:
    try:
        shown = int(part[1:], 0)
    except ValueError:
        return part
    form = immediate_form(code, is_64bit)
    if form is None:
        return f"${shown}"
    value = int.from_bytes(code[-form[0] :], "little", signed=form[1])
    return f"${shown if (value ^ shown) & 0xFF else value}"


def template(text: str, code: bytes, is_64bit: bool = True) -> tuple[str, int, bool] | None:
    """A ``%``-format for all instructions like this but for their immediate.

    :param text: what :func:`spell` made of ``code``.
    :return: ``(format, bytes, is_signed)`` of an immediate of 4 or 8 bytes that stands
        at the end of the code and once in the text; else None.
    """
    form = immediate_form(code, is_64bit) if text.count("$") == 1 else None
    if form is None or form[0] < 4:
        return None
    number = "$%d," % int.from_bytes(code[-form[0] :], "little", signed=form[1])
    if number not in text:
        return None
    return text.replace("%", "%%").replace(number, "$%d,"), *form


def _displacement_text(part: str) -> str:
    begin = part.find("0x")
    end = part.find("(", begin)
    if end < 0:
        end = len(part)
    try:
        value = int(part[begin:end], 16)
    except ValueError:
        return part
    if value >> 63:
        value -= 1 << 64
    if begin and part[begin - 1] == "-":
        begin -= 1
        value = -value
    return f"{part[:begin]}{value}{part[end:]}"
