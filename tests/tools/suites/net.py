"""`net show` on devices with programs of every kind, in a network namespace of the run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.support.attachments import Scene
from tests.support.netdevs import add_net
from tests.tools.suites import Case, Live, case


def setup(stack: contextlib.ExitStack, live: Live) -> None:
    """Make the devices; `differential.py` has moved us into a namespace of our own."""
    add_net(Scene(stack))


def commands(live: Live) -> Iterator[Case]:
    """The listing, each device, mistakes."""
    for line in ("net show", "net list", "net", "n s"):
        yield case(line)
    for device in ("lo", "pybt0", "pybt1", "pybtnk", "nonexistent"):
        yield case(f"net show dev {device}")
        yield case(f"net list d {device}")
    id = live.corpus.progs[0].id if live.corpus.progs else 1
    for line in (
        "net attach",
        "net attach xdp id 4294967295 dev lo",
        f"net attach nonsense id {id} dev lo",
        f"net attach xdp id {id} dev nonexistent",
        f"net attach tcx_ingress id {id} dev lo overwrite",
        f"net attach xdp id {id} dev lo prepend",
        "net detach",
        "net detach nonsense dev lo",
        "net detach xdp dev nonexistent",
        "net detach tcx_egress dev pybt1",
        "net help",
    ):
        yield case(line)
    # A word that is not a command: upstream prints its help, null in JSON.
    yield case("net nonsense", modes=("",))
