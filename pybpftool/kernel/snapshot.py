"""Recorded kernels: answers kept in a zip file, recorded from a live kernel, replayed from it.

A snapshot is one zip archive with two kinds of members:

``manifest.json``
    ``{"format": 1, "program": "pybpftool", "version": …, "machine": …, "release": …,
    "byteorder": "<" or ">", "recorded_at": seconds}``.
``answers.json``
    ``{"objects": {kind: [[id, info, orphaned], …]}, "answers": {question: answer}}``.
    Bytes are ``{"hex": "…"}`` or, when they are many, ``{"blob": "name"}``;
    a refusal is ``{"errno": n, "message": "…"}``.
``blobs/NAME``
    Bytes that many answers share or that are long, named by their SHA-256.

Members are only ever read into memory, by the names above: a hostile archive can
neither reach other files nor unfold without bound.
"""

from __future__ import annotations

import builtins
import errno
import hashlib
import json
import os
import struct
import time
import types
import zipfile
import zlib

from pybpftool import __version__
from pybpftool.errors import BpfError, FormatError, KernelError
from pybpftool.kernel.interface import KINDS, QUESTIONS, BpfObject, Kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

FORMAT = 1
"""The format that this version writes, and the newest that it reads."""

_INLINE_BYTES = 64  # shorter bytes stand in answers.json itself
# A kernel's answers take some ten MiB; what claims more than this is no snapshot.
_MAX_MEMBER = 1 << 29


def _question(method: str, args: tuple[Any, ...]) -> str:
    """The name under which an answer is kept."""
    return f"{method}({','.join(_argument(arg) for arg in args)})"


def _argument(arg: object) -> str:
    if isinstance(arg, BpfObject):
        return f"{arg.kind}:{arg.id}"
    if isinstance(arg, bytes):
        return f"0x{arg.hex()}"
    if isinstance(arg, tuple):
        return "[" + ",".join(map(_argument, arg)) + "]"
    return str(arg)


