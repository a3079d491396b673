"""``--table``: listings with columns by name, filtered, sorted, fitted to the terminal."""

from __future__ import annotations

from pybpftool.cli.terminal import is_colored, terminal_width
from pybpftool.errors import BpfError, KernelError, UsageError, VanishedError
from pybpftool.inspect import columns
from pybpftool.inspect.unknown import Hidden, TooOld
from pybpftool.inspect.wording import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.inspect.inventory import Inventory
    from pybpftool.kernel.interface import BpfObject

    Handler = Callable[[Context, Args], None]
    Row = Callable[[str], Any]

_LISTS = ("show", "list", "tree")
_MOST = 8  # values of a list in one cell
_RIGHT = (columns.BYTES, columns.NUMBER, columns.AGE, columns.NS)


def tabled(word: str, handler: Handler) -> Handler:
    """The handler of an object's word whose listings come as tables."""

    def run(ctx: Context, args: Args) -> None:
        verbs = __import__(f"pybpftool.cli.{word}", fromlist=("VERBS",)).VERBS
        given = args.peek()
        verb = next((name for name, _ in verbs if given is None or name.startswith(given)), "")
        # Of the options of tables, dumps take the one about colours.
        is_dump = (word, verb) == ("prog", "dump")
        if verb in ("help", "") or (is_dump and {*dict(ctx.options.of_object)} == {"color"}):
            handler(ctx, args)
            return
        if verb not in _LISTS:
            raise UsageError(f"options of tables belong to 'show', not to '{given}'")
        view = View(ctx, word)
        if word in ("prog", "map", "link"):
            if given is not None:
                args.take("a command")
            view.show(_objects(ctx, word, args, view.wanted))
        else:
            view.show([row.get for row in _captured(ctx, word, handler, args)])

    return run


class View:
    """What the options of one command line make of rows."""

    def __init__(self, ctx: Context, word: str) -> None:
        options: dict[str, str] = {}
        filters = []
        for name, value in ctx.options.of_object:
            if name == "filter":
                filters.append(value)
            options[name] = value
        self._ctx = ctx
        self._kinds = columns.COLUMNS[word]
        self._is_lines = "json-lines" in options
        if self._is_lines and ctx.json is not None:
            raise UsageError("--json-lines goes without -j and -p")
        more: Sequence[str] = ()
        if "full" in options:
            from pybpftool.cli.full import FIELDS

            more = [name for name in FIELDS[word] if name not in columns.DEFAULT[word].split()]
        as_json = self._is_lines or ctx.json is not None
        text = options.get("columns", "")
        self.columns = columns.chosen(text or ("all" if as_json else ""), word, more)
        if not text and as_json:
            # What is costly comes only when it is asked for.
            self.columns = [name for name in self.columns if name not in ("calls", "elements")]
        self._filter = columns.Filter(filters, word)
        self._order = columns.order(options.get("sort", ""), word)
        self.wanted = [*self.columns, *self._filter.columns, *[name for name, _ in self._order]]
        self._color = is_colored(ctx, options.get("color", "auto"))

    def show(self, rows: Iterable[Row]) -> None:
        """Write the rows that pass."""
        found = [row for row in rows if self._filter.passes(row)]
        columns.sort(found, self._order)
        ctx = self._ctx
        if not self._is_lines and ctx.json is None:
            self._write_table(found)
            return
        values = (_plain(row, self.columns) for row in found)
        if ctx.json is not None:
            ctx.json.array(values)
            return
        from pybpftool.output.jsontext import compact

        ctx.out.set_errors("backslashreplace")
        for value in values:
            ctx.out.write(compact(value) + "\n")

    def _write_table(self, rows: Sequence[Row]) -> None:
        hidden: dict[str, str] = {}
        by_column = [
            self._column(name, [row(name) for row in rows], hidden) for name in self.columns
        ]
        cells = list(map(list, zip(*by_column)))
        right = [self._kinds[name] in _RIGHT for name in self.columns]
        headers = [name.removeprefix("bytes_") for name in self.columns]
        write_table(self._ctx, headers, cells, right, self._color)
        for name, reason in hidden.items():
            self._ctx.say(f"'{name}' is hidden (?): {reason}")

    def _column(self, name: str, values: list[Any], hidden: dict[str, str]) -> list[str]:
        known: dict[Any, str] = {}  # most columns say few things again and again
        is_number = self._kinds[name] == columns.NUMBER
        found = []
        for value in values:
            kind = type(value)
            if value is None:
                text = "-"
            elif kind is int and is_number:
                text = str(value)
            elif kind is str and value:
                text = known.get(value, "")
                if not text:
                    text = known[value] = shown(value)
            elif kind is tuple and len(value) == 1 and type(value[0]) is str:
                text = known.get(value, "")
                if not text:
                    text = known[value] = self._cell(name, value, hidden)
            else:
                text = self._cell(name, value, hidden)
            found.append(text)
        return found

    def _cell(self, name: str, value: Any, hidden: dict[str, str]) -> str:
        if isinstance(value, Hidden):
            hidden[name] = value.reason
            return "?"
        return cell(self._kinds[name], value)


