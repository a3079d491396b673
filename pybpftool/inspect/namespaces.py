"""Network namespaces, and in which of them programs of netfilter are."""

from __future__ import annotations

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pybpftool.inspect.attachment import Attachment
    from pybpftool.kernel.interface import Kernel
    from pybpftool.objects.net import Namespace


def all_namespaces(kernel: Kernel) -> list[Namespace]:
    """The network namespaces of tasks and names, then those that are kept without."""
    from pybpftool.objects.net import namespaces

    return namespaces(kernel) + kept_namespaces(kernel)


def kept_namespaces(kernel: Kernel) -> list[Namespace]:
    """Those that a mount or a descriptor keeps."""
    from pybpftool.objects.net import Namespace

    try:
        return [Namespace(*row) for row in kernel.kept_network_namespaces()]
    except BpfError:
        if kernel.is_live:
            raise
        return []  # a recording that is older than the question


def place_netfilter(
    rows: list[Attachment], kernel: Kernel, others: Iterable[tuple[str, str]]
) -> None:
    """Tell programs of netfilter the network namespace, which their links do not.

    ``others`` are (path, name) of the namespaces that are not our own. Where there are
    such and the hooks of a namespace cannot be asked for, ``?`` stands for what may be there.
    """
    from pybpftool.uapi.netfilter import FAMILIES, INET_HOOKS

    indexes = [at for at, row in enumerate(rows) if row.hook.startswith("netfilter/")]
    others = list(others)
    if not indexes or not others:
        return
    places: dict[tuple[str, str, int], list[str]] = {}
    for path, name in (("", ""), *others):
        try:
            found = kernel.netfilter_programs(path)
        except BpfError:
            continue  # what is not found in one of the others is somewhere that cannot be told
        for family, hook, priority, prog_id in found:
            known = INET_HOOKS[hook] if 0 <= hook < len(INET_HOOKS) else ""
            word = f"netfilter/{FAMILIES.get(family)}/{known}"
            places.setdefault((word, f"prio {priority}", prog_id), []).append(name)
    for at in indexes:
        row = rows[at]
        names = places.get((row.hook, row.detail, row.prog_id))
        rows[at] = row._replace(netns=names.pop(0) if names else "?")
