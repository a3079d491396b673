"""References to maps and programs on a command line: by id, name, tag or pinned path."""

from __future__ import annotations

from pybpftool.errors import BpfError, NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.prog import ProgramReader

# The words that a reference begins with, in upstream's order.
PROG_REFERENCE = ("id", "tag", "name", "pinned")
MAP_REFERENCE = ("id", "name", "pinned")
_MANY = 8  # ids that a sentence names


def find_programs(kernel: Kernel, reader: ProgramReader, args: Args) -> Iterator[BpfObject]:
    """Take ``{ id N | tag TAG | name NAME | pinned FILE }`` and find the programs meant.

    The words are checked at once; the programs come one by one, each open until the
    next is asked for. A reference that fits no program raises BpfError at the end.
    """
    return _programs_by(args.choose(PROG_REFERENCE), kernel, reader, args)


def _programs_by(
    how: str, kernel: Kernel, reader: ProgramReader, args: Args
) -> Iterator[BpfObject]:
    from pybpftool.objects.prog import FULL_NAME_LENGTH, by_name, by_tag

    if how == "id":
        id = args.number("a program id")
        return _opened(kernel, kernel.open("prog", id))
    if how == "pinned":
        return _opened(kernel, _pinned_program(kernel, args))
    if how == "tag":
        text = args.take("a program tag")
        try:
            tag = bytes.fromhex(text) if text.isalnum() else b""
        except ValueError:
            tag = b""
        if len(tag) != 8:
            raise UsageError(f"cannot read '{text}' as a tag of 16 hexadecimal digits")
        return _some(by_tag(kernel, tag), lambda: f"no program has the tag {text}")
    name = args.take("a program name")
    if len(name.encode("utf-8", "surrogateescape")) >= FULL_NAME_LENGTH:
        raise UsageError(f"the name '{name}' is longer than {FULL_NAME_LENGTH - 1} bytes")
    return _some(
        by_name(kernel, reader, name),
        lambda: f"no program has the name '{name}'{_alike(kernel, 'prog', name)}",
    )


def find_maps(kernel: Kernel, args: Args) -> Iterator[BpfObject]:
    """Take ``{ id N | name NAME | pinned FILE }`` and find the maps meant.

    The words are checked at once; the maps come one by one, each open for reading until
    the next is asked for. A name that no map has raises BpfError at the end.
    """
    how = args.choose(MAP_REFERENCE)
    if how == "name":
        name = _name(args)
        return _maps_named(kernel, name)
    return _opened(kernel, _by_id_or_path(kernel, args, how, False))


def open_maps(kernel: Kernel, args: Args) -> list[BpfObject]:
    """As :func:`find_maps`, all of them open at once; the caller closes them."""
    how = args.choose(MAP_REFERENCE)
    if how != "name":
        return [_by_id_or_path(kernel, args, how, False)]
    name = _name(args)
    ids = [obj.id for obj in _maps_named(kernel, name)]
    objects: list[BpfObject] = []
    try:
        for id in ids:
            objects.append(kernel.open("map", id))
    except BpfError:
        for obj in objects:
            kernel.close(obj)
        raise
    return objects


def one_map(kernel: Kernel, args: Args, writable: bool = False) -> BpfObject:
    """Take a reference as :func:`find_maps` does and open the only map that it fits.

    The caller closes the object. ``writable``: to change the map.
    """
    how = args.choose(MAP_REFERENCE)
    if how != "name":
        return _by_id_or_path(kernel, args, how, writable)
    name = _name(args)
    ids = [obj.id for obj in _maps_named(kernel, name)]
    if len(ids) > 1:
        raise NotFoundError(
            f"the maps {all_ids(ids)} have the name '{name}'; give one of these ids"
        )
    return _open(kernel, ids[0], writable)


def one_program(kernel: Kernel, args: Args) -> BpfObject:
    """Take ``{ id N | tag TAG | name NAME | pinned FILE }`` and open the only program it fits.

    The caller closes the object.
    """
    from pybpftool.objects.prog import ProgramReader

    how = args.choose(PROG_REFERENCE)
    if how == "pinned":  # which may be opened without the right to open ids
        return _pinned_program(kernel, args)
    reader = ProgramReader(kernel)
    ids = [obj.id for obj in _programs_by(how, kernel, reader, args)]
    if len(ids) > 1:
        raise NotFoundError(f"the programs {all_ids(ids)} match; give one of these ids")
    return kernel.open("prog", ids[0])


def _pinned_program(kernel: Kernel, args: Args) -> BpfObject:
    from pybpftool.objects.pinned import open_pinned

    return open_pinned(kernel, "prog", args.take("the path of a pinned program"))


def _name(args: Args) -> str:
    from pybpftool.uapi.bpf import BPF_OBJ_NAME_LEN

    name = args.take("a map name")
    if len(name.encode("utf-8", "surrogateescape")) >= BPF_OBJ_NAME_LEN:
        raise UsageError(f"the name '{name}' is longer than {BPF_OBJ_NAME_LEN - 1} bytes")
    return name


def _by_id_or_path(kernel: Kernel, args: Args, how: str, writable: bool) -> BpfObject:
    if how == "id":
        return _open(kernel, args.number("a map id"), writable)
    from pybpftool.objects.pinned import open_pinned

    return open_pinned(kernel, "map", args.take("the path of a pinned map"))


def _open(kernel: Kernel, id: int, writable: bool) -> BpfObject:
    if not writable:
        return kernel.open("map", id)
    from pybpftool.control.elements import open_writable

    return open_writable(kernel, id)


def _opened(kernel: Kernel, obj: BpfObject) -> Iterator[BpfObject]:
    try:
        yield obj
    finally:
        kernel.close(obj)


def _maps_named(kernel: Kernel, name: str) -> Iterator[BpfObject]:
    from pybpftool.objects.map import by_name

    return _some(
        by_name(kernel, name), lambda: f"no map has the name '{name}'{_alike(kernel, 'map', name)}"
    )


# Where the name stands in struct bpf_prog_info and struct bpf_map_info.
_NAME_AT = {"prog": 64, "map": 24}


def _alike(kernel: Kernel, kind: str, name: str) -> str:
    """A remark that names what is there and most like a wrong name, if anything is."""
    from pybpftool.cli.grammar import nearest

    at = _NAME_AT[kind]
    names = {obj.info[at : at + 16].partition(b"\0")[0] for obj in kernel.objects(kind)}
    return nearest(name, [each.decode("utf-8", "surrogateescape") for each in sorted(names)])


def all_ids(ids: Sequence[int]) -> str:
    """``7 and 9``; of many only some."""
    some = [str(id) for id in ids[:_MANY]]
    last = f"{len(ids) - _MANY} more" if len(ids) > _MANY else some.pop()
    return f"{', '.join(some)} and {last}"


def _some(objects: Iterator[BpfObject], none: Callable[[], str]) -> Iterator[BpfObject]:
    """The objects; if there are none, NotFoundError with the sentence that ``none`` makes."""
    empty = True
    for obj in objects:
        empty = False
        yield obj
    if empty:
        raise NotFoundError(none())
