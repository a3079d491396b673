"""Maps of every type that the kernel creates: empty, partly and completely filled, with BTF.

`load_maps()` gives them as a list; what this kernel refuses is recorded with its reason.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pybpftool.btf.load import from_file
from tests.support import asm, load
from tests.support.btfbuild import BOOL, CHAR, SIGNED, BtfBuilder, BtfIndex
from tests.support.load import Fd

PREFIX = "mc_"


@dataclass
class MadeMap:
    """One map of the corpus and how it was filled."""

    label: str
    type: str
    fd: Fd
    id: int
    key_size: int
    keys: list[bytes] = field(default_factory=list)


@dataclass
class Maps:
    """What was made and what the kernel refused: (label, reason)."""

    made: list[MadeMap] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def __getitem__(self, label: str) -> MadeMap:
        for item in self.made:
            if item.label == label:
                return item
        raise KeyError(label)


def update_batch(fd: load.AnyFd, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
    """BPF_MAP_UPDATE_BATCH in pieces, for maps with very many elements."""
    for at in range(0, len(keys), 8192):
        part = keys[at : at + 8192]
        names = ctypes.create_string_buffer(b"".join(part))
        content = ctypes.create_string_buffer(b"".join(values[at : at + 8192]))
        load.bpf(
            "map_update_batch",
            struct.pack(
                "=QQQQIIQQ",
                0,
                0,
                ctypes.addressof(names),
                ctypes.addressof(content),
                len(part),
                load.int_fd(fd),
                0,
                0,
            ),
        )


def u32(number: int) -> bytes:
    """An index."""
    return struct.pack("=I", number)


def pattern(index: int, size: int) -> bytes:
    """A value of `size` bytes that tells from which index it is."""
    return bytes((index * 37 + at * 11) & 0xFF for at in range(size))


class Maker:
    """Creates maps one after the other and closes them with its stack."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.stack = stack
        self.maps = Maps()

    def add(
        self,
        label: str,
        map_type: str,
        make: Callable[[], Fd],
        elements: Iterable[tuple[bytes | None, bytes]] = (),
        key_size: int = 4,
    ) -> MadeMap | None:
        """One map with elements; None when the kernel refuses the map or an element."""
        try:
            fd = make()
        except (OSError, KeyError) as error:
            reason = error.reason if isinstance(error, load.KernelRefusal) else str(error)
            self.maps.refused.append((label, reason))
            return None
        self.stack.enter_context(fd)
        item = MadeMap(label, map_type, fd, load.object_id(fd, "map"), key_size)
        try:
            for key, value in elements:
                load.map_update(fd, key, value)
                if key is not None:
                    item.keys.append(key)
        except OSError as error:
            self.maps.refused.append((label + " elements", str(error)))
        self.maps.made.append(item)
        return item

    def plain(
        self,
        label: str,
        map_type: str,
        key: int,
        value: int,
        entries: int,
        elements: Iterable[tuple[bytes | None, bytes]] = (),
        **options: int,
    ) -> MadeMap | None:
        """A map without BTF."""
        return self.add(
            label,
            map_type,
            lambda: load.map_create(
                map_type, key, value, entries, name=(PREFIX + label)[:15], **options
            ),
            elements,
            key,
        )


def _hashes(maker: Maker) -> None:
    cpus = load.possible_cpus()
    for map_type in ("hash", "lru_hash", "percpu_hash", "lru_percpu_hash"):
        copies = cpus if "percpu" in map_type else 1
        short = map_type.replace("percpu", "pc").replace("_hash", "")
        for key, value in ((4, 4), (8, 16), (1, 20), (16, 8), (17, 1), (20, 33), (3, 5)):
            stride = (value + 7) // 8 * 8 if copies > 1 else value

            def row(
                index: int,
                key: int = key,
                value: int = value,
                stride: int = stride,
                n: int = copies,
            ) -> tuple[bytes, bytes]:
                name = index.to_bytes(4, "little")[:key].ljust(key, b"\xa5")
                parts = [pattern(index + cpu, value).ljust(stride, b"\0") for cpu in range(n)]
                return name, b"".join(parts)

            for fill, count in (("empty", 0), ("part", 5), ("full", 40)):
                maker.plain(
                    f"{short}{key}_{value}_{fill}",
                    map_type,
                    key,
                    value,
                    40,
                    [row(index) for index in range(count)],
                )
    maker.plain(
        "lazy",
        "hash",
        8,
        24,
        100,
        [(struct.pack("=Q", index), pattern(index, 24)) for index in range(70)],
        flags=load.F_NO_PREALLOC,
    )