def write_table(
    ctx: Context,
    headers: list[str],
    rows: list[list[str]],
    right: Sequence[bool],
    color: bool,
) -> None:
    """Write cells below their headers, cut to the terminal where there is one."""
    from pybpftool.adapters.tabulate import aligned
    from pybpftool.output.columns import bold, dim, fitted

    width = terminal_width(ctx)
    if width:
        headers, rows = fitted(headers, rows, width)
    if color:
        headers = [bold(name) for name in headers]
        rows = [[dim(text) if text in ("-", "?") else text for text in row] for row in rows]
    text = aligned(headers, rows, right)
    lines = text.split("\n")
    # The rule below the headers is for readers without bold letters.
    text = "\n".join([line.rstrip() for line in lines if not color or line is not lines[1]])
    ctx.out.write_bytes(f"{text}\n".encode("utf-8", "backslashreplace"))


def cell(kind: str, value: Any) -> str:
    """A value as a cell: sizes and ages for people, hostile characters escaped."""
    if type(value) is str and value:  # as most are
        return shown(value)
    if type(value) is int and kind == columns.NUMBER:
        return str(value)
    if value is None or isinstance(value, TooOld) or value in ([], (), ""):
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        from pybpftool.output.columns import age, duration, size

        if kind == columns.BYTES:
            return size(value)
        if kind == columns.AGE:
            return age(value)
        if kind == columns.NS:
            return duration(value)
        if kind == columns.TIME:
            return _local_time(value)
    if isinstance(value, (list, tuple)) and len(value) > _MOST:
        # All rows are as wide as the widest, and a program may be attached in a thousand places.
        more = f"{len(value) - _MOST} more"
        return f"{shown(columns.value_words(value[:_MOST]))}, {more}"
    return shown(columns.value_words(value)) or "-"


def _local_time(second: int) -> str:
    import time

    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
    except (OverflowError, ValueError, OSError):
        return str(second)


def _plain(row: Row, names: Sequence[str]) -> dict[str, Any]:
    """A row as JSON: what is not known is left out."""
    found = {}
    for name in names:
        value = row(name)
        if value is not None and not isinstance(value, (Hidden, TooOld)):
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


# --- programs, maps, links ---


def _objects(ctx: Context, kind: str, args: Args, wanted: Sequence[str]) -> Iterator[Row]:
    """The rows of ``{ prog | map | link } show``: fields that cost are found when asked for."""
    kernel = ctx.kernel
    found = _referred(ctx, kind, args)
    from pybpftool.cli.full import reader

    pins = ctx.options.bpffs or "pinned" in wanted
    read = reader(ctx, kind, pins)
    from pybpftool.inspect.inventory import Inventory

    inventory = Inventory(kernel)
    now = _now(ctx) if kind == "prog" and "age" in wanted else 0
    for obj in found if found is not None else kernel.objects(kind):
        try:
            record = read(obj)
        except VanishedError:
            continue
        except KernelError as error:
            ctx.error_aside(error)
            continue
        json = record.json()
        if "loaded_at" in json:
            json["age"] = max(now - json["loaded_at"], 0)
        yield _row(inventory, kind, record.id, json)


