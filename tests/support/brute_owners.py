"""What holds what, by brute force: /proc, the bpf file systems and one question an object.

It shares nothing with pybpftool, so that the two cannot be wrong in the same way.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
from typing import Union

from tests.support import load

Node = tuple[str, Union[int, str]]
Edge = tuple[Node, Node]

_KINDS = {"prog_id": "prog", "map_id": "map", "link_id": "link", "btf_id": "btf"}
_OF_PROGS, _OF_MAPS, _DEVMAP = (3,), (12, 13), (14, 25)
_STRUCT_OPS_LINK = 9


def all_edges() -> set[Edge]:
    """(holder, held) of everything that one program can see without knowing places."""
    return _processes() | _pins() | _programs() | _maps() | _links()


def closure(edges: set[Edge], start: Node) -> set[Edge]:
    """The edges by which a node is held, and by which those that hold it are."""
    found: set[Edge] = set()
    seen = {start}
    waiting = [start]
    while waiting:
        node = waiting.pop()
        for edge in edges:
            if edge[1] == node:
                found.add(edge)
                if edge[0] not in seen:
                    seen.add(edge[0])
                    waiting.append(edge[0])
    return found


def _processes() -> set[Edge]:
    edges: set[Edge] = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            numbers = os.listdir("/proc/%s/fd" % pid)
        except OSError:
            continue
        for number in numbers:
            try:
                kind = os.readlink("/proc/%s/fd/%s" % (pid, number))
                with open("/proc/%s/fdinfo/%s" % (pid, number)) as stream:
                    text = stream.read()
            except OSError:
                continue
            for name, what in (("bpf-prog", "prog_id"), ("bpf-map", "map_id"),
                               ("bpf-link", "link_id"), ("bpf_link", "link_id"),
                               ("btf", "btf_id")):  # fmt: skip
                if kind == "anon_inode:" + name:
                    found = re.search(r"^%s:\t(\d+)" % what, text, re.MULTILINE)
                    assert found, text
                    edges.add((("pid", int(pid)), (_KINDS[what], int(found.group(1)))))
    return edges


def _pins() -> set[Edge]:
    edges: set[Edge] = set()
    with open("/proc/mounts", errors="surrogateescape") as mounts:
        fields = [line.split() for line in mounts]
    points = [row[1].replace("\\040", " ") for row in fields if row[2] == "bpf"]
    for point in points:
        for folder, _, files in os.walk(point):
            for name in files:
                path = os.path.join(folder, name)
                try:
                    fd = load.obj_get(path)
                except OSError:
                    continue
                with fd:
                    kind = os.readlink("/proc/self/fd/%d" % fd.fd)
                    what = next(k for k in ("prog", "map", "link") if k in kind)
                    edges.add((("pin", path), (what, load.object_id(fd, what))))
    return edges


def _programs() -> set[Edge]:
    edges: set[Edge] = set()
    for id in load.all_ids("prog"):
        try:
            fd = load.fd_by_id("prog", id)
        except OSError:
            continue
        with fd:
            room = ctypes.create_string_buffer(4 * 64)
            info = ctypes.create_string_buffer(256)
            # struct bpf_prog_info: nr_map_ids at 52, map_ids at 56
            struct.pack_into("=IQ", info, 52, 64, ctypes.addressof(room))
            attr = struct.pack("=IIQ", fd.fd, 256, ctypes.addressof(info))
            load.bpf("obj_info", attr)
            count = struct.unpack_from("=I", info.raw, 52)[0]
            for map_id in struct.unpack_from("=%dI" % count, room.raw):
                edges.add((("prog", id), ("map", map_id)))
            btf_id = struct.unpack_from("=I", info.raw, 128)[0]
            if btf_id:
                edges.add((("prog", id), ("btf", btf_id)))
    return edges


def _maps() -> set[Edge]:
    edges: set[Edge] = set()
    for id in load.all_ids("map"):
        try:
            fd = load.fd_by_id("map", id)
        except OSError:
            continue
        with fd:
            info = load.info(fd)
            type, _, key_size, value_size, entries = struct.unpack_from("=5I", info)
            btf_id = struct.unpack_from("=I", info, 64)[0]
            if btf_id:
                edges.add((("map", id), ("btf", btf_id)))
            if type not in (*_OF_PROGS, *_OF_MAPS, *_DEVMAP) or key_size != 4:
                continue
            for key in range(min(entries, 64)):
                try:
                    value = load.map_lookup(fd, struct.pack("=I", key), max(value_size, 8))
                except OSError:
                    continue
                at = 4 if type in _DEVMAP else 0
                held = struct.unpack_from("=I", value, at)[0] if value_size >= at + 4 else 0
                if held:
                    edges.add((("map", id), ("map" if type in _OF_MAPS else "prog", held)))
    return edges


def _links() -> set[Edge]:
    edges: set[Edge] = set()
    for id in load.all_ids("link"):
        try:
            fd = load.fd_by_id("link", id)
        except OSError:
            continue
        with fd:
            type, _, prog_id = struct.unpack_from("=3I", load.info(fd))
            if prog_id:
                edges.add((("link", id), ("prog", prog_id)))
            if type == _STRUCT_OPS_LINK:
                map_id = struct.unpack_from("=I", load.info(fd), 16)[0]
                edges.add((("link", id), ("map", map_id)))
    return edges
