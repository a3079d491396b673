"""Iterators: links whose program walks over objects of the kernel when a file of it is read."""

from __future__ import annotations

import struct

from pybpftool.errors import BpfError, VanishedError
from pybpftool.objects.link import LinkReader
from pybpftool.records import Record
from pybpftool.uapi.bpf import BPF_LINK_TYPE_ITER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from pybpftool.kernel.interface import Kernel
    from pybpftool.objects.links.tracing import Iter


class BpfIterator(Record):
    """One iterator; ``target`` is what it walks over and with which parameters.

    ``prog_name`` is None where the program has none or is gone. Each path of ``pinned`` is
    a file that runs the program when it is read.
    """

    id: int
    target: Iter
    prog_id: int
    prog_name: str | None
    pinned: Sequence[str]
    holders: Sequence[tuple[int, str]]

    def text(self) -> str:
        """The lines of a listing."""
        name = f" ({self.prog_name})" if self.prog_name else ""
        line = f"{self.id}: {self.target.text().rstrip()}  prog {self.prog_id}{name}"
        pins = "".join([f"\n\tpinned {path}" for path in self.pinned])
        pids = ", ".join([f"{comm}({pid})" for pid, comm in self.holders])
        return line + pins + (f"\n\tpids {pids}" if pids else "") + "\n"

    def json(self) -> dict[str, Any]:
        """The JSON object of a listing."""
        record: dict[str, Any] = {"id": self.id, **self.target.json(), "prog_id": self.prog_id}
        if self.prog_name:
            record["prog_name"] = self.prog_name
        record["pinned"] = list(self.pinned)
        if self.holders:
            record["pids"] = [{"pid": pid, "comm": comm} for pid, comm in self.holders]
        return record


def collect(kernel: Kernel) -> Iterator[BpfIterator | BpfError]:
    """All iterators by the ids of their links; in place of one that is refused, the error."""
    listing = kernel.listing("link")
    reader = LinkReader(kernel, pins=True, resolve=True, held=listing.held)
    for obj in listing.objects():
        if struct.unpack_from(f"{kernel.byteorder}I", obj.info)[0] != BPF_LINK_TYPE_ITER:
            continue
        try:
            link = reader.read(obj)
        except VanishedError:
            continue
        except BpfError as error:
            yield error
            continue
        target: Any = link.target
        yield BpfIterator(
            link.id, target, link.prog_id, link.prog_name, link.pinned or (), link.holders
        )
