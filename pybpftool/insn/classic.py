"""Classic BPF: filters of sockets and of seccomp as text, and the forms that tools write them in.

Layout: ``struct sock_filter`` of include/uapi/linux/filter.h. The text of an instruction is
that of tcpdump -d (bpf_image() of libpcap 1.10).
"""

from __future__ import annotations

import struct

from pybpftool.errors import FormatError
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_INSNS = 4096
"""BPF_MAXINSNS: what the kernel takes."""
_CELLS = 16  # BPF_MEMWORDS
_TOO_MANY = 1 << 16

# What the Linux kernel adds to packets: SKF_AD_OFF and the names that libpcap gives offsets there.
_ANCILLARY = 0xFFFFF000
_ANCILLARY_NAMES = (
    *("proto", "type", "ifidx", "nla", "nlan", "mark", "queue", "hatype", "rxhash", "cpu"),
    *("xor_x", "vlan_tci", "vlanp", "poff", "random", "vlan_tpid"),
)
_ANCILLARY_OFFSETS = range(0, 4 * len(_ANCILLARY_NAMES), 4)


class ClassicInsn(Record):
    """One instruction; ``jt`` and ``jf`` count instructions behind it."""

    code: int
    jt: int
    jf: int
    k: int


def _signed(k: int) -> int:
    return k - (1 << 32) if k >> 31 else k


def _load(k: int) -> str:
    if k >= _ANCILLARY:
        at, rest = divmod(k - _ANCILLARY, 4)
        if not rest and at < len(_ANCILLARY_NAMES):
            return f"[{_ANCILLARY_NAMES[at]}]"
    return f"[{_signed(k)}]"


def _decimal(k: int) -> str:
    return f"#{_signed(k)}"


def _hexadecimal(k: int) -> str:
    return f"#{k:#x}"


def _memory(k: int) -> str:
    return f"M[{_signed(k)}]"


def _indirect(k: int) -> str:
    return f"[x + {_signed(k)}]"


def _register(k: int) -> str:
    return "x"


def _nothing(k: int) -> str:
    return ""


JA = 0x05
RET_K, RET_A = 0x06, 0x16
_LDX_LEN = 0x81  # which libpcap does not know
_STORES, _MEMORY_LOADS, _ABSOLUTE_LOADS = (0x02, 0x03), (0x60, 0x61), (0x20, 0x28, 0x30)
_OPS: dict[int, tuple[str, Callable[[int], str]]] = {
    0x00: ("ld", _hexadecimal),
    0x01: ("ldx", _hexadecimal),
    0x02: ("st", _memory),
    0x03: ("stx", _memory),
    0x20: ("ld", _load),
    0x28: ("ldh", _load),
    0x30: ("ldb", _load),
    0x40: ("ld", _indirect),
    0x48: ("ldh", _indirect),
    0x50: ("ldb", _indirect),
    0x60: ("ld", _memory),
    0x61: ("ldx", _memory),
    0x80: ("ld", lambda k: "#pktlen"),
    0xB1: ("ldxb", lambda k: f"4*([{_signed(k)}]&0xf)"),
    RET_K: ("ret", _decimal),
    RET_A: ("ret", _nothing),
    0x07: ("tax", _nothing),
    0x87: ("txa", _nothing),
    0x84: ("neg", _nothing),
}
for _at, _name in enumerate(("add", "sub", "mul", "div", "or", "and", "lsh", "rsh")):
    _OPS[0x04 | _at << 4] = (_name, _hexadecimal if _name in ("or", "and") else _decimal)
    _OPS[0x0C | _at << 4] = (_name, _register)
for _at, _name in ((9, "mod"), (10, "xor")):
    _OPS[0x04 | _at << 4] = (_name, _hexadecimal if _name == "xor" else _decimal)
    _OPS[0x0C | _at << 4] = (_name, _register)
_JUMPS = {}
for _at, _name in enumerate(("jeq", "jgt", "jge", "jset"), 1):
    _JUMPS[0x05 | _at << 4] = (_name, _hexadecimal)
    _JUMPS[0x0D | _at << 4] = (_name, _register)


def text(insn: ClassicInsn, pc: int) -> str:
    """The line of an instruction, as tcpdump -d prints it."""
    code, jt, jf, k = insn
    jump = _JUMPS.get(code)
    if jump is not None:
        name, operand = jump
        return f"({pc:03d}) {name:<8s} {operand(k):<16s} jt {pc + 1 + jt}\tjf {pc + 1 + jf}"
    if code == JA:
        return f"({pc:03d}) {'ja':<8s} {_signed((pc + 1 + k) & 0xFFFFFFFF)}"
    row = _OPS.get(code)
    if row is None and code & 7 == JA and code & 0xF0:
        return f"({pc:03d}) {'unimp':<8s} {code:<#16x} jt {pc + 1 + jt}\tjf {pc + 1 + jf}"
    if row is None:
        return f"({pc:03d}) {'unimp':<8s} {code:#x}"
    return f"({pc:03d}) {row[0]:<8s} {row[1](k)}"


def is_known(insn: ClassicInsn) -> bool:
    """Whether the kernel has such an instruction (chk_code_allowed() of net/core/filter.c)."""
    return insn.code in _OPS or insn.code in _JUMPS or insn.code in (JA, _LDX_LEN)


def is_jump(insn: ClassicInsn) -> bool:
    """Whether it goes one of two ways."""
    return insn.code in _JUMPS


# --- forms ---


