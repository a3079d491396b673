"""``metrics``: figures for Prometheus."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.inspect.metrics import Collector

HELP = """\
Usage: pybpftool metrics { show | list } [--stats [--interval TIME]]
       pybpftool metrics write FILE [--stats [--interval TIME]]
       pybpftool metrics serve [ADDRESS] [--stats]
       pybpftool metrics help

       ADDRESS := [HOST:]PORT, 127.0.0.1:9435 if not given; an IPv6 address in brackets
       Options: -j, -p (show), --snapshot PATH

show prints the metrics of programs, maps, links and BTF in Prometheus' text format,
write puts them into a file as a whole, as the node exporter's textfile collector wants
it, serve answers requests for http://ADDRESS/metrics until it is interrupted. Labels
are names, types and owners. With --stats the kernel counts calls and times of programs:
while serve runs, else for one interval, 1s if not given.
"""

_HOST, _PORT = "127.0.0.1", 9435


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``metrics``."""
    select(VERBS, args, "metrics")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _options(ctx: Context) -> dict[str, str]:
    options = dict(ctx.options.of_object)
    if "interval" in options and "stats" not in options:
        raise UsageError("--interval goes with --stats")
    return options


def _collected(ctx: Context) -> Collector:
    """A collector that has collected, with statistics of an interval if they are wanted."""
    import time

    from pybpftool.cli.durations import seconds
    from pybpftool.inspect.metrics import Collector

    options = _options(ctx)
    collector = Collector(ctx.kernel, "stats" in options)
    interval = seconds(options.get("interval", "1s"))
    if "stats" in options and ctx.kernel.is_live:
        from pybpftool.control.stats import RunTimeStats

        with RunTimeStats(ctx.kernel):
            time.sleep(interval)
    return collector


def _remarks(ctx: Context, collector: Collector) -> list[str]:
    """What was not seen, in sentences."""
    from pybpftool.inspect.owners import processes_hidden

    found = [f"left out: {error}" for error in collector.refused]
    hidden = processes_hidden(ctx.kernel)
    return [*found, f"owners may be missing: {hidden}"] if hidden else found


def _say(ctx: Context, remarks: list[str]) -> None:
    for remark in remarks:
        ctx.say(remark)


def _show(ctx: Context, args: Args) -> None:
    """``metrics { show | list }``"""
    from pybpftool.inspect.metrics import render

    args.end()
    collector = _collected(ctx)
    metrics = collector.collect()
    remarks = _remarks(ctx, collector)
    if ctx.json is not None:
        ctx.json.value([metric.json() for metric in metrics])
    else:
        ctx.out.set_errors("backslashreplace")
        ctx.out.write(render(metrics))
    _say(ctx, remarks)


def _write(ctx: Context, args: Args) -> None:
    """``metrics write FILE``"""
    from pybpftool.inspect.metrics import render
    from pybpftool.output.files import write_file

    path = args.take("a file")
    args.end()
    collector = _collected(ctx)
    text = render(collector.collect())
    remarks = _remarks(ctx, collector)  # what can fail comes before the file is there
    write_file(path, text.encode("utf-8", "backslashreplace"))
    if ctx.json is not None:
        ctx.json.value(None)
    _say(ctx, remarks)


def _serve(ctx: Context, args: Args) -> None:
    """``metrics serve [ADDRESS]``"""
    from pybpftool.cli.stopping import Stopping
    from pybpftool.inspect.metrics import Collector, render
    from pybpftool.output.textserver import TextServer

    host, port = address(args.take("an address")) if args else (_HOST, _PORT)
    args.end()
    options = _options(ctx)
    if "interval" in options:
        raise UsageError("--interval is for 'show' and 'write': 'serve' counts while it runs")
    collector = Collector(ctx.kernel, "stats" in options)
    collector.collect()  # what is refused altogether is said now
    _say(ctx, _remarks(ctx, collector))
    ctx.stay()
    with _statistics(ctx, "stats" in options), Stopping() as stopping:
        server = TextServer(host, port, lambda: render(collector.collect()))
        try:
            ctx.say(f"serving {server.url}; an interrupt ends it")
            server.serve(stopping.fd, lambda: stopping.is_asked)
        finally:
            server.close()
    if ctx.json is not None:
        ctx.json.value(None)


class _statistics:
    """Run-time statistics for a ``with``, where they are wanted and there is a live kernel."""

    def __init__(self, ctx: Context, are_wanted: bool) -> None:
        from pybpftool.control.stats import RunTimeStats

        self._stats = RunTimeStats(ctx.kernel) if are_wanted and ctx.kernel.is_live else None

    def __enter__(self) -> None:
        if self._stats is not None:
            self._stats.__enter__()

    def __exit__(self, *exception: object) -> None:
        if self._stats is not None:
            self._stats.__exit__(None, None, None)


def address(word: str) -> tuple[str, int]:
    """``PORT``, ``HOST:PORT`` or ``[IPV6]:PORT``; hosts are addresses or ``localhost``."""
    host, _, digits = word.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        bare = word.strip("[]")
        meant = f"[{host}]:{digits}" if _is_address(host) else f"[{bare}]:{_PORT}"
        raise UsageError(f"an IPv6 address stands in brackets, its port behind them: {meant}")
    if host in ("", "localhost"):
        host = _HOST
    if not (digits.isascii() and digits.isdigit() and len(digits) < 6 and int(digits) < 1 << 16):
        raise UsageError(f"cannot read '{word}' as an address like 127.0.0.1:{_PORT}")
    if not _is_address(host):
        raise UsageError(f"'{host}' is no address of IPv4 or IPv6")
    return host, int(digits)


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


VERBS = (
    ("show", _show),
    ("list", _show),
    ("write", _write),
    ("serve", _serve),
    ("help", _help),
)
