"""What a kernel's bpf(2) can do, found out by trying; nothing stays loaded."""

from __future__ import annotations

import posix
from errno import EPERM

from pybpftool.errors import KernelError
from pybpftool.kernel.map_probes import MapProbe
from pybpftool.kernel.prog_probes import LOUD_HELPERS, WITHOUT_HELPERS, ProgProbe
from pybpftool.kernel.syscall import (
    CAP_BPF,
    effective_capabilities,
    knows_capability,
    set_effective_capabilities,
)
from pybpftool.uapi import bpf as uapi
from pybpftool.uapi.helpers import helper_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pybpftool.worker import Send

OFFLOAD_PROGS = ("sched_cls", "xdp")
OFFLOAD_MAPS = ("hash", "array")
"""What a network device may take over."""

SYSCTLS = {
    "unprivileged_bpf_disabled": "/proc/sys/kernel/unprivileged_bpf_disabled",
    "bpf_jit_enable": "/proc/sys/net/core/bpf_jit_enable",
    "bpf_jit_harden": "/proc/sys/net/core/bpf_jit_harden",
    "bpf_jit_kallsyms": "/proc/sys/net/core/bpf_jit_kallsyms",
    "bpf_jit_limit": "/proc/sys/net/core/bpf_jit_limit",
}
"""Settings of BPF, and the files that hold them."""

# Number and name of the capabilities that probing needs; before v5.8 the first was enough.
_CAPABILITIES = (
    (21, "CAP_SYS_ADMIN"),
    (39, "CAP_BPF"),
    (12, "CAP_NET_ADMIN"),
    (38, "CAP_PERFMON"),
)


def features(full: bool, unprivileged: bool, ifindex: int) -> dict[str, Any]:
    """Try everything, on the kernel or on a network device that takes programs.

    :param full: also :data:`LOUD_HELPERS`.
    :param unprivileged: as a user without capabilities; ours are given up meanwhile.
    :param ifindex: the device, 0 for the kernel.
    :return: ``sysctls`` (name -> number, -1 for one that cannot be read; None without /proc),
        ``syscall`` (bool), ``prog_types`` and ``map_types`` (name -> bool), ``helpers``
        (name of a program type -> names of helpers, those of unknown types without any),
        ``misc`` (name -> bool), and ``refused``: how many questions ended with EPERM.

    Raises KernelError if a capability is missing, unless ``unprivileged``: what a kernel
    refuses to somebody is not what it cannot do.
    """
    wanted = _CAPABILITIES if knows_capability(CAP_BPF) else _CAPABILITIES[:1]
    ours = effective_capabilities()
    if not unprivileged:
        missing = [name for number, name in wanted if not ours >> number & 1]
        if missing:
            raise KernelError(
                f"probing needs {', '.join(missing)}; run it as root, or add 'unprivileged' to"
                " see what users without capabilities may do",
                EPERM,
            )
        return _answers(full, unprivileged, ifindex)
    mask = sum(1 << number for number, _ in wanted)
    set_effective_capabilities(ours & ~mask)
    try:
        return _answers(full, unprivileged, ifindex)
    finally:
        set_effective_capabilities(ours)


def sysctls() -> dict[str, int] | None:
    """The values of :data:`SYSCTLS`; None without /proc."""
    try:
        posix.stat("/proc/sys/kernel")
    except OSError:
        return None
    return {name: _number_in(path) for name, path in SYSCTLS.items()}


def _number_in(path: str) -> int:
    try:
        with open(path, "rb") as file:
            line, end, _ = (file.read(64) or b"").partition(b"\n")
        return int(line) if end and line == line.rstrip() and b"_" not in line else -1
    except (OSError, ValueError):
        return -1


def _answers(full: bool, unprivileged: bool, ifindex: int) -> dict[str, Any]:
    settings = None if ifindex else sysctls()
    probe, map_probe = ProgProbe(ifindex, unprivileged), MapProbe(ifindex)
    if not probe.has_syscall():
        return {
            "sysctls": settings,
            "syscall": False,
            "prog_types": {},
            "map_types": {},
            "helpers": {},
            "misc": {},
            "refused": 0,
        }
    prog_types = _probed(uapi.PROG_TYPES, OFFLOAD_PROGS, ifindex)
    progs = {name: probe.prog_type(name) for name in prog_types}
    map_types = _probed(uapi.MAP_TYPES, OFFLOAD_MAPS, ifindex)
    maps = {name: map_probe.map_type(name) for name in map_types}
    helpers = _helpers(probe, [name for name, known in progs.items() if known], full)
    return {
        "sysctls": settings,
        "syscall": True,
        "prog_types": progs,
        "map_types": maps,
        "helpers": {name: helpers.get(name, []) for name in progs},
        "misc": probe.misc(),
        "refused": probe.refused + map_probe.refused,
    }


def _probed(names: Iterable[str], offloaded: tuple[str, ...], ifindex: int) -> list[str]:
    return [n for n in names if n != "unspec" and (not ifindex or n in offloaded)]


def _helpers(probe: ProgProbe, types: list[str], full: bool) -> dict[str, list[str]]:
    """The helpers of program types, half of which a second process asks for."""
    wanted = [
        (number, name)
        for number, name in enumerate(helper_names())
        if number and (full or name not in LOUD_HELPERS)
    ]
    if probe.ifindex:
        return {name: probe.helpers(name, wanted) for name in types}
    types = [name for name in types if name not in WITHOUT_HELPERS]
    import marshal

    from pybpftool.worker import Worker

    first, second = types[1::2], types[::2]  # we have asked for types and maps already

    def work(send: Send) -> None:
        other = ProgProbe(0, probe.unprivileged)
        send(
            [marshal.dumps(({name: other.helpers(name, wanted) for name in second}, other.refused))]
        )

    with Worker(work) as worker:
        found = {name: probe.helpers(name, wanted) for name in first}
        answer = worker.receive()
    if answer is None:
        return {**found, **{name: probe.helpers(name, wanted) for name in second}}
    others, refused = marshal.loads(answer)
    probe.refused += refused
    return {**found, **others}
