"""What tcpdump 4.99.3 -y EN10MB prints of the filter `icmp`: -d, -dd and -ddd."""

from __future__ import annotations

import random
from collections.abc import Sequence

ICMP = """\
(000) ldh      [12]
(001) jeq      #0x800           jt 2\tjf 5
(002) ldb      [23]
(003) jeq      #0x1             jt 4\tjf 5
(004) ret      #262144
(005) ret      #0
"""
ICMP_C = """\
{ 0x28, 0, 0, 0x0000000c },
{ 0x15, 0, 3, 0x00000800 },
{ 0x30, 0, 0, 0x00000017 },
{ 0x15, 0, 1, 0x00000001 },
{ 0x6, 0, 0, 0x00040000 },
{ 0x6, 0, 0, 0x00000000 },
"""
ICMP_DECIMAL = "6\n40 0 0 12\n21 0 3 2048\n48 0 0 23\n21 0 1 1\n6 0 0 262144\n6 0 0 0\n"

Row = tuple[int, int, int, int]

# BPF_LD, BPF_LDX, BPF_ST, … with each size, mode, operation and source.
_SOURCES = [*range(0, 0x100, 8), *range(0, 0x100, 8), 0x100, 0x1000]
# Constants at the bounds of what the kernel takes.
_K = (
    *(0, 1, 2, 3, 4, 5, 8, 15, 16, 31, 32, 60, 62, 63, 64, 0x7FFFFFFF, 0x80000000, 0xC000003E),
    *(0xFFFFEFFF, 0xFFFFF000, 0xFFFFF001, 0xFFFFF03C, 0xFFFFF03D, 0xFFFFF040, 0xFFFFFFFF),
)


def random_filter(source: random.Random, codes: Sequence[int] = ()) -> list[Row]:
    """A filter of a few instructions, of these codes or any, that may well be refused."""
    size = source.randrange(1, 14)
    rows: list[Row] = []
    for at in range(size):
        code = source.choice(codes) if codes else source.choice(_SOURCES) | source.randrange(8)
        left = size - at - 1
        if at == size - 1 and source.random() < 0.9:
            code = source.choice((0x06, 0x16))
        way = max(left, 1) if source.random() < 0.95 else left + 3
        k = source.choice(_K) if source.random() < 0.7 else source.randrange(6)
        if code == 0x05 and source.random() < 0.8:
            k = source.randrange(way)
        rows.append((code, source.randrange(way), source.randrange(way), k))
    return rows
