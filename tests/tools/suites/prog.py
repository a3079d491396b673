"""`prog show`, `prog list` and `prog dump xlated` in all forms, on every program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.tools.suites import OUT, Case, Live, case

DUMP_FORMS = ("", "opcodes", "linum", "opcodes linum")


def commands(live: Live) -> Iterator[Case]:
    """Listings, then every program, then several at once, then mistakes."""
    progs = live.objects("prog")
    for line in ("prog show", "prog list", "-f prog show", "prog", "p s"):
        yield case(line, alone=True)
    for prog in progs:
        yield case("prog show id %d" % prog.id)
        for path in prog.pins:
            yield case(["-f", "prog", "show", "id", str(prog.id)])
            yield case(["prog", "show", "pinned", path])
            yield case(["prog", "dump", "xlated", "pinned", path])
        # `r0 = X; exit` has nothing that the other forms show differently.
        for form in DUMP_FORMS if prog.xlated > 16 else DUMP_FORMS[:1]:
            yield case("prog dump xlated id %d %s" % (prog.id, form))
        if prog.xlated <= 16 and prog.id % 8:
            continue
        yield case(["prog", "dump", "xlated", "id", str(prog.id), "file", OUT], modes=("", "-j"))
    tags = Counter(prog.tag for prog in progs)
    names = Counter(prog.name for prog in progs)
    for tag in tags:
        yield case("prog show tag %s" % tag, alone=True)
    for name in names:
        if name:
            yield case(["prog", "show", "name", name], alone=True)
    # Several programs at once: each gets a heading.
    for tag, count in tags.items():
        if 1 < count < 10:
            for form in DUMP_FORMS:
                yield case("prog dump xlated tag %s %s" % (tag, form), alone=True)
    for name, count in names.items():
        if name and count > 1:
            for form in DUMP_FORMS:
                yield case(["prog", "dump", "xlated", "name", name, *form.split()], alone=True)
            yield case(["prog", "dump", "xlated", "name", name, "file", OUT], alone=True)
    for item in live.corpus.progs:
        if len(item.name) > 15:
            yield case(["prog", "show", "name", item.name], alone=True)
            yield case(["prog", "dump", "xlated", "name", item.name], alone=True)
    yield from mistakes()


def mistakes() -> Iterator[Case]:
    """Command lines that fail: same stream and status, words of our own."""
    for line in (
        "prog show id 4294967295",
        "prog show id",
        "prog show id 0",
        "prog show id x1",
        "prog show id 1x",
        "prog show id -1",
        "prog show id 99999999999999999999",
        "prog show tag 12",
        "prog show tag zzzzzzzzzzzzzzzz",
        "prog show tag 0000000000000000",
        "prog show name no_such_program",
        "prog show name a_name_that_is_far_longer_than_the_limit_of_128_characters_" + "x" * 100,
        "prog show pinned /no/such/path",
        "prog show pinned /etc/passwd",
        "prog show nonsense 1",
        "prog show id 1 surplus",
        "prog nonsense",
        "prog dump",
        "prog dump nonsense id 1",
        "prog dump xlated",
        "prog dump xlated id 4294967295",
        "prog dump xlated id 1 nonsense",
        "prog dump xlated tag 0000000000000000",
        "nonsense",
        "-z prog show",
    ):
        yield case(line)
