"""Stacks that programs recorded in maps of type stack_trace, with the names of their frames.

A value is an array of addresses, the innermost first, or with BPF_F_STACK_BUILD_ID one of
``struct bpf_stack_build_id`` (include/uapi/linux/bpf.h; kernel/bpf/stackmap.c).
"""

from __future__ import annotations

import struct
from bisect import bisect_right

from pybpftool.errors import BpfError
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.map import Map

_F_BUILD_ID = 1 << 5  # BPF_F_STACK_BUILD_ID, v4.17
_BUILD_ID = 32  # sizeof(struct bpf_stack_build_id)
_VALID, _IP = 1, 2  # enum bpf_stack_build_id_status
_LONGEST = 1 << 16  # bytes that a function of the kernel has at most
_TEXT = b"tTwWi"  # types of symbols that are code, as nm(1) has them


class Frame(Record):
    """One address of a stack.

    ``kind`` is ``kernel``, ``module``, ``bpf`` or ``user``. ``symbol`` is empty where there is
    no name; ``offset`` counts from the symbol, or from the beginning of ``where``: the module,
    the file, or the build id of a file that was not found.
    """

    address: int
    kind: str
    symbol: str = ""
    offset: int = 0
    where: str = ""

    @property
    def name(self) -> str:
        """The function alone: what stacks are added up by."""
        if self.symbol:
            return self.symbol
        if self.where:
            return f"{self.where}+{self.offset:#x}"
        return "[unknown]" if self.kind == "user" else f"{self.address:#x}"

    def text(self) -> str:
        """The line of a listing."""
        name = f"{self.symbol}+{self.offset:#x}" if self.symbol else ""
        if self.where:
            place = f"[{self.where}]" if self.kind in ("module", "bpf") else f"({self.where})"
            if not name:
                place = f"{place}+{self.offset:#x}"
            name = f"{name} {place}".lstrip()
        return f"{self.address:016x} {name or '(unknown)'}"

    def json(self) -> dict[str, Any]:
        """The JSON properties."""
        json: dict[str, Any] = {"address": self.address, "kind": self.kind}
        if self.symbol:
            json["symbol"] = self.symbol
        if self.symbol or self.where:
            json["offset"] = self.offset
        if self.where:
            json["module" if self.kind in ("module", "bpf") else "file"] = self.where
        return json


class KernelText:
    """The kernel's functions, its modules' and BPF programs' by any address within."""

    __slots__ = ("_addresses", "_names")

    def __init__(self, kallsyms: bytes) -> None:
        rows = []
        for line in kallsyms.splitlines():
            fields = line.split(None, 3)
            if len(fields) > 2 and fields[1] in _TEXT:
                module = fields[3].strip().strip(b"[]") if len(fields) > 3 else b""
                rows.append((int(fields[0], 16), fields[2], module))
        rows.sort(key=lambda row: row[0])
        self._addresses = [row[0] for row in rows]
        self._names = [(row[1], row[2]) for row in rows]

    def __contains__(self, address: int) -> bool:
        """Whether a function is so near below an address that it is in it."""
        at = bisect_right(self._addresses, address) - 1
        return at >= 0 and 0 < self._addresses[at] > address - _LONGEST

    def frame(self, address: int) -> Frame:
        """The frame of an address."""
        at = bisect_right(self._addresses, address) - 1
        if at < 0 or not self._addresses[at]:
            return Frame(address, "kernel")
        # Of several names of one function the first one counts.
        while at and self._addresses[at - 1] == self._addresses[at]:
            at -= 1
        name, module = self._names[at]
        kind = "bpf" if module == b"bpf" else "module" if module else "kernel"
        return Frame(
            address,
            kind,
            name.decode("utf-8", "surrogateescape"),
            address - self._addresses[at],
            module.decode("utf-8", "surrogateescape"),
        )


