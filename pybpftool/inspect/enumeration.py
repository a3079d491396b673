"""Objects on which the ways to list them do not agree: what hides from one shows in another.

The walk over ids (bpf(2)) is what every listing asks. Descriptors in ``/proc``, files in
bpf file systems, links, devices and cgroups, maps of programs, the symbols of compiled
programs in kallsyms and the kernel's own iterators name objects as well.
"""

from __future__ import annotations

from errno import ENOENT

from pybpftool.errors import BpfError, KernelError, VanishedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybpftool.inspect.owners import Graph
    from pybpftool.kernel.interface import BpfObject, Kernel

_KALLSYMS = "/proc/kallsyms"
_SHOWN = "/proc/sys/net/core/bpf_jit_kallsyms"
_PREFIX = b"bpf_prog_"
_TAG = 16  # hexadecimal digits
# What the verifier adds to a program that throws without a callback of its own, "r0 = r1; exit",
# and tells of nowhere (add_hidden_subprog(), v6.7, f18b03fabaa9): its tag by SHA-1, and by SHA-256
# as of v6.18.
_EXCEPTION_CALLBACK = {"8ac473954ac6d431", "0eb5405ba529d7d5"}
_LONG = {"prog": "program", "map": "map", "link": "link"}


def disagreements(
    graph: Graph, not_told: Callable[[str], None]
) -> Iterator[tuple[str, int, str, str]]:
    """(kind, id, label, what is wrong) of each object that one way shows and another does not.

    On the running kernel each is asked for once more: objects come and go meanwhile.
    """
    for kind in ("prog", "map", "link"):
        try:
            listed = graph.inventory.items(kind)
        except BpfError:
            continue  # has been said
        newest = max(listed, default=0)
        yield from _iterated(graph, kind)
        for held_kind, id in list(graph.up):
            if held_kind != kind or not isinstance(id, int) or id in listed:
                continue
            if graph.inventory.kernel.is_live:
                if not _is_hidden(graph, kind, id):
                    continue
            elif id > newest:
                continue  # made while the snapshot was
            where = _where(graph, kind, id)
            label = f"{kind} {id}"
            yield kind, id, label, f"the walk over all {_LONG[kind]}s leaves it out; {where}"
    yield from _in_kallsyms(graph, not_told)


def _iterated(graph: Graph, kind: str) -> Iterator[tuple[str, int, str, str]]:
    """On what the kernel's own iterator and the walk do not agree."""
    kernel = graph.inventory.kernel
    listed = graph.inventory.items(kind)
    try:
        found = set(kernel.iterated(kind))
    except BpfError:
        return  # this kernel has no such iterator, or the recording was not asked
    newest = max(listed, default=0)
    for id in sorted(found - listed.keys()):
        if id > newest or ((kind, id) in graph.up and not kernel.is_live):
            continue  # made meanwhile; or it is told by what holds it
        if not kernel.is_live or (id in kernel.iterated(kind) and _is_unlisted(graph, kind, id)):
            what = f"the walk over all {_LONG[kind]}s leaves it out, the kernel's iterator has it"
            yield kind, id, f"{kind} {id}", what
    for id in sorted(listed.keys() - found):
        if is_gone(kernel, kind, id) or (kernel.is_live and id in kernel.iterated(kind)):
            continue
        what = f"the kernel's iterator over {_LONG[kind]}s leaves it out"
        yield kind, id, f"{kind} {id}", what


def _is_unlisted(graph: Graph, kind: str, id: int) -> bool:
    """Whether the walk over ids still leaves an object out."""
    return all(obj.id != id for obj in graph.inventory.kernel.objects_after(kind, id - 1))


def _where(graph: Graph, kind: str, id: int) -> str:
    edge = graph.up[kind, id][0]
    holder, name = edge.holder
    if holder == "pid":
        process = graph.processes.get(int(name))
        comm = f" ({process.comm})" if process is not None else ""
        return f"a descriptor of process {name}{comm} is of it"
    if holder == "pin":
        return f"it is pinned at {name}"
    return f"{holder} {name} holds it"


def _is_hidden(graph: Graph, kind: str, id: int) -> bool:
    """Whether an object is there still, and still in no listing."""
    kernel = graph.inventory.kernel
    if not _is_unlisted(graph, kind, id):
        return False  # it came while we looked
    if id in kernel.holders(kind) or id in kernel.pinned(kind):
        return True
    try:
        kernel.close(kernel.open(kind, id))
    except KernelError:
        return False  # gone by now
    return True