def _arrays(maker: Maker) -> None:
    cpus = load.possible_cpus()
    for value in (1, 4, 8, 13, 16, 17, 70):
        maker.plain(
            f"array_{value}",
            "array",
            4,
            value,
            30,
            [(u32(index), pattern(index, value)) for index in range(0, 30, 2)],
        )
        stride = (value + 7) // 8 * 8
        maker.plain(
            f"pcarray_{value}",
            "percpu_array",
            4,
            value,
            30,
            [
                (
                    u32(index),
                    b"".join(pattern(index + c, value).ljust(stride, b"\0") for c in range(cpus)),
                )
                for index in range(30)
            ],
        )
    maker.plain("array_one", "array", 4, 5000, 1, [(u32(0), pattern(1, 5000))])
    for fill, count in (("empty", 0), ("part", 3), ("full", 8)):
        maker.plain(
            f"trie_{fill}",
            "lpm_trie",
            8,
            12,
            8,
            [
                (struct.pack("=I", 8 + 3 * index) + bytes((10, index, 7, 200)), pattern(index, 12))
                for index in range(count)
            ],
            flags=load.F_NO_PREALLOC,
        )


def _of_objects(maker: Maker) -> None:
    """Maps whose values are programs, maps, cgroups and devices."""
    stack = maker.stack
    try:
        prog = stack.enter_context(
            load.prog_load("socket_filter", asm.assemble([asm.mov64(asm.R0, 0), asm.exit_()]))
        )
    except OSError as error:
        maker.maps.refused.append(("program", str(error)))
        return
    for fill, count in (("empty", 0), ("part", 2), ("full", 4)):
        maker.plain(
            f"progs_{fill}", "prog_array", 4, 4, 4, [(u32(i), u32(prog.fd)) for i in range(count)]
        )
        maker.plain(f"devmap_{fill}", "devmap", 4, 4, 4, [(u32(i), u32(1)) for i in range(count)])
        maker.plain(
            f"devhash_{fill}",
            "devmap_hash",
            4,
            8,
            4,
            [(u32(1000 + i), struct.pack("=Ii", 1, -1)) for i in range(count)],
        )
        maker.plain(
            f"cpumap_{fill}",
            "cpumap",
            4,
            8,
            4,
            [
                (u32(i), struct.pack("=Ii", 192, -1))
                for i in range(min(count, load.possible_cpus()))
            ],
        )
    with load.map_create("array", 4, 8, 2, name=PREFIX + "inner") as inner:
        for fill, count in (("empty", 0), ("part", 2), ("full", 30)):
            for map_type in ("array_of_maps", "hash_of_maps"):
                maker.add(
                    f"{map_type}_{fill}",
                    map_type,
                    lambda map_type=map_type: load.map_create(  # type: ignore[misc]
                        map_type, 4, 4, 30, name=PREFIX + "outer", inner=inner
                    ),
                    [(u32(index), u32(inner.fd)) for index in range(count)],
                )
        maker.add(
            "hash_of_maps_long_key",
            "hash_of_maps",
            lambda: load.map_create("hash_of_maps", 20, 4, 4, inner=inner),
            [(pattern(index, 20), u32(inner.fd)) for index in range(3)],
            20,
        )
    maker.plain("perf", "perf_event_array", 4, 4, 4)
    maker.plain("xskmap", "xskmap", 4, 4, 4)
    try:
        group = stack.enter_context(load.temp_cgroup())
        group_fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, group_fd)
        maker.plain("cgroups_part", "cgroup_array", 4, 4, 3, [(u32(1), u32(group_fd))])
    except OSError as error:
        maker.maps.refused.append(("cgroup", str(error)))
        return
    _cgroup_storage(maker, group_fd)


def _cgroup_storage(maker: Maker, group: int) -> None:
    """Storage that attached programs have in a cgroup."""
    for label, map_type, key in (
        ("cgstorage", "cgroup_storage", 16),
        ("cgstorage8", "cgroup_storage", 8),
        ("pccgstorage", "percpu_cgroup_storage", 16),
    ):
        item = maker.plain(label, map_type, key, 24, 0)
        if item is None:
            continue
        code = asm.assemble(
            [
                asm.ld_map_fd(asm.R1, item.fd.fd),
                asm.mov64(asm.R2, 0),
                asm.call(81),  # bpf_get_local_storage
                asm.mov64(asm.R0, 1),
                asm.exit_(),
            ]
        )
        try:
            prog = maker.stack.enter_context(
                load.prog_load("cgroup_skb", code, attach="cgroup_inet_egress")
            )
            load.prog_attach(group, prog, "cgroup_inet_egress", 2)  # BPF_F_ALLOW_MULTI
            maker.stack.callback(load.prog_detach, group, prog, "cgroup_inet_egress")
        except OSError as error:
            maker.maps.refused.append((label + " program", str(error)))


