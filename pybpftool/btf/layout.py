"""The layout of structs: members, holes, padding and cache lines."""

from __future__ import annotations

from pybpftool.errors import FormatError
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.btf.python import Member, Type

CACHE_LINE_BYTES = 64
_DEPTH = 64
_ROWS = 1 << 16
# Columns before the numbers, as far as declarations leave room.
_WIDTH = 48


class Gap(Record):
    """Room in a struct that no member uses: a hole, or the padding after the last member."""

    bit_offset: int
    bit_size: int
    after: str
    """The declaration of the member before it."""

    @property
    def offset(self) -> int:
        """The offset in bytes."""
        return self.bit_offset // 8

    @property
    def size(self) -> int:
        """Whole bytes of it; a hole among bit-fields may have none."""
        return self.bit_size // 8

    def __repr__(self) -> str:
        return f"<hole of {_amount(self.bit_size)} at byte {self.offset}, after '{self.after}'>"


class Layout:
    """Where the members of a struct or union lie, and where nothing does.

    Printed, it is a C definition with the offset and size of each member, in bytes.
    """

    __slots__ = ("holes", "members", "padding", "size", "type")

    def __init__(self, type: Type) -> None:
        self.type = type
        self.size = type.size or 0
        """Of the whole, in bytes."""
        self.members = type.declared
        self.holes: list[Gap] = []
        """Between members, in their order; a union has none."""
        self.padding: Gap | None = None
        """After the last member; None where it ends with the struct."""
        end = 0
        last = ""
        for member in self.members:
            if type.kind == "struct" and member.bit_offset > end:
                self.holes.append(Gap(end, member.bit_offset - end, last))
            begin = member.bit_offset
            end = max(end, begin + _bits(member))
            last = str(member)
        if self.members and end < 8 * self.size:
            self.padding = Gap(end, 8 * self.size - end, last)

    @property
    def cache_lines(self) -> int:
        """How many lines of 64 bytes it takes when it begins with one."""
        return -(-self.size // CACHE_LINE_BYTES)

    @property
    def unused(self) -> int:
        """Whole bytes in holes and padding together."""
        gaps = [*self.holes, *([self.padding] if self.padding else ())]
        return sum(gap.size for gap in gaps)

    def __repr__(self) -> str:
        return f"<layout of {self.type}: {self.size} bytes, {len(self.holes)} holes>"

    def as_json(self) -> dict[str, Any]:
        """Plain data: offsets and sizes in bytes, those of bit-fields in bits as well."""
        return {
            "name": str(self.type),
            "size": self.size,
            "cache_lines": self.cache_lines,
            "members": [_member_json(member) for member in self.members],
            "holes": [_gap_json(gap) for gap in self.holes],
            "padding": _gap_json(self.padding) if self.padding else None,
        }

    def __str__(self) -> str:
        rows: list[str] = []
        lines = _Lines()
        _body(self, 0, 1, lines, rows)
        holes = sum(hole.size for hole in self.holes)
        rows.append("")
        rows.append(
            f"\t/* size: {self.size}, cachelines: {self.cache_lines},"
            f" members: {len(self.members)} */"
        )
        if self.holes:
            rows.append(f"\t/* holes: {len(self.holes)}, sum holes: {holes} */")
        if self.padding is not None:
            rows.append(f"\t/* padding: {_amount(self.padding.bit_size)} */")
        if self.size % CACHE_LINE_BYTES:
            rows.append(f"\t/* last cacheline: {self.size % CACHE_LINE_BYTES} bytes */")
        return "\n".join([f"{self.type} {{", *rows, "};"]) + "\n"


class _Lines:
    """Which cache line has been announced."""

    __slots__ = ("line",)

    def __init__(self) -> None:
        self.line = 0

    def remark(self, offset: int) -> str | None:
        """What is said before a member at this offset, where it is on a new line."""
        line = offset // CACHE_LINE_BYTES
        if line <= self.line:
            return None
        self.line = line
        begin = line * CACHE_LINE_BYTES
        ago = f" was {offset - begin} bytes ago" if offset > begin else ""
        return f"/* --- cacheline {line} boundary ({begin} bytes){ago} --- */"


def _body(layout: Layout, base: int, depth: int, lines: _Lines, rows: list[str]) -> None:
    """The rows of a struct's members; nameless structs are written out where they stand."""
    if depth > _DEPTH or len(rows) > _ROWS:
        raise FormatError(f"the BTF's type [{layout.type.id}] nests structs without end")
    tabs = "\t" * depth
    holes = {hole.bit_offset + hole.bit_size: hole for hole in layout.holes}
    for member in layout.members:
        hole = holes.get(member.bit_offset)
        if hole is not None:
            rows += ["", f"{tabs}/* XXX {_amount(hole.bit_size)} hole */", ""]
            del holes[member.bit_offset]
        remark = lines.remark((base + member.bit_offset) // 8)
        if remark is not None:
            rows.append(tabs + remark)
        inner = member.type.resolved
        numbers = _numbers(member, base)
        if not inner.name and inner.kind in ("struct", "union") and member.type == inner:
            rows.append(f"{tabs}{inner.kind} {{")
            _body(inner.layout(), base + member.bit_offset, depth + 1, lines, rows)
            rows.append(_row(tabs, f"}}{' ' + member.name if member.name else ''};", numbers))
        else:
            rows.append(_row(tabs, f"{member};", numbers))


def _row(tabs: str, text: str, numbers: str) -> str:
    return f"{tabs}{text.ljust(_WIDTH - 8 * len(tabs))} {numbers}"


def _numbers(member: Member, base: int) -> str:
    offset = base + member.bit_offset
    size = 0 if member.size is None else member.size
    if member.bit_size is None:
        return f"/* {offset // 8:5} {size:5} */"
    return f"/* {offset // 8:5}:{offset % 8:2} {size:2} */"


def _bits(member: Member) -> int:
    return member.bit_size if member.bit_size is not None else 8 * (member.size or 0)


def _amount(bits: int) -> str:
    """``3 bytes``, ``5 bits`` or ``3 bytes and 5 bits``."""
    parts = []
    if bits >= 8:
        parts.append(f"{bits // 8} byte{'' if bits // 8 == 1 else 's'}")
    if bits % 8:
        parts.append(f"{bits % 8} bit{'' if bits % 8 == 1 else 's'}")
    return " and ".join(parts)


def _member_json(member: Member) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": member.name or None,
        "type": str(member.type),
        "offset": member.offset,
        "size": member.size,
    }
    if member.bit_size is not None:
        record["bit_offset"] = member.bit_offset
        record["bit_size"] = member.bit_size
    return record


def _gap_json(gap: Gap) -> dict[str, int]:
    return {"bit_offset": gap.bit_offset, "bit_size": gap.bit_size}
