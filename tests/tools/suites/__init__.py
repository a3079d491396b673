"""Suites of the comparison with upstream: command lines for the objects that are loaded.

A suite is a module here with

    def commands(live: Live) -> Iterator[Case]

and, when it needs more objects than the corpus has,

    def setup(stack: contextlib.ExitStack, live: Live) -> None

which loads or attaches them for the time of the run (they are visible to `commands`, which is
called afterwards).  `differential.py NAME` finds the module by its name.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, cast

from tests.support import load
from tests.support.corpus import Corpus

MODES = ("", "-j", "-jp")
# A word of a command line that stands for a fresh file, which both tools write and we compare.
OUT = "@OUT@"


@dataclass(frozen=True)
class Case:
    """One command line, without the tool's name, in several output modes.

    `alone`: the tools must not run at the same time.  Always so unless the command is a dump: each
    tool loads objects for a moment, and the other one, until it has replaced its image, holds all
    our descriptors and counts as a holder.
    """

    words: tuple[str, ...]
    modes: tuple[str, ...] = MODES
    alone: bool = False
    stdin: bytes = b""


def case(line: str | list[str], *, modes: tuple[str, ...] = MODES, alone: bool = False) -> Case:
    """A case from a line split at blanks, or from words."""
    words = tuple(line.split() if isinstance(line, str) else line)
    return Case(words, modes, alone or "dump" not in words)


@dataclass
class LiveObject:
    """One object of the kernel, as the wrappers of the tests see it."""

    kind: str
    id: int
    type: int = 0
    name: str = ""
    tag: str = ""
    # Bytes of translated instructions.
    xlated: int = 0
    pins: list[str] = field(default_factory=list)


@dataclass
class Live:
    """What is loaded: the corpus, when we loaded it, and everything that the kernel lists."""

    corpus: Corpus
    scratch: str = ""
    extra: dict[str, object] = field(default_factory=dict)

    def objects(self, kind: str, *, all_of_them: bool = False) -> list[LiveObject]:
        """Objects of a kind (prog, map, link, btf).

        With a corpus these are its own and what `setup` functions made (objects of this process);
        without, or with `all_of_them`, everything that the kernel lists.
        """
        ids = load.all_ids(kind)
        if not all_of_them and self.corpus.progs:
            own = {item.id: item for item in getattr(self.corpus, kind + "s", [])}
            found = [_describe(kind, number) for number in ids if number in own]
            for item in found:
                if item is not None:
                    item.pins = own[item.id].pins
        else:
            found = [_describe(kind, number) for number in ids]
        return [item for item in found if item is not None]


def _describe(kind: str, number: int) -> LiveObject | None:
    try:
        with load.fd_by_id(kind, number) as fd:
            data = load.info(fd)
    except OSError:
        return None
    out = LiveObject(kind, number)
    if kind == "prog":
        out.type = struct.unpack_from("=I", data, 0)[0]
        out.tag = data[8:16].hex()
        out.xlated = struct.unpack_from("=I", data, 20)[0]
        out.name = data[64:80].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    elif kind == "map":
        out.type = struct.unpack_from("=I", data, 0)[0]
        out.name = data[24:40].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    elif kind == "link":
        out.type = struct.unpack_from("=I", data, 0)[0]
    return out


class Suite(Protocol):
    """What a suite's module has."""

    __name__: str
    commands: Callable[[Live], Iterator[Case]]


def names() -> list[str]:
    """Suites that are here."""
    return sorted(item.name for item in pkgutil.iter_modules(__path__))


def get(name: str) -> Suite:
    """The suite's module."""
    return cast(Suite, importlib.import_module("%s.%s" % (__name__, name)))


def prepare(suite: Suite, stack: contextlib.ExitStack, live: Live) -> None:
    """Call the suite's `setup`, when it has one."""
    setup = getattr(suite, "setup", None)
    if setup is not None:
        setup(stack, live)
