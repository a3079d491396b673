"""``prog``: list programs and dump their code."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.objects.prog import ProgramReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool prog { show | list } [PROG]
       pybpftool prog dump xlated PROG [{ file FILE | [opcodes] [linum] [visual VISUAL] }]
       pybpftool prog dump jited PROG [{ file FILE | [opcodes] [linum] [syntax SYNTAX] }]
       pybpftool prog dump joined PROG [html FILE] [opcodes] [linum] [syntax SYNTAX]
       pybpftool prog pin PROG FILE
       pybpftool prog { load | loadall } OBJ PATH [type TYPE] [map { idx N | name NAME } MAP]
                      [{ offload_dev | xdpmeta_dev } DEVICE] [pinmaps DIRECTORY] [autoattach]
                      [kernel_btf FILE]
       pybpftool prog { attach | detach } PROG ATTACH_TYPE [MAP]
       pybpftool prog run PROG [{ data_in FILE | data DATA } [data_out FILE [data_size_out L]]]
                      [{ ctx_in FILE | ctx CTX } [ctx_out FILE [ctx_size_out M]]]
                      [repeat N] [expect N]
       pybpftool prog profile PROG [duration SECONDS] METRIC…
       pybpftool prog tracelog [{ stdout | stderr } PROG]
       pybpftool prog help

       PROG := { id PROG_ID | pinned FILE | tag PROG_TAG | name PROG_NAME }
       VISUAL := [{ svg | png | pdf } FILE | json] [func NAME | calls]
       SYNTAX := { att | intel }
       ATTACH_TYPE := { sk_msg_verdict | sk_skb_verdict | sk_skb_stream_verdict |
                        sk_skb_stream_parser | flow_dissector }
       MAP := { id MAP_ID | name MAP_NAME | pinned FILE }
       DATA := hexadecimal digits, TYPE {…}, or several of them with commas between
       TYPE := { socket | kprobe | kretprobe | uprobe | classifier | action | tracepoint |
                 raw_tracepoint | xdp | perf_event | cgroup/skb | sockops | sk_skb | sk_msg |
                 syscall | fentry | fexit | lsm | sk_lookup | struct_ops | … }: an ELF section
       CTX := {…}, members of the context by name
       METRIC := { cycles | instructions | l1d_loads | llc_misses | itlb_misses | dtlb_misses |
                   task-clock | context-switches }, at most four
       Options: -j, -p, -f (show pinned paths), -d (whole logs of the verifier), -m, -n,
                -L (light loader), -S -k KEY -i CERTIFICATE (signed), --full (show: more;
                load: what the verifier did), --snapshot PATH, run: --expect N,
                show: --table, --columns NAMES, --sort [-]NAME, --filter TERMS,
                --json-lines, --color WHEN

show lists all loaded programs, or those that PROG names, with the processes that
hold them. dump xlated prints a program's instructions as the verifier left them,
with visual their control-flow graph (as text for dot, as a picture or as JSON);
dump jited prints the machine code, dump joined source and both kinds of code.
load has libbpf load the programs of an object file and pins the first one at PATH,
loadall all of them in the directory PATH, pinmaps their maps, autoattach their links;
if anything fails, nothing stays. run has the kernel run a program on a packet or a
context, and prints what it returns; with expect it fails if that is another number. The
file - is standard input or output. profile counts events while the program runs, until
the time is over or it is interrupted. tracelog prints what programs write to the trace
pipe until it is interrupted, or what one program has written to a stream of its own.
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``prog``."""
    select(VERBS, args, "prog")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _dump(ctx: Context, args: Args) -> None:
    from pybpftool.cli.prog_dump import dump

    dump(ctx, args)


def _pin(ctx: Context, args: Args) -> None:
    from pybpftool.cli.pinning import pin_program

    pin_program(ctx, args)


def _load(ctx: Context, args: Args) -> None:
    from pybpftool.cli.prog_load import load_first

    load_first(ctx, args)


def _loadall(ctx: Context, args: Args) -> None:
    from pybpftool.cli.prog_load import load_all

    load_all(ctx, args)


def _attach(ctx: Context, args: Args) -> None:
    from pybpftool.cli.prog_attach import attach

    attach(ctx, args)


def _detach(ctx: Context, args: Args) -> None:
    from pybpftool.cli.prog_attach import detach

    detach(ctx, args)


def _run(ctx: Context, args: Args) -> None:
    from pybpftool.cli import prog_run

    prog_run.run(ctx, args)


def _tracelog(ctx: Context, args: Args) -> None:
    from pybpftool.cli.prog_tracelog import tracelog

    tracelog(ctx, args)


def _profile(ctx: Context, args: Args) -> None:
    from pybpftool.cli.prog_profile import profile

    profile(ctx, args)


def _show(ctx: Context, args: Args) -> None:
    """``prog { show | list } [PROG]``"""
    found = None
    if args:
        from pybpftool.cli.refs import PROG_REFERENCE, find_programs

        if len(args) != 2:
            args.choose(PROG_REFERENCE)
            args.take("its value")
            args.end()
        found = find_programs(ctx.kernel, ProgramReader(ctx.kernel), args)
    kernel, json = ctx.kernel, ctx.json
    if ctx.options.is_full:
        from pybpftool.cli import full

        full.show(ctx, "prog", found)
        return
    pins = kernel.pinned("prog") if ctx.options.bpffs else None
    listing = kernel.listing("prog")
    read = ProgramReader(kernel, pins, listing.held, with_metadata=True).read
    if found is not None:
        if json is not None:
            from pybpftool.cli.listing import single_or_array

            single_or_array(json, (read(obj).json() for obj in found))
        else:
            for obj in found:
                ctx.out.write(read(obj).text())
        return
    from pybpftool.cli.listing import write_records

    write_records(ctx, listing, read)


VERBS = (
    ("show", _show),
    ("list", _show),
    ("help", _help),
    ("dump", _dump),
    ("pin", _pin),
    ("load", _load),
    ("loadall", _loadall),
    ("attach", _attach),
    ("detach", _detach),
    ("tracelog", _tracelog),
    ("run", _run),
    ("profile", _profile),
)
