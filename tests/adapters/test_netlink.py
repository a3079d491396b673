"""The netlink codec: requests byte for byte, answers that are damaged, how pyroute2 is imported."""

from __future__ import annotations

import random
import struct
import subprocess
import sys

import pytest

from pybpftool.adapters import netlink
from pybpftool.errors import FormatError
from tests.support.fakeattached import attribute, link_message, number, tc_message, text


def test_requests() -> None:
    assert netlink.request_links() == struct.pack(
        "=IHHIIBBHiII", 32, 18, 0x301, 1, 0, 17, 0, 0, 0, 0, 0
    )
    assert netlink.request_tc(46, 3, 0xFFFFFFF2) == struct.pack(
        "=IHHIIBBHiIII", 36, 46, 0x301, 1, 0, 0, 0, 0, 3, 0, 0xFFFFFFF2, 0
    )
    inner = attribute(1, number(-1, "i")) + attribute(3, number(9))
    body = struct.pack("=BBHiII", 0, 0, 0, 5, 0, 0) + attribute(43 | 0x8000, inner)
    head = struct.pack("=IHHII", 16 + len(body), 19, 5, 1, 0)
    assert netlink.request_set_xdp(5, -1, 9) == head + body


def test_answers() -> None:
    xdp = attribute(2, number(4, "B")) + attribute(6, number(7)) + attribute(99, b"later")
    assert netlink.decode_link(link_message(3, "eth0", xdp)) == (
        3,
        "eth0",
        {"attached": 4, "skb_prog_id": 7},
    )
    assert netlink.decode_link(link_message(3, "")) == (3, "", None)
    assert netlink.decode_handle(tc_message(36, 3, 0x10000, "htb")) == (0x10000, "htb")
    assert netlink.decode_handle(tc_message(36, 3, 5, None)) == (5, None)
    assert netlink.decode_filter(tc_message(44, 3, 5, None)) is None
    assert netlink.decode_filter(tc_message(44, 3, 5, "u32", bytes(8))) is None
    options = attribute(1, attribute(1, attribute(1, text("bpf")))) + attribute(11, number(5))
    assert netlink.decode_filter(tc_message(44, 3, 5, "bpf", options)) == {
        "id": 5,
        "actions": [{}],
    }


def test_names_that_are_no_text() -> None:
    name = "r\udcff"
    assert netlink.decode_link(link_message(3, name))[1] == name
    assert netlink.decode_handle(tc_message(36, 3, 5, name)) == (5, name)
    action = attribute(1, text("bpf")) + attribute(2, attribute(6, text(name)))
    options = attribute(7, text(name)) + attribute(1, attribute(1, action))
    assert netlink.decode_filter(tc_message(44, 3, 5, "bpf", options)) == {
        "name": name,
        "actions": [{"name": name}],
    }


def test_damaged_answers() -> None:
    """Any bytes are read, or refused as what they are."""
    dice = random.Random(6)
    options = attribute(7, text("name")) + attribute(11, number(5))
    options += attribute(
        1, attribute(1, attribute(1, text("bpf")) + attribute(2, attribute(9, number(1))))
    )
    message = tc_message(44, 3, 5, "bpf", options)
    for _ in range(500):
        data = bytearray(message)
        for _ in range(3):
            data[dice.randrange(16, len(data))] = dice.randrange(256)
        data = data[: dice.randrange(17, len(data) + 1)]
        struct.pack_into("=I", data, 0, len(data))
        for decode in (netlink.decode_filter, netlink.decode_handle, netlink.decode_link):
            try:
                decode(bytes(data))
            except FormatError as error:
                assert "netlink" in str(error)


@pytest.mark.parametrize("whole_first", [False, True])
def test_import(whole_first: bool) -> None:
    """The codec comes without the rest of pyroute2, which can be imported before and after."""
    script = """
import sys
{before}
from pybpftool.adapters import netlink
netlink.request_links()
assert ("pyroute2.iproute" in sys.modules) == {whole}
import pyroute2
assert pyroute2.IPRoute
""".format(before="import pyroute2" if whole_first else "", whole=whole_first)
    subprocess.run([sys.executable, "-c", script], check=True)
