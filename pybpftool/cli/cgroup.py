"""``cgroup``: list the programs of cgroups, attach and detach them."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.errors import BpfError, UsageError
from pybpftool.objects.cgroup import attach_type_number, header, programs_of, tree
from pybpftool.uapi.bpf import BPF_F_ALLOW_MULTI, BPF_F_ALLOW_OVERRIDE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool cgroup { show | list } CGROUP [effective]
       pybpftool cgroup tree [CGROUP [effective]]
       pybpftool cgroup attach CGROUP ATTACH_TYPE PROG [multi | override]
       pybpftool cgroup detach CGROUP ATTACH_TYPE PROG
       pybpftool cgroup help

       CGROUP := a directory of a cgroup2 hierarchy
       PROG := { id PROG_ID | pinned FILE | tag PROG_TAG | name PROG_NAME }
       ATTACH_TYPE := cgroup_inet_ingress, cgroup_inet_egress, cgroup_inet_sock_create,
                      cgroup_inet_sock_release, cgroup_sock_ops, cgroup_device,
                      cgroup_sysctl, cgroup_getsockopt, cgroup_setsockopt,
                      cgroup_{inet4,inet6}_{bind,post_bind},
                      cgroup_{inet4,inet6,unix}_{connect,getpeername,getsockname},
                      cgroup_{udp4,udp6,unix}_{sendmsg,recvmsg}
       Options: -j, -p, --snapshot PATH,
                show, tree: --table, --columns NAMES, --sort [-]NAME, --filter TERMS,
                --json-lines, --color WHEN

show lists the programs of one cgroup, tree those of a whole hierarchy; with
effective, what a cgroup inherits counts, too.
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``cgroup``."""
    select(VERBS, args, "cgroup")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _effective(args: Args) -> bool:
    """Take an optional ``effective``."""
    if not args:
        return False
    args.choose(("effective",))
    args.end()
    return True


def _show(ctx: Context, args: Args) -> None:
    """``cgroup { show | list } CGROUP [effective]``"""
    path = args.take("the path of a cgroup")
    is_effective = _effective(args)
    programs = programs_of(ctx.kernel, path, is_effective)
    if ctx.json is not None:
        ctx.json.array(prog.json() for prog in programs)
    elif programs:
        ctx.out.write(header(is_effective) + "".join([prog.text() for prog in programs]))


def _tree(ctx: Context, args: Args) -> None:
    """``cgroup tree [CGROUP [effective]]``"""
    kernel, json = ctx.kernel, ctx.json
    if args:
        root = args.take("the path of a cgroup")
        root = root.rstrip("/") or root[:1]
    else:
        found = kernel.cgroup_root()
        if found is None:
            raise BpfError("no cgroup2 hierarchy is mounted")
        root = found
    is_effective = _effective(args)
    # What opens the output comes first, as upstream prints it even if the rest fails.
    if json is not None:
        json.begin_array()
    else:
        ctx.out.write("CgroupPath\n" + header(is_effective))
    for cgroup in tree(kernel, root, is_effective):
        if cgroup.error:
            ctx.error(cgroup.error)
        elif json is not None:
            json.value(cgroup.json())
        else:
            ctx.out.write(cgroup.text())
    if json is not None:
        json.end()


def _attach_type(args: Args) -> int:
    word = args.take("an attach type")
    number = attach_type_number(word)
    if number is None:
        raise UsageError(f"unknown attach type '{word}'")
    return number


def _change(ctx: Context, args: Args, verb: str) -> None:
    from pybpftool.cli.refs import one_program
    from pybpftool.control import cgroup, require_live

    kernel = ctx.kernel
    require_live(kernel)
    path = args.take("the path of a cgroup")
    number = _attach_type(args)
    prog = one_program(kernel, args)
    try:
        if verb == "detach":
            # Upstream quirk: what follows is not looked at.
            cgroup.detach(kernel, path, prog, number)
        else:
            flags = 0
            while args:
                word = args.choose(("multi", "override"))
                flags |= BPF_F_ALLOW_MULTI if word == "multi" else BPF_F_ALLOW_OVERRIDE
            cgroup.attach(kernel, path, prog, number, flags)
    finally:
        kernel.close(prog)
    if ctx.json is not None:
        ctx.json.value(None)


def _attach(ctx: Context, args: Args) -> None:
    _change(ctx, args, "attach")


def _detach(ctx: Context, args: Args) -> None:
    _change(ctx, args, "detach")


VERBS = (
    ("show", _show),
    ("list", _show),
    ("tree", _tree),
    ("attach", _attach),
    ("detach", _detach),
    ("help", _help),
)
