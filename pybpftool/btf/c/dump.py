"""BTF as C: definitions in an order that compiles, equal to ``btf dump … format c``.

:mod:`order` and :mod:`sort` work out the order, :mod:`text` writes the text. Neither
needs what the other finds, so that for as many types as a kernel has each gets a process.
"""

from __future__ import annotations

import marshal
import sys

from pybpftool.btf.c import sort
from pybpftool.btf.c.identifiers import Identifiers
from pybpftool.btf.c.order import Kinds, Order
from pybpftool.btf.c.text import Texts
from pybpftool.depth import recursion_limit
from pybpftool.errors import FormatError
from pybpftool.uapi.btf import FUNC, KIND_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pybpftool.btf.names import Names
    from pybpftool.btf.table import Btf
    from pybpftool.worker import Send

_HEAD = """\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif

#ifndef __bpf_fastcall
#if __has_attribute(bpf_fastcall)
#define __bpf_fastcall __attribute__((bpf_fastcall))
#else
#define __bpf_fastcall
#endif
#endif

"""
_KFUNCS_HEAD = "\n/* BPF kfuncs */\n#ifndef BPF_NO_KFUNC_PROTOTYPES\n"
_KFUNCS_TAIL = "#endif\n\n"
_TAIL = """\
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
"""


# Type sections of more words get a second process.
_WORTH_TWO = 1 << 17
_PART = 256  # steps that become text at a time


class _Unreplaced(Identifiers):
    """Names for a process that does not tell the other what it replaced: it replaces none."""

    __slots__ = ()

    def of(self, name: str) -> str:
        raise FormatError(f"'{name}' is no identifier")


def _words(btf: Btf) -> memoryview:
    """The type sections of split BTF and its bases as one."""
    if btf.base is None:
        return btf.words
    from array import array

    words = array("I")
    for part in reversed(btf.parts()):
        words.frombytes(part.words.cast("B"))
    return memoryview(words)


def _offsets(btf: Btf) -> list[int]:
    """Where each type begins in :func:`_words`, void at the beginning."""
    offsets = [0]
    start = 0
    for part in reversed(btf.parts()):
        own = part.own_offsets()
        offsets += [start + at for at in own] if start else own
        start += len(part.words)
    return offsets


def _kfuncs(texts: Texts, kinds: Kinds) -> str:
    """Declarations of the kernel functions that programs may call."""
    words = texts.words
    offsets = texts.offsets
    names = texts.names
    found: list[tuple[bytes, int]] = []
    fast: set[int] = set()
    for type_id in kinds.tags():
        at = offsets[type_id]
        if words[at + 2] != 0xFFFFFFFF:
            continue
        target = words[at + 1]
        if kinds.kind(target) != FUNC:
            continue
        tag = names.true[words[at - 1]]
        if tag == "bpf_kfunc":
            name = names.true[words[offsets[target] - 1]]
            found.append((name.encode("utf-8", "surrogateescape"), target))
        elif tag == "bpf_fastcall":
            fast.add(target)
    found.sort(key=lambda item: item[0])
    parts = []
    for _, target in found:
        at = offsets[target]
        call = "__bpf_fastcall " if target in fast else ""
        text = texts.settled(texts.declaration(words[at + 1], names[words[at - 1]], 0))
        parts.append(f"extern {call}{text} __weak __ksym;\n")
    # Numbers of which nothing else had need.
    missing = texts.numbers.definitions()
    return f"{missing}{_KFUNCS_HEAD}{''.join(parts)}{_KFUNCS_TAIL}"


def _check_kinds(btf: Btf) -> None:
    for part in btf.parts():
        for info in part.sizes:
            if not 0 < info >> 24 & 0x7F <= KIND_MAX:
                raise FormatError(f"the BTF has types of kind {info >> 24 & 0x7F}, unknown to C")


def _kinds(btf: Btf, words: memoryview) -> Kinds:
    """All types with those of the base; ``words`` are those of :func:`_words`."""
    offsets = _offsets(btf)
    _check_kinds(btf)
    infos = {info for part in btf.parts() for info in part.sizes}
    return Kinds.of_types(words, offsets, infos)