class RecordingKernel(Kernel):
    """Passes questions on to another kernel and keeps the answers."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.byteorder = kernel.byteorder
        self.machine = kernel.machine
        self.release = kernel.release
        self._objects: dict[str, dict[int, list[Any]]] = {}
        self._answers: dict[str, Any] = {}
        self._blobs: dict[str, bytes] = {}

    def objects(self, kind: str) -> Iterator[BpfObject]:
        self._objects.setdefault(kind, {})
        for obj in self._kernel.objects(kind):
            self._keep(obj)
            yield obj

    def open(self, kind: str, id: int) -> BpfObject:
        obj = self._kernel.open(kind, id)
        self._keep(obj)
        return obj

    def open_pinned(self, path: str) -> BpfObject:
        obj = self._kernel.open_pinned(path)
        self._keep(obj)
        self._answers[_question("open_pinned", (path,))] = [obj.kind, obj.id]
        return obj

    def close(self, obj: BpfObject) -> None:
        self._kernel.close(obj)

    def _keep(self, obj: BpfObject) -> None:
        row = [obj.id, self._encode(obj.info), obj.orphaned]
        self._objects.setdefault(obj.kind, {})[obj.id] = row

    def _ask(self, method: str, *args: Any) -> Any:
        key = _question(method, args)
        try:
            answer = getattr(self._kernel, method)(*args)
        except KernelError as error:
            self._answers[key] = {"errno": error.errno, "message": str(error)}
            raise
        self._answers[key] = self._encode(answer)
        return answer

    def prog_arrays(self, prog: BpfObject, names: tuple[str, ...]) -> dict[str, Any]:
        # Each array is an answer of its own, so that a replay may ask for others together.
        keys = [_question("prog_array", (prog, name)) for name in ("info", *names)]
        try:
            arrays = self._kernel.prog_arrays(prog, names)
        except KernelError as error:
            refusal = {"errno": error.errno, "message": str(error)}
            self._answers.update(dict.fromkeys(keys, refusal))
            raise
        for key, name in zip(keys, ("info", *names), strict=True):
            self._answers[key] = self._encode(arrays[name])
        return arrays

    def _encode(self, value: Any) -> Any:
        if isinstance(value, bytes):
            if len(value) <= _INLINE_BYTES:
                return {"hex": value.hex()}
            name = hashlib.sha256(value).hexdigest()[:32]
            self._blobs[name] = value
            return {"blob": name}
        if isinstance(value, dict):
            # Keys may be numbers, which JSON objects cannot have.
            return {"map": [[self._encode(k), self._encode(v)] for k, v in value.items()]}
        if isinstance(value, list | tuple):
            return [self._encode(item) for item in value]
        return value

    def write(self, path: str) -> None:
        """Write everything recorded so far to ``path``; nothing is left there on failure."""
        manifest = {
            "format": FORMAT,
            "program": "pybpftool",
            "version": __version__,
            "machine": self.machine,
            "release": self.release,
            "byteorder": self.byteorder,
            "recorded_at": int(time.time()),
        }
        objects = {kind: list(rows.values()) for kind, rows in self._objects.items()}
        content = {"objects": objects, "answers": self._answers}
        partial = f"{path}.{os.getpid()}.partial"
        try:
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("manifest.json", json.dumps(manifest, indent=1))
                archive.writestr("answers.json", json.dumps(content, indent=0))
                for name, data in self._blobs.items():
                    archive.writestr(f"blobs/{name}", data)
            os.replace(partial, path)
        except (OSError, ValueError) as error:
            try:
                os.unlink(partial)
            except (OSError, ValueError):
                pass
            reason = error.strerror if isinstance(error, OSError) else error
            raise BpfError(f"cannot write the snapshot '{path}': {reason}") from None


def _recorded(method: str) -> Callable[..., Any]:
    def ask(self: RecordingKernel, *args: Any) -> Any:
        return self._ask(method, *args)

    return ask


class SnapshotKernel(Kernel):
    """A kernel that was recorded. Make one with :meth:`load`."""

    def __init__(self, archive: _Archive) -> None:
        self._archive = archive
        manifest = archive.manifest()
        self.byteorder = manifest["byteorder"]
        self.machine = manifest["machine"]
        self.release = manifest["release"]
        self.recorded_at: int = manifest["recorded_at"]
        self._objects, self._answers = archive.content()

    @classmethod
    def load(cls, path: str) -> SnapshotKernel:
        """Open the snapshot at ``path``; raises BpfError or FormatError with the reason."""
        return cls(_Archive(path))

    def objects(self, kind: str) -> Iterator[BpfObject]:
        rows = self._objects.get(kind)
        if rows is None:
            raise BpfError(f"the snapshot keeps no {kind} objects")
        for id, info, orphaned in rows.values():
            yield BpfObject(kind, id, -1, self._bytes(info), orphaned)

    def open(self, kind: str, id: int) -> BpfObject:
        row = self._objects.get(kind, {}).get(id)
        if row is None:
            raise KernelError(f"the snapshot keeps no {kind} with id {id}", errno.ENOENT)
        return BpfObject(kind, id, -1, self._bytes(row[1]), row[2])

    def open_pinned(self, path: str) -> BpfObject:
        for kind in KINDS:
            key = _question("pinned", (kind,))
            if key in self._answers:
                for id, paths in self.pinned(kind).items():
                    if path in paths:
                        return self.open(kind, id)
        raise KernelError(f"the snapshot keeps nothing pinned at '{path}'", errno.ENOENT)

    def close(self, obj: BpfObject) -> None:
        pass

    def prog_arrays(self, prog: BpfObject, names: tuple[str, ...]) -> dict[str, Any]:
        arrays = {name: self._ask("prog_array", prog, name) for name in ("info", *names)}
        if arrays["info"] is None:
            raise FormatError(f"the snapshot is damaged: the info of program {prog.id}")
        return arrays

    def _ask(self, method: str, *args: Any) -> Any:
        key = _question(method, args)
        if key not in self._answers:
            raise KernelError(f"the snapshot has no answer to {key}", errno.ENODATA)
        answer = self._answers[key]
        if isinstance(answer, dict) and "errno" in answer:
            raise KernelError(str(answer.get("message", key)), _int(answer["errno"], key))
        value = self._decode(answer, key)
        if not _fits(value, _shape(method)):
            raise FormatError(f"the snapshot is damaged: the answer to {key}")
        return value

    def _bytes(self, value: Any) -> bytes:
        data = self._decode(value, "an info")
        if not isinstance(data, bytes):
            raise FormatError("the snapshot is damaged: an info is not bytes")
        return data

    def _decode(self, value: Any, key: str) -> Any:
        if isinstance(value, list):
            return [self._decode(item, key) for item in value]
        if not isinstance(value, dict):
            return value
        try:
            if "hex" in value:
                return bytes.fromhex(value["hex"])
            if "map" in value:
                pairs = value["map"]
                return {self._decode(k, key): self._decode(v, key) for k, v in pairs}
            name = value["blob"]
        except (KeyError, TypeError, ValueError):
            raise FormatError(f"the snapshot is damaged: the answer to {key}") from None
        return self._archive.member(f"blobs/{name}")


# Of answers that are kept in another way than Kernel gives them.
_SHAPES: dict[str, Any] = {"prog_array": bytes | None}


def _shape(method: str) -> Any:
    """The type of a question's answer: what :class:`Kernel` declares."""
    shape = _SHAPES.get(method)
    if shape is None:
        declared = getattr(Kernel, method).__annotations__["return"]
        shape = _SHAPES[method] = eval(declared, {"Any": object})
    return shape


