"""Workloads of ``prog show`` and ``prog dump xlated``, and of ``version``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from bench.run import Workload
from tests.support import corpus, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

FEW = 10
MANY = 5000
LONG = 100_000


def loaded(
    count: int, words: Sequence[str], *, pinned: bool = False
) -> Callable[[], AbstractContextManager[Sequence[str] | None]]:
    """``count`` programs are loaded; ``{tag}`` in the words becomes the tag of the last."""

    @contextlib.contextmanager
    def setup() -> Iterator[Sequence[str]]:
        with contextlib.ExitStack() as stack:
            programs = corpus.many_programs(stack, count)
            if pinned:
                directory = stack.enter_context(load.temp_bpffs())
                for number, program in enumerate(programs):
                    load.obj_pin(program, f"{directory}/p{number}")
            tag = load.prog_tag(programs[-1])
            yield [word.format(tag=tag) for word in words]

    return setup


def one_long(
    words: Sequence[str],
) -> Callable[[], AbstractContextManager[Sequence[str] | None]]:
    """A program of 100,000 instructions with line info is loaded; ``{id}`` becomes its id."""

    @contextlib.contextmanager
    def setup() -> Iterator[Sequence[str]]:
        with contextlib.ExitStack() as stack:
            program = corpus.big_program(stack, LONG)
            yield [word.format(id=load.object_id(program)) for word in words]

    return setup


def _show(name: str, count: int, words: str, bar: float, *, pinned: bool = False) -> Workload:
    return Workload(name, (), bar, loaded(count, words.split(), pinned=pinned))


def _dump(options: str, *words: str) -> Workload:
    command = ["prog", "dump", "xlated", "id", "{id}", *words]
    name = f"dump xlated, 100,000 insns {' '.join((options, *words))}".rstrip()
    return Workload(name, (), 0.7, one_long([*options.split(), *command]))


WORKLOADS = (
    Workload("version", ("version",), 1.2),
    _show("prog show, 10 programs", FEW, "prog show", 0.35),
    _show("prog show, 5,000 programs", MANY, "prog show", 0.35),
    _show("prog show, 5,000 programs -j", MANY, "-j prog show", 0.35),
    _show("prog show, 5,000 pinned programs -f", MANY, "-f prog show", 0.35, pinned=True),
    _show("prog show tag, one of 5,000", MANY, "prog show tag {tag}", 0.25),
    _show("prog show name, one of 5,000", MANY, "prog show name p04999", 0.25),
    _dump(""),
    _dump("", "opcodes"),
    _dump("", "linum"),
    _dump("-j"),
)