def _in_kallsyms(
    graph: Graph, not_told: Callable[[str], None]
) -> Iterator[tuple[str, int, str, str]]:
    try:
        items = graph.inventory.items("prog")
    except BpfError:
        return
    kernel = graph.inventory.kernel
    symbols = _symbols(kernel.file(_KALLSYMS))
    jited = {item.record.tag for item in items.values() if item.record.jited_prog_len}
    if not symbols and not (jited and _are_symbols_shown(kernel, not_told)):
        return
    tags: dict[str, list[int]] = {}
    refusal: BpfError | None = None
    for id in items:
        tags.setdefault(items[id].record.tag, []).append(id)
        try:
            for tag in _function_tags(graph, id):
                tags.setdefault(tag, []).append(id)
        except VanishedError:
            pass
        except BpfError as error:
            refusal = refusal or error
    unlisted = sorted(symbols.keys() - tags.keys() - _EXCEPTION_CALLBACK)
    if refusal is not None:
        not_told(f"cannot tell which symbols of kallsyms are functions of programs: {refusal}")
        unlisted = []
    if unlisted and kernel.is_live:
        unlisted = _still_unlisted(graph, unlisted)
    for tag in unlisted:
        name = symbols[tag]
        label = f"bpf_prog_{tag}{'_' + name if name else ''}"
        yield "", 0, label, "a compiled program in kallsyms that no listing has"
    if kernel.is_live and jited - symbols.keys():
        symbols.update(_symbols(kernel.file(_KALLSYMS)))
    for tag in sorted(jited - symbols.keys()):
        for id in tags.get(tag, ())[:1]:
            if is_gone(kernel, "prog", id):
                continue
            yield "prog", id, f"prog {id}", "compiled, and kallsyms has no symbol of it"


def _are_symbols_shown(kernel: Kernel, not_told: Callable[[str], None]) -> bool:
    """Whether kallsyms is to have the symbols of compiled programs."""
    try:
        return kernel.file(_SHOWN).strip() == b"1"
    except BpfError as error:
        not_told(str(error))
        return False


def _symbols(text: bytes) -> dict[str, str]:
    """tag -> name of the compiled programs in kallsyms."""
    found: dict[str, str] = {}
    at = text.find(b"\t[bpf]")
    while at >= 0:
        start = text.rfind(b" ", 0, at) + 1
        name = text[start:at]
        if name.startswith(_PREFIX):
            rest = name[len(_PREFIX) :].decode("utf-8", "surrogateescape")
            tag, title = rest[:_TAG], rest[_TAG + 1 :]
            if len(tag) == _TAG:
                found[tag] = title
        at = text.find(b"\t[bpf]", at + 1)
    return found


def _function_tags(graph: Graph, id: int) -> list[str]:
    """The tags of a program's functions, by which their symbols are named. Raises BpfError."""
    kernel = graph.inventory.kernel
    return graph.inventory.items("prog")[id].asked(lambda obj: _tags_of(kernel, obj))


def _tags_of(kernel: Kernel, obj: BpfObject) -> list[str]:
    data: bytes = kernel.prog_arrays(obj, ("prog_tags",))["prog_tags"] or b""
    return [data[at : at + 8].hex() for at in range(0, len(data) - 7, 8)]


def _still_unlisted(graph: Graph, tags: list[str]) -> list[str]:
    """Those tags of symbols that are not of programs which came or went while we looked."""
    kernel = graph.inventory.kernel
    newest = max(graph.inventory.items("prog"), default=0)
    came = set()
    for obj in kernel.objects_after("prog", newest):
        came.add(obj.info[8:16].hex())
        try:
            came.update(_tags_of(kernel, obj))
        except VanishedError:
            continue
    there = _symbols(kernel.file(_KALLSYMS))
    return [tag for tag in tags if tag not in came and tag in there]


def is_gone(kernel: Kernel, kind: str, id: int) -> bool:
    """Whether an object of the running kernel has gone since it was listed."""
    if not kernel.is_live:
        return False
    try:
        kernel.close(kernel.open(kind, id))
    except KernelError as error:
        return error.errno == ENOENT
    return False
