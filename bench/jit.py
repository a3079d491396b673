"""Workloads of ``prog dump jited`` and of ``visual``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from bench.prog import one_long
from bench.run import Workload
from tests.support import asm, insn_mix, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LONG = 100_000


@contextlib.contextmanager
def one_function() -> Iterator[Sequence[str]]:
    """A program of one function and about 7,000 branches.

    Upstream crashes at graphs of programs with calls over more than 32,767 slots.
    """
    with contextlib.ExitStack() as stack:
        table = stack.enter_context(load.map_create("array", 4, 64, 1, name="table"))
        code = insn_mix.one_function(asm.ld_map_value(asm.R9, table.fd), LONG)
        program = stack.enter_context(load.prog_load("socket_filter", code, name="one_function"))
        yield ["prog", "dump", "xlated", "id", str(load.object_id(program)), "visual"]


def _dump(options: str, *words: str) -> Workload:
    command = ["prog", "dump", "jited", "id", "{id}", *words]
    name = f"dump jited, 100,000 insns {' '.join((options, *words))}".rstrip()
    return Workload(name, (), 1.0, one_long([*options.split(), *command]))


WORKLOADS = (
    _dump(""),
    _dump("", "opcodes"),
    _dump("-j"),
    Workload("visual, 100,000 insns", (), 0.8, one_function),
)
