"""Damaged input for every command that reads some: BTF, objects, recordings, answers, texts.

    python -m tests.tools.fuzz [--kinds btf,object,…] [--seconds N | --inputs N] [--seed N]

Each case follows from its kind and seed alone (``--only KIND:SEED`` runs one again, loudly).
A case fails with a traceback, a sentence about a mistake of ours, silence, JSON that a
strict parser refuses, more than ten seconds, or more than 1 GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import struct
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from pybpftool.cli.main import main as command
from pybpftool.errors import BpfError
from pybpftool.kernel.interface import Kernel
from pybpftool.kernel.snapshot import SnapshotKernel
from tests.tools import fuzz_host

FIXTURES = Path(__file__).parents[2] / "fixtures"
LIMIT = 10.0  # seconds of processor time that one command may take
MEMORY = 1 << 30
BATCH = 50  # inputs of a kind that one process tries
NUMBERS = (0, 1, 2, 3, 7, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
TELLTALES = (b"Traceback (most recent", b"mistake in pybpftool", b"cannot be loaded")
Words = list[str]  # a command line


class Slow(BaseException):
    """A command went on for too long."""


# --- damage -------------------------------------------------------------------------------------


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes with one to five places changed, cut out, doubled or cut off."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if len(result) < 4:
            return bytes(result) + rng.randbytes(rng.randrange(9))
        word = rng.randrange(len(result) // 4) * 4
        kind = rng.randrange(9)
        if kind == 0:
            result[rng.randrange(len(result))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            result[word : word + 4] = struct.pack("<I", rng.choice(NUMBERS))
        elif kind == 2:
            result[word : word + 4] = struct.pack("<I", rng.randrange(300))
        elif kind == 3:
            vlen = rng.choice((0, 1, 2, 7, 0xFFFF))
            info = rng.randrange(2) << 31 | rng.randrange(22) << 24 | vlen
            result[word : word + 4] = struct.pack("<I", info)
        elif kind == 4:
            del result[rng.randrange(len(result)) :]
        elif kind == 5:
            result[rng.randrange(min(64, len(result)))] = rng.randrange(256)
        elif kind == 6:
            del result[word : word + 4 * rng.randrange(8)]
        elif kind == 7:
            result[word:word] = result[word : word + 4 * rng.randrange(8)]
        else:
            result[rng.randrange(len(result))] = rng.choice((0, 10, 0x1B, 0x22, 0x5C, 0x80, 0xFF))
    return bytes(result)


def damaged_text(text: bytes, rng: random.Random, words: Sequence[bytes] = ()) -> bytes:
    """A text with words put in, lines swapped, doubled or taken out, and bytes changed."""
    pieces = (b"", b" ", b"\n", b"\0", b"\xff", b"-1", b"0x", b"99999999999999999999999", b"1e400")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(4)
        if kind < 2:
            put = rng.choice((*pieces, *words))
            text = text[:at] + put + text[at + rng.choice((0, 1, 1, 3, 20)) :]
        elif kind == 2:
            lines = text.split(b"\n")
            one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[one] = rng.choice((lines[other], b"", lines[one] * 2))
            text = b"\n".join(lines)
        else:
            text = damaged(text, rng)
    return text


def changed(value: Any, rng: random.Random, depth: int = 0) -> Any:
    """A JSON value with one place changed."""
    if depth < 9 and rng.random() < 0.95:
        if isinstance(value, dict) and value:
            key = rng.choice(list(value))
            if rng.random() < 0.05:
                return {other: one for other, one in value.items() if other != key}
            return {**value, key: changed(value[key], rng, depth + 1)}
        if isinstance(value, list) and value:
            at = rng.randrange(len(value))
            if rng.random() < 0.05:
                return value[:at] + value[at : at + 1] * rng.randrange(3) + value[at + 1 :]
            return [*value[:at], changed(value[at], rng, depth + 1), *value[at + 1 :]]
    if isinstance(value, str) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        put = rng.choice("0123456789abcdefxg \ud800\n\0\x1b")
        return value[:at] + put + value[at + rng.randrange(2) :]
    if isinstance(value, int) and rng.random() < 0.8:
        return rng.choice((*NUMBERS, -1, value + 1, value ^ 1 << rng.randrange(40), 1 << 64))
    others: tuple[Any, ...] = (
        None,
        True,
        0,
        -1,
        1 << 70,
        1.5,
        "",
        "x",
        "\ud800",
        [],
        {},
        {"hex": "00"},
        [[1]],
    )
    return rng.choice(others)


class DamagedKernel(SnapshotKernel):
    """A recording some answers of which are damaged, of the right type all the same."""

    rng: random.Random
    share: float

    def _told(self, key: str, answer: Any) -> Any:
        value = super()._told(key, answer)
        return self._damaged(value) if self.rng.random() < self.share else value

    def _damaged(self, value: Any) -> Any:
        rng = self.rng
        if isinstance(value, bytes):
            looks_text = value[:64].isascii() and b"\n" in value
            return damaged_text(value, rng) if looks_text else damaged(value, rng)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int):
            return rng.choice((*NUMBERS, value + 1, value ^ 1 << rng.randrange(32)))
        if isinstance(value, (list, tuple)) and value:
            at = rng.randrange(len(value))
            put = [self._damaged(value[at])] if rng.random() < 0.9 else []
            return type(value)([*value[:at], *put, *value[at + 1 :]])
        if isinstance(value, dict) and value:
            key = rng.choice(list(value))
            return {**value, key: self._damaged(value[key])}
        return value

    def _bytes(self, value: Any) -> bytes:
        data = super()._bytes(value)
        if self.rng.random() >= self.share / 4 or not data:
            return data
        size = len(data)
        return damaged(data, self.rng)[:size].ljust(size, b"\0")


# --- inputs -------------------------------------------------------------------------------------


@cache
def blobs() -> list[bytes]:
    """BTF of compilers."""
    return [path.read_bytes() for path in sorted((FIXTURES / "btf").glob("*.btf"))]


@cache
def objects() -> list[bytes]:
    """Object files: a compiler's, ours of both byte orders, and nothing but BTF."""
    from tests.support.elffile import object_file
    from tests.support.objbuild import small_object

    made = [
        small_object("<"),
        small_object(">"),
        object_file({".BTF": blobs()[0]}, compressed=True),
    ]
    return [path.read_bytes() for path in sorted(FIXTURES.rglob("*.bpf.o"))] + made


