"""``prog``: list programs and dump their code."""

from __future__ import annotations

import time

from pybpftool.cli.grammar import select
from pybpftool.cli.refs import PROG_REFERENCE, find_programs
from pybpftool.errors import UsageError
from pybpftool.objects.prog import ProgramReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pybpftool.btf.table import Btf
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import Kernel
    from pybpftool.objects.prog import Program
    from pybpftool.output.jsontext import JsonStream

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
       Options: -j, -p, -f (show pinned paths), -d (whole logs of the verifier), -m, -n,
                --snapshot PATH

show lists all loaded programs, or those that PROG names, with the processes that
hold them. dump xlated prints a program's instructions as the verifier left them,
with visual their control-flow graph (as text for dot, as a picture or as JSON);
dump jited prints the machine code, dump joined source and both kinds of code.
load has libbpf load the programs of an object file and pins the first one at PATH,
loadall all of them in the directory PATH, pinmaps their maps, autoattach their links;
if anything fails, nothing stays. run has the kernel run a program on a packet or a
context, and prints what it returns; with expect it fails if that is another number. The
file - is standard input or output.
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


def _later(ctx: Context, args: Args) -> None:
    raise UsageError(f"this version has no 'prog {args.previous()}' yet")


class _Listing:
    """Renders programs with what one listing reads once: pins, holders, clocks."""

    __slots__ = ("_boot", "_kernel", "_pins", "_times", "held", "listing", "reader")

    def __init__(self, ctx: Context) -> None:
        self._kernel = kernel = ctx.kernel
        self.reader = ProgramReader(kernel)
        self._pins = kernel.pinned("prog") if ctx.options.bpffs else {}
        self.listing = kernel.listing("prog")
        self.held = self.listing.held
        self._boot = kernel.boot_time_ns()
        self._times: dict[int, str] = {}

    def text(self, prog: Program) -> str:
        """The lines of one program."""
        kernel = self._kernel
        parts = [header_text(kernel, prog)]
        if prog.load_time:
            parts.append(f"\tloaded_at {self._local_time(prog.load_time)}  uid {prog.uid}\n")
        parts.append(f"\txlated {prog.xlated_size}B")
        parts.append(f"  jited {prog.jited_size}B" if prog.jited_size else "  not jited")
        if prog.memlock is not None:
            parts.append(f"  memlock {prog.memlock}B")
        if prog.orphaned:
            parts.append("  orphaned")
        if prog.map_ids:
            parts.append("  map_ids " + ",".join(map(str, prog.map_ids)))
        for path in self._pins.get(prog.id, ()):
            parts.append(f"\n\tpinned {path}")
        if prog.btf_id:
            parts.append(f"\n\tbtf_id {prog.btf_id}")
        holders = self.held.get(prog.id)
        if holders:
            parts.append("\n\tpids " + ", ".join(f"{comm}({pid})" for pid, comm in holders))
        parts.append("\n")
        if prog.map_ids:
            lines = [f"\n\t\t{n} = {v}" for n, v in self.reader.metadata(prog, _metadata_text)]
            if lines:
                parts.append("\tmetadata:" + "".join(lines) + "\n")
        return "".join(parts)

    def record(self, prog: Program) -> dict[str, Any]:
        """The JSON object of one program."""
        record = header_record(self._kernel, prog)
        if prog.load_time:
            record["loaded_at"] = (self._boot + prog.load_time) // 1_000_000_000
            record["uid"] = prog.uid
        record["orphaned"] = prog.orphaned
        record["bytes_xlated"] = prog.xlated_size
        record["jited"] = bool(prog.jited_size)
        if prog.jited_size:
            record["bytes_jited"] = prog.jited_size
        if prog.memlock is not None:
            record["bytes_memlock"] = prog.memlock
        if prog.map_ids:
            record["map_ids"] = prog.map_ids
        if prog.btf_id:
            record["btf_id"] = prog.btf_id
        if self._pins:
            record["pinned"] = self._pins.get(prog.id, ())
        holders = self.held.get(prog.id)
        if holders:
            record["pids"] = [{"pid": pid, "comm": comm} for pid, comm in holders]
        if prog.map_ids:
            metadata = dict(self.reader.metadata(prog, _metadata_value))
            if metadata:
                record["metadata"] = metadata
        return record

    def _local_time(self, load_time: int) -> str:
        second = (self._boot + load_time) // 1_000_000_000
        text = self._times.get(second)
        if text is None:
            try:
                text = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
            except (OverflowError, ValueError, OSError):
                text = str(load_time // 1_000_000_000)  # a recorded clock out of any calendar
            self._times[second] = text
        return text


def _metadata_text(btf: Btf, type_id: int, data: bytes, offset: int) -> str:
    from pybpftool.btf import values

    try:
        return values.text(btf, type_id, data, offset)
    except values.BadValue as bad:
        return bad.text  # upstream's mark for the part that has no text form


def _metadata_value(btf: Btf, type_id: int, data: bytes, offset: int) -> object:
    from pybpftool.btf.builders import python_value

    return python_value(btf, type_id, data, offset)


def header_text(kernel: Kernel, prog: Program) -> str:
    """The first line of a program, as listings and dumps of several programs show it."""
    type_name = prog.type_name if prog.type_name is not None else f"type {prog.type}"
    name = f"name {prog.name}  " if prog.name else ""
    rest = "  gpl" if prog.gpl_compatible else ""
    if prog.run_time_ns:
        rest += f" run_time_ns {prog.run_time_ns} run_cnt {prog.run_cnt}"
    if prog.recursion_misses:
        rest += f" recursion_misses {prog.recursion_misses}"
    device = _device_text(kernel, prog) if prog.ifindex else ""
    return f"{prog.id}: {type_name}  {name}tag {prog.tag}{device}{rest}\n"


def _device_text(kernel: Kernel, prog: Program) -> str:
    name = kernel.ifname(prog.ifindex, prog.netns_dev, prog.netns_ino)
    if name is not None:
        return f"  offloaded_to {name}"
    return f"  offloaded_to ifindex {prog.ifindex} ns_dev {prog.netns_dev} ns_ino {prog.netns_ino}"


def header_record(kernel: Kernel, prog: Program, device: bool = True) -> dict[str, Any]:
    """The first properties of a program's JSON object.

    ``device`` is false for dumps, whose objects leave the network device out.
    """
    type_name = prog.type_name
    record: dict[str, Any] = {
        "id": prog.id,
        "type": type_name if type_name is not None else prog.type,
    }
    if prog.name:
        record["name"] = prog.name
    record["tag"] = prog.tag
    record["gpl_compatible"] = prog.gpl_compatible
    if prog.run_time_ns:
        record["run_time_ns"] = prog.run_time_ns
        record["run_cnt"] = prog.run_cnt
    if prog.recursion_misses:
        record["recursion_misses"] = prog.recursion_misses
    if device and prog.ifindex:
        record["dev"] = {
            "ifindex": prog.ifindex,
            "ns_dev": prog.netns_dev,
            "ns_inode": prog.netns_ino,
        }
        name = kernel.ifname(prog.ifindex, prog.netns_dev, prog.netns_ino)
        if name is not None:
            record["dev"]["ifname"] = name
    return record


def single_or_array(json: JsonStream, records: Iterator[object]) -> None:
    """Write one record as itself, several as an array: upstream's form for references."""
    first = next(records)
    second = next(records, None)
    if second is None:
        json.value(first)
        return
    json.begin_array()
    json.value(first)
    json.value(second)
    for record in records:
        json.value(record)
    json.end()


def _show(ctx: Context, args: Args) -> None:
    if len(args) not in (0, 2):
        args.choose(PROG_REFERENCE)
        args.take("its value")
        args.end()
    if not args:
        from pybpftool.cli.listing import write_all

        listing = _Listing(ctx)
        read, json = listing.reader.read, ctx.json
        if json is None:
            text = listing.text
            write_all(ctx, listing.listing, lambda obj: text(read(obj)))
            return
        element, record = json.text, listing.record
        json.begin_array()
        write_all(ctx, listing.listing, lambda obj: element(record(read(obj))))
        json.end()
        return
    found = find_programs(ctx.kernel, ProgramReader(ctx.kernel), args)
    listing = _Listing(ctx)
    if ctx.json is None:
        for obj in found:
            ctx.out.write(listing.text(listing.reader.read(obj)))
        return
    single_or_array(ctx.json, (listing.record(listing.reader.read(obj)) for obj in found))


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
    ("tracelog", _later),
    ("run", _run),
    ("profile", _later),
)
