"""`struct_ops` on the running kernel: a congestion control that BPF programs implement."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support import attachments, load
from tests.support.cli import assert_one_sentence, run

pytestmark = pytest.mark.live


@pytest.fixture
def map_id() -> Iterator[int]:
    """A map of struct_ops that a link attaches."""
    with contextlib.ExitStack() as stack:
        scene = attachments.Scene(stack)
        scene.link("struct_ops", lambda: attachments.struct_ops(scene))
        if "struct_ops" not in scene.ids:
            pytest.skip("this kernel attaches no struct_ops maps by links")
        link = str(scene.ids["struct_ops"])
        yield run("-j", "link", "show", "id", link).json["map_id"]


def test_show_dump_and_a_refused_unregister(map_id: int) -> None:
    (row,) = run("-j", "struct_ops", "show", "id", str(map_id)).json
    assert row["kernel_struct_ops"] == "tcp_congestion_ops"
    assert row in run("-j", "struct_ops").json
    info, value = run("-j", "struct_ops", "dump", "id", str(map_id)).json
    assert info["bpf_map_info"]["id"] == map_id
    data = value["bpf_struct_ops_tcp_congestion_ops"]["data"]
    assert "/prog_id:" in data["ssthresh"]
    assert load.all_ids("map").count(map_id) == 1
    result = run("struct_ops", "unregister", "id", str(map_id))
    assert result.status == 255
    assert_one_sentence(result, "attached by a link")
