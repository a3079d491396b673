"""`prog dump jited` in all forms, on every program that is compiled."""

from __future__ import annotations

from collections.abc import Iterator

from tests.tools.suites import OUT, Case, Live, case

FORMS = ("", "opcodes", "linum", "opcodes linum", "visual")


def commands(live: Live) -> Iterator[Case]:
    """Every program, the raw code of some, and mistakes."""
    for prog in live.objects("prog"):
        for form in FORMS if prog.xlated > 16 else FORMS[:1]:
            modes = ("",) if form == "visual" else ("", "-j", "-jp")
            yield case("prog dump jited id %d %s" % (prog.id, form), modes=modes)
        if prog.id % 8 == 0:
            words = ["prog", "dump", "jited", "id", str(prog.id), "file", OUT]
            yield case(words, modes=("", "-j"))
    yield case("prog dump jited id 4294967295")
    yield case("prog dump jited")
    yield case("prog dump jited id")
    yield case("-j prog dump jited id 1 visual", modes=("",))