class UserText:
    """The functions of one process by their addresses."""

    __slots__ = ("_kernel", "_pid", "_regions")

    def __init__(self, kernel: Kernel, pid: int) -> None:
        self._kernel = kernel
        self._pid = pid
        self._regions: list[tuple[int, int, int, str]] = []
        try:
            text = kernel.file(f"/proc/{pid}/maps").decode("utf-8", "surrogateescape")
        except BpfError:
            text = ""  # it has ended, or it is another's, or nobody recorded it
        for line in text.split("\n"):  # paths may have all other ends of lines
            fields = line.split(None, 5)
            if len(fields) > 5 and "x" in fields[1]:
                begin, _, end = fields[0].partition("-")
                row = int(begin, 16), int(end, 16), int(fields[2], 16), fields[5]
                self._regions.append(row)
        self._regions.sort()

    def frame(self, address: int) -> Frame:
        """The frame of an address."""
        at = bisect_right(self._regions, (address, 1 << 64, 0, "")) - 1
        if at < 0 or address >= self._regions[at][1]:
            return Frame(address, "user")
        begin, _, start, path = self._regions[at]
        offset = address - begin + start
        if path.startswith("/"):
            try:
                found = self._kernel.file_place(f"/proc/{self._pid}/root{path}", offset)
            except BpfError:
                found = {}
            if found.get("symbol"):
                return Frame(address, "user", found["symbol"], found["symbol_offset"], path)
        return Frame(address, "user", "", offset, path)


