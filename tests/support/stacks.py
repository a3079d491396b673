"""A host with stack_trace maps, a process and symbols."""

from __future__ import annotations

import struct

from tests.support.hosts import Host, host

KALLSYMS = b"""\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000000 T start
ffffffff81000100 t do_read
ffffffff81000200 D some_data
ffffffff81000300 T do_write
ffffffffc0100000 t xfs_read\t[xfs]
ffffffffc0200000 t bpf_prog_1234567812345678_counter\t[bpf]
"""
BUILD_ID = bytes(range(20))


def stack_host(id_maps: bool = False) -> Host:
    kernel = host()
    kernel.files["/proc/kallsyms"] = KALLSYMS
    kernel.files["/proc/44/maps"] = (
        b"00400000-00401000 r--p 00000000 08:01 5 /usr/bin/agent\n"
        b"00401000-00409000 r-xp 00001000 08:01 5 /usr/bin/agent\n"
        b"7f0000000000-7f0000001000 r-xp 00000000 00:00 0 [vdso]\n"
    )
    kernel.places["/proc/44/root/usr/bin/agent", 0x1010] = {"symbol": "main", "symbol_offset": 16}
    kernel.map(30, type=7, key_size=4, value_size=64, max_entries=8, name=b"stacks")
    kernel.elems[30] = {
        struct.pack("<I", 5): struct.pack("<8Q", 0xFFFFFFFF81000150, 0xFFFFFFFF81000008, *[0] * 6),
        struct.pack("<I", 2): struct.pack(
            "<8Q", 0xFFFFFFFFC0200010, 0xFFFFFFFFC0100001, 0x401010, 0x401500, 0x7F0000000010,
            0x99, 0, 0,
        ),
    }  # fmt: skip
    if id_maps:
        kernel.map(31, type=7, key_size=4, value_size=96, max_entries=8, name=b"ids", map_flags=32)
        entry = struct.Struct("<i20sQ")
        kernel.elems[31] = {
            struct.pack("<I", 1): entry.pack(1, BUILD_ID, 0x1010)
            + entry.pack(2, b"", 0x5000)
            + entry.pack(0, b"", 0)
        }
    return kernel
