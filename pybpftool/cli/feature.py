"""``feature``: what the kernel's BPF can do, and what this program knows by name."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.errors import BpfError, KernelError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool feature probe [COMPONENT] [full] [unprivileged] [macros [prefix PREFIX]]
       pybpftool feature list_builtins GROUP
       pybpftool feature diff SNAPSHOT [SNAPSHOT]
       pybpftool feature help

       COMPONENT := { kernel | dev NAME }
       GROUP     := { prog_types | map_types | attach_types | link_types | helpers |
                      kfuncs | btf_kinds }

       Options: -j, -p, --snapshot PATH

probe tries what bpf(2) can do and leaves nothing loaded. full tries also the helpers
of which the kernel writes to its log; unprivileged tries what users without
capabilities may do. list_builtins names what this program knows; kfuncs are those of
the kernel. diff compares two recorded kernels, or one with the running kernel, and
exits with 1 when they differ.
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``feature``."""
    select(VERBS, args, "feature")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _probe(ctx: Context, args: Args) -> None:
    """``feature probe [kernel | dev NAME] [full] [unprivileged] [macros [prefix PREFIX]]``"""
    prefix: str | None = None
    ifindex = 0
    is_kernel = full = unprivileged = False
    while args:
        if args.accept("kernel"):
            if is_kernel or ifindex:
                raise UsageError("there can be only one 'kernel' or 'dev NAME'")
            is_kernel = True
        elif args.accept("dev"):
            if is_kernel or ifindex:
                raise UsageError("there can be only one 'kernel' or 'dev NAME'")
            ifindex = _index_of(ctx, args.take("the name of a network device"))
        elif args.accept("full"):
            full = True
        elif prefix is None and args.accept("macros"):
            prefix = ""
        elif args.accept("prefix"):
            if prefix is None:
                raise UsageError("'prefix' has a meaning only after 'macros'")
            if prefix:
                raise UsageError("there can be only one 'prefix'")
            prefix = args.take("a prefix")
        elif args.accept("unprivileged"):
            unprivileged = True
        else:
            raise UsageError(
                "expected 'kernel', 'dev', 'full', 'macros', 'prefix' or 'unprivileged',"
                f" got '{args.peek()}'"
            )
    from pybpftool.objects.feature import collect

    found = collect(ctx.kernel, full, unprivileged, ifindex)
    if ctx.json is not None:
        ctx.json.value(found.json())
    elif prefix is not None:
        ctx.out.write(found.macros(prefix))
    else:
        ctx.out.write(found.text())
    for sentence in found.missing:
        ctx.say(sentence)
    if unprivileged and found.refused:
        ctx.say(
            f"{found.refused} questions were not permitted; what they ask for is shown as not"
            " available, whatever the kernel can do"
        )


def _index_of(ctx: Context, name: str) -> int:
    try:
        return ctx.kernel.device_index(name, "")
    except KernelError as error:
        raise BpfError(f"there is no network device '{name}'") from error


def _list_builtins(ctx: Context, args: Args) -> None:
    """``feature list_builtins GROUP``; further words mean nothing here, to upstream either."""
    group = args.choose(tuple(_GROUPS))
    if group == "kfuncs":
        from pybpftool.objects.kfunc import collect

        found = collect(ctx.kernel)
        if ctx.json is not None:
            ctx.json.array(each.json() for each in found)
            return
        for each in found:
            ctx.out.write(each.text())
        return
    names = _GROUPS[group]()
    if ctx.json is not None:
        ctx.json.array(names)
    else:
        ctx.out.write("".join([f"{name}\n" for name in names]))


def _of_uapi(table: str) -> tuple[str, ...]:
    from pybpftool.uapi import bpf

    names: tuple[str, ...] = getattr(bpf, table)
    return names


def _helpers() -> tuple[str, ...]:
    from pybpftool.uapi.helpers import helper_names

    return helper_names()


def _btf_kinds() -> tuple[str, ...]:
    from pybpftool.uapi.btf import KINDS

    return tuple(kind.name for kind in KINDS)


# Upstream's order decides what a shortened word means.
_GROUPS = {
    "prog_types": lambda: _of_uapi("PROG_TYPES"),
    "map_types": lambda: _of_uapi("MAP_TYPES"),
    "attach_types": lambda: _of_uapi("ATTACH_TYPES"),
    "link_types": lambda: _of_uapi("LINK_TYPES"),
    "helpers": _helpers,
    "kfuncs": tuple,
    "btf_kinds": _btf_kinds,
}


def _diff(ctx: Context, args: Args) -> None:
    """``feature diff SNAPSHOT [SNAPSHOT]``"""
    from pybpftool.cli.recorded import guarded

    ctx.failure_status = 2
    old = args.take("the path of a snapshot")
    new = args.take("a path") if args else None
    args.end()
    guarded(lambda: _compare(ctx, old, new))


def _compare(ctx: Context, old: str, new: str | None) -> None:
    from pybpftool.inspect.feature_diff import changes
    from pybpftool.kernel.snapshot import SnapshotKernel
    from pybpftool.objects.feature import collect

    before = collect(SnapshotKernel.load(old))
    after = collect(ctx.kernel if new is None else SnapshotKernel.load(new))
    found = changes(before, after)
    if found:
        ctx.status = 1
    if ctx.json is not None:
        names = ("section", "name", "old", "new")
        ctx.json.array(dict(zip(names, change)) for change in found)
        return
    for section, name, was, is_now in found:
        mark = "+" if was in (None, False) else "-" if is_now in (None, False) else "~"
        values = f": {was} -> {is_now}" if mark == "~" else ""
        ctx.out.write(f"{mark} {section} {name}{values}\n")


VERBS = (
    ("probe", _probe),
    ("list_builtins", _list_builtins),
    ("help", _help),
    ("diff", _diff),
)
