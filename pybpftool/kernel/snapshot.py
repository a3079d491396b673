"""Recorded kernels: answers replayed from a file (:mod:`pybpftool.kernel.archive`)."""

from __future__ import annotations

import errno

from pybpftool.errors import BpfError, CutMap, FormatError, KernelError
from pybpftool.kernel.archive import Archive
from pybpftool.kernel.interface import KINDS, PROG_ARRAYS, QUESTIONS, BpfObject, Kernel
from pybpftool.kernel.recording import NoAnswer, question
from pybpftool.kernel.shapes import answer_fits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pybpftool.kernel.interface import Batch
    from pybpftool.kernel.recorded_elements import RecordedElements


_SMALL = 512  # bytes; larger than any struct bpf_*_info


class SnapshotKernel(Kernel):
    """A kernel that was recorded. Make one with :meth:`load`."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        manifest = archive.manifest()
        self.byteorder = manifest["byteorder"]
        self.machine = manifest["machine"]
        self.release = manifest["release"]
        self.host = manifest["host"]
        self.recorded_at: int = manifest["recorded_at"]
        self.version: str = manifest["version"]
        """Of which version of this program it is."""
        self._objects, self._answers = archive.content()
        self._elements: dict[int, RecordedElements] = {}
        self._small: dict[str, bytes] = {}

    @classmethod
    def load(cls, path: str) -> SnapshotKernel:
        """Open the snapshot at ``path``; raises BpfError or FormatError with the reason."""
        return cls(Archive(path))

    def objects(self, kind: str) -> Iterator[BpfObject]:
        rows = self._objects.get(kind)
        if rows is None:
            if question("objects", (kind,)) in self._answers:
                self._answer("objects", (kind,))  # a refusal, which it raises
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
            if question("pinned", (kind,)) in self._answers:
                for id, paths in self.pinned(kind).items():
                    if path in paths:
                        return self.open(kind, id)
        raise KernelError(f"the snapshot keeps nothing pinned at '{path}'", errno.ENOENT)

    def close(self, obj: BpfObject) -> None:
        pass

    def release_files(self) -> None:
        """Close the file; answers that lie in it still are refused from now on."""
        self._archive.close()

    def prog_arrays(self, prog: BpfObject, names: tuple[str, ...]) -> dict[str, Any]:
        key = question("prog_arrays", (prog,))
        kept = self._answers.get(key)
        arrays = {}
        if kept is None:  # format 1: an answer for each
            for name in ("info", *names):
                key, array = self._answer("prog_array", (prog, name))
                arrays[name] = self._array(key, name, array)
            return arrays
        try:
            empty = kept["empty"].split()
        except (KeyError, TypeError, AttributeError):
            raise _damaged(key) from None
        for name in ("info", *names):
            if name in empty:
                arrays[name] = b""
                continue
            if name not in kept:
                raise NoAnswer("prog_array", (prog, name))
            array = kept[name]
            if type(array) is bytes:
                arrays[name] = array
                continue
            array = self._told(key, array)
            arrays[name] = self._array(key, name, array)
        return arrays

    @staticmethod
    def _array(key: str, name: str, array: Any) -> bytes | None:
        """An array of a program, None where the kernel withholds it."""
        if isinstance(array, bytes) or (array is None and name != "info"):
            return array
        raise _damaged(key)

    def elements(self, map: BpfObject) -> Iterator[Batch]:
        return self._elements_of(map).batches()

    def lookup(self, map: BpfObject, key: bytes | None) -> bytes:
        if question("lookup", (map, key)) in self._answers:
            value: bytes = self._ask("lookup", map, key)
            return value
        return self._elements_of(map).lookup(key)

    def next_key(self, map: BpfObject, key: bytes | None) -> bytes:
        return self._elements_of(map).next_key(key)

    def map_value(self, map: BpfObject, key: bytes) -> bytes:
        if question("map_value", (map, key)) in self._answers:
            value: bytes = self._ask("map_value", map, key)
            return value
        return self._elements_of(map).lookup(key)

    def cgroup_tree(self, *args: Any) -> list[Any]:
        """That of a cgroup inside the hierarchy is a part of the whole one."""
        whole = root = _plain(args[0])
        if question("cgroup_tree", (root, *args[1:])) not in self._answers:
            try:
                top = self.cgroup_root()
                if top is not None and root in self.cgroup_paths(top):
                    whole = top
            except KernelError:
                pass  # it is older than these questions
        rows: list[Any] = self._ask("cgroup_tree", whole, *args[1:])
        if whole == root:
            return rows
        levels = root[len(whole.rstrip("/")) :].count("/")
        found = []
        for path, level, programs, error in rows:
            if path == root and error:
                raise KernelError(error, 0)
            if path == root or path.startswith(root + "/"):
                found.append((path, level - levels, programs, error))
        return found

    def cut_maps(self) -> dict[int, int]:
        """The maps of which only some elements are kept: id -> their number."""
        cut = {}
        for key, answer in self._answers.items():
            if key.startswith("elements(map:") and isinstance(answer, dict):
                end = answer.get("end")
                if isinstance(end, dict) and isinstance(end.get("kept"), int):
                    id = key[len("elements(map:") : -1]
                    cut[int(id) if id.isdecimal() else 0] = end["kept"]
        return cut

    def element_count(self) -> int:
        """How many elements of all maps are kept."""
        count = 0
        for key, answer in self._answers.items():
            if key.startswith("elements(map:"):
                try:
                    count += sum(int(row[2]) for row in answer["batches"])
                except (KeyError, IndexError, TypeError, ValueError):
                    raise _damaged(key) from None
        return count

    def answered(self, question: str) -> int:
        """To how many questions that begin so there is an answer, a refusal among them."""
        return sum(key.startswith(question) for key in self._answers)

    def refusals(self) -> Iterator[tuple[str, int, str]]:
        """What was refused while it was recorded: (method, errno, message) of each question."""
        for key, answer in self._answers.items():
            if not isinstance(answer, dict):
                continue
            method = key.partition("(")[0]
            parts: list[Any] = [answer]
            if method == "elements":
                parts = [answer.get("end")]
            elif method == "prog_arrays":
                parts = list(answer.values())
            for part in parts:
                if isinstance(part, dict) and isinstance(part.get("errno"), int):
                    yield method, part["errno"], str(part.get("message", key))
                    break

    def withheld(self) -> dict[str, int]:
        """Of how many programs the kernel hid an array from the recorder, by its name."""
        found: dict[str, int] = {}
        for key, answer in self._answers.items():
            if key.startswith("prog_arrays(") and isinstance(answer, dict):
                for name in PROG_ARRAYS:
                    if answer.get(name, b"") is None:
                        found[name] = found.get(name, 0) + 1
        return found

    def _elements_of(self, map: BpfObject) -> RecordedElements:
        found = self._elements.get(map.id)
        if found is None:
            from pybpftool.kernel.recorded_elements import RecordedElements

            key = question("elements", (map,))
            answer = self._answers.get(key)
            if answer is None:
                raise CutMap(map.id, 0)
            try:
                end = answer["end"]
                rows = self._decode(list(answer["batches"]), key)
                found = RecordedElements(map, self.byteorder, rows, end)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise _damaged(key) from None
            self._elements[map.id] = found
        return found

    def _ask(self, method: str, *args: Any) -> Any:
        if method == "cgroup_programs":
            args = (_plain(args[0]), *args[1:])
        key, value = self._answer(method, args)
        if not answer_fits(method, value):
            raise _damaged(key)
        return value

    def _answer(self, method: str, args: tuple[Any, ...]) -> tuple[str, Any]:
        """The name of an answer and the answer, decoded; raises a refusal."""
        key = question(method, args)
        if key not in self._answers:
            raise NoAnswer(method, args)
        return key, self._told(key, self._answers[key])

    def _told(self, key: str, answer: Any) -> Any:
        """An answer, decoded; raises a refusal."""
        if type(answer) is bytes:
            return answer
        if isinstance(answer, dict) and "errno" in answer:
            number = answer["errno"]
            if not isinstance(number, int):
                raise _damaged(key)
            raise KernelError(str(answer.get("message", key)), number)
        return self._decode(answer, key)

    def _bytes(self, value: Any) -> bytes:
        if type(value) is bytes:
            return value
        if isinstance(value, dict) and len(value) == 1:
            name = value.get("blob")
            known = self._small.get(name) if isinstance(name, str) else None
            if known is not None:
                return known
        data = self._decode(value, "an info")
        if not isinstance(data, bytes):
            raise FormatError("the snapshot is damaged: an info is not bytes")
        return data

    def _decode(self, value: Any, key: str, read: dict[str, bytes] | None = None) -> Any:
        """The value of an answer; bytes that it names several times are there once."""
        if read is None:
            read = {}
        if isinstance(value, list):
            return [self._decode(item, key, read) for item in value]
        if not isinstance(value, dict):
            return value
        try:
            if "hex" in value:
                return bytes.fromhex(value["hex"])
            if "map" in value:
                pairs = value["map"]
                return {self._decode(k, key, read): self._decode(v, key, read) for k, v in pairs}
            name = str(value["blob"])
        except (KeyError, TypeError, ValueError):
            raise _damaged(key) from None
        data = read.get(name) or self._small.get(name)
        if data is None:
            data = self._archive.member(f"blobs/{name}")
            # The info of an object is asked for again and again.
            (self._small if len(data) <= _SMALL else read)[name] = data
        return data


def _plain(path: Any) -> Any:
    """A path from the root as it was recorded: a word may end in a slash or have two."""
    if not isinstance(path, str) or not path.startswith("/"):
        return path
    return "/" + "/".join([part for part in path.split("/") if part not in ("", ".")])


def _damaged(key: str) -> FormatError:
    return FormatError(f"the snapshot is damaged: the answer to {key}")


def _replayed(method: str) -> Callable[..., Any]:
    def ask(self: SnapshotKernel, *args: Any) -> Any:
        return self._ask(method, *args)

    return ask


# The questions need no code here: replaying is the same for all but a few.
for _method in QUESTIONS:
    if _method not in SnapshotKernel.__dict__:
        setattr(SnapshotKernel, _method, _replayed(_method))
