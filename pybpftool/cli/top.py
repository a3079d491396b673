"""``top``: what programs cost, as they run."""

from __future__ import annotations

import time

from pybpftool.errors import BpfError, UsageError
from pybpftool.inspect import columns
from pybpftool.inspect.wording import nearest, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.cli.stopping import Stopping
    from pybpftool.inspect.top import Sampler

    Row = dict[str, Any]

HELP = """\
Usage: pybpftool top [OPTIONS]
       pybpftool top help

Shows calls per second, time per call and share of one processor of each program, again
and again. The kernel counts while this runs, and stops when it ends. On a terminal the
table stays in place; elsewhere each one is printed below the other.

Options:
       --by WHAT           prog (if not given) or owner
       --once              one table, after one interval
       --for TIME          end after so long (10s, 2m)
       --interval TIME     between two tables: 1s if not given
       --sort [-]NAME      by another column; -cpu_percent if not given
       --filter TERMS      as for --table: 'type=xdp,calls>0'
       --json-lines        a JSON object a program and interval, on a line each
       --color WHEN        auto, always or never
       -j, -p              an array of tables, each with its time and rows
"""

_BY = ("prog", "owner")
_SHORTEST = 0.1
_ORDER = [("cpu_percent", True), ("calls", True)]
# Of each row: (header, width, whether to the right)
_PROG = (("ID", 7, True), ("TYPE", 15, False), ("NAME", 24, False))
_OWNER = (("PROGRAMS", 8, True),)
_RATES = (("CALLS/S", 10, True), ("NS/CALL", 9, True), ("CPU%", 7, True))
_SPARK = 12


class _Wanted:
    """What the options of a command line ask for."""

    def __init__(self, ctx: Context) -> None:
        from pybpftool.cli.durations import seconds
        from pybpftool.cli.terminal import is_colored

        options = dict(ctx.options.of_object)
        self.by = options.get("by", "prog")
        if self.by not in _BY:
            hint = nearest(self.by, _BY) or "; there are prog and owner"
            raise UsageError(f"--by takes no '{self.by}'{hint}")
        self.is_lines = "json-lines" in options
        if self.is_lines and ctx.json is not None:
            raise UsageError("--json-lines goes without -j and -p")
        self.is_once = "once" in options
        self.lasts = seconds(options["for"]) if "for" in options else None
        if self.is_once and self.lasts is not None:
            raise UsageError("--once and --for exclude one another")
        self.interval = seconds(options.get("interval", "1s"))
        if self.interval < _SHORTEST:
            raise UsageError(f"--interval is at least {_SHORTEST:g}s")
        word = "top" if self.by == "prog" else "top owner"
        filters = [value for name, value in ctx.options.of_object if name == "filter"]
        self.filter = columns.Filter(filters, word)
        self.order = columns.order(options["sort"], word) if "sort" in options else _ORDER
        self.color = is_colored(ctx, options.get("color", "auto"))


def run(ctx: Context, args: Args) -> None:
    """Run ``top``."""
    if args.accept("help"):
        ctx.show_help(HELP)
        return
    args.end()
    wanted = _Wanted(ctx)
    if not ctx.kernel.is_live:
        raise BpfError("the programs of a recorded kernel do not run")
    from pybpftool.cli.stopping import Stopping
    from pybpftool.control.stats import RunTimeStats
    from pybpftool.inspect.owners import processes_hidden
    from pybpftool.inspect.top import Sampler

    show = _form(ctx, wanted)
    ctx.stay()
    with RunTimeStats(ctx.kernel), Stopping() as stopping:
        sampler = Sampler(ctx.kernel)
        if ctx.json is not None:
            ctx.json.begin_array()
        for rows in _samples(sampler, wanted, stopping):
            show(rows)
            ctx.out.flush()
        if ctx.json is not None:
            ctx.json.end()
    hidden = processes_hidden(ctx.kernel)
    if hidden:  # at the end: tables on a terminal take its place
        ctx.say(f"owners may be missing: {hidden}")


def _samples(sampler: Sampler, wanted: _Wanted, stopping: Stopping) -> Iterator[list[Row]]:
    """The rows of each interval."""
    from pybpftool.inspect.top import by_owner

    sampler.sample()
    begun = time.monotonic()
    following = begun
    while True:
        following += wanted.interval
        end = following if wanted.lasts is None else min(following, begun + wanted.lasts)
        stopping.wait(max(end - time.monotonic(), 0))
        now = time.monotonic()
        if stopping.is_asked and now < end:
            return
        rows = sampler.sample()
        if wanted.by == "owner":
            rows = by_owner(rows)
        rows = [row for row in rows if wanted.filter.passes(row.get)]
        _sort(rows, wanted.order)
        yield rows
        if wanted.is_once or (wanted.lasts is not None and now - begun >= wanted.lasts):
            return
        following = max(following, now - wanted.interval)  # after a pause of the machine


