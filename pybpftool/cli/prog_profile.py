"""``prog profile``: what the runs of a program cost, in events of the processor or the kernel."""

from __future__ import annotations

from pybpftool.cli.refs import one_program
from pybpftool.control import require_live
from pybpftool.control.profile import METRICS, MOST_METRICS
from pybpftool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.control.profile import Metric, Profile, Reading

_LONGEST = 0xFFFFFFFF  # seconds


def profile(ctx: Context, args: Args) -> None:
    """``prog profile PROG [duration SECONDS] METRIC…``."""
    from pybpftool.cli.stopping import Stopping
    from pybpftool.control.profile import profile

    kernel = ctx.kernel
    require_live(kernel)
    prog = one_program(kernel, args)
    try:
        seconds = _LONGEST
        if len(args) > 2 and args.accept("duration"):
            seconds = args.number("a number of seconds", 64)
        metrics = _metrics(args)
        with Stopping() as stopping:
            found = profile(
                kernel, prog, metrics, lambda: stopping.wait(min(seconds, _LONGEST)), ctx.say
            )
    finally:
        kernel.close(prog)
    if ctx.json is not None:
        ctx.json.value([_json(found, reading) for reading in found.readings])
    else:
        ctx.out.write(text(found))


def _metrics(args: Args) -> list[Metric]:
    """The metrics that the words name, each once, in the table's order."""
    wanted = {args.choose([metric.name for metric in METRICS])}
    while args:
        wanted.add(args.choose([metric.name for metric in METRICS]))
    if len(wanted) > MOST_METRICS:
        raise UsageError(
            f"{len(wanted)} metrics are too many: at most {MOST_METRICS} are counted at a time"
        )
    return [metric for metric in METRICS if metric.name in wanted]


def _json(profile: Profile, reading: Reading) -> dict[str, int | str]:
    return {
        "metric": reading.metric.name,
        "run_cnt": profile.run_cnt,
        "value": reading.value,
        "enabled": reading.enabled_ns,
        "running": reading.running_ns,
    }


def text(profile: Profile) -> str:
    """A line for the number of runs and one for each metric."""
    values = {reading.metric.name: reading.value for reading in profile.readings}
    values["run_cnt"] = profile.run_cnt
    lines = ["\n%18d %-20s\n" % (profile.run_cnt, "run_cnt")]
    for reading in profile.readings:
        metric, value = reading.metric, reading.value
        divisor = values.get(metric.per, 0)
        ratio = ""
        if divisor:
            ratio = "# %8.2f %-30s" % (value * metric.factor / divisor, metric.ratio)
        lines.append("%18d %-20s%-41s%s\n" % (value, metric.name, ratio, _share(reading)))
    return "".join(lines)


def _share(reading: Reading) -> str:
    """For how much of the time the event was counting, if not for all of it."""
    if reading.enabled_ns <= reading.running_ns:
        return ""
    return "(%4.2f%%)" % (reading.running_ns * 100 / reading.enabled_ns)
