"""`link show` on links of every type that this kernel offers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from tests.support import load
from tests.support.attachments import Scene, add_links
from tests.tools.suites import Case, Live, case


def setup(stack: contextlib.ExitStack, live: Live) -> None:
    """Attach links of every type; some of them get pinned."""
    scene = Scene(stack)
    add_links(scene)
    place = stack.enter_context(load.temp_bpffs())
    pins: dict[str, list[str]] = {}
    for number, (label, fd) in enumerate(scene.links.items()):
        for copy in range(number % 3):
            path = os.path.join(place, f"{label}_{copy}")
            load.obj_pin(fd, path)
            pins.setdefault(label, []).append(path)
    live.extra["link scene"] = scene
    live.extra["link pins"] = pins


def commands(live: Live) -> Iterator[Case]:
    """Listings, every link by id and by path, mistakes."""
    scene, pins = live.extra["link scene"], live.extra["link pins"]
    assert isinstance(scene, Scene) and isinstance(pins, dict)
    for line in ("link show", "link list", "-f link show", "link", "l s"):
        yield case(line)
    for label, id in scene.ids.items():
        yield case("link show id %d" % id)
        for path in pins.get(label, ()):
            yield case(["-f", "link", "show", "pinned", path])
    first = next(iter(scene.ids.values()), 1)
    for line in (
        "link show id 4294967295",
        "link show id",
        "link show id 0",
        "link show id x1",
        "link show name x",
        f"link show id {first} more",
        "link show pinned /sys/fs/bpf/nothing_here",
        "link show pinned /etc/passwd",
        "link detach id 4294967295",
        "link detach",
        "link detach id",
        "link pin id 4294967295 /sys/fs/bpf/x",
        "link pin id",
        "link help",
    ):
        yield case(line)
    # A word that is not a command: upstream prints its help, null in JSON.
    yield case("link nonsense", modes=("",))
