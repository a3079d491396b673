"""Reading a file of /proc without the interpreter's lock.

Such files come a page at a time: a large one takes a thousand system calls, and after
each of them a reading thread would have to wait for the lock, up to 5 ms, while another
thread computes. One call of fread(3) makes all of them by itself.
"""

from __future__ import annotations

import ctypes
import os

from pybpftool.errors import KernelError

_BLOCK = 1 << 24


def read_unlocked(path: str) -> bytes:
    """The content of a file; raises KernelError."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fopen.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    libc.fopen.restype = ctypes.c_void_p
    libc.fread.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
    libc.fread.restype = ctypes.c_size_t
    libc.ferror.argtypes = libc.fclose.argtypes = (ctypes.c_void_p,)
    file = libc.fopen(os.fsencode(path), b"re")
    if not file:
        raise KernelError.of(f"cannot open {path}", ctypes.get_errno())
    try:
        blocks = []
        while True:
            block = (ctypes.c_char * _BLOCK).from_buffer(bytearray(_BLOCK))
            count = libc.fread(block, 1, _BLOCK, file)
            blocks.append(ctypes.string_at(block, count))
            if count < _BLOCK:
                break
        if libc.ferror(file):
            raise KernelError.of(f"cannot read {path}", ctypes.get_errno())
        return b"".join(blocks)
    finally:
        libc.fclose(file)
