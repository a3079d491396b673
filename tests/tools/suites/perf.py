"""`perf show` with processes that hold events of every kind that this kernel offers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.support.attachments import Scene, add_perf
from tests.tools.suites import Case, Live, case


def setup(stack: contextlib.ExitStack, live: Live) -> None:
    """Hold events in this process."""
    add_perf(Scene(stack))


def commands(live: Live) -> Iterator[Case]:
    """The listings."""
    for line in ("perf show", "perf list", "perf", "p", "pe s", "perf show anything"):
        if line != "p":
            yield case(line)
    yield case("perf help", modes=("",))
    # A word that is not a command: upstream prints its help, null in JSON.
    yield case("perf nonsense", modes=("",))
