"""Control-flow graphs in Graphviz's language.

Graphs and nodes are named as upstream names them: ``cluster_F`` and ``fn_F_bb_B``,
with ``bb_0`` for ENTRY and ``bb_1`` for EXIT. A block's row ``N: TEXT`` counts from the
first instruction of its function, as upstream's do.

Edges: black where there is no choice; of a conditional jump green with a full head when
it is taken, red with an empty head when it is not; purple from ``gotox``; blue and thick
where a loop is closed; dashed between functions. Blocks that no path leads to have a
dashed frame and a row that says so.
"""

from __future__ import annotations

from pybpftool.cfg.graph import ENTRY, EXIT, FIRST_BLOCK
from pybpftool.errors import FormatError
from pybpftool.invisible import INVISIBLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from pybpftool.cfg.graph import Function
    from pybpftool.cfg.listing import Listing

# Upstream shortens file names beyond so many bytes at a slash.
_PATH_LENGTH = 32
# Graphs of more blocks than this are laid out with so many iterations only.
_MANY_BLOCKS = 500
_ITERATIONS = 250
_END = "\\l\\\n"

_INSN_SPECIALS = ("\\", '"', "<", ">", "|", "&", "{", "}")
_LABEL = str.maketrans({c: f"\\{c}" for c in '\\"{}<>| '})
# What no picture can show, or what turns its text around or is not seen in it.
_CONTROLS = {c: f"\\\\x{c:02x}" for c in (*range(9), *range(10, 32), *range(127, 160))}
_CONTROLS.update({0xDC00 + byte: f"\\\\x{byte:02x}" for byte in range(128, 256)})
_CONTROLS.update(
    {c: f"\\\\u{c:04x}" for c in (*range(0xD800, 0xDC80), *range(0xDD00, 0xE000), 0xFFFE, 0xFFFF)}
)
_CONTROLS.update({ord(c): f"\\\\u{ord(c):04x}" for c in INVISIBLE})

_STYLES = {
    "true": 'style="solid,bold", color=darkgreen, weight=10, constraint=true, class="true"',
    "false": 'style="solid,bold", color=red, weight=10, constraint=true, arrowhead=empty,'
    ' class="false"',
    "indirect": 'style="solid,bold", color=purple, weight=10, constraint=true, class="indirect"',
}
_PLAIN_STYLE = 'style="solid,bold", color=black, weight=10, constraint=true'
# Of two ranks: an edge between blocks side by side is more than Graphviz can draw.
_DASHED = 'style="dashed", color=gray40, weight=1, minlen=2'
_CALL_STYLES = {
    "call": f'{_DASHED}, class="call"',
    "callback": f'{_DASHED}, arrowhead=open, class="callback"',
}


def _visible(text: str) -> str:
    """Escaped ``text`` with characters that a picture cannot show spelt out."""
    if not (text.isascii() and text.isprintable()):
        text = text.translate(_CONTROLS)
    if "&" in text and ";" in text:
        # Graphviz would read an entity; the ampersand of one is an entity itself.
        parts = text.split("&")
        text = parts[0]
        for part in parts[1:]:
            name, semicolon, _ = part.partition(";")
            is_entity = bool(semicolon) and (name.isalnum() or name.startswith("#"))
            text += ("&amp;" if is_entity else "&") + part
    return text


def label_text(text: str) -> str:
    """``text`` for a record's label, escaped as upstream does for source lines."""
    return _visible(text.translate(_LABEL))


def shorten_path(path: str) -> tuple[str, bool]:
    """A file name for a narrow place, and whether something was cut from its beginning."""
    raw = path.encode("utf-8", "surrogateescape")
    if len(raw) <= _PATH_LENGTH:
        return path, False
    at = raw.find(b"/", len(raw) - _PATH_LENGTH)
    if at < 0:
        at = raw.rfind(b"/")
    elif at < 3:
        at = 0  # "..." in place of one or two characters gains nothing
    if at <= 0:
        return path, False
    return raw[at:].decode("utf-8", "surrogateescape"), True


