"""Listings of so many objects that two processes write them."""

from __future__ import annotations

from pybpftool.errors import KernelError, VanishedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Protocol

    from pybpftool.cli.context import Context
    from pybpftool.kernel.interface import BpfObject, Listing
    from pybpftool.output.jsontext import JsonStream
    from pybpftool.worker import Send

    class Record(Protocol):
        """One object, with its two views."""

        def text(self) -> str:
            """Its lines."""
            ...

        def json(self) -> object:
            """Its JSON properties."""
            ...


_WORTH_TWO = 2048  # objects
_TOGETHER = 64


def write_all(
    ctx: Context,
    listing: Listing,
    text: Callable[[BpfObject], str],
    some: Iterable[BpfObject] | None = None,
) -> None:
    """Write what ``text`` makes of each object, as lines or as the elements of an array.

    Where many are known to be there, because they are held, a second process does the
    later half. What the kernel refuses to tell of an object is reported, and the listing
    goes on. ``some`` are written in place of all objects.
    """
    json = ctx.json
    write = ctx.out.write if json is None else json.raw
    if some is not None:
        _write(ctx, some, text, write)
        return
    ids = sorted(listing.held)
    if len(ids) < _WORTH_TWO or ctx.out.is_terminal or not ctx.kernel.is_live:
        _write(ctx, listing.objects(), text, write)
        return
    from pybpftool.worker import Worker

    middle = ids[len(ids) // 2]
    comma, errors = ("", "surrogateescape") if json is None else (",", "backslashreplace")

    def work(send: Send) -> None:
        later = comma.join([text(obj) for obj in listing.objects(middle)])
        send([later.encode("utf-8", errors)])

    with Worker(work) as worker:
        remaining = listing.objects()
        beyond = _write(ctx, remaining, text, write, middle)
        later = worker.receive()
    if later is None:
        if beyond is not None:
            _write(ctx, (beyond,), text, write)
            _write(ctx, remaining, text, write)
    elif later:
        if json is None:
            ctx.out.write_encoded(later)
        else:
            json.raw_bytes(later)


def _write(
    ctx: Context,
    objects: Iterable[BpfObject],
    text: Callable[[BpfObject], str],
    write: Callable[[str], None],
    until: int = 1 << 32,
) -> BpfObject | None:
    """Write objects up to an id; the first one that is beyond it."""
    comma = "" if ctx.json is None else ","
    most = 1  # that are written together: few at first, so that a listing begins at once
    pieces: list[str] = []

    def write_pieces() -> None:
        together = comma.join(pieces)
        pieces.clear()
        write(together)

    try:
        for obj in objects:
            if obj.id > until:
                return obj
            try:
                pieces.append(text(obj))
            except VanishedError:
                continue
            except KernelError as error:
                if pieces:
                    write_pieces()
                ctx.error(error)
            if len(pieces) >= most:
                write_pieces()
                if most < _TOGETHER and not ctx.out.is_terminal:
                    most *= 2
    finally:
        if pieces:
            write_pieces()
    return None


def write_records(
    ctx: Context,
    listing: Listing,
    read: Callable[[BpfObject], Record],
    some: Iterable[BpfObject] | None = None,
) -> None:
    """Write the record that ``read`` makes of each object as :func:`write_all` does."""
    json = ctx.json
    if json is None:
        write_all(ctx, listing, lambda obj: read(obj).text(), some)
        return
    json.begin_array()
    if json.is_pretty:
        element = json.text
        write_all(ctx, listing, lambda obj: element(read(obj).json()), some)
    else:
        from pybpftool.objects.compact import TEXTS

        compact = TEXTS[listing.kind]
        write_all(ctx, listing, lambda obj: compact(read(obj)), some)
    json.end()


def single_or_array(json: JsonStream, records: Iterator[object]) -> None:
    """Write one record as itself, several as an array: upstream's form for references."""
    first = next(records)
    second = next(records, None)
    if second is None:
        json.value(first)
        return
    json.begin_array()
    json.value(first)
    json.value(second)
    for record in records:
        json.value(record)
    json.end()