def _sockets(maker: Maker) -> None:
    stack = maker.stack
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        load.ip("link", "set", "lo", "up")  # it is down in a fresh network namespace
    server = stack.enter_context(socket.socket())
    server.bind(("127.0.0.1", 0))
    server.listen(8)
    pairs = []
    for _ in range(2):
        client = stack.enter_context(socket.create_connection(server.getsockname()))
        accepted, _ = server.accept()
        stack.enter_context(accepted)
        pairs.append(client)
    for value in (4, 8):
        for map_type in ("sockmap", "sockhash"):
            rows = [
                (u32(index + 1), client.fileno().to_bytes(value, "little"))
                for index, client in enumerate(pairs)
            ]
            for fill, count in (("empty", 0), ("part", 1), ("two", 2)):
                maker.plain(f"{map_type}{value}_{fill}", map_type, 4, value, 4, rows[:count])
        reuse = stack.enter_context(socket.socket())
        reuse.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reuse.bind(("127.0.0.1", 0))
        reuse.listen(1)
        row = (u32(2), reuse.fileno().to_bytes(value, "little"))
        maker.plain(f"reuseport{value}_part", "reuseport_sockarray", 4, value, 4, [row])
        maker.plain(f"reuseport{value}_empty", "reuseport_sockarray", 4, value, 4)


def _keyless(maker: Maker) -> None:
    for map_type in ("queue", "stack"):
        for fill, count in (("empty", 0), ("part", 3), ("full", 5)):
            maker.plain(
                f"{map_type}_{fill}",
                map_type,
                0,
                12,
                5,
                [(None, pattern(index, 12)) for index in range(count)],
            )
    maker.plain("bloom", "bloom_filter", 0, 8, 16, [(None, bytes(8)), (None, pattern(1, 8))])
    maker.plain("bloom_empty", "bloom_filter", 0, 8, 16)
    page = load.page_size()
    maker.plain("ringbuf", "ringbuf", 0, 0, page)
    maker.plain("user_ringbuf", "user_ringbuf", 0, 0, page)
    maker.plain("arena", "arena", 0, 0, 4, flags=load.F_MMAPABLE, extra=1 << 44)
    maker.plain("insn_array", "insn_array", 4, 16, 4)


def _stacks(maker: Maker) -> None:
    maker.plain("stacks_empty", "stack_trace", 4, 80, 16)
    item = maker.plain("stacks_part", "stack_trace", 4, 40, 16)
    if item is None:
        return
    code = asm.assemble(
        [
            asm.ld_map_fd(asm.R2, item.fd.fd),
            asm.mov64(asm.R3, 0),
            asm.call(27),  # bpf_get_stackid
            asm.mov64(asm.R0, 0),
            asm.exit_(),
        ]
    )
    try:
        with load.prog_load("raw_tracepoint", code) as prog:
            load.prog_test_run(prog, ctx_in=bytes(64))
    except OSError as error:
        maker.maps.refused.append(("stack trace program", str(error)))


