"""BTF as C: definitions in an order that compiles, equal to ``btf dump … format c``.

:mod:`order` and :mod:`sort` work out the order, :mod:`text` writes the text. Neither
needs what the other finds, so that for as many types as a kernel has each gets a process.
"""

from __future__ import annotations

import marshal
import struct
import sys
from _bisect import bisect_left  # without the Python of bisect

from pybpftool.btf.c import sort
from pybpftool.btf.c.identifiers import Identifiers
from pybpftool.btf.c.order import DEFINING, Kinds, Order
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
_LAST_TYPES = 64  # of each kind, which tell how far names reach


def _words(btf: Btf) -> memoryview:
    """The type sections of split BTF and its bases as one."""
    if btf.base is None:
        return btf.words
    return memoryview(b"".join([part.words for part in reversed(btf.parts())])).cast("I")


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


def _identifiers(btf: Btf, kinds: Kinds) -> Identifiers:
    """The names, those at once that definitions have as a rule.

    Strings stand in the order in which types first use them, and functions with their
    parameters come last. A name that stands elsewhere is found when it is met.
    """
    words, offsets = kinds.words, kinds.offsets
    until = []
    for part in reversed(btf.parts()):
        last: list[int] = []
        for kind in DEFINING:
            ids = kinds.by_kind[kind]
            end = bisect_left(ids, part.count)
            last += ids[max(end - _LAST_TYPES, 0) : end]
        until.append(max([words[offsets[type_id] - 1] for type_id in last], default=0))
    return Identifiers(btf, until)


def _whole(btf: Btf, is_sorted: bool) -> Iterator[str]:
    words = _words(btf)
    kinds = _kinds(btf, words)
    names = _identifiers(btf, kinds)
    sort_by = names.true if is_sorted else None
    texts = Texts(btf, words, kinds.offsets, names)
    if len(words) < _WORTH_TWO:
        # What cannot be put in order is refused before any of it is written.
        collected: list[list[int]] = []
        failure = None
        try:
            collected.extend(_steps(kinds, sort_by))
        except (FormatError, IndexError, RecursionError) as error:
            failure = error
        if failure is None:
            texts.prepare(kinds, kinds.structs())
        yield from _text(texts, kinds, collected, failure)
        return
    from pybpftool.worker import Worker

    mine, others = _shared(kinds, is_sorted)

    def work(send: Send) -> None:
        steps = [step for some in _steps(kinds, sort_by) for step in some]
        send([struct.pack(f"{len(steps)}I", *steps)])
        names.may_replace = False
        texts.is_careful = False
        texts.wide.begin(kinds)
        written = texts.early(others)
        for type_id in texts.wide:
            written.pop(type_id << 1, None)  # the other process writes what needs care
        send([marshal.dumps(written, 2)])

    with Worker(work) as worker:
        texts.prepare(kinds, mine)
        received = worker.receive()
        written = worker.receive()
        if received is None:
            steps = _steps(kinds, sort_by)
        else:
            numbers = received.cast("I").tolist()
            steps = (numbers[at : at + _PART] for at in range(0, len(numbers), _PART))
        if written is not None and not (texts.is_careful or texts.own_tags):
            texts.prepared.update(marshal.loads(written))
        yield from _text(texts, kinds, steps)


def _shared(kinds: Kinds, is_sorted: bool) -> tuple[list[int], list[int]]:
    """The structs that the one process writes, and those that the other has time for."""
    structs = kinds.structs()
    first = len(structs) * (12 if is_sorted else 10) // 16
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
