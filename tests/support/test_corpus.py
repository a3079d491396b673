"""The corpus on the running kernel: wide enough, and gone afterwards."""

from __future__ import annotations

import contextlib
import os
import struct

import pytest

from tests.support import corpus, load, metadata
from tests.support.btfbuild import BtfIndex


def test_metadata_sections_are_consistent() -> None:
    for name, build in metadata.ALL.items():
        made = build()
        blob = made.btf.build()
        assert BtfIndex(blob).count == made.btf.next_id, name
        assert made.data


@pytest.mark.live
def test_corpus_is_wide_and_is_given_back() -> None:
    with contextlib.ExitStack() as stack:
        loaded = corpus.load_corpus(stack)
        ids = [item.id for item in loaded.progs]
        assert len(loaded.progs) >= 60
        assert len(loaded.types()) >= 25
        assert len(loaded.maps) >= 35
        assert set(ids) <= set(load.all_ids("prog"))
        # Whatever is missing has a reason.
        assert all(reason for _, reason in loaded.refused)
        pinned = loaded.prog("twin1").pins
        assert len(pinned) == 2
        assert all(os.path.exists(path) for path in pinned)
        assert len({load.prog_tag(loaded.prog("twin%d" % i).fd) for i in range(3)}) == 1
        run_count = struct.unpack_from("=Q", load.info(loaded.prog("sched_cls").fd), 200)[0]
        assert run_count == 1000
        with pytest.raises(KeyError):
            loaded.prog("no such program")
        assert loaded.map("meta_ints").type == "array"
        bpffs = loaded.bpffs
    assert not os.path.exists(bpffs)
    assert not load.left("prog", ids)


@pytest.mark.live
def test_many_objects() -> None:
    with contextlib.ExitStack() as stack:
        fds = corpus.many_programs(stack, 50)
        assert len({load.prog_tag(fd) for fd in fds}) == 50
        same = corpus.many_programs(stack, 3, same_tag=True, name="s%d")
        assert len({load.prog_tag(fd) for fd in same}) == 1
        assert len(corpus.many_maps(stack, 10)) == 10
        links = corpus.many_links(stack, 5)
        assert {load.object_id(fd, "link") for fd in links} <= set(load.all_ids("link"))


@pytest.mark.live
@pytest.mark.parametrize("count", [500, 20_000])
def test_big_program(count: int) -> None:
    with contextlib.ExitStack() as stack:
        fd = corpus.big_program(stack, count)
        data = load.info(fd)
        slots = struct.unpack_from("=I", data, 20)[0] // 8
        assert abs(slots - count) < count // 20
        # nr_line_info
        assert struct.unpack_from("=I", data, 148)[0] > count // 4
        plain = corpus.big_program(stack, count, lines=False, name="plain")
        assert struct.unpack_from("=I", load.info(plain), 128)[0] == 0


@pytest.mark.live
def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert corpus.main(["--only-extra", "--many", "2", "--big", "1000", "--hold", "0.01"]) == 0
    assert "1000 instructions" in capsys.readouterr().out


@pytest.mark.live
def test_capabilities_come_back() -> None:
    before = effective()
    with corpus.without_capabilities(corpus.CAP_PERFMON, corpus.CAP_SYS_ADMIN):
        assert effective() == before & ~(1 << corpus.CAP_PERFMON | 1 << corpus.CAP_SYS_ADMIN)
    assert effective() == before


def effective() -> int:
    """The calling thread's effective capabilities."""
    with open("/proc/thread-self/status") as stream:
        return next(int(line.split()[1], 16) for line in stream if line.startswith("CapEff"))
