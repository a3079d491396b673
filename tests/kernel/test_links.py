"""Which cookies of perf event links a kernel has filled."""

from __future__ import annotations

import struct

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel import links
from pybpftool.kernel.interface import BpfObject
from pybpftool.uapi import bpf as uapi

KINDS = range(uapi.BPF_PERF_EVENT_UPROBE, uapi.BPF_PERF_EVENT_EVENT + 1)


def perf_link(kind: int) -> BpfObject:
    head = struct.pack("=IIIxxxxI", uapi.BPF_LINK_TYPE_PERF_EVENT, 1, 7, kind)
    return BpfObject("link", 1, -1, head.ljust(64, b"\0"))


def kernel_that_writes(monkeypatch: pytest.MonkeyPatch, at: int, *cookies: int) -> list[int]:
    """Answer requests as a kernel does that sets these cookies, one a request, at an offset."""
    left = list(cookies)

    def request(link: BpfObject) -> bytes:
        data = bytearray(links._info.data[:64])
        if left:
            struct.pack_into("=Q", data, at, left.pop(0))
        return bytes(data)

    monkeypatch.setattr(links, "_request", request)
    return left


def test_cookies_of_hidden_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """One walk for all links that there are, another one if a later link appears."""
    walks = []

    def walk() -> dict[int, int]:
        walks.append(1)
        return {1: 5, **({9: 6} if len(walks) > 1 else {})}

    def cookie(id: int) -> bytes | None:
        link = perf_link(0)
        link.id = id
        return links.link_details(link, uses_iterators=True).get("cookie")

    monkeypatch.setattr(links, "_hidden", {})
    monkeypatch.setattr(links, "_walked", 0)
    monkeypatch.setattr("pybpftool.kernel.object_iter.perf_cookies", walk)
    assert (cookie(1), cookie(1), len(walks)) == (struct.pack("=Q", 5), struct.pack("=Q", 5), 1)
    assert (cookie(9), len(walks)) == (struct.pack("=Q", 6), 2)
    # One that the walk does not tell of is not looked for again.
    assert (cookie(12), cookie(12), cookie(11), len(walks)) == (None, None, None, 3)
    assert "cookie" not in links.link_details(perf_link(0))


def test_a_kernel_without_iterators(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> dict[int, int]:
        refusals.append(1)
        raise KernelError("no iterator", 95)

    refusals: list[int] = []
    monkeypatch.setattr(links, "_walked", 0)
    monkeypatch.setattr("pybpftool.kernel.object_iter.perf_cookies", refuse)
    link = perf_link(0)
    for link.id in (1, 2, 3):
        assert links.link_details(link, uses_iterators=True) == {"info": link.info}
    assert len(refusals) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_cookie_that_is_not_filled(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    at = links._COOKIE_AT[kind - 1]
    kernel_that_writes(monkeypatch, at)
    assert len(links.link_details(perf_link(kind))["info"]) == at


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cookie", [0, 5, *links._MARKS])
def test_a_cookie_that_is_filled(kind: int, cookie: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that is by chance, or by intent, what we look for."""
    at = links._COOKIE_AT[kind - 1]
    kernel_that_writes(monkeypatch, at, cookie, cookie)
    info = links.link_details(perf_link(kind))["info"]
    assert len(info) == 64 and struct.unpack_from("=Q", info, at) == (cookie,)