def _sort(rows: list[Row], order: list[tuple[str, bool]]) -> None:
    for name, is_down in reversed(order):
        if columns.COLUMNS["top"].get(name, columns.NUMBER) == columns.TEXT:
            rows.sort(key=lambda row: str(row.get(name, "")), reverse=is_down)
        else:
            rows.sort(key=lambda row: row.get(name, 0), reverse=is_down)


def _form(ctx: Context, wanted: _Wanted) -> Callable[[list[Row]], None]:
    """What writes the rows of an interval."""
    if wanted.is_lines or ctx.json is not None:
        from pybpftool.output.jsontext import compact

        json = ctx.json

        def as_json(rows: list[Row]) -> None:
            now = round(time.time(), 3)
            if json is not None:
                json.value({"time": now, "rows": rows})
            else:
                ctx.out.write("".join([compact({"time": now, **row}) + "\n" for row in rows]))

        ctx.out.set_errors("backslashreplace")
        return as_json
    return _Screen(ctx, wanted).show


class _Screen:
    """Tables in one place of a terminal, or one below the other."""

    def __init__(self, ctx: Context, wanted: _Wanted) -> None:
        from pybpftool.inspect.top import History

        self._ctx = ctx
        self._wanted = wanted
        self._history = History()
        self._stays = ctx.out.is_terminal and not wanted.is_once
        self._key = "id" if wanted.by == "prog" else "owner"
        self._has_begun = False

    def show(self, rows: list[Row]) -> None:
        """Write the table of an interval."""
        from pybpftool.output.columns import cut

        self._history.add(rows, self._key)
        width, height = self._size()
        lines = [self._summary(rows), self._header()]
        kept = rows[: max(height - len(lines) - 1, 1)] if height else rows
        lines += [self._line(row) for row in kept]
        if width:
            lines = [cut(line, width) for line in lines]
        if self._wanted.color:
            lines[1] = f"\x1b[7m{lines[1]:<{width}}\x1b[0m"
        if self._stays:
            begin = "\x1b[H" if self._has_begun else "\x1b[2J\x1b[H"
            text = begin + "".join([f"{line}\x1b[K\n" for line in lines]) + "\x1b[J"
        else:
            text = ("\n" if self._has_begun else "") + "".join([f"{line}\n" for line in lines])
        self._has_begun = True
        self._ctx.out.write_bytes(text.encode("utf-8", "backslashreplace"))

    def _size(self) -> tuple[int, int]:
        from pybpftool.cli.terminal import terminal_width

        width = terminal_width(self._ctx)
        if not width or not self._stays:
            return width, 0
        import os

        try:
            return width, os.get_terminal_size(1).lines
        except OSError:
            return width, 24

    def _summary(self, rows: list[Row]) -> str:
        ran = sum([1 for row in rows if row["calls"]])
        calls = sum([row["calls_per_second"] for row in rows])
        share = sum([row["cpu_percent"] for row in rows])
        what = "programs" if self._wanted.by == "prog" else "owners"
        clock = time.strftime("%H:%M:%S")
        return (
            f"{clock}  {ran} of {len(rows)} {what} ran  {calls:.0f} calls/s  {share:.2f}% of a CPU"
        )

    def _header(self) -> str:
        first = _PROG if self._wanted.by == "prog" else _OWNER
        cells = [f"{name:{'>' if right else '<'}{size}}" for name, size, right in (*first, *_RATES)]
        return " ".join([*cells, f"{'':{_SPARK}}", "OWNER"])

    def _line(self, row: Row) -> str:
        if self._wanted.by == "prog":
            head = f"{row['id']:>7} {row['type'][:15]:<15} {shown(row['name'])[:24]:<24}"
        else:
            head = f"{row['programs']:>8}"
        calls = row["calls"]
        rates = (
            f"{row['calls_per_second']:>10.1f} {row['ns_per_call']:>9.0f}"
            f" {row['cpu_percent']:>7.3f}"
            if calls
            else f"{'-':>10} {'-':>9} {'-':>7}"
        )
        spark = self._history.line(row[self._key])
        return f"{head} {rates} {spark:<{_SPARK}} {shown(row.get('owner', '')) or '-'}"