def _fits(value: Any, shape: Any) -> bool:
    """Whether a decoded answer has the declared type; tuples come back as lists."""
    if isinstance(shape, types.UnionType):
        return any(_fits(value, part) for part in shape.__args__)
    parts: tuple[Any, ...] = getattr(shape, "__args__", ())
    match getattr(shape, "__origin__", shape):
        case builtins.list:
            return isinstance(value, list) and all(_fits(item, parts[0]) for item in value)
        case builtins.tuple:
            return (
                isinstance(value, list)
                and len(value) == len(parts)
                and all(map(_fits, value, parts))
            )
        case builtins.dict:
            return isinstance(value, dict) and all(
                _fits(key, parts[0]) and _fits(item, parts[1]) for key, item in value.items()
            )
        case builtins.int:
            return isinstance(value, int) and not isinstance(value, bool)
        case kind:
            return isinstance(value, kind)


def _replayed(method: str) -> Callable[..., Any]:
    def ask(self: SnapshotKernel, *args: Any) -> Any:
        return self._ask(method, *args)

    return ask


# The questions themselves need no code here: recording and replaying are the same for all.
for _method in QUESTIONS:
    setattr(RecordingKernel, _method, _recorded(_method))
    setattr(SnapshotKernel, _method, _replayed(_method))


class _Archive:
    """Checked access to the members of a snapshot."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, ValueError, NotImplementedError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise BpfError(f"cannot open the snapshot '{path}': {reason}") from None
        except zipfile.BadZipFile:
            raise FormatError(f"'{path}' is no snapshot, or a truncated one") from None

    def _damaged(self, why: str) -> FormatError:
        return FormatError(f"the snapshot '{self._path}' is damaged: {why}")

    def member(self, name: str) -> bytes:
        """The content of one member."""
        try:
            info = self._zip.getinfo(name)
            if info.file_size > _MAX_MEMBER:
                raise self._damaged(f"{name} claims {info.file_size} bytes")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._damaged(f"{name} is compressed in a way that no snapshot is")
            with self._zip.open(name) as stream:
                # zipfile stops at the size that the member claims and checks its CRC.
                return stream.read()
        except KeyError:
            raise self._damaged(f"it has no {name}") from None
        except (
            OSError,
            EOFError,
            RuntimeError,
            ValueError,
            struct.error,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise self._damaged(f"{name}: {error}") from None

    def _json(self, name: str) -> Any:
        try:
            return json.loads(self.member(name))
        except (ValueError, RecursionError):
            raise self._damaged(f"{name} is not JSON") from None

    def manifest(self) -> dict[str, Any]:
        """The manifest, if it is one that this version can read."""
        manifest = self._json("manifest.json")
        if not isinstance(manifest, dict) or manifest.get("program") != "pybpftool":
            raise FormatError(f"'{self._path}' is no snapshot of pybpftool")
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
                    objects[kind][_int(id, kind)] = [id, info, bool(orphaned)]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._damaged("answers.json has not the form of answers") from None
        return objects, answers


def _int(value: Any, what: str) -> int:
    if not isinstance(value, int):
        raise FormatError(f"the snapshot is damaged: {what} has no number")
    return value
