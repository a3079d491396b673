"""Listings beside a loader that loads and unloads all the time: no failure, nothing stable missing.

``PYBT_CHURN_RUNS=200`` makes it so many runs of each listing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import asm, load
from tests.support.attachments import Scene, add_device
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.cli import run

ROOT = Path(__file__).parents[2]
RUNS = int(os.environ.get("PYBT_CHURN_RUNS", "20"))

pytestmark = [pytest.mark.live, pytest.mark.slow]


def _ids(rows: list[dict[str, Any]], key: str = "id") -> set[int]:
    return {row[key] for row in rows}


def _in_network(found: list[dict[str, Any]]) -> set[int]:
    return {row["prog_id"] for row in found[0]["tc"]} | {row["id"] for row in found[0]["xdp"]}


# The words of each listing, and where its JSON has the objects that must be there.
LISTINGS: dict[str, tuple[str, Callable[[Any], set[Any]]]] = {
    "prog show": ("prog", _ids),
    "-f prog show": ("prog", _ids),
    "map show": ("map", _ids),
    "link show": ("link", _ids),
    "btf show": ("btf", _ids),
    "cgroup tree": (
        "attached", lambda found: {prog["id"] for row in found for prog in row["programs"]}
    ),
    "perf show": ("traced", lambda found: _ids(found, "prog_id")),
    "net show": ("network", _in_network),
    "struct_ops show": ("struct_ops", _ids),
    "iter show": ("iter", _ids),
    "attachments": ("attached", lambda found: _ids(found, "prog_id")),
    "owners": ("owner", lambda found: {tuple(row["owner"]) for row in found}),
}  # fmt: skip


@pytest.fixture(scope="module")
def stable() -> Iterator[dict[str, set[Any]]]:
    """What is there all the time, by the words of :data:`LISTINGS`, while a loader runs."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(load.temp_netns())
        scene = Scene(stack)
        folder = stack.enter_context(load.temp_bpffs())
        cgroup = stack.enter_context(load.temp_cgroup())
        place = os.open(cgroup, os.O_RDONLY)
        stack.callback(os.close, place)
        types = BtfBuilder()
        types.add_int("int", 4, SIGNED)
        enter = stack.enter_context
        btf = enter(load.btf_load(types.build()))
        map = enter(load.map_create("hash", 4, 4, 4, btf=btf, btf_key=1, btf_value=1))
        prog = enter(load.prog_load("cgroup_skb", asm.ret(1), name="stable"))
        link = enter(load.link_create(prog, place, "cgroup_inet_ingress"))
        traced = enter(load.prog_load("raw_tracepoint", asm.ret(0), name="stable"))
        enter(load.raw_tracepoint_open(traced, "xdp_exception"))
        kept: dict[str, set[Any]] = {
            "prog": {load.object_id(prog), load.object_id(traced)},
            "map": {load.object_id(map, "map")},
            "link": {load.object_id(link, "link")},
            "btf": {load.object_id(btf, "btf")},
            "attached": {load.object_id(prog)},
            "traced": {load.object_id(traced)},
        }
        device = add_device(scene)
        xdp = enter(load.prog_load("xdp", asm.ret(2), name="stable"))
        enter(load.link_create(xdp, device, "xdp"))
        kept["network"] = {load.object_id(xdp)}
        shown = run("-j", "map", "show", "--full", "id", str(*kept["map"])).json
        kept["owner"] = {tuple(shown["owner"])}
        command = [sys.executable, "-m", "tests.support.churn", folder, cgroup]
        loader = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert loader.stdout is not None
            assert loader.stdout.readline() == "ready\n"
            yield kept
            assert loader.poll() is None, "the loader has failed"
        finally:
            loader.send_signal(signal.SIGTERM)
            told, _ = loader.communicate(timeout=60)
        count, seconds = told.split()
        print(f"{float(count) / float(seconds):.0f} objects a second")
        assert int(count) > 1000


@pytest.mark.parametrize("words", LISTINGS)
def test_listings_beside_a_loader(stable: dict[str, set[Any]], words: str) -> None:
    kind, found = LISTINGS[words]
    wanted = stable.get(kind, set())
    failures = []
    for number in range(RUNS):
        result = run(*(["-j"] if number % 2 else []), *words.split())
        if (result.status, result.err) != (0, b""):
            failures.append(f"{number}: {result.status}, {result.errors}")
        elif number % 2:
            missing = wanted - found(result.json)
            if missing:
                failures.append(f"{number}: {sorted(missing)} missing")
        elif not result.out and wanted:
            failures.append(f"{number}: nothing")
    assert failures == []
