"""rtnetlink messages: requests byte for byte, answers, and answers that are damaged."""

from __future__ import annotations

import random
import struct

import pytest

from pybpftool.errors import FormatError
from pybpftool.objects.rtnetlink import Codec
from tests.support.fakeattached import attribute, link_message, number, tc_message, text

CODEC = Codec("<" if struct.pack("=H", 1) == b"\1\0" else ">")


def test_requests() -> None:
    assert CODEC.request_links() == struct.pack(
        "=IHHIIBBHiII", 32, 18, 0x301, 1, 0, 17, 0, 0, 0, 0, 0
    )
    assert CODEC.request_tc(46, 3, 0xFFFFFFF2) == struct.pack(
        "=IHHIIBBHiIII", 36, 46, 0x301, 1, 0, 0, 0, 0, 3, 0, 0xFFFFFFF2, 0
    )


def test_answers() -> None:
    xdp = attribute(2, number(4, "B")) + attribute(6, number(7)) + attribute(99, b"later")
    assert CODEC.link(link_message(3, "eth0", xdp)) == (
        3,
        "eth0",
        {"attached": 4, "skb_prog_id": 7},
    )
    assert CODEC.link(link_message(3, "")) == (3, "", None)
    assert CODEC.handle(tc_message(36, 3, 0x10000, "htb")) == (3, 0x10000, "htb")
    assert CODEC.handle(tc_message(36, 3, 5, None)) == (3, 5, None)
    assert CODEC.filter(tc_message(44, 3, 5, None)) is None
    assert CODEC.filter(tc_message(44, 3, 5, "u32", bytes(8))) is None
    options = attribute(1, attribute(1, attribute(1, text("bpf")))) + attribute(11, number(5))
    assert CODEC.filter(tc_message(44, 3, 5, "bpf", options)) == {
        "id": 5,
        "actions": [{}],
    }


# linux/pkt_cls.h: where the options of each kind have their actions
@pytest.mark.parametrize(
    ("kind", "number_of_actions"),
    [("basic", 3), ("cgroup", 1), ("flow", 9), ("flower", 3), ("fw", 4), ("matchall", 2),
     ("route", 6), ("tcindex", 7), ("u32", 7)],
)  # fmt: skip
def test_actions_of_other_filters(kind: str, number_of_actions: int) -> None:
    bpf = attribute(1, text("bpf")) + attribute(
        2, attribute(6, text("x")) + attribute(9, number(5))
    )
    listed = attribute(1, attribute(1, text("gact"))) + attribute(2, bpf)
    options = attribute(20, bytes(4)) + attribute(number_of_actions, listed)
    found = CODEC.filter(tc_message(44, 3, 5, kind, options))
    assert found == {"kind": kind, "actions": [{"name": "x", "id": 5}]}
    without = attribute(number_of_actions, attribute(1, attribute(1, text("gact"))))
    assert CODEC.filter(tc_message(44, 3, 5, kind, without)) is None


def test_names_that_are_no_text() -> None:
    name = "r\udcff"
    assert CODEC.link(link_message(3, name))[1] == name
    assert CODEC.handle(tc_message(36, 3, 5, name)) == (3, 5, name)
    action = attribute(1, text("bpf")) + attribute(2, attribute(6, text(name)))
    options = attribute(7, text(name)) + attribute(1, attribute(1, action))
    assert CODEC.filter(tc_message(44, 3, 5, "bpf", options)) == {
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
        for decode in (CODEC.filter, CODEC.handle, CODEC.link):
            try:
                decode(bytes(data))
            except FormatError as error:
                assert "netlink" in str(error)
