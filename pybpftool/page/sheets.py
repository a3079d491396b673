"""Sheets of the page: one a program, with its code, and one a map, with its elements."""

from __future__ import annotations

from bisect import bisect_right
from errno import ENOENT

from pybpftool.errors import BpfError, KernelError
from pybpftool.joined.model import Joined
from pybpftool.joined.text import machine_texts
from pybpftool.objects.open_map import OpenMap
from pybpftool.output.columns import duration, size
from pybpftool.output.htmltext import html_text
from pybpftool.page.flow import MOST_BLOCKS, flow_svg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from pybpftool.inspect.items import Item
    from pybpftool.inspect.owners import Graph
    from pybpftool.joined.model import Group, JoinedFunction
    from pybpftool.objects.prog_code import CodeReader

_MOST_ELEMENTS = 20
_MOST_LETTERS = 400  # of one element
_MOST_LINKS = 40
TOTAL = 9_500_000
"""Bytes of a page: code fills what all else leaves; the sheets after that say where theirs is."""
LEAST = 2_000_000
"""Letters of code that a page has in any case."""
ELEMENTS = 1_000_000
"""Letters of the elements of maps; the sheets after that say where theirs are."""


class Sheets:
    """Writes the sheets of one machine."""

    __slots__ = (
        *("_code", "_decoder", "_elements_left", "_graph", "_left", "_letters", "_read_bytes"),
    )

    def __init__(self, graph: Graph, code: CodeReader) -> None:
        self._graph = graph
        self._code = code
        self._left = LEAST
        self._elements_left = ELEMENTS
        self._decoder: Any = None
        # Of the listings by now: how much page comes of how many bytes of instructions.
        self._letters = self._read_bytes = 0

    def leave_room(self, taken: int) -> None:
        """Give code what is left of a page that has so many bytes without it."""
        self._left = max(TOTAL - taken, LEAST)

    # --- programs ---

    def head(self, item: Item, why: Iterable[str]) -> str:
        """The sheet of a program but for its code; ``why`` are lines on what keeps it alive."""
        prog = item.record
        facts = [
            ("type", item.type),
            ("tag", prog.tag),
            ("xlated", size(prog.xlated_prog_len)),
            ("jited", size(prog.jited_prog_len)),
            ("memory", "" if prog.memlock is None else size(prog.memlock)),
            ("verified instructions", str(prog.verified_insns or "")),
            ("run time", f"{duration(prog.run_time_ns)} in {prog.run_cnt} runs"
             if prog.run_cnt else ""),
            ("loaded by uid", str(prog.created_by_uid)),
        ]  # fmt: skip
        return "\n".join([
            _facts(facts),
            *self._links("maps", "map", prog.map_ids),
            _lines("What keeps it alive, and where it acts", why),
            *self._calls(item),
        ])  # fmt: skip

    def program(self, item: Item, head: str) -> str:
        """The sheet of a program, which begins with its :meth:`head`."""
        title = f"prog {item.id} {item.type} {item.name}"
        return _sheet(f"prog-{item.id}", title, [head, *self._listing(item)])

    def _links(self, title: str, kind: str, ids: Iterable[int]) -> Iterator[str]:
        known = self._graph.items(kind)
        found = [id for id in ids if id in known]
        links = [
            f'<a href="#{kind}-{id}">{id} {html_text(known[id].name or known[id].type)}</a>'
            for id in found[:_MOST_LINKS]
        ]
        if len(found) > len(links):
            links.append(f"and {len(found) - len(links)} more")
        if links:
            yield f"<p>{title}: {', '.join(links)}</p>"

    @staticmethod
    def _calls(item: Item) -> Iterator[str]:
        called = item.get("calls")
        if isinstance(called, tuple) and called:
            yield f"<p>calls: <code>{html_text(', '.join(called))}</code></p>"

    def _listing(self, item: Item) -> Iterator[str]:
        size = item.record.xlated_prog_len
        # What will not fit is not written first, to be thrown away.
        likely = size * self._letters // self._read_bytes if self._read_bytes else 0
        if self._left <= likely * 3 // 4:
            yield _elsewhere(f"pybpftool prog dump joined id {item.id}")
            return
        try:
            joined = item.asked(self._joined)
        except BpfError as error:
            yield _refused(error)
            return
        text = "".join(self._tables(joined, item.id))
        self._letters += len(text)
        self._read_bytes += size
        if len(text) > self._left:
            yield _elsewhere(f"pybpftool prog dump joined id {item.id}")
            return
        self._left -= len(text)
        yield text

    def _joined(self, obj: object) -> Joined:
        xlated = self._code.xlated(obj)  # type: ignore[arg-type]
        try:
            jited = self._code.jited(obj)  # type: ignore[arg-type]
        except BpfError:
            jited = None
        tables = self._code.jump_tables(obj, xlated)  # type: ignore[arg-type]
        joined = Joined(xlated, jited, tables, decoder=self._decoder)
        self._decoder = joined.decoder
        return joined

    @staticmethod
    def _tables(joined: Joined, program: int) -> Iterator[str]:
        listing = joined.listing
        texts = listing.texts
        for function in joined.functions:
            title = function.proto or function.name or function.symbol
            yield f"<h4><code>{html_text(title)}</code></h4>\n"
            yield "<table class=code><tr><th>source<th>translated<th>machine code\n"
            places = _Places(program, function)
            for group in function.groups:
                source = "" if group.record is None else listing.source(group.record)
                left = "\n".join([f"{slot:4}: {texts[slot]}" for slot in group.slots])
                right = "\n".join(machine_texts(function, group, False))
                yield f"<tr{places.id(group)}><td>{html_text(source)}"
                yield f"<td><pre>{html_text(left)}</pre><td><pre>{html_text(right)}</pre>\n"
            yield "</table>\n"
            yield _flow(function, texts, places.name)

    # --- maps ---

    def map(self, item: Item, why: Iterable[str]) -> str:
        """The sheet of a map."""
        map = item.record
        facts = [
            ("type", item.type),
            ("key", size(map.key_size)),
            ("value", size(map.value_size)),
            ("max_entries", str(map.max_entries)),
            ("flags", f"{map.map_flags:#x}" if map.map_flags else ""),
            ("memory", "" if map.memlock is None else size(map.memlock)),
            ("values are", str(item.get("value_type") or "")),
            ("frozen", "yes" if map.frozen else ""),
        ]
        users = [user.id for user in self._graph.inventory.users(item.id)]
        return _sheet(f"map-{item.id}", f"map {item.id} {item.type} {item.name}", [
            _facts(facts),
            *self._links("used by", "prog", users),
            _lines("What keeps it alive", why),
            *self._elements(item),
        ])  # fmt: skip

    def _elements(self, item: Item) -> Iterator[str]:
        traits = item.record.traits
        slots = self._graph.slots.get(item.id)
        if slots is not None:
            kind = traits.holds or "prog"
            rows = [(key, f"{kind} {id}") for key, id in slots[:_MOST_ELEMENTS]]
            yield _table(("key", "holds"), rows)
            return
        if traits.is_queue or not traits.order or item.type == "struct_ops":
            return
        if self._elements_left <= 0:
            yield _elsewhere(f"pybpftool map dump id {item.id}", "elements")
            return
        rows = []
        more = False
        try:
            with OpenMap.by_id(item.id, self._graph.inventory.kernel) as map:
                for keys, values in map.batches():
                    for key, value in zip(keys, values):
                        if len(rows) == _MOST_ELEMENTS:
                            more = True
                            break
                        rows.append((_shown(key), _shown(value)))
                    if more:
                        break
        except (BpfError, TypeError, ValueError) as error:
            yield _refused(error)
        if rows:
            table = _table(("key", "value"), rows)
            self._elements_left -= len(table)
            yield table
        if more:
            yield _elsewhere(f"pybpftool map dump id {item.id}", "more elements")