def write_dot(
    write: Callable[[str], None],
    listing: Listing,
    opcodes: bool = False,
    linum: bool = False,
    only: Collection[int] | None = None,
    limit: bool = False,
) -> None:
    """Write the graph of a program.

    :param write: takes the text piece by piece.
    :param opcodes: add each instruction's bytes.
    :param linum: add file, line and column to source lines.
    :param only: the indexes of the functions to draw, all by default.
    :param limit: have Graphviz stop early when it straightens the edges of a graph of
        many blocks, which would take it longer than all else together.
    """
    cfg = listing.cfg
    escaped = _escaped_texts(listing.texts)
    lines = _Lines(listing, linum)
    functions = [f for f in cfg.functions if only is None or f.index in only]
    write('digraph "DOT graph for eBPF program" {\n')
    blocks = sum(len(function.heads) for function in functions)
    if limit and blocks > _MANY_BLOCKS:
        write(f"\tnslimit={_ITERATIONS / blocks:.4f};\n")
    for function in functions:
        prefix = f"fn_{function.index}_bb_"
        tooltip = _quoted(listing.names[function.index])
        write(
            f'subgraph "cluster_{function.index}" {{\n\tstyle="dashed";\n\tcolor="black";\n'
            f'\tlabel="func_{function.index} ()";\n'
        )
        if tooltip != f"func_{function.index}":
            write(f'\ttooltip="{tooltip}";\n')
        write(f'\t{prefix}0 [shape=Mdiamond,style=filled,label="ENTRY"];\n\n')
        write("".join(_nodes(listing, function, escaped, lines, opcodes)))
        write(f'\t{prefix}1 [shape=Mdiamond,style=filled,label="EXIT"];\n\n')
        write("".join(_edges(function)))
        write(f'\t{prefix}{ENTRY}:s -> {prefix}{EXIT}:n [style="invis", constraint=true];\n}}\n')
    drawn = {function.index for function in functions}
    write("".join(_call_edges(listing, drawn)))
    write("}\n")


def write_call_graph(write: Callable[[str], None], listing: Listing) -> None:
    """Write which function calls which: one node for each, ``fn_F``, one edge for each pair."""
    cfg = listing.cfg
    write('digraph "call graph for eBPF program" {\n\tnode [shape=box,style=filled];\n')
    for function in cfg.functions:
        name = _quoted(listing.names[function.index])
        size = function.end - function.begin
        write(
            f'\tfn_{function.index} [label="{name}\\n{size} instructions,'
            f' {len(function.heads)} blocks"];\n'
        )
    counts: dict[tuple[int, int, str], int] = {}
    for call in cfg.calls:
        key = (call.caller, call.callee, call.kind)
        counts[key] = counts.get(key, 0) + 1
    for (caller, callee, kind), count in counts.items():
        style = _CALL_STYLES[kind].replace(", weight=1, minlen=2", "")
        times = f', label="{count}"' if count > 1 else ""
        write(f"\tfn_{caller} -> fn_{callee} [{style}{times}];\n")
    write("}\n")


def _quoted(text: str) -> str:
    """``text`` within a quoted string that is not a record."""
    return _visible(text.replace("\\", "\\\\").replace('"', '\\"'))


def _escaped_texts(texts: list[str]) -> list[str]:
    """Instructions for records, escaped as upstream does."""
    joined = "\n".join(texts)
    for special in _INSN_SPECIALS:
        if special in joined:
            joined = joined.replace(special, "\\" + special)
    result = joined.split("\n")
    if not (joined.isascii()) or not joined.replace("\n", "").isprintable():
        result = [text.translate(_CONTROLS) for text in result]
    if len(result) != len(texts):
        raise FormatError("an instruction's text has a line break in it")
    return result


def _nodes(
    listing: Listing,
    function: Function,
    escaped: list[str],
    lines: _Lines,
    opcodes: bool,
) -> Iterator[str]:
    """The blocks of a function."""
    begin, end = function.begin, function.end
    image = listing.cfg.image
    # One row for each slot; an empty one for the second half of a load.
    if opcodes:
        hexes = image.data[8 * begin : 8 * end].hex(" ", 1)
        rows = [
            f"{i}: {text}{_END}\\ \\ \\ \\ {hexes[24 * i : 24 * i + 23]}{_END}"
            for i, text in enumerate(escaped[begin:end])
        ]
        for slot in image.loads:
            if begin <= slot < end - 1:
                i = slot - begin
                code = hexes[24 * i : 24 * i + 47]
                rows[i] = f"{i}: {escaped[slot]}{_END}\\ \\ \\ \\ {code}{_END}"
    else:
        rows = [f"{i}: {text}{_END}" for i, text in enumerate(escaped[begin:end])]
    if image.is_start is not None:
        at = image.is_start.find(0, begin, end)
        while at >= 0:
            rows[at - begin] = ""
            at = image.is_start.find(0, at + 1, end)
    for slot, record in listing.shown_lines(function).items():
        rows[slot - begin] = lines.text(record) + rows[slot - begin]
    proto = listing.protos.get(begin)
    if proto:
        rows[0] = f"; {_visible_proto(proto)}:{_END}" + rows[0]
    reached = function.reached()
    bounds = [*function.heads, end]
    for at in range(len(function.heads)):
        number = at + FIRST_BLOCK
        body = "| ".join(filter(None, rows[bounds[at] - begin : bounds[at + 1] - begin]))
        style = "filled"
        if not reached[number]:
            style = '"filled,dashed",color=gray40,fontcolor=gray40,class=unreachable'
            body = f"; unreachable{_END}" + body
        yield (
            f"\tfn_{function.index}_bb_{number} [shape=record,style={style},"
            f'label="{{\\\n{body}}}"];\n\n'
        )


