"""Elements of maps whose values cannot be read, many at a time."""

from __future__ import annotations

import posix
from errno import ENOENT, ENOSPC

from pybpftool.objects.elements import FixedLayout, JsonPlaces, Layout, line_breaks
from pybpftool.output.hexrows import KEY, Rows, Run
from pybpftool.output.jsontext import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.kernel.interface import Batch
    from pybpftool.objects.map import Map


class _JsonRows(FixedLayout):
    """Rows of JSON, with commas between them."""

    def __init__(self, parts: list[str | Run], pitches: tuple[int, int]) -> None:
        super().__init__(Rows([*parts, ","], pitches))

    def blocks(self, batch: Batch) -> Iterator[str | bytes | memoryview]:
        for block in self._rows.blocks(batch.keys, batch.values or b"", batch.count):
            yield block[:-1]


def unreadable(map: Map, errno: int) -> Layout:
    """Elements whose values cannot be read, in a plain dump."""
    if errno == ENOENT:
        message = "<no entry>"
    elif errno == ENOSPC and map.traits.cookie_size:
        message = "<cannot read>"
    else:
        message = posix.strerror(errno)
    blank, between = line_breaks(map.key_size, len(message))
    key = Run(KEY, 0, map.key_size)
    return FixedLayout(
        Rows([f"key:{blank}", key, f"{between}value:{blank}{message}\n"], (map.key_size, 0))
    )


def unreadable_json(map: Map, errno: int, depth: int, is_pretty: bool) -> Layout:
    """The same in JSON."""
    json = JsonPlaces(is_pretty)
    parts: list[str | Run] = [
        "{" + json.name("key", depth, True),
        Run(KEY, 0, map.key_size, json.end("]", depth + 1)),
        json.name("value", depth) + "{" + json.name("error", depth + 1, True),
        quote(posix.strerror(errno)) + json.end("}", depth + 1) + json.end("}", depth),
    ]
    return _JsonRows(parts, (map.key_size, 0))