@cache
def recordings() -> list[str]:
    """Recorded kernels, small ones only."""
    paths = sorted(FIXTURES.rglob("*.zip"), key=lambda path: path.stat().st_size)
    return [str(path) for path in paths if path.stat().st_size < 1 << 20]


def options(rng: random.Random) -> Words:
    """How the answer is to look."""
    words = ("", "", "-j", "-p", "-f", "--full -j", "--resolve", "--table")
    return rng.choice(words).split()


def btf_case(rng: random.Random, folder: str) -> tuple[list[Words], Kernel | None]:
    """Damaged BTF, in every form of dump."""
    path, base = f"{folder}/t", f"{folder}/base"
    data = damaged(rng.choice(blobs()), rng)
    Path(path).write_bytes(data)
    dump = ["btf", "dump", "file", path]
    words = [dump, ["-j", *dump], [*dump, "format", "c"]]
    words.append([*dump, "root_id", str(rng.randrange(60)), "format", "c"])
    if rng.random() < 0.3:
        Path(base).write_bytes(damaged(rng.choice(blobs()), rng))
        words += [["-B", base, *dump], ["-B", base, *dump, "format", "c"]]
    if rng.random() < 0.3:
        Path(base).write_bytes(rng.choice(objects()))
        words.append(["gen", "min_core_btf", path, f"{folder}/out", base])
        words.append(["obj", "check", base, "--against", path])
    return words, None


def object_case(rng: random.Random, folder: str) -> tuple[list[Words], Kernel | None]:
    """A damaged object file, in all that reads one."""
    path, other = f"{folder}/t.bpf.o", f"{folder}/vmlinux"
    Path(path).write_bytes(damaged(rng.choice(objects()), rng))
    Path(other).write_bytes(rng.choice(blobs()))
    words = [
        ["obj", "show", path],
        ["-j", "obj", "show", path],
        ["obj", "dis", path],
        ["obj", "relocs", path],
        ["-j", "obj", "check", path, "--against", other],
        ["gen", "skeleton", path],
        ["gen", "subskeleton", path],
        ["gen", "python", path],
        ["gen", "min_core_btf", other, f"{folder}/out", path],
        ["btf", "dump", "file", path, "format", "c"],
    ]
    return words, None