class StackReader:
    """Reads the stacks of one map.

    Raises BpfError for a map of another type.
    """

    def __init__(self, kernel: Kernel, obj: BpfObject, map: Map) -> None:
        if map.type_name != "stack_trace":
            raise BpfError(f"map {map.id} is of type {map.type_name or map.type}, not stack_trace")
        self._kernel = kernel
        self._has_build_ids = bool(map.map_flags & _F_BUILD_ID)
        self._values: dict[int, bytes] = {}
        order: Any = "little" if kernel.byteorder == "<" else "big"
        for batch in kernel.elements(obj):
            if batch.values is None or not batch.count:
                continue
            size = len(batch.values) // batch.count
            for at in range(batch.count):
                id = int.from_bytes(batch.keys[4 * at : 4 * at + 4], order)
                self._values[id] = batch.values[at * size : (at + 1) * size]
        self._kernel_text: KernelText | None = None
        self._user_texts: dict[int, UserText] = {}
        self._files: dict[bytes, str] = {}
        self._frames: dict[tuple[int, int, bytes], Frame] = {}

    @property
    def ids(self) -> list[int]:
        """The ids of all stacks."""
        return sorted(self._values)

    def frames(self, id: int, pid: int = 0) -> list[Frame]:
        """The frames of a stack, the innermost first; addresses of ``pid`` get names if given.

        An empty list where there is no such stack.
        """
        value = self._values.get(id)
        if value is None:
            return []
        return [self._frame(address, pid, id) for address, id in self._entries(value)]

    def _entries(self, value: bytes) -> Iterator[tuple[int, bytes]]:
        """(address, empty) or (offset in the file, its build id)."""
        order = self._kernel.byteorder
        if not self._has_build_ids:
            for (address,) in struct.iter_unpack(order + "Q", value[: len(value) // 8 * 8]):
                if not address:
                    return
                yield address, b""
            return
        layout = struct.Struct(order + "i20sQ")
        for status, build_id, number in layout.iter_unpack(
            value[: len(value) // _BUILD_ID * _BUILD_ID]
        ):
            if status == _VALID:
                yield number, build_id
            elif status == _IP:
                yield number, b""
            else:
                return

    def _frame(self, address: int, pid: int, build_id: bytes) -> Frame:
        key = address, pid, build_id
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = self._find(address, pid, build_id)
        return frame

    def _find(self, address: int, pid: int, build_id: bytes) -> Frame:
        if build_id:
            return self._in_file(address, build_id)
        is_kernel = self._kernel.is_kernel_address(address)
        if is_kernel is None:
            is_kernel = address in self._functions()
        if is_kernel:
            return self._functions().frame(address)
        if not pid:
            return Frame(address, "user")
        text = self._user_texts.get(pid)
        if text is None:
            text = self._user_texts[pid] = UserText(self._kernel, pid)
        return text.frame(address)

    def _functions(self) -> KernelText:
        """The kernel's functions; none where they cannot be read."""
        if self._kernel_text is None:
            try:
                self._kernel_text = KernelText(self._kernel.file("/proc/kallsyms"))
            except (BpfError, ValueError):
                self._kernel_text = KernelText(b"")
        return self._kernel_text

    def _in_file(self, offset: int, build_id: bytes) -> Frame:
        path = self._files.get(build_id)
        if path is None:
            try:
                path = self._kernel.build_id_file(build_id.rstrip(b"\0"))
            except BpfError:
                path = ""
            self._files[build_id] = path
        if path:
            try:
                found = self._kernel.file_place(path, offset)
            except BpfError:
                found = {}
            if found.get("symbol"):
                return Frame(offset, "user", found["symbol"], found["symbol_offset"], path)
        return Frame(offset, "user", "", offset, path or build_id.rstrip(b"\0").hex())


# --- counts ---


class Counted(Record):
    """Frames from the outermost to the innermost, and how often they were met."""

    frames: Sequence[Frame]
    times: int
    process: str = ""
    """The name of the task, where the counts have it."""


_USER_WORDS = ("user", "ustack", "ustk", "u_stack")


def each_once(reader: StackReader, pid: int = 0) -> list[Counted]:
    """All stacks of a map, each counted once."""
    return [Counted(reader.frames(id, pid)[::-1], 1) for id in reader.ids]


def counted(reader: StackReader, counts: Any, pid: int = 0) -> list[Counted]:
    """The stacks that the keys of another map name, as often as its values say.

    A key is a stack's id, or a struct with members for the ids of the kernel's and the user's
    stack (``kern_stack_id``, ``user_stack_id`` and their like), a ``pid`` or ``tgid``, and a
    ``comm``. A value is a number, or a struct whose only or first number counts.
    """
    found = []
    for key, value in counts.items():
        number = _number(value, counts.byteorder)
        if not number:
            continue
        if not isinstance(key, dict):
            id = int.from_bytes(key[:4], counts.byteorder) if isinstance(key, bytes) else key
            frames = reader.frames(id & 0xFFFFFFFF, pid)[::-1]
            if frames:
                found.append(Counted(frames, number))
            continue
        ids, task, name = _members(key)
        if not ids:
            raise BpfError("the keys of the map of counts have no member for a stack's id")
        frames = []
        for id in ids:
            frames += reader.frames(id, task or pid)[::-1]
        if frames:
            found.append(Counted(frames, number, name))
    return found


def _members(key: dict[str, Any]) -> tuple[list[int], int, str]:
    """The ids of stacks in a key, the user's first, its process and name."""
    users: list[int] = []
    others: list[int] = []
    pid = 0
    name = ""
    for member, value in _flat(key):
        word = member.lower()
        if isinstance(value, int) and not isinstance(value, bool):
            if "stack" in word or "stk" in word:
                if any(each in word for each in _USER_WORDS):
                    users.append(value & 0xFFFFFFFF)
                else:
                    others.append(value & 0xFFFFFFFF)
            elif word in ("tgid", "pid") and (word == "tgid" or not pid):
                pid = value
        elif word in ("comm", "name", "task") and isinstance(value, (str, bytes)):
            text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
            name = text.partition("\0")[0]
    return users + others, pid, name


def _flat(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, member in value.items():
        if isinstance(member, dict):
            yield from _flat(member)
        else:
            yield name, member


def _number(value: Any, byteorder: Any) -> int:
    if isinstance(value, list):  # of each CPU
        return sum(_number(one, byteorder) for one in value)
    if isinstance(value, (bool, int)):
        return int(value)
    if isinstance(value, bytes):
        return int.from_bytes(value[:8], byteorder)
    if isinstance(value, dict):
        numbers = [(name, one) for name, one in _flat(value) if isinstance(one, int)]
        for name, one in numbers:
            if "count" in name or "cnt" in name:
                return one
        return numbers[0][1] if numbers else 0
    return 0
