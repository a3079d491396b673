"""Code of a process that has maps in its memory, and no descriptor of them."""

from __future__ import annotations

# Python's own mmap keeps a descriptor.
MAPPED = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
for kind, value_size in (("array", 8), ("ringbuf", 0)):
    flags = load.F_MMAPABLE if value_size else 0
    map = load.map_create(kind, 4 if value_size else 0, value_size, 4096, flags=flags, name="loose")
    for _ in range(2):  # twice is once
        assert libc.mmap(None, 4096, 3, 1, map.fd, 0) != ctypes.c_void_p(-1).value
    print(load.object_id(map, "map"), end=" ")
    map.close()
print()
"""
