"""Calls of bpf(2) in words: the fields of what they ask for, as strace(1) shows them."""

from __future__ import annotations

import struct
from errno import errorcode

from pybpftool.uapi.bpf import ATTACH_TYPES, MAP_TYPES, PROG_TYPES
from pybpftool.uapi.bpf_attr import COMMANDS, FLAGS, LINK_ARM_AT, LINK_ARMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_NAMES = tuple(COMMANDS)
_ENUMS = {"map": MAP_TYPES, "prog": PROG_TYPES, "attach": ATTACH_TYPES}
_WIDE = ("q", "p", "s")
_NAME_SIZE = 16
_LINK_CREATE = "BPF_LINK_CREATE"
_UNSAID = "expected_attach_type"  # whose 0 is the first type for some programs, none for most
_KERNEL_ERRORS = {512: "ERESTARTSYS", 524: "ENOTSUPP"}


def command_name(number: int) -> str:
    """The name of a command; a number where it is newer than our tables."""
    return _NAMES[number] if 0 <= number < len(_NAMES) else f"command {number}"


def layout(fields: str, at: int = 0) -> Iterator[tuple[str, str, int, int]]:
    """(name, what it is, offset, size) of the fields of a line of the tables."""
    for field in fields.split():
        name, _, kind = field.partition(":")
        kind, _, bits = kind.partition(":")
        size = _NAME_SIZE if kind == "n" else 8 if kind in _WIDE else 4
        alignment = min(size, 8) if kind != "n" else 1
        at = -(-at // alignment) * alignment
        yield name, bits or kind, at, size
        at += size


def fields(command: int, attr: bytes, text: str = "") -> list[tuple[str, str, Any]]:
    """(name, what it is, value) of the fields of an attr that are given and not 0.

    Types are names and stand there in any case, bits are lists of names. ``text`` is what the
    field that points to one does.
    """
    name = command_name(command)
    found = list(_found(COMMANDS.get(name, ""), 0, attr, text))
    if name == _LINK_CREATE:
        attach = {field: value for field, _, value in found}.get("attach_type", "")
        arm = next((arm for prefix, arm in LINK_ARMS.items() if attach.startswith(prefix)), None)
        if arm is not None:
            title, line = arm
            prefix = f"{title}." if title else ""
            found += [
                (prefix + field, kind, value)
                for field, kind, value in _found(line, LINK_ARM_AT, attr, "")
            ]
    return found


def _found(line: str, start: int, attr: bytes, text: str) -> Iterator[tuple[str, str, Any]]:
    for name, kind, at, size in layout(line, start):
        if at + size > len(attr):
            return
        part = attr[at : at + size]
        if kind == "n":
            value: Any = part.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        else:
            code = "=Q" if size == 8 else "=i" if kind == "i" else "=I"
            value = struct.unpack(code, part)[0]
        if kind in _ENUMS and (value or name != _UNSAID):
            names = _ENUMS[kind]
            yield name, kind, names[value] if value < len(names) else f"type {value}"
        elif value:
            yield name, kind, (text or value) if kind == "s" else _valued(kind, value)


def _valued(kind: str, value: Any) -> Any:
    names = FLAGS.get(kind)
    if names is None:
        return value
    known = [name for bit, name in enumerate(names) if value >> bit & 1]
    rest = value >> len(names) << len(names)
    return [*known, f"{rest:#x}"] if rest else known


def row(call: Any) -> dict[str, Any]:
    """The row of a BpfCall of :mod:`pybpftool.control.bpf_calls`."""
    found = fields(call.command, call.attr, call.text)
    attr = {name: value for name, _, value in found}
    row: dict[str, Any] = {
        "time": call.time_ns / 1e9,
        "event": "call",
        "command": command_name(call.command),
        "size": call.size,
    }
    if call.attr or not call.size:
        row["attr"] = attr
        row["words"] = ", ".join([f"{name}={_word(kind, value)}" for name, kind, value in found])
    else:
        row["words"] = "?"  # nothing that could be read stands there
    row["result"] = call.result
    if call.result < 0:
        row["error"] = error_name(-call.result)
    row.update({"pid": call.pid, "tid": call.tid})
    if call.comm:
        row["comm"] = call.comm
    return row


def error_name(errno: int) -> str:
    """``EPERM``; a number for one without a name."""
    return errorcode.get(errno) or _KERNEL_ERRORS.get(errno) or str(errno)


def _word(kind: str, value: Any) -> str:
    if kind in ("p", "s") and isinstance(value, int):
        return f"{value:#x}"
    if kind == "s":
        return f'"{value}"'
    if isinstance(value, list):
        return "|".join(value)
    return str(value)