def kernel_commands(kernel: Kernel, rng: random.Random) -> Iterator[Words]:
    """Command lines for a recorded kernel, some of each sort."""
    from tests.support.readcommands import read_commands

    try:
        plain = list(read_commands(kernel))
    except (BpfError, KeyError, struct.error):  # the list itself trips over the damage
        plain = [[word, "show"] for word in ("prog", "map", "link", "btf", "perf", "net")]
    maps = [words[-1] for words in plain if words[:3] == ["map", "show", "id"]]
    progs = [words[-1] for words in plain if words[:3] == ["prog", "show", "id"]]
    plain += [["map", "dump", "id", id] for id in maps]
    plain += [["map", "getnext", "id", id] for id in maps]
    plain += [["btf", "dump", "map", "id", id] for id in maps]
    plain += [["prog", "dump", "joined", "id", id] for id in progs]
    plain += [["prog", "dump", "xlated", "id", id, "visual"] for id in progs]
    plain += [["why", "prog", id] for id in progs]
    for one in rng.sample(plain, min(8, len(plain))):
        yield [*options(rng), *one]
    ours = "attachments owners doctor struct_ops,show iter,list cgroup,tree metrics,show"
    for name in rng.sample(ours.split(), 3):
        yield [*rng.choice(([], ["-j"], ["--full"])), *name.split(",")]


def answers_case(rng: random.Random, folder: str) -> tuple[list[Words], Kernel | None]:
    """A kernel whose answers are odd: infos, netlink messages, files of /proc."""
    kernel = DamagedKernel.load(rng.choice(recordings()))
    assert isinstance(kernel, DamagedKernel)
    kernel.rng, kernel.share = rng, 0.0
    words = list(kernel_commands(kernel, rng))
    kernel.share = rng.choice((0.05, 0.3, 1.0))
    words.append(["net", "show"])
    if rng.random() < 0.1:
        words.append(["report", f"{folder}/page.html"])
    return words, kernel


def snapshot_case(rng: random.Random, folder: str) -> tuple[list[Words], Kernel | None]:
    """A damaged recording: its archive, or JSON and bytes in it."""
    good, path = rng.choice(recordings()), f"{folder}/bad.zip"
    if rng.random() < 0.3:
        Path(path).write_bytes(damaged(Path(good).read_bytes(), rng))
    else:
        with zipfile.ZipFile(good) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        for _ in range(rng.choice((1, 1, 4))):
            name = rng.choice([*members, *[n for n in members if n.endswith(".json")] * 9])
            if name.endswith(".json") and rng.random() < 0.9:
                value = changed(json.loads(members[name]), rng)
                members[name] = json.dumps(value).encode()
            else:
                members[name] = damaged(members[name], rng)
            try:
                json.loads(members[name])
            except ValueError:
                break
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    words = [["snapshot", "show", path], ["-j", "diff", good, path], ["diff", path, good, "--code"]]
    sound = SnapshotKernel.load(good)
    words += [["--snapshot", path, *one] for one in kernel_commands(sound, rng)]
    return words, None


_FILTER = b"4,40 0 0 12,21 0 1 2048,6 0 0 262144,6 0 0 0"
_LINES = b"prog show\nmap show id 1  # a comment\n\nbtf dump id 1 format c\nprog show name 'a b'\n"
_VALUES = (
    b'{"a": 1, "b": [1, 2, 3]}', b"{ .x = 1, .y = { 2, 3 } }", b"0x10 2 3", b'"text\\n"', b"-1",
    b"{ [0 ... 3] = 7 }", b"ENUM_A | 3", b"1.5", b"'c'",
)  # fmt: skip
_PICK = (b"type=xdp,name=a*", b"calls>0", b"id,type,name", b"-id", b"bytes>=1MiB")


_POLICY = b"""\
schema = 1
[[rule]]
id = "ingress"
prog = { name = "count*", type = "sched_cls", owner = "unit:*" }
attached = { dev = "eth0", hook = "tcx/ingress" }
verified_insns = "<= 90%"
calls = { forbid = ["bpf_probe_write_user"], require = "bpf_trace_printk" }
[[rule]]
id = "flows"
map = { name = "*" }
type = ["hash", "lru_hash"]
max_entries = 16
memlock = "<= 64 MiB"
has = { key = "1", value = "0" }
elements = "< 80%"
[[rule]]
id = "pins"
pin = "/sys/fs/bpf/*"
count = 0
"""
_POLICY_WORDS = b'[[rule]]\n|"*"|count = 0\n|1979-05-27|"<= 5 GiB"|[[]]|{}|prog|map'.split(b"|")
_LINE_WORDS = (b"prog", b"help", b"'", b'"', b"\\", b"#", b"batch file -", b"help\n")