def decode(data: bytes, byteorder: str) -> list[ClassicInsn]:
    """An array of ``struct sock_filter``. Raises FormatError where its end is cut off."""
    if len(data) % 8:
        raise FormatError(f"{len(data)} bytes are no instructions of 8 bytes each")
    _check_count(len(data) // 8)
    return [ClassicInsn(*fields) for fields in struct.iter_unpack(byteorder + "HBBI", data)]


def encode(insns: Sequence[ClassicInsn], byteorder: str) -> bytes:
    """The array that :func:`decode` reads."""
    return b"".join([struct.pack(byteorder + "HBBI", *insn) for insn in insns])


def decimal_form(insns: Sequence[ClassicInsn]) -> str:
    """As tcpdump -ddd writes it."""
    return f"{len(insns)}\n" + "".join([f"{c} {t} {f} {k}\n" for c, t, f, k in insns])


def c_form(insns: Sequence[ClassicInsn]) -> str:
    """As tcpdump -dd writes it: initializers of C."""
    return "".join([f"{{ {c:#x}, {t}, {f}, 0x{k:08x} }},\n" for c, t, f, k in insns])


def parse(data: bytes, byteorder: str) -> list[ClassicInsn]:
    """A filter in any form: tcpdump -dd or -ddd, iptables' bytecode, or raw bytes.

    Raises FormatError for what is none of them.
    """
    words = _words(data)
    if words is None:
        return decode(data, byteorder)
    if not words:
        raise FormatError("there is no filter: the input is empty")
    if b"{" in data:
        numbers = _numbers(words, 4)
    else:
        count, *numbers = _numbers(words, 1)
        if len(numbers) != 4 * count:
            raise FormatError(
                f"the filter says that it has {count} instructions, and {len(numbers)} numbers"
                " follow in place of four for each"
            )
    _check_count(len(numbers) // 4)
    return [_insn(numbers[at : at + 4], at // 4) for at in range(0, len(numbers), 4)]


def _words(data: bytes) -> list[str] | None:
    """The numbers of a filter that is text; None for one that is bytes."""
    try:
        content = data.decode("ascii")
    except UnicodeDecodeError:
        return None
    if not all(c.isprintable() or c in "\n\r\t" for c in content):
        return None
    for mark in "{},;":
        content = content.replace(mark, " ")
    return content.split()


def _numbers(words: list[str], group: int) -> list[int]:
    if len(words) // 4 > _TOO_MANY:
        _check_count(len(words) // 4)
    numbers = []
    for word in words:
        try:
            numbers.append(int(word, 0))
        except ValueError:
            raise FormatError(f"cannot read '{word[:40]}' as a number of a filter") from None
    if len(numbers) % group:
        raise FormatError("an instruction has fewer than four numbers")
    return numbers


def _insn(numbers: Sequence[int], pc: int) -> ClassicInsn:
    for number, bits in zip(numbers, (16, 8, 8, 32)):
        if number < 0 or number >> bits:
            fault = "negative" if number < 0 else "too large"
            raise FormatError(f"instruction {pc}: {number} is {fault}")
    return ClassicInsn(*numbers)


def _check_count(count: int) -> None:
    if count > _TOO_MANY:
        raise FormatError(f"a filter has at most {MAX_INSNS} instructions, not {count}")


def faults(insns: Sequence[ClassicInsn]) -> list[str]:
    """Why the kernel would refuse a filter at a socket.

    Linux: bpf_check_classic() and check_load_and_stores() of net/core/filter.c.
    """
    if not insns:
        return ["it has no instructions"]
    found = []
    if len(insns) > MAX_INSNS:
        found.append(f"it has {len(insns)} instructions; {MAX_INSNS} is the most")
    for pc, insn in enumerate(insns):
        fault = _fault(insn, len(insns) - pc - 1)
        if fault:
            found.append(f"({pc:03d}) {fault}")
    if insns[-1].code not in (RET_K, RET_A):
        found.append("its last instruction does not return")
    return found or _unwritten(insns)


def _fault(insn: ClassicInsn, last: int) -> str:
    """What is wrong with one instruction, behind which ``last`` others stand; empty: nothing."""
    code, jt, jf, k = insn
    if not is_known(insn):
        return "is no instruction"
    if (is_jump(insn) and max(jt, jf) >= last) or (code == JA and k >= last):
        return "jumps beyond the end"
    if code in (0x34, 0x94) and not k:
        return "divides by zero"
    if code in (0x64, 0x74) and k >= 32:
        return f"shifts by {k}"
    if code in (*_STORES, *_MEMORY_LOADS) and k >= _CELLS:
        return f"uses M[{k}]; there are {_CELLS}"
    # bpf_anc_helper(): the kernel takes no offset there but those of what it has
    if code in _ABSOLUTE_LOADS and k >= _ANCILLARY and (k - _ANCILLARY) not in _ANCILLARY_OFFSETS:
        return f"loads [{_signed(k)}], where Linux has nothing"
    return ""


def _unwritten(insns: Sequence[ClassicInsn]) -> list[str]:
    """The loads of memory that may not have been stored to before, as the kernel finds them."""
    found = []
    everything = (1 << _CELLS) - 1
    reached = [everything] * len(insns)  # what is written wherever a jump to here comes from
    written = 0
    for pc, (code, jt, jf, k) in enumerate(insns):
        written &= reached[pc]
        if code in _STORES:
            written |= 1 << k
        elif code in _MEMORY_LOADS:
            if not written >> k & 1:
                found.append(f"({pc:03d}) reads M[{k}], which may not have been written")
        elif code == JA or code in _JUMPS:
            for way in (k,) if code == JA else (jt, jf):
                reached[pc + 1 + way] &= written
            written = everything
    return found
