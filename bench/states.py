"""What the workloads are run on: objects that a ``with`` loads and takes away again.

Each function yields the words that stand in braces in the command lines of bench/workloads.py.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from tests.support import asm, attachments, corpus, insn_mix, load, netdevs
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.elffile import object_file
from tests.support.map_corpus import update_batch

Words = Mapping[str, str]
State = Callable[[], AbstractContextManager[Words]]

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "fixtures"
VMLINUX = "/sys/kernel/btf/vmlinux"
LARGE = 1_000_000
TYPED = 200_000
PER_CPU = 10_000
LONG = 100_000
PROCESSES, DESCRIPTORS = 200, 50
AT_ONCE = 10_000  # programs that one process holds


@contextlib.contextmanager
def nothing() -> Iterator[Words]:
    """The machine as it is."""
    yield {}


def _counted(
    make: Callable[[ExitStack, int], Words],
) -> Callable[[int], State]:
    """A state for each count; the same object for the same count, so that workloads share it."""

    @functools.cache
    def of(count: int) -> State:
        @contextlib.contextmanager
        def state() -> Iterator[Words]:
            with ExitStack() as stack:
                yield make(stack, count)

        return state

    return of


@_counted
def programs(stack: ExitStack, count: int) -> Words:
    """Loaded programs; ``tag``, ``name`` and ``id`` are those of the last."""
    if count <= AT_ONCE:
        return _words_of(corpus.many_programs(stack, count)[-1], count)
    # More than a process may have files open: pins keep them.
    directory = stack.enter_context(load.temp_bpffs())
    words: Words = {}
    for first in range(0, count, AT_ONCE):
        with ExitStack() as held:
            some = corpus.many_programs(held, min(AT_ONCE, count - first), first=first)
            for number, program in enumerate(some, first):
                load.obj_pin(program, f"{directory}/p{number}")
            words = _words_of(some[-1], count)
    return words


def _words_of(program: load.Fd, count: int) -> Words:
    return {
        "tag": load.prog_tag(program),
        "name": "p%05d" % (count - 1),
        "id": str(load.object_id(program)),
    }


@_counted
def programs_with_maps(stack: ExitStack, count: int) -> Words:
    """As many programs, each with the same three maps."""
    corpus.many_programs(stack, count, maps=corpus.many_maps(stack, 3))
    return {}


@_counted
def pinned_programs(stack: ExitStack, count: int) -> Words:
    """As many programs, each pinned once."""
    found = corpus.many_programs(stack, count)
    directory = stack.enter_context(load.temp_bpffs())
    for number, program in enumerate(found):
        load.obj_pin(program, f"{directory}/p{number}")
    return {}


@_counted
def pins(stack: ExitStack, count: int) -> Words:
    """One program with many pins."""
    program = stack.enter_context(load.prog_load("socket_filter", asm.ret(0), name="pinned"))
    directory = stack.enter_context(load.temp_bpffs())
    for number in range(count):
        load.obj_pin(program, f"{directory}/p{number}")
    return {"id": str(load.object_id(program))}


@_counted
def maps(stack: ExitStack, count: int) -> Words:
    """Small hash and array maps."""
    last = corpus.many_maps(stack, count)[-1]
    return {"id": str(load.object_id(last, "map"))}


@_counted
def links(stack: ExitStack, count: int) -> Words:
    """Links of one program to as many cgroups."""
    corpus.many_links(stack, count)
    return {}


@_counted
def btf_objects(stack: ExitStack, count: int) -> Words:
    """BTF objects of one struct each."""
    corpus.room_for(count)
    for number in range(count):
        builder = BtfBuilder()
        builder.add_struct(f"s{number}", 4, [("a", builder.add_int("int", 4, SIGNED), 0)])
        stack.enter_context(load.btf_load(builder.build()))
    return {}


@_counted
def cgroups(stack: ExitStack, count: int) -> Words:
    """Cgroups on three levels, every tenth with two programs."""
    corpus.room_for(count // 5)
    scene = attachments.Scene(stack)
    root = stack.enter_context(load.temp_cgroup())
    kinds = ("cgroup_inet_egress", "cgroup_inet_ingress")
    for number in range(count - 1):
        path = f"{root}/{number % 5}/{number // 5 % 10}/{number}"
        os.makedirs(path)
        if number % 10:
            continue
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        for kind in kinds:
            load.prog_attach(fd, scene.prog("cgroup_skb", 1, attach=kind), kind, 2)
        os.close(fd)
    return {"root": root}


@_counted
def devices(stack: ExitStack, count: int) -> Words:
    """Pairs of veth devices with clsact, in a network namespace of its own."""
    stack.enter_context(load.temp_netns())
    pairs = range(count)
    _batch("ip", [f"link add pb{n}a type veth peer name pb{n}b" for n in pairs])
    _batch("tc", [f"qdisc add dev pb{n}{end} clsact" for n in pairs for end in "ab"])
    return {}


def _batch(tool: str, lines: Sequence[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(
        [tool, "-batch", "-"], input=text, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise OSError(f"{tool} -batch: {done.stderr.strip()}")


@contextlib.contextmanager
def attached_devices() -> Iterator[Words]:
    """Devices with XDP, tcx and tc programs, in a network namespace of its own."""
    with ExitStack() as stack:
        stack.enter_context(load.temp_netns())
        netdevs.add_net(attachments.Scene(stack))
        yield {}


@contextlib.contextmanager
def empty_namespace() -> Iterator[Words]:
    """A network namespace in which nothing is attached."""
    with load.temp_netns():
        yield {}


def _hold(parent: int, events: Sequence[int]) -> None:
    """The life of a process: some descriptors, until the parent closes its end of the pipe."""
    os.dup2(parent, 3)
    kept = {0, 1, 2, 3, *events}
    for number in map(int, os.listdir("/proc/self/fd")):
        if number not in kept:
            with contextlib.suppress(OSError):
                os.close(number)
    for _ in range(DESCRIPTORS - len(kept)):
        os.open("/dev/null", os.O_RDONLY)
    os.read(3, 1)
    os._exit(0)


def _processes(stack: ExitStack, held: Sequence[int]) -> None:
    """Processes that hold these descriptors until the stack is left."""
    reader, writer = os.pipe()
    children: list[int] = []

    def end() -> None:
        os.close(writer)
        os.close(reader)
        for child in children:
            os.waitpid(child, 0)

    stack.callback(end)
    for _ in range(PROCESSES):
        child = os.fork()
        if not child:
            os.close(writer)
            _hold(reader, held)
        children.append(child)


@contextlib.contextmanager
def perf_events() -> Iterator[Words]:
    """200 processes of 50 descriptors each, five of them raw tracepoints with a program."""
    with ExitStack() as stack:
        program = stack.enter_context(load.prog_load("raw_tracepoint", asm.ret(0)))
        names = ("sys_enter", "sys_exit", "sched_switch", "sched_wakeup", "sched_process_exit")
        events = [stack.enter_context(load.raw_tracepoint_open(program, name)).fd for name in names]
        # The descriptors of the children start at 3 with the pipe.
        _processes(stack, events)
        yield {}


@contextlib.contextmanager
def holders() -> Iterator[Words]:
    """200 processes of 50 descriptors each, nearly all of them programs or maps."""
    with ExitStack() as stack:
        half = (DESCRIPTORS - 4) // 2
        found = corpus.many_programs(stack, half) + corpus.many_maps(stack, half)
        _processes(stack, [fd.fd for fd in found])
        yield {}


@contextlib.contextmanager
def long_program() -> Iterator[Words]:
    """A program of 100,000 instructions with line info; 487 kB of machine code on x86-64."""
    with ExitStack() as stack:
        yield {"id": str(load.object_id(corpus.big_program(stack, LONG)))}


@contextlib.contextmanager
def small_program() -> Iterator[Words]:
    """A program like most: some calls of helpers, and one of a function of its own."""
    helpers = [asm.call(helper) for helper in (5, 7, 8)]  # time, random number, processor
    code = asm.assemble(
        [*helpers, asm.call_sub("own"), asm.exit_(), asm.label("own"), *helpers, asm.exit_()]
    )
    with load.prog_load("socket_filter", code, name="small_program") as program:
        yield {"id": str(load.object_id(program))}


@contextlib.contextmanager
def long_function() -> Iterator[Words]:
    """A program of one function and about 7,000 branches.

    Upstream crashes at graphs of programs with calls over more than 32,767 slots.
    """
    with ExitStack() as stack:
        table = stack.enter_context(load.map_create("array", 4, 64, 1, name="table"))
        code = insn_mix.one_function(asm.ld_map_value(asm.R9, table.fd), LONG)
        program = stack.enter_context(load.prog_load("socket_filter", code, name="one_function"))
        yield {"id": str(load.object_id(program))}


@contextlib.contextmanager
def many_updates() -> Iterator[Words]:
    """A batch of 3,000 updates of a map's elements."""
    with _batch_file("map update {map} key {key} value 1 2 3 4 5 6 7 8", 8) as words:
        yield words


