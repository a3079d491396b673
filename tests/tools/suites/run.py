"""`prog run` on programs of every type: data, contexts, repetition, files, errors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tests.support.runnable import Runnable, load_runnable
from tests.tools.suites import MODES, OUT, Case, Live, case

_SIZES = (0, 1, 13, 14, 15, 16, 17, 31, 64, 255, 256, 257, 1500, 3500, 4096, 9000, 65535, 65536)


def setup(stack: contextlib.ExitStack, live: Live) -> None:
    """Load the programs, write their inputs."""
    live.extra["runnable"] = load_runnable(stack)
    place = Path(live.scratch)
    for size in _SIZES:
        (place / f"d{size}").write_bytes(bytes(n * 7 + 3 & 255 for n in range(size)))
    ipv4 = bytes.fromhex("4500003400010000400600000a0000010a000002")
    (place / "packet").write_bytes(bytes(12) + b"\x08\0" + ipv4 + bytes(range(64)))
    (place / "text").write_bytes(b"Hello, program: ~!@#$%^&*()\x7f\x80\xff\x1f plain text" * 3)
    (place / "bare").write_bytes(ipv4 + bytes(40))
    for size in (8, 16, 20, 24, 56, 64, 128, 192, 4096):
        (place / f"c{size}").write_bytes(bytes(size))
    mark = bytearray(192)
    mark[8:12] = b"\x07\0\0\0"
    (place / "mark").write_bytes(mark)
    (place / "args").write_bytes(bytes(range(1, 97)))
    (place / "meta").write_bytes((0).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(16))
    os.mkdir(place / "folder")


def commands(live: Live) -> Iterator[Case]:
    """Every program on data of many sizes, then what is special."""
    at = live.scratch
    programs: list[Runnable] = live.extra["runnable"]  # type: ignore[assignment]
    for prog in programs:
        which = f"prog run id {prog.id}"
        for number, size in enumerate(_SIZES):
            modes = MODES if number % 3 == 0 else ("",)
            yield case(f"{which} data_in {at}/d{size} data_out -", modes=modes)
        yield case(f"{which} data_in {at}/packet")
        yield case(f"{which} data_in {at}/text data_out -")
        yield case(f"{which} data_in {at}/packet data_out - repeat 10")
        yield case(f"{which} data_in {at}/packet data_out {OUT}")
        yield case(f"{which} data_in {at}/packet ctx_in {at}/c192 ctx_out -")
        yield case(f"{which} data_in {at}/packet ctx_in {at}/mark ctx_out - data_out -")
        yield case(f"{which} ctx_out - data_in {at}/packet ctx_in {at}/meta", modes=("", "-j"))
        yield case(f"{which} ctx_in {at}/c56 ctx_out - data_in {at}/bare", modes=("", "-j"))
        yield case(f"{which} ctx_in {at}/c4096 data_in {at}/packet", modes=("",))
        yield case(f"{which} ctx_in {at}/c64 repeat 3", modes=("", "-j"))
        # Upstream asks for room that the kernel refuses to programs that have a context alone.
        if prog.type not in ("raw_tracepoint", "syscall"):
            yield case(f"{which} ctx_in {at}/c64 ctx_out {OUT}", modes=("",))
        yield case(f"{which} data_in {at}/packet data_out - data_size_out 20", modes=("", "-j"))
        yield case(f"{which} data_in {at}/packet data_size_out 100000 data_out -", modes=("",))
    yield from _special(at, programs)


def _special(at: str, programs: list[Runnable]) -> Iterator[Case]:
    by_label = {prog.label: prog for prog in programs}
    xdp, cls = f"id {by_label['xdp_pass'].id}", f"id {by_label['cls_write'].id}"
    raw = f"id {by_label['raw_tp_bare'].id}"
    for line in (
        # Without a repetition upstream's library lets raw tracepoints through.
        f"prog run {raw} repeat 0",
        f"prog run {raw} r 0 data_out - ctx_out -",
        f"prog run {raw} repeat 0 data_out {OUT}",
        f"prog run {xdp} data_i {at}/packet data_o - r 2",
        f"prog run {xdp} data_i {at}/packet data_s 78 data_o -",
        f"prog run {xdp} data {at}/packet repeat 1",
        f"prog run {xdp} d {at}/packet repeat 1",
        f"prog run {xdp} data_ {at}/packet repeat 1",
        f"prog run {cls} data_in {at}/packet c {at}/mark",
        f"prog run {cls} data_in {at}/packet ctx_ {at}/mark",
        f"prog run {cls} data_in {at}/packet ctx_i {at}/mark ctx_o - ctx_s 192",
        f"prog run {cls} data_in {at}/packet ctx_in {at}/mark ctx_out - ctx_size_out 20",
        f"prog run {cls} data_in {at}/packet ctx_in {at}/c20 ctx_out - ctx_size_out 0",
        f"prog run {cls} data_in {at}/packet ctx_out - ",
        f"prog run {cls} data_in {at}/packet ctx_out - ctx_size_out 192",
        f"prog run {cls} data_in {at}/packet ctx_in {at}/d0",
        f"prog run {cls} data_in {at}/packet data_in {at}/d64 data_out -",
        f"prog run {cls} data_in {at}/packet ctx_in {at}/mark ctx_out {OUT} data_out -",
        f"prog r {xdp} repeat 0x10 data_in {at}/packet data_size_out 0x20",
        f"p run {xdp} repeat 010 data_in {at}/packet data_out -",
        f"prog run {xdp} repeat 1 data_in {at}/packet data_out - data_size_out 010",
        f"prog run {xdp} data_in {at}/packet repeat 0",
        f"prog run {xdp} data_in {at}/packet repeat ten",
        f"prog run {xdp} data_in {at}/packet repeat 3x",
        f"prog run {xdp} data_in {at}/packet repeat",
        f"prog run {xdp} data_in {at}/packet data_size_out x",
        f"prog run {xdp} data_in {at}/packet ctx_size_out x",
        f"prog run {xdp} data_in {at}/packet data_out",
        f"prog run {xdp} data_in {at}/packet bogus 4",
        f"prog run {xdp} data_in {at}/nothing",
        f"prog run {xdp} data_in {at}/nothing/at/all data_out -",
        f"prog run {xdp} data_in {at}/folder repeat 2",
        f"prog run {xdp} data_in - ctx_in -",
        f"prog run {xdp} ctx_in - data_in -",
        "prog run id 4294967295 data_in /dev/null",
        "prog run id x data_in /dev/null",
        "prog run tag zz data_in /dev/null",
        "prog run name nothing_has_it data_in /dev/null",
        f"prog run name pr_xdp_pass data_in {at}/packet data_out -",
        f"prog run pinned {at}/packet data_in {at}/packet",
    ):
        yield case(line)
    # As JSON upstream's output is none: its error stands where a property's name has to.
    yield case(f"prog run {xdp} data_in {at}/packet data_out {at}/none/out", modes=("",))
    packet = Path(at, "packet").read_bytes()
    for mode in MODES:
        words = f"prog run {cls} data_in - data_out -".split()
        yield Case(tuple(words), (mode,), True, packet)
        words = f"prog run {cls} data_in {at}/packet ctx_in - ctx_out -".split()
        yield Case(tuple(words), (mode,), True, bytes(8) + b"\x05" + bytes(183))
        words = f"prog run {xdp} data_in -".split()
        yield Case(tuple(words), (mode,), True, packet[:10])
    # Too few words: upstream prints how many it wants.
    for line in ("prog run", "prog run id", f"prog run {xdp} data_in"):
        yield case(line, modes=("", "-j"))
