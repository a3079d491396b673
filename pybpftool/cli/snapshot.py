"""``snapshot``: record a kernel's answers, show what a recording holds."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.errors import BpfError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import Kernel

HELP = """\
Usage: pybpftool snapshot show PATH
       pybpftool snapshot save PATH
       pybpftool snapshot help

save records what the read commands need into one file; 'pybpftool --snapshot PATH'
replays it on any machine, without privilege. show tells what a recording holds.
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``snapshot``."""
    if not args:
        raise UsageError("expected 'show PATH' or 'save PATH' after 'snapshot'")
    select(_COMMANDS, args, "snapshot")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    from pybpftool.cli.main import show_help

    show_help(ctx, HELP)


def _save(ctx: Context, args: Args) -> None:
    path = args.take("the path of the snapshot")
    args.end()
    from pybpftool.kernel.snapshot import RecordingKernel

    recording = RecordingKernel(ctx.kernel)
    for record in RECORDERS:
        record(recording)
    recording.write(path)
    if ctx.json is not None:
        ctx.json.value(None)


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
    if ctx.json is not None:
        ctx.json.value(
            {
                "release": kernel.release,
                "machine": kernel.machine,
                "recorded_at": kernel.recorded_at,
                "objects": counts,
            }
        )
        return
    from pybpftool.adapters.tabulate import table

    ctx.out.write(f"Linux {kernel.release} {kernel.machine}\n")
    ctx.out.write(table(("kind", "objects"), list(counts.items())) + "\n")


def _record_programs(kernel: Kernel) -> None:
    """What ``prog show`` and ``prog dump`` ask."""
    from pybpftool.kernel.interface import PROG_ARRAYS, PROG_INFO
    from pybpftool.objects.prog import ProgramReader

    kernel.pinned("prog")
    kernel.holders("prog")
    kernel.boot_time_ns()
    reader = ProgramReader(kernel)
    for obj in kernel.objects("prog"):
        try:
            prog = reader.read(obj)
            for _ in reader.metadata(prog, lambda *_: None):
                pass
            if prog.ifindex:
                kernel.ifname(prog.ifindex, prog.netns_dev, prog.netns_ino)
            # Asked for together with code that the kernel hides, it gives the others neither.
            for names in (tuple(PROG_ARRAYS), ("func_info",), ("map_ids",)):
                kernel.prog_arrays(obj, names)
            btf_id = PROG_INFO.decode(obj.info, kernel.byteorder)["btf_id"]
            if btf_id:
                kernel.btf_data(btf_id)
        except BpfError:
            continue  # it vanished, or is an orphan that tells nothing more


def _record_maps(kernel: Kernel) -> None:
    """What ``map show`` asks, and the BTF of maps; elements stay where they are."""
    from pybpftool.objects.map import read_map

    kernel.pinned("map")
    kernel.holders("map")
    for obj in kernel.objects("map"):
        try:
            map = read_map(kernel, obj)
            if map.ifindex:
                kernel.ifname(map.ifindex, map.netns_dev, map.netns_ino)
            if map.btf_id:
                kernel.btf_data(map.btf_id)
        except BpfError:
            continue  # it vanished


def record_attached(kernel: Kernel) -> None:
    """What ``link``, ``perf``, ``cgroup`` and ``net`` ask for their listings."""
    for record in (_record_links, _record_perf, _record_cgroups, _record_net):
        try:
            record(kernel)
        except BpfError:
            continue  # the refusal is recorded as the answer


def _record_links(kernel: Kernel) -> None:
    from pybpftool.objects.link import Device, KprobeMulti, LinkReader, ProbedFunctions

    kernel.pinned("link")
    kernel.holders("link")
    reader = LinkReader(kernel)
    has_functions = False
    for obj in kernel.objects("link"):
        try:
            target = reader.read(obj).target
        except BpfError:
            continue
        if isinstance(target, Device) and target.ifindex:
            kernel.ifindex_name(target.ifindex)
        has_functions = has_functions or isinstance(target, KprobeMulti)
    if has_functions:
        ProbedFunctions(kernel)


def _record_perf(kernel: Kernel) -> None:
    kernel.task_fds()


def _record_cgroups(kernel: Kernel) -> None:
    import os

    from pybpftool.objects.cgroup import QUERY_EFFECTIVE, SHOWN_TYPES, cgroup_programs, cgroup_tree

    root = kernel.cgroup_root()
    if root is None:
        return
    for flags in (0, QUERY_EFFECTIVE):
        for cgroup in cgroup_tree(kernel, root, flags):
            kernel.cgroup_tree(cgroup.path, SHOWN_TYPES, flags)
        for path, _, _ in os.walk(root):
            try:
                cgroup_programs(kernel, path, flags)
            except BpfError:
                continue  # it vanished


def _record_net(kernel: Kernel) -> None:
    from pybpftool.objects.net import NetworkReader

    for device in NetworkReader(kernel).read().devices:
        kernel.device_index(device, "")


def _record_files(kernel: Kernel) -> None:
    """Files that dumps read."""
    for path in (
        "/proc/kallsyms",
        "/proc/sys/kernel/kptr_restrict",
        "/proc/sys/net/core/bpf_jit_enable",
        "/proc/sys/net/core/bpf_jit_harden",
    ):
        try:
            kernel.file(path)
        except BpfError:
            continue  # the refusal is recorded as the answer


RECORDERS: list[Callable[[Kernel], None]] = [
    _record_programs,
    _record_maps,
    _record_files,
    record_attached,
]
"""What ``snapshot save`` runs; each asks what one family of commands asks."""

_COMMANDS = (("show", _show), ("save", _save), ("help", _help))