@contextlib.contextmanager
def many_lookups() -> Iterator[Words]:
    """A batch of 3,000 lookups of elements, whose values have BTF."""
    builder = BtfBuilder()
    number = builder.add_int("int", 4, SIGNED)
    value = builder.add_struct("value", 8, [("packets", number, 0), ("errors", number, 32)])
    with load.btf_load(builder.build()) as description:
        types = {"btf": description, "btf_key": number, "btf_value": value}
        with _batch_file("map lookup {map} key {key}", 8, **types) as words:
            yield words


@contextlib.contextmanager
def _batch_file(line: str, value_size: int, **types: Any) -> Iterator[Words]:
    """A batch of 3,000 lines about the elements of an array, and the array."""
    with ExitStack() as stack:
        root = stack.enter_context(load.temp_bpffs())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pybt-bench-")))
        table = stack.enter_context(load.map_create("array", 4, value_size, 3000, **types))
        load.obj_pin(table, f"{root}/table")
        keys = (" ".join(map(str, index.to_bytes(4, "little"))) for index in range(3000))
        rows = [line.format(map=f"pinned {root}/table", key=key) + "\n" for key in keys]
        (folder / "batch").write_text("".join(rows))
        yield {"batch": str(folder / "batch")}


@contextlib.contextmanager
def empty_slots() -> Iterator[Words]:
    """A map of 20,000 devices, none of which is there."""
    with load.map_create("devmap", 4, 4, 20_000) as fd:
        yield {"id": str(load.object_id(fd, "map"))}