def _row(inventory: Inventory, kind: str, id: int, json: dict[str, Any]) -> Row:
    from pybpftool.cli.full import json_value
    from pybpftool.inspect.fields import FIELDS

    finders = FIELDS[kind]
    taken: dict[str, Any] = {}

    def get(name: str) -> Any:
        value = json.get(name)
        if value or name not in finders or name in ("name", "type", "pinned"):
            return value
        if name in json and not name.startswith("bytes_"):
            return value
        if name not in taken:
            item = inventory.items(kind).get(id)
            taken[name] = None if item is None else json_value(inventory, item, name)
        return taken[name]

    return get


def _referred(ctx: Context, kind: str, args: Args) -> Iterator[BpfObject] | None:
    if not args:
        return None
    kernel = ctx.kernel
    found: Iterator[BpfObject]
    if kind == "prog":
        from pybpftool.cli.refs import find_programs
        from pybpftool.objects.prog import ProgramReader

        found = find_programs(kernel, ProgramReader(kernel), args)
    elif kind == "map":
        from pybpftool.cli.refs import find_maps

        found = find_maps(kernel, args)
    else:
        from pybpftool.cli.link import find_link

        found = iter([find_link(kernel, args)])
    args.end()
    return found


def _now(ctx: Context) -> int:
    import time

    return int(getattr(ctx.kernel, "recorded_at", None) or time.time())


# --- the other words ---


class _Pages:
    """In place of standard output: keeps what is written."""

    is_terminal = True  # no second process

    def __init__(self) -> None:
        self.pieces: list[str] = []

    def write(self, text: str) -> None:
        self.pieces.append(text)

    def write_bytes(self, data: bytes) -> None:
        self.pieces.append(bytes(data).decode("ascii", "replace"))

    def flush(self) -> None:
        """Nothing waits for it."""

    def set_errors(self, errors: str) -> None:
        """Surrogates stay what they are."""


def _captured(ctx: Context, word: str, handler: Handler, args: Args) -> list[dict[str, Any]]:
    """The rows of what a word prints with ``-j``; what went wrong is reported."""
    from json import loads

    from pybpftool.output.jsontext import JsonStream

    kept = ctx.out, ctx.json
    pages: Any = _Pages()
    ctx.out, ctx.json = pages, JsonStream(pages)
    try:
        handler(ctx, args)
        ctx.json.finish()
    finally:
        ctx.out, ctx.json = kept
    text = "".join(pages.pieces)
    value = loads(text) if text.strip() else []
    rows = []
    for row in _flattened(word, value if isinstance(value, list) else [value]):
        if row.keys() == {"error"}:
            ctx.error_aside(BpfError(row["error"]))
        else:
            rows.append(row)
    return rows


def _flattened(word: str, values: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for value in values:
        if word == "cgroup" and "programs" in value:
            for row in value["programs"]:
                yield {"cgroup": value["cgroup"], **row}
        elif word == "net" and "error" not in value:
            yield from _network(value)
        else:
            yield value


def _network(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The programs of a network namespace, each with its section of the listing."""
    namespace = value.get("netns", {})
    common = {"netns": str(namespace.get("name") or namespace["inode"])} if namespace else {}
    for section in ("xdp", "tc", "flow_dissector", "netfilter"):
        for row in value.get(section, ()):
            if "error" in row:
                yield row
                continue
            several = row.pop("multi_attachments", None)
            for one in several if several is not None else ({},):
                told = {"section": section, **common, **row, **one}
                if "id" in told:
                    told["prog_id"] = told.pop("id")
                yield told
