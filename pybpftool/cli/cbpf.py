"""``cbpf``: classic BPF, the filters of sockets and of seccomp."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.errors import BpfError, UsageError
from pybpftool.reading import contents, read_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.insn.classic import ClassicInsn

HELP = """\
Usage: pybpftool cbpf sockets
       pybpftool cbpf seccomp PID [brief]
       pybpftool cbpf compile EXPRESSION [link LINK] [snaplen N] [unoptimized] [form FORM]
       pybpftool cbpf dis [FILE] [form FORM]
       pybpftool cbpf help

       EXPRESSION := a filter of pcap-filter(7), one argument
       LINK := a link type of libpcap: EN10MB if not given, RAW, LINUX_SLL, ...
       FORM := { d | dd | ddd | raw }
       Options: -j, -p

sockets lists the sockets of all processes that have a classic filter, with its
instructions. seccomp prints the filters of a process or thread, with names of system
calls, and what happens to each system call; brief leaves the instructions out. compile
has the system's libpcap compile a filter. dis prints the instructions of a filter in
FILE, or on standard input, in any form: numbers as tcpdump -dd and -ddd print them or
iptables takes them, or bytes. The forms are those of tcpdump: text, initializers of C,
decimal numbers, and the bytes themselves.
"""

_FORMS = ("d", "dd", "ddd", "raw")
_DEFAULT_LINK = "EN10MB"
_DEFAULT_SNAPLEN = 262144  # of tcpdump
_LARGEST_FILE = 1 << 22
_DOMAINS = {1: "unix", 2: "inet", 10: "inet6", 16: "netlink", 17: "packet", 29: "can",
            31: "bluetooth", 40: "vsock", 44: "xdp"}  # fmt: skip
_TYPES = {1: "stream", 2: "dgram", 3: "raw", 4: "rdm", 5: "seqpacket", 10: "packet"}


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``cbpf``."""
    if not args:
        raise UsageError("expected a command after 'cbpf'; see 'pybpftool cbpf help'")
    select(VERBS, args, "cbpf")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _require_live(ctx: Context) -> None:
    if not ctx.kernel.is_live:
        raise BpfError("filters of processes are not in a snapshot: leave --snapshot out")


def _sockets(ctx: Context, args: Args) -> None:
    """``cbpf sockets``"""
    from pybpftool.insn.classic import decode, text
    from pybpftool.inspect.wording import shown
    from pybpftool.kernel.socket_filters import filtered_sockets

    args.end()
    _require_live(ctx)
    sockets, refused = filtered_sockets()
    rows: list[dict[str, Any]] = []
    for one in sockets:
        insns = decode(one.filter, ctx.kernel.byteorder)
        kind = _TYPES.get(one.type, str(one.type))
        domain = _DOMAINS.get(one.domain, str(one.domain))
        if ctx.json is not None:
            rows.append(
                {
                    "pid": one.pid, "comm": one.comm, "fd": one.fd, "inode": one.inode,
                    "domain": domain, "type": kind, "protocol": one.protocol,
                    **({"devname": one.device} if one.device else {}),
                    "insns": [insn._asdict() for insn in insns],
                }
            )  # fmt: skip
            continue
        device = f"  dev {one.device}" if one.device else ""
        protocol = f"0x{one.protocol:04x}" if domain == "packet" else str(one.protocol)
        head = f"pid {one.pid} ({one.comm})  fd {one.fd}: {domain} {kind}"
        head = shown(f"{head}  protocol {protocol}{device}  inode {one.inode}")
        lines = "".join([f"\t{text(insn, pc)}\n" for pc, insn in enumerate(insns)])
        ctx.out.write(f"{head}  {len(insns)} instructions\n{lines}")
    if ctx.json is not None:
        ctx.json.value(rows)
    from pybpftool.inspect.owners import processes_hidden

    hidden = processes_hidden(ctx.kernel)
    if refused:
        from pybpftool.inspect.wording import counted

        whose = f"the sockets of {counted(refused, 'process', 'processes')}"
        reason = f": {hidden}" if hidden else ", which Linux lets nobody look into here"
        ctx.say(f"cannot look at {whose}{reason}")
    elif hidden:  # by hidepid= of /proc: none of them is even counted
        ctx.say(hidden)