@contextlib.contextmanager
def large_hash() -> Iterator[Words]:
    """A hash of 1,000,000 elements, 8 bytes to 64 bytes."""
    with _hash(LARGE) as fd:
        yield {"id": str(load.object_id(fd, "map"))}


@_counted
def elements(stack: ExitStack, count: int) -> Words:
    """The same hash with as many elements as asked for."""
    return {"id": str(load.object_id(stack.enter_context(_hash(count)), "map"))}


@contextlib.contextmanager
def _hash(count: int) -> Iterator[load.Fd]:
    with load.map_create("hash", 8, 64, count, name="large") as fd:
        for start in range(0, count, 1 << 16):
            numbers = range(start, min(start + (1 << 16), count))
            keys = [number.to_bytes(8, "little") for number in numbers]
            update_batch(fd, keys, [key * 8 for key in keys])
        yield fd


@contextlib.contextmanager
def typed_hash() -> Iterator[Words]:
    """A hash of 200,000 elements with BTF for keys and values."""
    btf = BtfBuilder()
    number = btf.add_int("int", 4, SIGNED)
    wide = btf.add_int("unsigned long long", 8)
    char = btf.add_int("char", 1, SIGNED)
    name = btf.add_array(char, number, 16)
    key = btf.add_struct("flow", 8, [("pid", number, 0), ("cpu", number, 32)])
    members = [
        ("count", wide, 0),
        ("bytes", wide, 64),
        ("flags", number, 128),
        ("state", number, 160),
        ("comm", name, 192),
        ("last", wide, 320),
    ]
    value = btf.add_struct("stats", 48, members)
    with ExitStack() as stack:
        description = stack.enter_context(load.btf_load(btf.build()))
        fd = stack.enter_context(
            load.map_create(
                "hash", 8, 48, TYPED, name="typed", btf=description, btf_key=key, btf_value=value
            )
        )
        numbers = range(TYPED)
        update_batch(
            fd,
            [struct.pack("=ii", n, n % 7) for n in numbers],
            [
                struct.pack("=QQii16sQ", n, n * 1500, n & 7, -n, b"proc%d" % n, n << 20)
                for n in numbers
            ],
        )
        yield {"id": str(load.object_id(fd, "map"))}


@contextlib.contextmanager
def per_cpu_array() -> Iterator[Words]:
    """A per-CPU array of 10,000 elements."""
    with load.map_create("percpu_array", 4, 8, PER_CPU, name="per_cpu") as fd:
        yield {"id": str(load.object_id(fd, "map"))}


@contextlib.contextmanager
def small_object() -> Iterator[Words]:
    """An ELF object file of a few KiB with BTF that clang made."""
    with tempfile.NamedTemporaryFile(suffix=".o") as file:
        blob = FIXTURES.joinpath("btf", "clang1.btf").read_bytes()
        file.write(object_file({".BTF": blob, ".text": bytes(64)}))
        file.flush()
        yield {"file": file.name}


@contextlib.contextmanager
def kernel_types() -> Iterator[Words]:
    """The running kernel's types; ``root`` is the id of struct task_struct."""
    from pybpftool.btf.load import from_file
    from pybpftool.uapi.btf import STRUCT

    if not os.path.exists(VMLINUX):
        raise OSError("the kernel shows no BTF")
    root = from_file(VMLINUX).find("task_struct", STRUCT)
    yield {"vmlinux": VMLINUX, "root": str(root)}


def replayed(make: Callable[[int], State]) -> Callable[[int], State]:
    """Recorded machines: the states of ``make``, each saved by this checkout and gone again."""

    @_counted
    def of(stack: ExitStack, count: int) -> Words:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pybt-bench-"))
        path = f"{folder}/machine.zip"
        with make(count)() as words:
            command = [sys.executable, "-m", "pybpftool", "snapshot", "save", path]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"snapshot save: {done.stderr.strip()}")
        return {**words, "snapshot": path}

    return of


@_counted
def saved(stack: ExitStack, count: int) -> Words:
    """Loaded programs, and a snapshot of them that the measured command made."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pybt-bench-"))
    corpus.many_programs(stack, count)
    return {"snapshot": f"{folder}/machine.zip"}
