"""The C half of ctypes: numbers and functions as the whole of it has them."""

from __future__ import annotations

import ctypes
import errno
import subprocess
import sys

import pytest

from pybpftool import cdata

NUMBERS = (
    *("c_char", "c_int", "c_uint", "c_long", "c_ulong", "c_size_t", "c_char_p"),
    "c_void_p",
)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_type_is_that_of_ctypes(name: str) -> None:
    ours, theirs = getattr(cdata, name), getattr(ctypes, name)
    assert ours._type_ == theirs._type_
    assert ctypes.sizeof(ours) == ctypes.sizeof(theirs)


def test_a_function_keeps_errno_and_its_own_types() -> None:
    close, other = cdata.c_function("close"), cdata.c_function("close")
    other.restype = cdata.c_long
    assert close(cdata.c_int(-1)) == -1
    assert cdata.get_errno() == errno.EBADF
    assert close.restype is cdata.c_int


def test_a_held_function_takes_numbers_and_memory() -> None:
    strlen = cdata.held_function("strlen")
    strlen.restype = cdata.c_size_t
    text = bytearray(b"seven..\0")
    array = (cdata.c_char * len(text)).from_buffer(text)
    assert strlen(cdata.c_void_p(cdata.addressof(array))) == 7
    assert array.value == b"seven.."


def test_a_missing_function_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"no_such_function\(\)"):
        cdata.c_function("no_such_function")


def test_bpf_loads_no_ctypes() -> None:
    code = "import sys, pybpftool.kernel.syscall; print('ctypes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
