"""The options that ask for sockets' filters, as the headers of each architecture have them."""

from __future__ import annotations

import socket
import sys

import pytest

from pybpftool.kernel import socket_filters
from pybpftool.kernel.syscall import ABI, abi
from tests.support.abi import Headers, headers


@pytest.mark.parametrize("row", headers(), ids=lambda row: row.machine)
def test_the_option_of_each_architecture(row: Headers) -> None:
    name = abi(row.machine, row.is_64bit)
    option = socket_filters._GET_FILTER.get(name, socket_filters._GET_FILTER_ELSEWHERE)
    assert option == row.numbers["SO_GET_FILTER"]


def test_the_others_are_those_of_our_libc() -> None:
    ours = [
        row
        for row in headers()
        if abi(row.machine, row.is_64bit) == ABI and row.byteorder == sys.byteorder
    ]
    for row in ours:
        numbers = row.numbers["SO_DOMAIN"], row.numbers["SO_PROTOCOL"]
        assert numbers == (socket.SO_DOMAIN, socket.SO_PROTOCOL)
