"""`prog attach` and `prog detach`: maps of sockets, the flow dissector; in a netns of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support import asm, load
from tests.tools.suites import MODES, Case, Live, case

_TYPES = (
    "sk_msg_verdict",
    "sk_skb_verdict",
    "sk_skb_stream_verdict",
    "sk_skb_stream_parser",
    "flow_dissector",
)
_WORDS = (
    *_TYPES,
    "msg_verdict",
    "skb_verdict",
    "stream_verdict",
    "stream_parser",
    "m",
    "skb",
    "str",
    "stream_v",
    "flow",
    "sk_msg",
    "xdp",
    "sk_msg_verdict2",
    "bogus",
)


def setup(stack: contextlib.ExitStack, live: Live) -> None:
    """Load a program of each type, and maps with and without sockets."""
    passes = asm.assemble([asm.mov64(asm.R0, 1), asm.exit_()])
    ids = {}
    for label, type, attach in (
        ("msg", "sk_msg", "sk_msg_verdict"),
        ("skb", "sk_skb", 0),
        ("skb_other", "sk_skb", 0),
        ("flow", "flow_dissector", "flow_dissector"),
        ("xdp", "xdp", 0),
    ):
        fd = stack.enter_context(load.prog_load(type, passes, attach=attach, name=f"at_{label}"))
        ids[label] = load.object_id(fd)
    for label, type, key in (("sockmap", "sockmap", 4), ("sockhash", "sockhash", 4)):
        fd = stack.enter_context(load.map_create(type, key, 4, 4, name=f"at_{label}"))
        ids[label] = load.object_id(fd, "map")
    fd = stack.enter_context(load.map_create("array", 4, 4, 1, name="at_array"))
    ids["array"] = load.object_id(fd, "map")
    live.extra["attach"] = ids


def commands(live: Live) -> Iterator[Case]:
    """Each type on each map, attached and taken off again in one batch; then what is refused."""
    ids: dict[str, int] = live.extra["attach"]  # type: ignore[assignment]
    place = Path(live.scratch)
    number = 0
    for prog in ("msg", "skb", "flow", "xdp"):
        for word in _WORDS:
            for map in ("sockmap", "sockhash", "array", ""):
                tail = f"id {ids[prog]} {word}" + (f" id {ids[map]}" if map else "")
                if prog in ("flow", "xdp") and map not in ("sockmap", ""):
                    continue
                number += 1
                file = place / f"attach{number}"
                lines = [f"prog attach {tail}", f"prog detach {tail}", f"prog detach {tail}"]
                file.write_text("\n".join(lines) + "\n")
                yield case(f"batch file {file}", modes=MODES if number % 4 == 0 else ("",))
                yield case(f"prog detach {tail}", modes=MODES if number % 3 == 0 else ("",))
    yield from _special(ids, place)


def _special(ids: dict[str, int], place: Path) -> Iterator[Case]:
    skb, other, flow, map = ids["skb"], ids["skb_other"], ids["flow"], ids["sockmap"]
    for name, lines in (
        (
            "both",
            (
                f"prog attach id {skb} stream_parser id {map}",
                f"prog attach id {other} stream_verdict name at_sockmap",
                f"prog attach id {skb} sk_skb_verdict id {map}",
                f"prog detach id {skb} stream_parser id {map}",
            ),
        ),
        ("left", ("prog detach name at_skb_other stream_verdict name at_sockmap",)),
        (
            "dissector",
            (
                f"prog attach id {flow} flow_dissector id 4294967295 and more",
                "net show",
                f"prog attach id {flow} flow_dissector",
            ),
        ),
        ("dissector_off", (f"prog detach id {flow} flow_dissector", "net show")),
    ):
        (place / name).write_text("\n".join(lines) + "\n")
    # The first leaves a verdict attached, both of them; the second takes it off.
    for name in ("both", "left"):
        yield case(f"batch file {place / name}")
    for mode in MODES:
        yield case(f"batch file {place / 'dissector'}", modes=(mode,))
        yield case(f"batch file {place / 'dissector_off'}", modes=(mode,))
    for verb in ("attach", "detach"):
        for line in (
            "",
            "id",
            f"id {skb}",
            f"id {skb} stream_verdict",
            f"id {skb} stream_verdict id",
            f"id {skb} stream_verdict id 4294967295",
            f"id {skb} stream_verdict name none_has_it",
            f"id {skb} stream_verdict pinned {place}",
            f"id 4294967295 stream_verdict id {map}",
            f"name none_has_it stream_verdict id {map}",
            f"tag 00 stream_verdict id {map}",
            f"xx {skb} stream_verdict id {map}",
            f"id {skb} '' id {map}",
        ):
            yield case([("prog"), verb, *[w if w != "''" else "" for w in line.split()]])
    yield case(f"prog att id {skb} stream_verdict id {map}", modes=("", "-j"))
    yield case(f"prog detach id {skb} stream_verdict id {map} more words", modes=("",))
