"""How perf events are described, and requests that are refused."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import Literal

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel import perf_event
from pybpftool.kernel.perf_event import enable, event_attr, flag, set_prog
from tests.support.abi import Headers, headers

_FLAGS = [(f"flag_{number}", ctypes.c_uint64, 1) for number in range(64)]


class _LittleFlags(ctypes.LittleEndianStructure):
    _fields_ = _FLAGS


class _BigFlags(ctypes.BigEndianStructure):
    _fields_ = _FLAGS


@pytest.mark.parametrize("row", headers(), ids=lambda row: row.machine)
def test_flags_are_bit_fields(row: Headers) -> None:
    little = row.byteorder == "little"
    for number in (0, 4, 9, 14, 18, 30):
        fields = _LittleFlags() if little else _BigFlags()
        setattr(fields, f"flag_{number}", 1)
        order: Literal["little", "big"] = "little" if little else "big"
        assert flag(number, order).to_bytes(8, order) == bytes(fields)


class _Attr(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("disabled", ctypes.c_uint64, 1),
        ("others", ctypes.c_uint64, 63),
        ("wakeup_events", ctypes.c_uint32),
    ]


def test_an_attribute() -> None:
    data = event_attr(1, 10, 2, 3, perf_event.DISABLED, 4).data
    attr = _Attr.from_buffer(data)
    assert len(data) == attr.size == 64
    found = (attr.type, attr.config, attr.sample_period, attr.sample_type, attr.wakeup_events)
    assert found == (1, 10, 2, 3, 4)
    assert (attr.disabled, attr.others) == (1, 0)


def test_refused_requests() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(KernelError, match="cannot enable it: Inappropriate ioctl") as info:
            enable(read, "cannot enable it")
        assert info.value.errno == errno.ENOTTY
        with pytest.raises(KernelError, match="cannot attach it: Inappropriate ioctl"):
            set_prog(read, write, "cannot attach it")
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.skipif(sys.byteorder != "little", reason="what the other order gives is tried above")
def test_flags_here() -> None:
    assert (perf_event.COMM, perf_event.BPF_EVENT) == (1 << 9, 1 << 30)
