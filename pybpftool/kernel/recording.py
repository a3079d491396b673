"""A kernel whose answers are kept while they are given."""

from __future__ import annotations

import errno
import time

from pybpftool.errors import CutMap, KernelError
from pybpftool.kernel.interface import QUESTIONS, BpfObject, Kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from typing import Any

    from pybpftool.kernel.interface import Batch

# Shorter bytes stand in answers.json itself: a member of the archive costs more than they do.
_INLINE_BYTES = 1 << 9
_ABOUT = {
    "cgroup_programs": "cgroup",
    "cgroup_tree": "cgroup",
    "device_index": "network device",
    "file": "file",
    "namespace_path": "network namespace",
}
"""Questions about what the user named."""

ELEMENT_BYTES = 1 << 20
"""How much of the elements of one map is kept if nobody says otherwise."""


def question(method: str, args: tuple[Any, ...]) -> str:
    """The name under which an answer is kept."""
    if len(args) == 1 and isinstance(args[0], BpfObject):  # most of them
        return f"{method}({args[0].kind}:{args[0].id})"
    return f"{method}({','.join(_argument(arg) for arg in args)})"


def _argument(arg: object) -> str:
    if isinstance(arg, BpfObject):
        return f"{arg.kind}:{arg.id}"
    if isinstance(arg, bytes):
        return f"0x{arg.hex()}"
    if isinstance(arg, tuple):
        return "[" + ",".join(map(_argument, arg)) + "]"
    return str(arg)


class NoAnswer(KernelError):
    """A snapshot has no answer to a question, which was not asked when it was recorded."""

    def __init__(self, method: str, args: tuple[Any, ...]) -> None:
        if method in _ABOUT:
            message = f"the snapshot knows no {_ABOUT[method]} '{args[0]}'"
        else:
            message = f"the snapshot has no answer to {question(method, args)}"
        super().__init__(message, errno.ENODATA)


