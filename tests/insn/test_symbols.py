"""Symbols by address out of kallsyms text."""

from __future__ import annotations

import io
import os
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpftool.insn import symbols as symbols_module
from pybpftool.insn.symbols import KernelSymbols

TEXT = b"""\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000010 t first
ffffffff81000020 t twin_a
ffffffff81000020 t twin_b
ffffffff81000030 T __bpf_call_base_not
ffffffff81000040 T __bpf_call_base
ffffffff81000050 t last
ffffffffc0300000 t in_module\t[mod]
ffffffffc0100000 t bpf_prog_1234_name\t[bpf]
ffffffffc0100100 t caf\xe9\t[bpf]
"""


def test_lookup() -> None:
    symbols = KernelSymbols(TEXT)
    assert symbols.call_base == 0xFFFFFFFF81000040
    assert not symbols.restricted
    assert symbols.name(0xFFFFFFFF81000000) == "_stext"
    assert symbols.name(0xFFFFFFFF81000010) == "first"
    assert symbols.name(0xFFFFFFFF81000050) == "last"
    assert symbols.name(0xFFFFFFFFC0300000) == "in_module"
    assert symbols.name(0xFFFFFFFFC0100000) == "bpf_prog_1234_name"
    assert symbols.name(0xFFFFFFFFC0100100) == "caf\udce9"
    assert symbols.name(0xFFFFFFFF81000011) is None
    assert symbols.name(0) is None
    assert symbols.name(-1) is None
    assert symbols.name(1 << 64) is None
    wanted = [0xFFFFFFFF81000010, 5, 0xFFFFFFFFC0300000]
    assert symbols.names(wanted) == {wanted[0]: "first", wanted[2]: "in_module"}


def test_last_line_without_line_feed() -> None:
    symbols = KernelSymbols(b"ffffffff81000000 T a\nffffffff81000010 T __bpf_call_base")
    assert symbols.call_base == 0xFFFFFFFF81000010
    assert symbols.name(0xFFFFFFFF81000010) == "__bpf_call_base"


def test_kernel_of_32_bits() -> None:
    symbols = KernelSymbols(b"c0008000 T _text\nc0100000 T __bpf_call_base\nbf000000 t m\t[mod]\n")
    assert symbols.call_base == 0xC0100000
    assert symbols.name(0xC0008000) == "_text"
    assert symbols.name(0xBF000000) == "m"


@pytest.mark.parametrize(
    "text", [TEXT.replace(b"ffffffff8100004", b"000000000000000"), b"0 T __bpf_call_base\n"]
)
def test_restricted_kernel_shows_nothing(text: bytes) -> None:
    symbols = KernelSymbols(text)
    assert symbols.restricted
    assert symbols.call_base == 0
    assert symbols.name(0xFFFFFFFF81000000) is None


@pytest.mark.parametrize(
    "text", [b"", b"\n", b" \n \n", b"zzzz T __bpf_call_base\n", b"x" * 100, b"ff T\nfe\n"]
)
def test_text_that_is_no_kallsyms(text: bytes) -> None:
    symbols = KernelSymbols(text)
    assert symbols.call_base == 0
    assert symbols.names([0xFF, 0xFE, 0, 5]) == {}


def searched(entries: list[tuple[int, str]], address: int) -> str:
    """What bsearch(3) finds among entries in a stable order."""
    entries = sorted(entries, key=lambda entry: entry[0])
    low, high = 0, len(entries)
    while True:
        middle = (low + high) // 2
        if entries[middle][0] < address:
            low = middle + 1
        elif entries[middle][0] > address:
            high = middle
        else:
            return entries[middle][1]


