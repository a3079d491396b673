"""``cgroup``: list the programs of cgroups, attach and detach them."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.cli.recorded import run_command
from pybpftool.errors import BpfError, UsageError
from pybpftool.objects.cgroup import (
    ALLOW_MULTI,
    ALLOW_OVERRIDE,
    QUERY_EFFECTIVE,
    attach_type_number,
    cgroup_programs,
    cgroup_tree,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.objects.cgroup import AttachedProgram

HELP = """\
Usage: pybpftool cgroup { show | list } CGROUP [effective]
       pybpftool cgroup tree [CGROUP_ROOT] [effective]
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
       Options: -j, -p, --snapshot PATH

show lists the programs of one cgroup, tree those of a whole hierarchy; with
effective, what a cgroup inherits counts, too.
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``cgroup``."""
    run_command(select(_COMMANDS, args, "cgroup"), ctx, args)


def _help(ctx: Context, args: Args) -> None:
    from pybpftool.cli.main import show_help

    show_help(ctx, HELP)


def _effective(args: Args) -> int:
    """Take an optional ``effective``: the flags of the queries."""
    if not args:
        return 0
    args.choose(("effective",))
    args.end()
    return QUERY_EFFECTIVE


def _text(prog: AttachedProgram, is_effective: bool, level: int) -> str:
    kind = prog.attach_type_name
    head = "%s%-8d " % ("    " if level else "", prog.id)
    head += "%-15s" % kind if kind is not None else "type %-10d" % prog.attach_type
    text = head if is_effective else "%s %-15s" % (head, prog.flags_text)
    text += " %-15s" % prog.name
    if prog.btf_name is not None:
        text += " %-15s" % prog.btf_name
    elif prog.btf_id:
        text += f" attach_btf_obj_id={prog.btf_obj_id} attach_btf_id={prog.btf_id}"
    return text + "\n"


def _record(prog: AttachedProgram, is_effective: bool) -> dict[str, Any]:
    kind = prog.attach_type_name
    record: dict[str, Any] = {
        "id": prog.id,
        "attach_type": kind if kind is not None else prog.attach_type,
    }
    if not is_effective:
        record["attach_flags"] = prog.flags_text
    record["name"] = prog.name
    if prog.btf_name is not None:
        record["attach_btf_name"] = prog.btf_name
    record["attach_btf_obj_id"] = prog.btf_obj_id
    record["attach_btf_id"] = prog.btf_id
    return record


def _header(is_effective: bool) -> str:
    titles = ("ID", "AttachType", "Name")
    if is_effective:
        return "%-8s %-15s %-15s\n" % titles
    return "%-8s %-15s %-15s %-15s\n" % (*titles[:2], "AttachFlags", titles[2])


def _show(ctx: Context, args: Args) -> None:
    path = args.take("the path of a cgroup")
    flags = _effective(args)
    is_effective = bool(flags)
    programs = cgroup_programs(ctx.kernel, path, flags)
    if ctx.json is not None:
        ctx.json.array(_record(prog, is_effective) for prog in programs)
    elif programs:
        ctx.out.write(_header(is_effective))
        for prog in programs:
            ctx.out.write(_text(prog, is_effective, 0))


def _tree(ctx: Context, args: Args) -> None:
    kernel = ctx.kernel
    if args:
        root = args.take("the path of a cgroup")
        root = root.rstrip("/") or root[:1]
    else:
        found = kernel.cgroup_root()
        if found is None:
            raise BpfError("no cgroup2 hierarchy is mounted")
        root = found
    flags = _effective(args)
    is_effective = bool(flags)
    # What opens the output comes first, as upstream prints it even if the rest fails.
    if ctx.json is not None:
        ctx.json.begin_array()
        for cgroup in cgroup_tree(kernel, root, flags):
            if cgroup.error:
                ctx.error(cgroup.error)
                continue
            records = [_record(prog, is_effective) for prog in cgroup.programs]
            ctx.json.value({"cgroup": cgroup.path, "programs": records})
        ctx.json.end()
        return
    write = ctx.out.write
    write("CgroupPath\n" + _header(is_effective))
    for cgroup in cgroup_tree(kernel, root, flags):
        if cgroup.error:
            ctx.error(cgroup.error)
            continue
        write(cgroup.path + "\n")
        for prog in cgroup.programs:
            write(_text(prog, is_effective, cgroup.level))


def _attach_type(args: Args) -> int:
    word = args.take("an attach type")
    number = attach_type_number(word)
    if number is None:
        raise UsageError(f"unknown attach type '{word}'")
    return number


def _change(ctx: Context, args: Args, verb: str) -> None:
    from pybpftool.cli.refs import one_program
    from pybpftool.kernel import cgroups

    kernel = ctx.kernel
    if not kernel.is_live:
        raise UsageError("a recorded kernel cannot be changed")
    path = args.take("the path of a cgroup")
    number = _attach_type(args)
    prog = one_program(kernel, args)
    try:
        if verb == "detach":
            args.end()
            cgroups.detach(path, prog, number)
        else:
            flags = 0
            while args:
                word = args.choose(("multi", "override"))
                flags |= ALLOW_MULTI if word == "multi" else ALLOW_OVERRIDE
            cgroups.attach(path, prog, number, flags)
    finally:
        kernel.close(prog)
    if ctx.json is not None:
        ctx.json.value(None)


def _attach(ctx: Context, args: Args) -> None:
    _change(ctx, args, "attach")


def _detach(ctx: Context, args: Args) -> None:
    _change(ctx, args, "detach")


_COMMANDS = (
    ("show", _show),
    ("list", _show),
    ("tree", _tree),
    ("attach", _attach),
    ("detach", _detach),
    ("help", _help),
)