def _described(maker: Maker) -> None:
    """Maps with BTF for keys and values."""
    cpus = load.possible_cpus()
    btf = BtfBuilder()
    integer = btf.add_int("int", 4, SIGNED)
    u8 = btf.add_int("unsigned char", 1)
    u64 = btf.add_int("unsigned long long", 8)
    char = btf.add_int("char", 1, SIGNED)
    boolean = btf.add_int("_Bool", 1, BOOL)
    name = btf.add_array(char, integer, 16)
    grid = btf.add_array(btf.add_array(u8, integer, 3), integer, 2)
    color = btf.add_enum("color", [("RED", 0), ("GREEN", 1), ("BLUE", -2)])
    pointer = btf.add_ptr(0)
    key = btf.add_struct("flow", 8, [("pid", integer, 0), ("cpu", integer, 32)])
    low = btf.add_struct("", 4, [("a", integer, 0, 3), ("b", integer, 3, 5), ("c", integer, 8, 24)])
    either = btf.add_union(
        "either", 8, [("number", u64, 0), ("bytes", btf.add_array(u8, integer, 8), 0)]
    )
    value = btf.add_struct(
        "stats",
        72,
        [
            ("count", u64, 0),
            ("comm", name, 64),
            ("grid", grid, 192),
            ("flag", boolean, 240),
            ("letter", char, 248),
            ("color", color, 256),
            ("bits", low, 288),
            ("next", pointer, 320),
            ("either", either, 384),
            ("note", btf.add_typedef("note_t", btf.add_const(u64)), 448),
            ("last", integer, 512),
        ],
    )
    variable = btf.add_var("counter", u64)
    second = btf.add_var("limits", btf.add_array(integer, integer, 2))
    section = btf.add_datasec(".bss", 16, [(variable, 0, 8), (second, 8, 8)])
    try:
        fd = maker.stack.enter_context(load.btf_load(btf.build()))
    except OSError as error:
        maker.maps.refused.append(("BTF", str(error)))
        return

    def stats(index: int) -> bytes:
        comm = f"worker {index}".encode() if index % 3 else b"\xff\x01nothing"
        return struct.pack(
            "=Q16s6s?BiIxxxxQQQixxxx",
            index * 0x0123456789,
            comm,
            pattern(index, 6),
            index % 2,
            65 + index % 60,
            (0, 1, -2, 5)[index % 4],
            index * 7919 & 0xFFFFFFFF,
            index << 33,
            index * 0x1111,
            index,
            -index,
        )

    def described(
        label: str,
        map_type: str,
        entries: int,
        count: int,
        key_type: int = key,
        value_type: int = value,
        key_size: int = 8,
        value_size: int = 72,
        rows: Sequence[tuple[bytes, bytes]] | None = None,
        flags: int = 0,
    ) -> None:
        copies = cpus if "percpu" in map_type else 1
        if rows is None:
            rows = [
                (
                    struct.pack("=ii", index, -index)[:key_size],
                    b"".join(stats(index + cpu) for cpu in range(copies)),
                )
                for index in range(count)
            ]
        maker.add(
            label,
            map_type,
            lambda: load.map_create(
                map_type,
                key_size,
                value_size,
                entries,
                name=(PREFIX + label)[:15],
                btf=fd,
                btf_key=key_type,
                btf_value=value_type,
                flags=flags,
            ),
            rows,
            key_size,
        )

    for map_type in ("hash", "lru_hash", "percpu_hash", "lru_percpu_hash"):
        for fill, count in (("empty", 0), ("part", 3), ("full", 60)):
            described(f"btf_{map_type}_{fill}", map_type, 60, count)
    described("btf_array", "array", 30, 30, integer, value, 4)
    described("btf_pcarray", "percpu_array", 3, 3, integer, value, 4)
    described(
        "btf_ints", "array", 40, 0, integer, u64, 4, 8, [(u32(i), pattern(i, 8)) for i in range(40)]
    )
    described(
        "btf_bss", "array", 1, 0, 0, section, 4, 16, [(u32(0), struct.pack("=Qii", 77, -1, 2))]
    )
    for map_type in ("sk_storage", "inode_storage", "task_storage", "cgrp_storage"):
        described(map_type, map_type, 0, 0, integer, u64, 4, 8, [], flags=load.F_NO_PREALLOC)


def _struct_ops(maker: Maker) -> None:
    try:
        vmlinux = BtfIndex.vmlinux()
    except OSError as error:
        maker.maps.refused.append(("struct_ops", str(error)))
        return
    wrapper = vmlinux.find("struct", "bpf_struct_ops_tcp_congestion_ops")
    if wrapper is None:
        maker.maps.refused.append(("struct_ops", "the kernel has no tcp_congestion_ops"))
        return
    btf = BtfBuilder()
    btf.add_int("int", 4, SIGNED)
    size = from_file("/sys/kernel/btf/vmlinux").size_of(wrapper) or 0
    try:
        fd = maker.stack.enter_context(load.btf_load(btf.build()))
    except OSError as error:
        maker.maps.refused.append(("struct_ops", str(error)))
        return
    maker.add(
        "struct_ops",
        "struct_ops",
        lambda: load.map_create(
            "struct_ops", 4, size, 1, name=PREFIX + "ops", btf=fd, vmlinux_value=wrapper
        ),
    )


def load_maps(stack: contextlib.ExitStack) -> Maps:
    """Make all maps; they go when `stack` closes."""
    maker = Maker(stack)
    _hashes(maker)
    _arrays(maker)
    _of_objects(maker)
    _sockets(maker)
    _keyless(maker)
    _stacks(maker)
    _described(maker)
    _struct_ops(maker)
    return maker.maps


@contextlib.contextmanager
def all_maps() -> Iterator[Maps]:
    """The corpus for the time of the body."""
    with contextlib.ExitStack() as stack:
        yield load_maps(stack)


__all__ = ["CHAR", "MadeMap", "Maps", "all_maps", "load_maps", "update_batch"]
