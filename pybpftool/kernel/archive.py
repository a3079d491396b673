"""The zip file, or the folder of the same members, that a recorded kernel is kept in.

``manifest.json``
    ``{"format": 2, "program": "pybpftool", "version": …, "host": …, "machine": …,
    "release": …, "byteorder": "<" or ">", "recorded_at": seconds}``. Older ones tell no host.
``answers.json``
    ``{"objects": {kind: [[id, info, orphaned], …]}, "answers": {question: answer}}``.
    Bytes are ``{"hex": "…"}`` or, when they are many, ``{"blob": "name"}``;
    a refusal is ``{"errno": n, "message": "…"}``. The elements of a map are
    ``{"batches": [[keys, values, count, errno], …], "end": end}``, where the end is null,
    a refusal, or ``{"kept": n}`` when a map was cut after its first ``n`` elements.
    The arrays of a program are ``{name: bytes, null or refusal, …, "empty": "name …"}``,
    the last naming the empty ones; in format 1 each was an answer of its own.
``blobs/NAME``
    Bytes that many answers share or that are long, named by their SHA-256.

Members are only ever read into memory, by the names above: a hostile archive can
neither reach other files nor unfold without bound. Equal answers make equal files.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from itertools import islice

from pybpftool import __version__
from pybpftool.errors import BpfError, FormatError
from pybpftool.kernel.folderread import Folder
from pybpftool.kernel.zipread import BadZip, ZipFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

FORMAT = 2
"""The format that this version writes, and the newest that it reads."""

# A kernel's answers take some ten MiB; what claims more than this is not a snapshot.
_MAX_MEMBER = 1 << 29
# JSON unfolds once more when it is read: an empty object of three bytes takes 72.
_MAX_JSON = 1 << 27
_MAX_VALUES = 1 << 22
_LEVEL = 3  # of zlib: three times as fast as its default, for a sixth more bytes


def _bytes_of(value: dict[str, Any]) -> Any:
    """The bytes that an object stands for: they take a fifth of its room; other objects stay."""
    if "hex" in value and len(value) == 1:
        try:
            return bytes.fromhex(value["hex"])
        except (TypeError, ValueError):
            pass  # whoever asks for this answer is told
    return value


class Archive:
    """Checked access to the members of a snapshot."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._is_closed = False
        try:
            self._members = Folder(path) if os.path.isdir(path) else ZipFile(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise BpfError(f"cannot open the snapshot '{path}': {reason}") from None
        except BadZip:
            raise FormatError(f"'{path}' is not a snapshot, or a truncated one") from None

    def close(self) -> None:
        """Close the file: it has no more members."""
        self._members.close()
        self._is_closed = True

    def _damaged(self, why: str) -> FormatError:
        return FormatError(f"the snapshot '{self._path}' is damaged: {why}")

    def member(self, name: str) -> bytes:
        """The content of one member."""
        if self._is_closed:
            raise BpfError(f"the snapshot '{self._path}' is closed")
        try:
            return self._members.read(name, _MAX_MEMBER)
        except KeyError:
            if name == "manifest.json" and isinstance(self._members, Folder):
                raise FormatError(
                    f"the folder '{self._path}' is not a snapshot: it has no {name}"
                ) from None
            raise self._damaged(f"it has no {name}") from None
        except (OSError, ValueError, FormatError) as error:
            reason = str(error)
            raise self._damaged(reason if name in reason else f"{name}: {reason}") from None

    def _json(self, name: str) -> Any:
        data = self.member(name)
        if len(data) > _MAX_JSON:
            raise self._damaged(f"{name} has more than {_MAX_JSON} bytes")
        if data.count(b",") + data.count(b"{") + data.count(b"[") > _MAX_VALUES:
            raise self._damaged(f"{name} has more than {_MAX_VALUES} values")
        try:
            found = json.loads(data, object_hook=_bytes_of)
        except (ValueError, RecursionError):
            raise self._damaged(f"{name} is not JSON") from None
        if re.search(rb"\\u[dD][89a-fA-F]", data) and not _is_text(found):
            raise self._damaged(f"{name} has half of a character (a lone surrogate)")
        return found

    def manifest(self) -> dict[str, Any]:
        """The manifest, if it is one that this version can read."""
        manifest = self._json("manifest.json")
        if not isinstance(manifest, dict) or manifest.get("program") != "pybpftool":
            raise FormatError(f"'{self._path}' is not a snapshot of pybpftool")
        version = manifest.get("format")
        if not isinstance(version, int) or version < 1:
            raise self._damaged("its manifest names no format")
        if version > FORMAT:
            raise FormatError(
                f"the snapshot '{self._path}' has format {version}, which is newer than"
                f" the format {FORMAT} that this version reads"
            )
        fields = {"byteorder": str, "machine": str, "release": str, "recorded_at": int}
        for field, kind in fields.items():
            if not isinstance(manifest.get(field), kind):
                raise self._damaged(f"its manifest has no valid {field}")
        for field in ("host", "version"):
            if not isinstance(manifest.setdefault(field, ""), str):
                raise self._damaged(f"its manifest has no valid {field}")
        if manifest["byteorder"] not in ("<", ">"):
            raise self._damaged("its manifest has no valid byteorder")
        return manifest

    def content(self) -> tuple[dict[str, dict[int, list[Any]]], dict[str, Any]]:
        """The objects, kind -> id -> [id, info, orphaned], and the answers by question."""
        content = self._json("answers.json")
        objects: dict[str, dict[int, list[Any]]] = {}
        try:
            answers = content["answers"]
            if not isinstance(answers, dict):
                raise TypeError
            for kind, rows in content["objects"].items():
                objects[kind] = {}
                for id, info, orphaned in rows:
                    if not isinstance(id, int):
                        raise TypeError
                    objects[kind][id] = [id, info, bool(orphaned)]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._damaged("its answers.json is not made of objects and answers") from None
        return objects, answers


def _is_text(value: Any) -> bool:
    """Whether all strings are characters, or bytes that are none (surrogateescape)."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending += one
            pending += one.values()
        elif isinstance(one, list):
            pending += one
        elif isinstance(one, str):
            try:
                one.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                return False
    return True


_PART = 256  # answers or objects that become JSON at a time


def members(
    kernel: dict[str, Any],
    answers: Iterable[tuple[str, Any]],
    objects: dict[str, list[Any]],
    blobs: dict[str, bytes],
) -> Iterator[tuple[str, Iterable[bytes]]]:
    """The members of a snapshot by name, in parts, to be taken one after the other.

    :param kernel: the manifest's fields host, machine, release, byteorder and recorded_at.
    :param answers: by question, in the order of the questions; short bytes are themselves.
    :param objects: the rows of each kind of object, likewise.
    :param blobs: bytes by name; those that no answer names (any more) are left out.
    """
    manifest = {"format": FORMAT, "program": "pybpftool", "version": __version__, **kernel}
    named: set[bytes] = set()
    yield "manifest.json", [json.dumps(manifest, indent=1).encode()]
    yield "answers.json", _content(answers, objects, named)
    for name in sorted(blobs):
        if name.encode() in named:
            yield f"blobs/{name}", [blobs[name]]


def zipped(members: Iterable[tuple[str, Iterable[bytes]]]) -> bytes:
    """The bytes of a snapshot's file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name, pieces in members:
            # A member opened by its name has no date, and is for its owner alone.
            with archive.open(name, "w") as member:
                for piece in pieces:
                    member.write(piece)
    return file.getvalue()


def _content(
    answers: Iterable[tuple[str, Any]], objects: dict[str, list[Any]], named: set[bytes]
) -> Iterator[bytes]:
    """answers.json, some answers at a time: the whole of it may be large.

    The blobs that it names are added to ``named``.
    """
    encode = json.JSONEncoder(sort_keys=True, default=_hex).encode
    for text in _pieces(encode, iter(answers), objects):
        piece = text.encode()
        named.update(re.findall(rb'{"blob": "([0-9a-f]+)"}', piece))
        yield piece


def _pieces(
    encode: Callable[[Any], str], answers: Iterator[tuple[str, Any]], objects: dict[str, list[Any]]
) -> Iterator[str]:
    head = '{"answers": {'
    while some := dict(islice(answers, _PART)):
        yield head + encode(some)[1:-1]
        head = ", "
    yield ("" if head == ", " else head) + '}, "objects": {'
    between = ""
    for kind, rows in sorted(objects.items()):
        yield f"{between}{encode(kind)}: ["
        for at in range(0, len(rows), _PART):
            yield (", " if at else "") + encode(rows[at : at + _PART])[1:-1]
        yield "]"
        between = ", "
    yield "}}"


def _hex(value: bytes) -> dict[str, str]:
    return {"hex": value.hex()}
