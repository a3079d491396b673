"""``link``: list links, pin and detach them."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.objects.link import LinkReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.link import Link

HELP = """\
Usage: pybpftool link { show | list } [LINK]
       pybpftool link pin LINK FILE
       pybpftool link detach LINK
       pybpftool link help

       LINK := { id LINK_ID | pinned FILE }
       Options: -j, -p, -f (show pinned paths), -n (mount nothing), --snapshot PATH,
                --resolve (names of programs, symbols and USDT probes of uprobes),
                --full (show more),
                show: --table, --columns NAMES, --sort [-]NAME, --filter TERMS,
                --json-lines, --color WHEN

show lists all links, or the one that LINK names: what each program is attached to,
and the processes that hold the link. pin keeps a link alive at a path of a bpf file
system. detach takes the program off its target at once, whoever holds the link.
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``link``."""
    select(VERBS, args, "link")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def find_link(kernel: Kernel, args: Args) -> BpfObject:
    """Take ``{ id N | pinned FILE }`` and open the link meant; the caller closes it."""
    if args.choose(("id", "pinned")) == "id":
        return kernel.open("link", args.number("a link id"))
    from pybpftool.objects.pinned import open_pinned

    return open_pinned(kernel, "link", args.take("the path of a pinned link"))


def _show(ctx: Context, args: Args) -> None:
    """``link { show | list } [LINK]``"""
    kernel, json = ctx.kernel, ctx.json
    options = ctx.options
    if options.is_full:
        from pybpftool.cli import full

        found = iter([find_link(kernel, args)]) if args else None
        args.end()
        full.show(ctx, "link", found)
        return
    if args:
        obj = find_link(kernel, args)
        try:
            args.end()
            link = _told(ctx, LinkReader(kernel, options.bpffs, options.resolve).read)(obj)
            if json is not None:
                json.value(link.json())
            else:
                ctx.out.write(link.text())
        finally:
            kernel.close(obj)
        return
    from pybpftool.cli.listing import write_records

    listing = kernel.listing("link")
    read = LinkReader(kernel, options.bpffs, options.resolve, listing.held).read
    write_records(ctx, listing, _told(ctx, read))


def _told(ctx: Context, read: Callable[[BpfObject], Link]) -> Callable[[BpfObject], Link]:
    """As ``read``; says once why addresses of probed functions are missing, where they are."""
    if ctx.json is not None or not ctx.kernel.is_live:
        return read
    is_told = False

    def told(obj: BpfObject) -> Link:
        nonlocal is_told
        link = read(obj)
        if not is_told and getattr(link.target, "hides_addresses", False):
            from pybpftool.objects.kernel_symbols import why_hidden

            is_told = True
            ctx.say(f"Probes are shown without their addresses: {why_hidden(ctx.kernel)}")
        return link

    return told


def _pin(ctx: Context, args: Args) -> None:
    """``link pin LINK FILE``"""
    from pybpftool.cli.pinning import pin_command

    pin_command(ctx, args, find_link)


def _detach(ctx: Context, args: Args) -> None:
    """``link detach LINK``"""
    if len(args) != 2:
        args.choose(("id", "pinned"))
        args.take("its value")
        args.end()
    from pybpftool.control import link, require_live

    kernel = ctx.kernel
    require_live(kernel)
    obj = find_link(kernel, args)
    try:
        link.detach(kernel, obj)
    finally:
        kernel.close(obj)
    if ctx.json is not None:
        ctx.json.value(None)


VERBS = (
    ("show", _show),
    ("list", _show),
    ("help", _help),
    ("pin", _pin),
    ("detach", _detach),
)