class _Places:
    """Names of the rows of a function's code to which its drawing leads."""

    __slots__ = ("_rows", "_starts")

    def __init__(self, program: int, function: JoinedFunction) -> None:
        self._rows: dict[int, str] = {}
        self._starts: list[int] = []
        flow = function.flow
        if flow is None or len(flow.heads) < 2:
            return
        self._starts = sorted(group.slots[0] for group in function.groups if group.slots)
        for slot in flow.heads[:MOST_BLOCKS]:
            start = self._start(slot)
            if start is not None:
                self._rows[start] = f"code-{program}-{start}"

    def _start(self, slot: int) -> int | None:
        at = bisect_right(self._starts, slot) - 1
        return self._starts[at] if at >= 0 else None

    def name(self, slot: int) -> str:
        """Of the row that a slot is in."""
        start = self._start(slot)
        return "" if start is None else self._rows.get(start, "")

    def id(self, group: Group) -> str:
        """The attribute of a row, empty where nothing leads to it."""
        name = self._rows.get(group.slots[0]) if group.slots else None
        return f' id="{name}"' if name else ""


def _refused(error: Exception) -> str:
    if isinstance(error, KernelError) and error.errno == ENOENT:
        return "<p>It has gone since it was listed.</p>"
    return f"<p>{html_text(str(error))}</p>"


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        text = value[: _MOST_LETTERS // 3].hex(" ")
    else:
        text = str(value)
    return text if len(text) <= _MOST_LETTERS else text[:_MOST_LETTERS] + "…"


def _flow(function: JoinedFunction, texts: Sequence[str], anchor: Callable[[int], str]) -> str:
    """Control flow as a drawing."""
    drawing = "" if function.flow is None else flow_svg(function.flow, texts, anchor)
    if not drawing:
        return ""
    return f"<details class=flow open><summary>control flow</summary>\n{drawing}</details>\n"


def _sheet(name: str, title: str, parts: Iterable[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<details class="sheet" id="{name}" data-t="{html_text(title)}">'
        f"<summary>{html_text(title)}</summary>\n{body}\n</details>\n"
    )


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    rows = [f"<dt>{name}<dd>{html_text(value)}" for name, value in facts if value]
    return f"<dl>{''.join(rows)}</dl>"


def _lines(title: str, lines: Iterable[str]) -> str:
    text = "\n".join(lines)
    return f"<h4>{title}</h4><pre class=tree>{html_text(text)}</pre>" if text else ""


def _table(heads: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join([f"<th>{name}" for name in heads])
    body = "".join(
        ["<tr>" + "".join([f"<td>{html_text(cell)}" for cell in row]) + "\n" for row in rows]
    )
    return f"<table class=rows><tr>{head}\n{body}</table>"


def _elsewhere(command: str, what: str = "the code") -> str:
    return f"<p>{what}: <code>{html_text(command)}</code></p>"
