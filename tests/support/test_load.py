"""The wrappers of bpf(2) and the places, on the running kernel."""

from __future__ import annotations

import os
import struct

import pytest

from tests.support import asm, load
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.debuginfo import Source


def test_numbers_of_the_uapi() -> None:
    assert load.CMD["prog_load"] == 5
    assert load.CMD["link_create"] == 28
    assert load.CMD["prog_bind_map"] == 35
    assert load.PROG_TYPE["xdp"] == 6
    assert load.PROG_TYPE["netfilter"] == 32
    assert load.ATTACH["trace_iter"] == 28
    assert load.ATTACH["xdp"] == 37
    assert load.ATTACH["netkit_peer"] == 55
    assert load.MAP_TYPE["ringbuf"] == 27
    assert load.MAP_TYPE["arena"] == 33


def test_fd_closes_once() -> None:
    first, second = os.pipe()
    with load.Fd(first) as fd:
        assert fd.fileno() == first
        assert repr(fd) == "Fd(%d)" % first
    fd.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first)
    load.close_all([second])


def test_unprivileged_reason_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> load.Fd:
        raise load.KernelRefusal(1, "load")

    monkeypatch.setattr(load, "prog_load", refuse)
    assert "bpf(2) is not usable here" in load.why_no_bpf()
    assert not load.have_cap_bpf()
    with pytest.raises(pytest.skip.Exception, match="not usable"):
        load.requires_bpf()


@pytest.mark.live
def test_program_is_listed_and_gone_after_closing() -> None:
    with load.prog_load("xdp", asm.ret(2), name="a_name_with_more_than_15") as fd:
        number = load.object_id(fd)
        assert number in load.all_ids("prog")
        data = load.info(fd)
        assert data[64:80] == b"a_name_with_mor\0"
        assert len(load.prog_tag(fd)) == 16
        retval, out = load.prog_test_run(fd, bytes(64), data_size_out=64)
        assert (retval, out) == (2, bytes(64))
        with load.fd_by_id("prog", number) as again:
            assert load.object_id(again) == number
    assert not load.left("prog", [number])


@pytest.mark.live
def test_refusal_carries_the_verifiers_log() -> None:
    with pytest.raises(load.KernelRefusal) as caught:
        load.prog_load("socket_filter", asm.exit_(), name="bad")
    assert "R0 !read_ok" in caught.value.log
    assert "R0 !read_ok" in caught.value.reason
    with pytest.raises(load.KernelRefusal) as caught:
        load.btf_load(b"not BTF at all, but long enough for a header")
    assert caught.value.log


@pytest.mark.live
def test_maps() -> None:
    with load.map_create("hash", 4, 8, 4, name="m") as fd:
        load.map_update(fd, b"keyA", struct.pack("=Q", 7))
        assert load.map_lookup(fd, b"keyA", 8) == struct.pack("=Q", 7)
        load.map_delete(fd, b"keyA")
        with pytest.raises(load.KernelRefusal) as caught:
            load.map_lookup(fd, b"keyA", 8)
        assert caught.value.errno == 2
        load.map_freeze(fd)
        with pytest.raises(load.KernelRefusal):
            load.map_update(fd, b"keyA", bytes(8))


@pytest.mark.live
def test_btf_with_functions_and_lines() -> None:
    source = Source()
    source.global_function("main", "the_whole_name_of_main")
    source.line("main", "a.c", "int main(void)", 1)
    items: list[asm.Item] = [asm.label("main"), asm.ret(0)]
    with source.load("socket_filter", items, name="the_whole_name_of_main") as fd:
        data = load.info(fd)
        # btf_id, func_info record size, nr_func_info, nr_line_info (linux/bpf.h)
        btf_id, _ = struct.unpack_from("=II", data, 128)
        assert btf_id in load.all_ids("btf")


@pytest.mark.live
def test_btf_ids() -> None:
    btf = BtfBuilder()
    btf.add_int("int", 4, SIGNED)
    with load.btf_load(btf.build()) as fd:
        assert load.object_id(fd, "btf") in load.all_ids("btf")


@pytest.mark.live
def test_pins_and_bound_maps() -> None:
    with (
        load.temp_bpffs() as place,
        load.prog_load("socket_filter", asm.ret(0)) as prog,
        load.map_create("array", 4, 4, 1) as table,
    ):
        load.prog_bind_map(prog, table)
        assert struct.unpack_from("=I", load.info(prog), 52)[0] == 1
        load.obj_pin(prog, place + "/p")
        os.mkdir(place + "/deeper")
        load.obj_pin(table, place + "/deeper/m")
        with load.obj_get(place + "/p") as again:
            assert load.object_id(again) == load.object_id(prog)
    assert not os.path.exists(place)


@pytest.mark.live
def test_cgroup_links() -> None:
    with (
        load.temp_cgroup() as place,
        load.prog_load("cgroup_skb", asm.ret(1), attach="cgroup_inet_egress") as prog,
    ):
        folder = os.open(place, os.O_RDONLY)
        try:
            with load.link_create(prog, folder, "cgroup_inet_egress") as link:
                assert load.object_id(link, "link") in load.all_ids("link")
        finally:
            os.close(folder)
    assert not os.path.exists(place)


@pytest.mark.live
def test_network_namespace_is_left_again() -> None:
    before = os.readlink("/proc/thread-self/ns/net")
    with load.temp_netns():
        assert os.readlink("/proc/thread-self/ns/net") != before
    assert os.readlink("/proc/thread-self/ns/net") == before


def test_plain_facts() -> None:
    assert load.possible_cpus() >= 1
    assert load.page_size() >= 4096