def _seccomp(ctx: Context, args: Args) -> None:
    """``cbpf seccomp PID [brief]``"""
    from pybpftool.insn.classic import decode
    from pybpftool.inspect.wording import shown
    from pybpftool.kernel.seccomp import filters_of, status_of
    from pybpftool.objects.seccomp import Task

    pid = args.pid()
    is_brief = bool(args) and args.choose(("brief",)) == "brief"
    args.end()
    _require_live(ctx)
    comm, mode = status_of(pid)
    # The oldest comes first; the kernel asks the newest first.
    found = [decode(data, ctx.kernel.byteorder) for data in (filters_of(pid) if mode == 2 else ())]
    task = Task(pid, comm if ctx.json is not None else shown(comm), mode, found,
                ctx.kernel.machine)  # fmt: skip
    if ctx.json is not None:
        ctx.json.value(task.json())
    else:
        ctx.out.write(task.text(not is_brief))


def _compile(ctx: Context, args: Args) -> None:
    """``cbpf compile EXPRESSION [link LINK] [snaplen N] [unoptimized] [form FORM]``"""
    from pybpftool.adapters import libpcap
    from pybpftool.insn.classic import decode

    expression = args.take("a filter expression")
    link, snaplen, optimize, form = _DEFAULT_LINK, _DEFAULT_SNAPLEN, True, "d"
    while args:
        word = args.choose(("link", "snaplen", "unoptimized", "form"))
        if word == "link":
            link = args.take("a link type")
        elif word == "snaplen":
            snaplen = args.number("a length of packets", 31)
        elif word == "form":
            form = _form(args)
        else:
            optimize = False
    number = libpcap.link_type(link)
    if number is None:
        raise UsageError(f"libpcap knows no link type '{link}'; see pcap-linktype(7)")
    data = libpcap.compiled(expression, number, snaplen, optimize)
    _write(ctx, decode(data, _native()), form)


def _form(args: Args) -> str:
    word = args.take("a form")
    if word not in _FORMS:
        raise UsageError(f"unknown form '{word}'; there are d, dd, ddd and raw")
    return word


def _native() -> str:
    import sys

    return "<" if sys.byteorder == "little" else ">"


def _dis(ctx: Context, args: Args) -> None:
    """``cbpf dis [FILE] [form FORM]``"""
    from pybpftool.insn.classic import faults, parse

    path, form = "-", "d"
    if args and not (args.peek() == "form" and len(args) == 2):
        path = args.take("a file")
    if args:
        args.choose(("form",))
        form = _form(args)
    args.end()
    insns = parse(_content(path), _native())
    _write(ctx, insns, form)
    wrong = faults(insns)
    if wrong:
        ctx.say("the kernel would refuse this filter: " + "; ".join(wrong[:5]))


def _content(path: str) -> bytes:
    try:
        most = _LARGEST_FILE + 1
        data = read_all(0, most) if path == "-" else contents(path, most)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BpfError(f"cannot read '{path}': {reason}") from None
    if len(data) > _LARGEST_FILE:
        raise BpfError(f"'{path}' is too large for a filter")
    return data


def _write(ctx: Context, insns: Sequence[ClassicInsn], form: str) -> None:
    from pybpftool.insn.classic import c_form, decimal_form, encode, text

    if ctx.json is not None:
        ctx.json.value(
            [{**insn._asdict(), "text": text(insn, pc)} for pc, insn in enumerate(insns)]
        )
    elif form == "raw":
        ctx.out.write_bytes(encode(insns, _native()))
    elif form == "dd":
        ctx.out.write(c_form(insns))
    elif form == "ddd":
        ctx.out.write(decimal_form(insns))
    else:
        ctx.out.write("".join([f"{text(insn, pc)}\n" for pc, insn in enumerate(insns)]))


VERBS = (
    ("sockets", _sockets),
    ("seccomp", _seccomp),
    ("compile", _compile),
    ("dis", _dis),
    ("help", _help),
)
