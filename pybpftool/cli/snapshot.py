"""``snapshot``: record a kernel's answers, show what a recording holds."""

from __future__ import annotations

import os

from pybpftool.cli.grammar import select
from pybpftool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool snapshot show PATH
       pybpftool snapshot save PATH [elements { none | SIZE | all }]
       pybpftool snapshot help

save records what the read commands need into one file, or into a folder where PATH
ends in '/' or is an empty folder; 'pybpftool --snapshot PATH' replays either on any
machine, without privilege. show tells what a recording holds.
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
    from pybpftool.output.files import write_file, write_folder

    recording = RecordingKernel(ctx.kernel, element_bytes)
    with Progress("Recording"):
        record(recording, elements=element_bytes != 0)
    if path.endswith("/") or os.path.isdir(path):
        write_folder(path, recording.members())
    else:
        write_file(path, recording.archive(), private=True)
    if ctx.json is not None:
        ctx.json.value(None)
    if recording.cut:
        from pybpftool.inspect.unseen import cut_sentence

        sentence = cut_sentence(recording.cut)
        ctx.say(sentence[0].upper() + sentence[1:])


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


def _show(ctx: Context, args: Args) -> None:
    path = args.take("the path of the snapshot")
    args.end()
    from pybpftool.cli.recorded import guarded
    from pybpftool.inspect.contents import contents
    from pybpftool.kernel.snapshot import SnapshotKernel

    def show() -> None:
        found = contents(SnapshotKernel.load(path))
        if ctx.json is not None:
            ctx.json.value(found.json())
        else:
            ctx.out.write(found.text())

    guarded(show)


VERBS = (("show", _show), ("save", _save), ("help", _help))
