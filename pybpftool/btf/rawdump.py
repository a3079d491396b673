"""All types of a BTF object, one by one, as text or JSON (``btf dump`` format ``raw``).

A block of the type section becomes a list of numbers in which names take the
place of their offsets; that list is then the argument list of one long ``%``
format, put together from a format per kind and number of elements.
"""

from __future__ import annotations

from pybpftool.btf.names import Names
from pybpftool.btf.rawformats import (
    BY_HAND,
    SKIP,
    VAR_LINKAGES,
    Fitting,
    Formats,
    JsonStyle,
    Style,
    linkage_name,
    signed,
    size_of_var,
)
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import (
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    INT,
    LOC_PARAM,
    LOC_PROTO,
    LOCSEC,
    STRUCT,
    UNION,
    VAR,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from pybpftool.btf.table import Btf

    # (name, text) of each field.
    Fields = list[tuple[str, str]]
    # The words of the type section between which types begin.
    Part = tuple[int, int]

# Words per block. Blocks reuse each other's memory, which is what this size is for: a page
# that the process touches first costs more than formatting what fits in it, and what is made
# of a block, a hundred bytes of each word, should stay in the second-level cache.
_BLOCK = 1 << 13

_ENCODINGS = {0: "(none)", 1: "SIGNED", 2: "CHAR", 4: "BOOL"}
# Up to this many words a loop over the names beats slices.
_FEW = 30


def _by_hand(btf: Btf, style: Style, type_id: int, names: Names) -> str:
    """A type of the less frequent forms, with all of its values."""
    words, at = btf.at(type_id)
    info = words[at]
    kind = info >> 24 & 0x7F
    vlen = info & 0xFFFFFF
    flag = info >> 31
    size = str(words[at + 1])
    is_json = isinstance(style, JsonStyle)
    elements: list[list[tuple[str, str]]] = []
    list_name = ""
    fields: list[tuple[str, str]] = []
    if kind == INT:
        encoding, offset, bits = btf.int_info(type_id)
        fields = [
            ("size", size),
            ("bits_offset", str(offset)),
            ("nr_bits", str(bits)),
            ("encoding", _ENCODINGS.get(encoding, "UNKN")),
        ]
    elif kind == VAR:
        fields = [("type_id", size), ("linkage", linkage_name(VAR_LINKAGES, words[at + 2]))]
    elif kind == DECL_TAG:
        index = words[at + 2]
        fields = [("type_id", size), ("component_idx", str(index - (index >> 31 << 32)))]
    elif kind in (STRUCT, UNION):
        fields = [("size", size), ("vlen", str(vlen))]
        list_name = "members"
        for element in range(at + 2, at + 2 + 3 * vlen, 3):
            where = words[element + 2]
            member = [
                ("name", names[words[element]]),
                ("type_id", str(words[element + 1])),
                ("bits_offset", str(where & 0xFFFFFF)),
            ]
            if where >> 24:
                member.append(("bitfield_size", str(where >> 24)))
            elements.append(member)
    elif kind in (ENUM, ENUM64):
        encoding_name = "SIGNED" if flag else "UNSIGNED"
        fields = [("encoding", encoding_name), ("size", size), ("vlen", str(vlen))]
        list_name = "values"
        suffix = ""
        if kind == ENUM64 and not is_json:
            suffix = "LL" if flag else "ULL"
        step = 2 if kind == ENUM else 3
        offsets = words[at + 2 : at + 2 + step * vlen : step]
        values = [value for _, value in btf.enumerators(type_id)]
        elements = [
            [("name", names[offset]), ("val", f"{value}{suffix}")]
            for offset, value in zip(offsets, values)
        ]
    elif kind == DATASEC:
        fields = [("size", size), ("vlen", str(vlen))]
        list_name = "vars"
        for var, offset, length in btf.secinfos(type_id):
            shown = str(length) if is_json else size_of_var(btf, names, var, length)
            elements.append([("type_id", str(var)), ("offset", str(offset)), ("size", shown)])
    elif kind in (LOC_PARAM, LOC_PROTO, LOCSEC):
        fields, list_name, elements = _location(words[at : at + 4 + 4 * vlen], kind, names)
        if is_json:  # flags are a number there
            fields = [(name, str(int(value, 0))) for name, value in fields]
    # What is left are kinds of the future and void, of which only the name is known.
    escaped = [(name, value.replace("%", "%%")) for name, value in fields]
    lists = [[(name, value.replace("%", "%%")) for name, value in item] for item in elements]
    return style.format(kind, escaped, list_name, lists) % (type_id, names[words[at - 1]])


def _location(words: Sequence[int], kind: int, names: Names) -> tuple[Fields, str, list[Fields]]:
    """A kind of locations, of which ``words`` begin with the info: fields, list and elements."""
    vlen = words[0] & 0xFFFFFF
    if kind == LOC_PARAM:
        fields = [("size", str(signed(words[1])))]
        low, high = words[2], words[3]
        if words[0] >> 31:  # a constant
            fields.append(("value", str(low | high << 32)))
        else:
            fields += [("reg", str(low & 0xFFFF)), ("flags", f"0x{low >> 16:x}")]
            fields.append(("offset", str(signed(high))))
        return fields, "", []
    fields = [("vlen", str(vlen))]
    if kind == LOC_PROTO:
        return fields, "loc_params", [[("type_id", str(ref))] for ref in words[2 : 2 + vlen]]
    rows = zip(*(words[2 + place : 2 + 4 * vlen : 4] for place in range(4)))
    return (
        fields,
        "locs",
        [
            [
                ("name", names[name]),
                ("func_proto_type_id", str(func)),
                ("loc_proto_type_id", str(proto)),
                ("offset", str(offset)),
            ]
            for name, func, proto, offset in rows
        ],
    )


def _blocks(btf: Btf, style: Style, part: Part | None = None) -> Iterator[str]:
    """The object's own types, or a part of them, a block of the type section at a time."""
    words = btf.words
    first, last = part or (0, len(words))
    type_id, start = btf.after(first)
    since = max((words[at - 1] for at in btf.own_offsets_before(first)[-64:]), default=0)
    names = style.names(btf.names.in_order(since))
    names[0] = "(anon)"
    formats = Formats(btf, style)
    fitting = Fitting(btf, style, names).ways
    while start < last:
        block: list[Any] = words[start : start + _BLOCK].tolist()
        room = len(block) + 1
        end = min(len(block), last - start + 1)
        texts: list[str] = []
        append = texts.append
        at = 1
        while at < end:
            text, size, every = formats[block[at]]
            following = at + size
            if following > room:
                break
            if every:
                if every == BY_HAND:
                    append("%s" + SKIP * (size - 1))
                    block[at - 1] = _by_hand(btf, style, type_id, names)
                    at = following
                    type_id += 1
                    continue
                if every < 0:
                    fitting[every](block, at, following - 1)
                elif size < _FEW:
                    for name_at in range(at + 2, following - 1, every):
                        block[name_at] = names[block[name_at]]
                else:
                    block[at + 2 : following - 1 : every] = [
                        names[offset] for offset in block[at + 2 : following - 1 : every]
                    ]
            append(text)
            block[at] = names[block[at - 1]]
            block[at - 1] = type_id
            at = following
            type_id += 1
        if at == 1:
            # A single type does not fit.
            needed = formats.sizes[words[start + 1]] if start + 1 < len(words) else 3
            if start + needed > len(words):
                raise FormatError(f"the BTF's type [{type_id}] is cut off")
            yield _one(btf, style, type_id, names)
            start += needed
            type_id += 1
            continue
        start += at - 1
        del block[at - 1 :]
        yield "".join(texts) % tuple(block)


def _one(btf: Btf, style: Style, type_id: int, names: Names) -> str:
    words, at = btf.at(type_id)
    text, size, every = Formats(btf, style)[words[at]]
    if every < 0 or (every and not words[at] & 0xFFFFFF):
        return _by_hand(btf, style, type_id, names)
    values: list[object] = list(words[at - 1 : at - 1 + size])
    if len(values) != size:
        raise FormatError(f"the BTF's type [{type_id}] is cut off")
    if every:
        values[3::every] = [names[offset] for offset in words[at + 2 : at + size - 1 : every]]
    values[0] = type_id
    values[1] = names[words[at - 1]]
    return text % tuple(values)


def _chosen(btf: Btf, style: Style, ids: Sequence[int]) -> Iterator[str]:
    names = style.names(btf.names.fresh(False))
    names[0] = "(anon)"
    for type_id in ids:
        if not type_id:
            yield style.format(0, []) % (0, "(anon)")
            continue
        yield _one(btf, style, type_id, names)


# How much of the type section the first half has: the second one begins with a walk there.
_FIRST_HALF = 0.55


def halves(btf: Btf) -> tuple[Part, Part]:
    """The object's own types in two parts that take about the same time."""
    end = len(btf.words)
    middle = int(end * _FIRST_HALF)
    return (0, middle), (middle, end)


def text_blocks(btf: Btf, ids: Sequence[int] = (), part: Part | None = None) -> Iterator[str]:
    """The text of the types ``ids``, or of all types that the object itself has.

    ``part`` limits the latter to one of :func:`halves`.
    """
    style = Style()
    return _chosen(btf, style, ids) if ids else _blocks(btf, style, part)


def json_blocks(
    btf: Btf, ids: Sequence[int] = (), depth: int | None = None, part: Part | None = None
) -> Iterator[str]:
    """As :func:`text_blocks` in JSON: the elements of an array, with their commas.

    ``depth``: how deep the elements stand in a pretty document; None: compact. What
    does not begin with the array's first element begins with a comma.
    """
    style = JsonStyle(depth)
    blocks = _chosen(btf, style, ids) if ids else _blocks(btf, style, part)
    if part is None or not part[0]:
        yield next(blocks, "")[1:]
    yield from blocks