def _word(text: bytes, rng: random.Random, words: Sequence[bytes]) -> str:
    """A damaged word of a command line: whatever execve(2) takes."""
    return os.fsdecode(damaged_text(text, rng, words).replace(b"\0", b""))


def text_case(rng: random.Random, folder: str) -> tuple[list[Words], Kernel | None]:
    """Texts that people write: policies, batches, filters, values of maps, names of columns."""
    path = f"{folder}/t"
    recording = rng.choice(recordings())
    replay = ["--snapshot", recording]
    kind = rng.randrange(6)
    if kind == 0:
        Path(path).write_bytes(damaged_text(_POLICY, rng, _POLICY_WORDS))
        return [[*replay, "check", path], [*replay, "-j", "check", path]], None
    if kind == 1:
        Path(path).write_bytes(damaged_text(_LINES, rng, _LINE_WORDS))
        return [[*replay, "batch", "file", path], [*replay, "-j", "batch", "file", path]], None
    if kind == 2:
        Path(path).write_bytes(damaged_text(_FILTER, rng, (b"{ 0x28, 0, 0, 0xc },\n", b",")))
        return [[*options(rng), "cbpf", "dis", path]], None
    if kind == 3:
        text = _word(rng.choice(_PICK), rng, (b"~", b"=", b"*", b","))
        option = rng.choice(("--filter", "--columns", "--sort"))
        listed = rng.choice(("prog", "map", "link"))
        return [[*replay, "--table", option, text, listed, "show"]], None
    if kind == 4:
        kernel = SnapshotKernel.load(recording)
        maps = [row[0] for row in kernel._objects.get("map", {}).values()]
        text = _word(rng.choice(_VALUES), rng, (b"{", b"}", b"[", b"=", b"."))
        id = str(rng.choice(maps or [1]))
        return [[*replay, "map", "lookup", "id", id, "key", *text.split(" ")]], None
    samples = b"prog show id 1 pinned /nonexistent map dump btf -j".split()
    line = [os.fsdecode(rng.choice(samples)) for _ in range(rng.randrange(7))]
    if line:
        line[rng.randrange(len(line))] = _word(rng.choice(samples), rng, samples)
    return [[*replay, *line]], None


def initializer_case(rng: random.Random, folder: str) -> tuple[list[Words], Kernel | None]:
    """Values as people write them, for random types; not through a command, which needs a map."""
    from pybpftool.btf.initializer import encode
    from pybpftool.btf.table import Btf

    btf = Btf.from_bytes(rng.choice(blobs()))
    for _ in range(10):
        id = rng.randrange(btf.count)
        text = os.fsdecode(damaged_text(rng.choice(_VALUES), rng, (b"{", b"}", b"[", b"=", b".a")))
        try:
            encode(btf, id, text, rng.choice((0, 1, 4, 8, 64)))
        except BpfError:
            continue
    return [], None


def host_case(rng: random.Random, folder: str) -> tuple[list[Words], Kernel | None]:
    """Damaged texts of the running kernel: /proc, /sys."""
    return fuzz_host.host_case(rng, damaged_text), None


def load_case(rng: random.Random, folder: str) -> tuple[list[Words], Kernel | None]:
    """A damaged object in the hands of libbpf."""
    return fuzz_host.load_case(rng, folder, damaged), None


def kept_case(rng: random.Random, folder: str) -> tuple[list[Words], Kernel | None]:
    """Damaged files of an earlier run."""
    return fuzz_host.kept_case(rng, folder, damaged_text, rng.choice(recordings())), None


KINDS: dict[str, Callable[[random.Random, str], tuple[list[Words], Kernel | None]]] = {
    "btf": btf_case,
    "object": object_case,
    "answers": answers_case,
    "snapshot": snapshot_case,
    "text": text_case,
    "initializer": initializer_case,
    "host": host_case,
    "load": load_case,
    "kept": kept_case,
}


# --- running ------------------------------------------------------------------------------------