def _visible_proto(proto: str) -> str:
    """A prototype in a record: upstream leaves it as it is, which does for C's own characters."""
    for special in ("\\", '"', "{", "}", "<", ">", "|"):
        proto = proto.replace(special, "\\" + special)
    return _visible(proto)


class _Lines:
    """The rows of source lines, many of which stand in many places."""

    def __init__(self, listing: Listing, linum: bool) -> None:
        self._listing = listing
        self._linum = linum
        self._sources: dict[str, str] = {}
        self._files: dict[str, str] = {}

    def text(self, record: int) -> str:
        """The rows of a record, empty where it has no source line."""
        source = self._listing.source(record)
        if not source and not self._listing.has_source(record):
            return ""
        text = self._sources.get(source)
        if text is None:
            text = self._sources[source] = f"; {label_text(source)}{_END}"
        if not self._linum:
            return text
        file = self._listing.file(record)
        place = self._files.get(file)
        if place is None:
            name, is_cut = shorten_path(file)
            place = self._files[file] = f"; [{'...' if is_cut else ''}{label_text(name)}"
        line, column = self._listing.lines.number(record)
        return f"{place} line:{line} col:{column}]{_END}{text}"


def _edges(function: Function) -> Iterator[str]:
    """The edges of a function."""
    back, retreating = function.cycles()
    prefix = f"fn_{function.index}_bb_"
    styles = _STYLES
    for source, target, kind in function.arcs:
        style = styles.get(kind, _PLAIN_STYLE)
        if (source, target) in retreating:
            head, _, rest = style.partition(", color=")
            _, _, rest = rest.partition(",")
            style = f"{head}, color=blue,{rest}, penwidth=3"
            style += ', comment="loop"' if (source, target) in back else ', comment="cycle"'
        yield f"\t{prefix}{source}:s -> {prefix}{target}:n [{style}];\n"


def _call_edges(listing: Listing, drawn: Collection[int]) -> Iterator[str]:
    """Edges from calling blocks to the entries of the functions called."""
    functions = listing.cfg.functions
    seen = set()
    upward = _recursive_calls(listing)
    for call in listing.cfg.calls:
        if call.caller not in drawn or call.callee not in drawn:
            continue
        block = functions[call.caller].block_at(call.slot)
        key = (call.caller, block, call.callee, call.kind)
        if key in seen:
            continue
        seen.add(key)
        style = _CALL_STYLES[call.kind]
        caller, callee = f"fn_{call.caller}_bb_{block}", f"fn_{call.callee}_bb_{ENTRY}"
        if (call.caller, call.callee) in upward:
            # Graphviz fails at cycles of such edges: here it lays out the reverse.
            yield f"\t{callee} -> {caller} [{style}, dir=back];\n"
        else:
            yield f"\t{caller} -> {callee} [{style}];\n"


def _recursive_calls(listing: Listing) -> set[tuple[int, int]]:
    """``(caller, callee)`` of the calls that lead back to a function under way.

    Programs cannot recurse, but a timer's callback can start its timer again.
    """
    callees: dict[int, list[int]] = {}
    for call in listing.cfg.calls:
        callees.setdefault(call.caller, []).append(call.callee)
    result = set()
    state: dict[int, int] = {}  # 1 under way, 2 done
    for root, first in callees.items():
        if root in state:
            continue
        state[root] = 1
        path = [(root, iter(first))]
        while path:
            function, targets = path[-1]
            for target in targets:
                if state.get(target) == 1:
                    result.add((function, target))
                elif target not in state:
                    state[target] = 1
                    path.append((target, iter(callees.get(target, ()))))
                    break
            else:
                state[function] = 2
                path.pop()
    return result
