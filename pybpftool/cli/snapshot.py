"""``snapshot``: record a kernel's answers, show what a recording holds."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.errors import BpfError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool snapshot show PATH
       pybpftool snapshot save PATH [elements { none | SIZE | all }]
       pybpftool snapshot help

save records what the read commands need into one file; 'pybpftool --snapshot PATH'
replays it on any machine, without privilege. show tells what a recording holds.
Of the elements of each map SIZE bytes are kept (1M if not given; K, M and G are
known); a dump of a map that was cut ends with an error.
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``snapshot``."""
    if not args:
        raise UsageError("expected 'show PATH' or 'save PATH' after 'snapshot'")
    select(VERBS, args, "snapshot")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _save(ctx: Context, args: Args) -> None:
    path = args.take("the path of the snapshot")
    element_bytes = _element_bytes(args)
    args.end()
    from pybpftool.cli.progress import Progress
    from pybpftool.inspect.recorder import record
    from pybpftool.kernel.recording import RecordingKernel
    from pybpftool.output.files import write_file

    recording = RecordingKernel(ctx.kernel, element_bytes)
    with Progress("Recording"):
        record(recording, elements=element_bytes != 0)
    write_file(path, recording.archive(), private=True)
    if ctx.json is not None:
        ctx.json.value(None)
    if recording.cut:
        ctx.say(_cut_text(recording.cut))


def _element_bytes(args: Args) -> int | None:
    """Take ``[elements { none | all | SIZE }]``: bytes of elements a map, None for all."""
    from pybpftool.kernel.recording import ELEMENT_BYTES

    if not args:
        return ELEMENT_BYTES
    args.choose(("elements",))
    word = args.take("'none', 'all' or how many bytes of elements a map")
    if word in ("none", "all"):
        return 0 if word == "none" else None
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(word[-1:], 1)
    digits = word if scale == 1 else word[:-1]
    if not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        raise UsageError(f"cannot read '{word}' as a size: give bytes, or a number with K, M or G")
    return int(digits) * scale


def _cut_text(cut: dict[int, int]) -> str:
    """Which maps are cut: ``7 (4096 elements), 9 (12 elements)``."""
    maps = ", ".join(f"{id} ({kept} elements)" for id, kept in sorted(cut.items()))
    return f"Only a part of the elements is kept of the maps with the ids {maps}"


def _show(ctx: Context, args: Args) -> None:
    path = args.take("the path of the snapshot")
    args.end()
    from pybpftool.kernel.interface import KINDS
    from pybpftool.kernel.snapshot import SnapshotKernel

    kernel = SnapshotKernel.load(path)
    counts: dict[str, int] = {}
    for kind in KINDS:
        try:
            counts[kind] = sum(1 for _ in kernel.objects(kind))
        except BpfError:
            continue
    cut = kernel.cut_maps()
    if ctx.json is not None:
        answer: dict[str, object] = {
            "release": kernel.release,
            "machine": kernel.machine,
            "recorded_at": kernel.recorded_at,
            "objects": counts,
        }
        if cut:
            answer["cut_maps"] = [{"id": id, "elements": cut[id]} for id in sorted(cut)]
        ctx.json.value(answer)
        return
    from pybpftool.adapters.tabulate import table

    ctx.out.write(f"Linux {kernel.release} {kernel.machine}\n")
    ctx.out.write(table(("kind", "objects"), list(counts.items())) + "\n")
    if cut:
        ctx.out.write(_cut_text(cut) + "\n")


VERBS = (("show", _show), ("save", _save), ("help", _help))