class RecordingKernel(Kernel):
    """Passes questions on to another kernel and keeps the answers.

    Of the elements of a map ``element_bytes`` of keys and values are kept, all of them
    when it is None; whoever asks for more gets :class:`CutMap`, as from the recording.
    """

    def __init__(self, kernel: Kernel, element_bytes: int | None = ELEMENT_BYTES) -> None:
        self._kernel = kernel
        self._element_bytes = element_bytes
        self.byteorder = kernel.byteorder
        self.machine = kernel.machine
        self.release = kernel.release
        self.host = kernel.host
        # A recording of a recording tells of the same moment.
        self.recorded_at = int(getattr(kernel, "recorded_at", None) or time.time())
        self.cut: dict[int, int] = {}
        """The maps of which only a part is kept: id -> number of elements kept."""
        self._objects: dict[str, dict[int, list[Any]]] = {}
        self._answers: dict[str, Any] = {}
        self._arrays: dict[int, dict[str, Any]] = {}
        self._whole: dict[str, Collection[int]] = {}
        self._blobs: dict[str, bytes] = {}

    def objects(self, kind: str) -> Iterator[BpfObject]:
        kept = kind in self._objects
        self._objects.setdefault(kind, {})
        try:
            for obj in self._kernel.objects(kind):
                self._keep(obj)
                yield obj
        except KernelError as error:
            if not kept:
                del self._objects[kind]
                self._answers[question("objects", (kind,))] = _refusal(error)
            raise

    def was_read(self, kind: str, ids: Collection[int]) -> None:
        self._whole[kind] = ids

    def open(self, kind: str, id: int) -> BpfObject:
        obj = self._kernel.open(kind, id)
        self._keep(obj)
        return obj

    def open_pinned(self, path: str) -> BpfObject:
        obj = self._kernel.open_pinned(path)  # a replay takes it from what is pinned
        self._keep(obj)
        return obj

    def close(self, obj: BpfObject) -> None:
        self._kernel.close(obj)

    def _keep(self, obj: BpfObject) -> None:
        row = [obj.id, self._encode(obj.info), obj.orphaned]
        self._objects.setdefault(obj.kind, {})[obj.id] = row

    def _ask(self, method: str, *args: Any) -> Any:
        key = question(method, args)
        try:
            answer = getattr(self._kernel, method)(*args)
        except KernelError as error:
            if not isinstance(error, NoAnswer):
                self._answers[key] = _refusal(error)
            raise
        self._answers[key] = self._encode(answer)
        return answer

    def prog_arrays(self, prog: BpfObject, names: tuple[str, ...]) -> dict[str, Any]:
        # Each array is kept for itself, so that a replay may ask for others together.
        kept = self._arrays.setdefault(prog.id, {})
        try:
            arrays = self._kernel.prog_arrays(prog, names)
        except KernelError as error:
            # What was told when less was asked for stays.
            for name in ("info", *names) if not isinstance(error, NoAnswer) else ():
                kept.setdefault(name, _refusal(error))
            raise
        encode = self._encode
        for name, array in arrays.items():
            kept[name] = encode(array)
        return arrays

    def map_value(self, map: BpfObject, key: bytes) -> bytes:
        value: bytes = self._ask("map_value", map, key)
        return value

    def lookup(self, map: BpfObject, key: bytes | None) -> bytes:
        value: bytes = self._ask("lookup", map, key)
        return value

    def next_key(self, map: BpfObject, key: bytes | None) -> bytes:
        return self._kernel.next_key(map, key)  # a replay takes it from the elements

    def elements(self, map: BpfObject) -> Iterator[Batch]:
        batches: list[Any] = []
        # Who stops asking has a part only.
        answer: dict[str, Any] = {"batches": batches, "end": {"kept": 0}}
        self._answers[question("elements", (map,))] = answer
        kept, room = 0, self._element_bytes
        try:
            for batch in self._kernel.elements(map):
                size = len(batch.keys) + len(batch.values or b"")
                is_cut = room is not None and size > room
                if room is not None:
                    if is_cut:
                        batch = batch.first(room * batch.count // size)
                    room -= size
                if batch.count:
                    row = [batch.keys, batch.values, batch.count, batch.errno]
                    batches.append(self._encode(row))
                    kept += batch.count
                    answer["end"] = {"kept": kept}
                    yield batch
                if is_cut:
                    raise CutMap(map.id, kept)
            answer["end"] = None
        except CutMap:
            self.cut[map.id] = kept
            raise
        except KernelError as error:
            answer["end"] = _refusal(error)
            raise

    def _encode(self, value: Any) -> Any:
        if isinstance(value, bytes):
            if len(value) <= _INLINE_BYTES:
                return value  # hex digits in the file, which take twice the room
            from pybpftool.digest import sha256

            name = sha256(value).hexdigest()[:32]
            self._blobs[name] = value
            return {"blob": name}
        if isinstance(value, dict):
            # Keys may be numbers, which JSON objects cannot have.
            return {"map": [[self._encode(k), self._encode(v)] for k, v in value.items()]}
        if isinstance(value, (list, tuple)):
            return [self._encode(item) for item in value]
        return value

    def archive(self) -> bytes:
        """Everything recorded so far, as the bytes of a snapshot's file."""
        from pybpftool.kernel.archive import zipped

        return zipped(self.members())

    def members(self) -> Iterator[tuple[str, Iterable[bytes]]]:
        """Everything recorded so far, as the files of a snapshot by name, each in parts."""
        from pybpftool.kernel.archive import members

        kernel = {
            "host": self.host,
            "machine": self.machine,
            "release": self.release,
            "byteorder": self.byteorder,
            "recorded_at": self.recorded_at,
        }
        objects = {}
        for kind, rows in self._objects.items():
            whole = self._whole.get(kind, rows)
            objects[kind] = [rows[id] for id in sorted(rows) if id in whole]
        arrays = {f"prog_arrays(prog:{id})": kept for id, kept in self._arrays.items()}
        answers = (
            (key, _rows(arrays[key]) if key in arrays else self._answers[key])
            for key in sorted({*self._answers, *arrays})
        )
        return members(kernel, answers, objects, self._blobs)


def _rows(arrays: dict[str, Any]) -> dict[str, Any]:
    """A program's arrays as they are kept; most programs have none of most kinds."""
    empty = [name for name, array in arrays.items() if array == b""]
    rows = {name: array for name, array in arrays.items() if array != b""}
    return {**rows, "empty": " ".join(sorted(empty))}


def _refusal(error: KernelError) -> dict[str, Any]:
    return {"errno": error.errno, "message": str(error)}


def _recorded(method: str) -> Callable[..., Any]:
    def ask(self: RecordingKernel, *args: Any) -> Any:
        return self._ask(method, *args)

    return ask


# The questions need no code here: recording is the same for all.
for _method in QUESTIONS:
    setattr(RecordingKernel, _method, _recorded(_method))