@pytest.mark.parametrize("block", [1, 7, 16, 100, 1 << 20])
def test_text_is_read_as_far_as_needed(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbols_module, "_BLOCK", block)
    whole = KernelSymbols(TEXT)
    for at in range(0xFFFFFFFF81000000, 0xFFFFFFFF81000060, 16):
        file = io.BytesIO(TEXT)
        symbols = KernelSymbols(b"", file.read)
        assert symbols.call_base == whole.call_base
        assert symbols.name(at) == whole.name(at)
    file = io.BytesIO(TEXT)
    symbols = KernelSymbols(b"", file.read)
    assert symbols.name(0xFFFFFFFF81000010) == "first"
    if block < 100:
        assert file.tell() < TEXT.index(b"bpf_prog")
    assert symbols.name(0xFFFFFFFFC0100000) == "bpf_prog_1234_name"
    assert symbols.name(0xFFFFFFFF81000011) is None
    assert file.tell() == len(TEXT)
    hidden = KernelSymbols(b"", io.BytesIO(b"0000 T a\n0000 T __bpf_call_base\n").read)
    assert hidden.restricted
    assert KernelSymbols(b"", io.BytesIO(b"").read).name(5) is None
    # Reading stops within the name of a module's symbol, past a higher address.
    text = b"00ff T __bpf_call_base\n0900 t high\n0200 t long_name\t[m]\n"
    monkeypatch.setattr(symbols_module, "_BLOCK", text.index(b"_name"))
    assert KernelSymbols(b"", io.BytesIO(text).read).name(0x200) == "long_name"
    monkeypatch.setattr(symbols_module, "_BLOCK", block)
    tail = KernelSymbols(b"", io.BytesIO(b"00ff T __bpf_call_base").read)
    assert tail.call_base == 0xFF


def test_functions_are_asked_for_before_anything_is_read() -> None:
    reads: list[int] = []
    file = io.BytesIO(TEXT)

    def read(size: int) -> bytes:
        reads.append(size)
        return file.read(size)

    names = {0xFFFFFFFFC0200000: "bpf_prog_0123456789abcdef_f"}
    asked: list[object] = []

    def address(name: str) -> int:
        asked.append(name)
        return 0xFFFFFFFF81000020 if len(asked) == 1 else 0

    symbols = KernelSymbols(b"", read, lambda addresses: {**names, 5: ""}, address)
    assert symbols.names([0xFFFFFFFFC0200000, 5]) == names
    assert symbols.call_base == symbols.call_base == 0xFFFFFFFF81000020
    assert asked == ["__bpf_call_base"]
    assert not symbols.restricted
    assert not reads
    first = {0xFFFFFFFF81000010: "first"}
    assert symbols.names([0xFFFFFFFFC0200000, 0xFFFFFFFF81000010]) == {**names, **first}
    untold = KernelSymbols(TEXT, None, lambda addresses: {}, address)
    assert untold.names([0xFFFFFFFFC0100000]) == {0xFFFFFFFFC0100000: "bpf_prog_1234_name"}
    assert untold.call_base == KernelSymbols(TEXT).call_base


@given(st.lists(st.integers(1, 40), min_size=1), st.lists(st.integers(1, 60)))
def test_aliases_are_chosen_as_by_bsearch(core: list[int], modules: list[int]) -> None:
    # Modules' symbols follow without an order.
    addresses = sorted(core) + modules
    entries = [(address, f"s{i}") for i, address in enumerate(addresses)]
    text = "".join(f"{address:016x} t {name}\n" for address, name in entries).encode()
    found = KernelSymbols(text).names(range(70))
    assert set(found) == set(addresses)
    for address in set(addresses):
        candidates = {name for at, name in entries if at == address}
        assert found[address] in candidates
    if sorted(addresses) == addresses:
        for address in set(addresses):
            assert found[address] == searched(entries, address)


def test_many_addresses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{0x1000 + 16 * i:016x} t f{i}" for i in range(300)]
    lines += [f"{0x9000 - 16 * i:016x} t m{i}\t[m]" for i in range(300)]
    symbols = KernelSymbols("\n".join(lines).encode() + b"\n")
    wanted = [0x1000 + 16 * i for i in range(300)] + [0x9000 - 16 * i for i in range(300)]
    expected = {0x1000 + 16 * i: f"f{i}" for i in range(300)}
    expected.update({0x9000 - 16 * i: f"m{i}" for i in range(300)})
    assert symbols.names([*wanted, 3, 4]) == expected
    monkeypatch.setattr(symbols_module, "_BULK", 10)
    assert symbols.names([*wanted, 3, 4]) == expected


@pytest.mark.skipif(not os.access("/proc/kallsyms", os.R_OK), reason="no /proc/kallsyms")
def test_running_kernel() -> None:
    with open("/proc/kallsyms", "rb") as file:
        text = file.read()
    symbols = KernelSymbols(text)
    if symbols.restricted or not symbols.call_base:
        pytest.skip("the kernel hides its addresses from this user")
    names = defaultdict(set)
    for line in text.decode().splitlines():
        fields = line.split()
        names[int(fields[0], 16)].add(fields[2])
    assert "__bpf_call_base" in names[symbols.call_base]
    wanted = [address for address in list(names)[::401] if address]
    found = symbols.names(wanted)
    assert set(found) == set(wanted)
    assert all(found[address] in names[address] for address in wanted)
