"""``help``: what there is, and where it is explained."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool [OPTIONS] OBJECT { COMMAND | help }
       pybpftool [OPTIONS] batch file FILE
       pybpftool version

Objects that this version handles:
       prog  map  link  cgroup  perf  net  feature  btf  gen  struct_ops  iter
       token  snapshot  diff  check  obj
       (each word may be shortened; 'pybpftool OBJECT help' lists an object's commands)

Options:
       -j, --json        print JSON
       -p, --pretty      print JSON over several lines
       -f, --bpffs       show the paths that objects are pinned at
       -n, --nomount     never mount a bpf file system
       -B, --base-btf FILE   the BTF that split BTF refers to
       -d, --debug       more messages
       --snapshot PATH   answer from a recorded kernel instead of the running one
       --resolve         name what other commands show as numbers (link, perf, net)
       -V, --version     same as the command version
       -h, --help        this text
"""


def run(ctx: Context, args: Args) -> None:
    """Print the help of the whole; surplus words are ignored, as upstream does."""
    ctx.show_help(HELP)
