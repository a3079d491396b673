"""Numbers of requests, as the headers of each architecture have them."""

from __future__ import annotations

import pytest

from pybpftool.kernel.syscall import abi
from pybpftool.uapi.ioctl import io, iow
from tests.support.abi import Headers, headers


@pytest.mark.parametrize("row", headers(), ids=lambda row: row.machine)
def test_requests_of_each_architecture(row: Headers) -> None:
    name = abi(row.machine, row.is_64bit)
    assert io(name, ord("$"), 0) == row.numbers["PERF_EVENT_IOC_ENABLE"]
    assert iow(name, ord("$"), 8, 4) == row.numbers["PERF_EVENT_IOC_SET_BPF"]
    assert io(name, 0xB7, 2) == row.numbers["NS_GET_PARENT"]