def fault(words: Words, kernel: Kernel | None, loud: bool = False) -> str:
    """What is wrong with how one command ended; nothing if nothing is."""
    started = time.process_time()
    out, err = os.memfd_create("out"), os.memfd_create("err")
    saved = [os.dup(fd) for fd in (0, 1, 2)]
    null = os.open(os.devnull, os.O_RDONLY)
    told = ""
    try:
        for target, source in enumerate((null, out, err)):
            os.dup2(source, target)
        status = command(words, kernel)
    except Slow:
        told = f"more than {LIMIT:.0f} s"
    except BaseException as error:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        line = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
        told = f"{type(error).__name__}: {error} ({line})"
        if loud:
            raise
    finally:
        for target, source in enumerate(saved):
            os.dup2(source, target)
            os.close(source)
        os.close(null)
        size = min(os.fstat(out).st_size, 64 << 20)
        text, errors = os.pread(out, size, 0), os.pread(err, 1 << 20, 0)
        os.close(out)
        os.close(err)
    if told:
        return told
    if loud:
        print(f"{time.process_time() - started:.2f} s, status {status}: {errors[:300]!r}")
    both = errors + text[:4096]
    for telltale in TELLTALES:
        if telltale in both:
            return both[both.find(telltale) :][:200].decode(errors="replace")
    if any(word in words for word in ("-j", "-p")) and text:
        try:
            json.loads(text, parse_constant=_no_constant)
        except ValueError as error:
            return f"no JSON: {error}: {text[:100]!r}"
    if status and not errors and not text:
        return f"status {status} without a word"
    return ""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _too_long(*_: object) -> NoReturn:
    raise Slow


def run_case(kind: str, seed: int, loud: bool = False) -> list[str]:
    """The faults of one input, each with its command line."""
    rng = random.Random(f"{kind}:{seed}")
    found = []
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        try:
            signal.setitimer(signal.ITIMER_PROF, LIMIT)
            words, kernel = KINDS[kind](rng, folder)
        except (Slow, Exception) as error:
            if loud:
                raise
            words, kernel = [], None
            found.append(f"{kind}:{seed}: making it: {type(error).__name__}: {error}")
        for one in words:
            signal.setitimer(signal.ITIMER_PROF, LIMIT)
            if loud:
                print(*one)
            told = fault(one, kernel, loud)
            if told:
                found.append(f"{kind}:{seed}: {' '.join(one)}: {told}")
        signal.setitimer(signal.ITIMER_PROF, 0)
    return found


def _batch(kind: str, seeds: range, end: float) -> None:
    """Cases one after the other in a process of their own, what they did on descriptor 1."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
    signal.signal(signal.SIGPROF, _too_long)
    for seed in seeds:
        if time.monotonic() > end:
            break
        os.write(1, f"= {kind}:{seed}\n".encode())
        for told in run_case(kind, seed):
            os.write(1, told.replace("\n", " ").encode("utf-8", "backslashreplace") + b"\n")
    os._exit(0)


def fuzz(
    kinds: Sequence[str], seed: int, seconds: float, inputs: int, size: int = BATCH
) -> tuple[int, list[str]]:
    """How many inputs were tried, and the faults they had; ``size`` of a kind in a process."""
    end = time.monotonic() + seconds
    tried = 0
    found: list[str] = []
    while tried < inputs and time.monotonic() < end:
        for kind in kinds:
            output = os.memfd_create("batch")
            pid = os.fork()
            if not pid:
                os.dup2(output, 1)
                _batch(kind, range(seed, seed + size), end)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            lines = os.pread(output, os.fstat(output).st_size, 0).decode().splitlines()
            os.close(output)
            cases = [line for line in lines if line.startswith("= ")]
            tried += len(cases)
            found += [line for line in lines if not line.startswith("= ")]
            # libbpf 1.1 reads what it has not checked once in thousands of damaged objects, and
            # ends bpftool itself; not our fault, nor the same twice.
            if status and (kind, status) != ("load", -signal.SIGSEGV):
                found.append(f"{cases[-1][2:] if cases else kind}: the process ended with {status}")
        seed += size
    return tried, found


def main() -> int:
    """The program; status 1 if there were faults."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--inputs", type=int, default=1 << 40)
    parser.add_argument("--only", help="KIND:SEED")
    args = parser.parse_args()
    if args.only:
        kind, _, seed = args.only.partition(":")
        signal.signal(signal.SIGPROF, _too_long)
        for line in run_case(kind, int(seed), loud=True):
            print(line)
        return 0
    tried, seen, seed, end = 0, 0, args.seed, time.monotonic() + args.seconds
    kinds = args.kinds.split(",")
    while tried < args.inputs and time.monotonic() < end:
        more, found = fuzz(kinds, seed, end - time.monotonic(), 1)
        tried, seen, seed = tried + more, seen + len(found), seed + BATCH
        print(*found, f"{tried} inputs, {seen} faults, next seed {seed}", sep="\n", flush=True)
    return 1 if seen else 0


if __name__ == "__main__":
    raise SystemExit(main())