def _whole(btf: Btf, is_sorted: bool) -> Iterator[str]:
    sort_by = btf.names if is_sorted else None
    words = _words(btf)
    if len(words) < _WORTH_TWO:
        kinds = _kinds(btf, words)
        # What cannot be put in order is refused before any of it is written.
        collected: list[list[int]] = []
        failure = None
        try:
            collected.extend(_steps(kinds, sort_by))
        except (FormatError, IndexError, RecursionError) as error:
            failure = error
        texts = Texts(btf, kinds.words, kinds.offsets, Identifiers(btf, all_at_once=True))
        if failure is None:
            texts.prepare(kinds, kinds.structs())
        yield from _text(texts, kinds, collected, failure)
        return
    from pybpftool.worker import Worker

    def work(send: Send) -> None:
        kinds = _kinds(btf, words)
        send(_packed((kinds.offsets, *kinds.by_kind)))
        send(_packed(([step for some in _steps(kinds, sort_by) for step in some],)))
        texts = Texts(btf, kinds.words, kinds.offsets, _Unreplaced(btf))
        texts.is_careful = False
        texts.wide.begin(kinds)
        written = texts.early(_shared(kinds, is_sorted)[1])
        for type_id in texts.wide:
            written.pop(type_id << 1, None)  # the other process writes what needs care
        send([marshal.dumps(written, 2)])

    with Worker(work) as worker:
        names = Identifiers(btf, all_at_once=True)
        found = worker.receive()
        if found is not None:
            offsets, *by_kind = _unpacked(found)
            kinds = Kinds(words, offsets, by_kind)
        else:
            kinds = _kinds(btf, words)
        texts = Texts(btf, kinds.words, kinds.offsets, names)
        texts.prepare(kinds, _shared(kinds, is_sorted)[0])
        received = worker.receive()
        others = worker.receive()
    if received is None:
        steps = _steps(kinds, sort_by)
    else:
        (numbers,) = _unpacked(received)
        steps = (numbers[at : at + _PART] for at in range(0, len(numbers), _PART))
    if others is not None and not (texts.is_careful or texts.own_tags):
        texts.prepared.update(marshal.loads(others))
    yield from _text(texts, kinds, steps)


def _shared(kinds: Kinds, is_sorted: bool) -> tuple[list[int], list[int]]:
    """The structs that the one process writes, and the fewer that the other has time for."""
    structs = kinds.structs()
    first = len(structs) * (14 if is_sorted else 12) // 16
    return structs[:first], structs[first:]


def _text(
    texts: Texts, kinds: Kinds, steps: Iterable[list[int]], failure: Exception | None = None
) -> Iterator[str]:
    yield _HEAD
    for some in steps:
        yield texts.of(some)
    if failure is not None:
        raise failure
    kfuncs = _kfuncs(texts, kinds)
    yield f"{kfuncs}{texts.names.comment()}{_TAIL}"


def _steps(kinds: Kinds, sort_by: Names | None) -> Iterator[list[int]]:
    return sort.steps(Order(kinds.words, kinds.offsets, lambda: kinds), kinds, sort_by)


def _packed(lists: Sequence[Sequence[int]]) -> Iterator[bytes]:
    """Lists of 32-bit numbers as bytes: their number, their lengths, then all numbers."""
    from array import array

    yield array("I", (len(lists), *map(len, lists))).tobytes()
    for numbers in lists:
        yield array("I", numbers).tobytes()


def _unpacked(data: memoryview) -> list[list[int]]:
    words = data.cast("I")
    at = 1 + words[0]
    lists = []
    for length in words[1:at]:
        lists.append(words[at : at + length].tolist())
        at += length
    return lists


def _roots(btf: Btf, roots: Sequence[int]) -> tuple[str, FormatError | None]:
    """The text of some types, as far as they can be defined, and what is wrong with the next."""
    # Few types are needed as a rule, and those before the roots and soon after
    # them; the rest of the type section is read only if a type is found missing.
    limit = max(roots) + 2048
    while True:
        is_all = btf.base is not None or not btf.scan_to(limit)
        if is_all:
            btf.own_offsets()
            _check_kinds(btf)
        words = _words(btf)
        offsets = [0, *btf.scanned_offsets()] if btf.base is None else _offsets(btf)
        failure = None
        try:
            order = Order(words, offsets, lambda: _kinds(btf, _words(btf)))
            try:
                for root in roots:
                    order.add(root)
            except FormatError as error:
                failure = error
            texts = Texts(btf, words, offsets, Identifiers(btf))
            texts.prepare_for(order.steps)
            text = texts.of(order.steps)
            return text + texts.names.comment(), failure
        except IndexError:
            if is_all:
                raise FormatError("the BTF refers to a type that it does not have") from None
            limit *= 2


def blocks(btf: Btf, roots: Sequence[int] = (), is_sorted: bool = True) -> Iterator[str]:
    """The C text of all types, or of ``roots`` and what they need, piece by piece."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(recursion_limit())
    try:
        if roots:
            text, failure = _roots(btf, roots)
            if failure is not None:
                yield _HEAD + text
                raise failure
            yield _HEAD + text + _TAIL
        else:
            yield from _whole(btf, is_sorted)
    except RecursionError:
        raise FormatError("the BTF's types are nested too deeply") from None
    except IndexError:
        raise FormatError("the BTF refers to a type that it does not have") from None
    finally:
        sys.setrecursionlimit(limit)


def definition(btf: Btf, type_id: int) -> str:
    """The C definition of one type, after the definitions that it needs."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(recursion_limit())
    try:
        text, failure = _roots(btf, [type_id])
        if failure is not None:
            raise failure
        return text
    except RecursionError:
        raise FormatError("the BTF's types are nested too deeply") from None
    finally:
        sys.setrecursionlimit(limit)
