"""BTF as C: definitions in an order that compiles, equal to ``btf dump … format c``.

:mod:`corder` works out the order, :mod:`ctext` writes the text. Neither needs what
the other finds, so that for as many types as a kernel has each gets a process.
"""

from __future__ import annotations

import os
import sys

from pybpftool.btf import corder, parser
from pybpftool.btf.corder import Kinds, Order
from pybpftool.btf.ctext import Texts
from pybpftool.btf.parser import Names
from pybpftool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pybpftool.btf.parser import Btf

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


def _joined(btf: Btf) -> tuple[memoryview, list[int]]:
    """The type sections of split BTF and its bases as one, and where types begin in it."""
    from array import array

    parts = []
    part: Btf | None = btf
    while part is not None:
        parts.append(part)
        part = part.base
    words = array("I")
    offsets: list[int] = []
    for part in reversed(parts):
        start = len(words)
        offsets += [start + at for at in part.own_offsets()]
        words.frombytes(part.words.cast("B"))
    return memoryview(words), offsets


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
        if kinds.kind(target) != parser.FUNC:
            continue
        tag = names[words[at - 1]]
        if tag == "bpf_kfunc":
            name = names[words[offsets[target] - 1]]
            found.append((name.encode("utf-8", "surrogateescape"), target))
        elif tag == "bpf_fastcall":
            fast.add(target)
    found.sort(key=lambda item: item[0])
    parts = [_KFUNCS_HEAD]
    for _, target in found:
        at = offsets[target]
        call = "__bpf_fastcall " if target in fast else ""
        text = texts.settled(texts.declaration(words[at + 1], names[words[at - 1]], 0))
        parts.append(f"extern {call}{text} __weak __ksym;\n")
    parts.append(_KFUNCS_TAIL)
    return "".join(parts)


def _check_kinds(btf: Btf) -> None:
    part: Btf | None = btf
    while part is not None:
        for info in part.sizes:
            if not 0 < info >> 24 & 0x7F <= parser.KIND_MAX:
                raise FormatError(f"the BTF has types of kind {info >> 24 & 0x7F}, unknown to C")
        part = part.base


def _kinds(btf: Btf) -> Kinds:
    """All types with those of the base."""
    own = btf.own_offsets()
    _check_kinds(btf)
    if btf.base is None:
        words = btf.words
        offsets = [0, *own]
    else:
        words, offsets = _joined(btf)
        offsets = [0, *offsets]
    infos = {info for part in btf.parts() for info in part.sizes}
    return Kinds.of_types(words, offsets, infos)


def _whole(btf: Btf, is_sorted: bool) -> Iterator[str]:
    sort_by = btf.names if is_sorted else None
    helper = _Helper(btf, sort_by) if btf.base is None and len(btf.words) > _WORTH_TWO else None
    names = Names.of(btf)
    kinds = (helper.kinds() if helper is not None else None) or _kinds(btf)
    texts = Texts(btf, kinds.words, kinds.offsets, names)
    texts.prepare(kinds)
    yield _HEAD
    steps = helper.steps() if helper is not None else None
    if steps is None:
        steps = _steps(kinds, sort_by)
    for some in steps:
        yield texts.of(some)
    yield _kfuncs(texts, kinds) + _TAIL


def _steps(kinds: Kinds, sort_by: Names | None) -> Iterator[list[int]]:
    return corder.steps(Order(kinds.words, kinds.offsets, lambda: kinds), kinds, sort_by)


class _Helper:
    """A process of its own that finds the types and works out the steps of a dump.

    Whatever it fails to do is None, and left to its parent.
    """

    def __init__(self, btf: Btf, sort_by: Names | None) -> None:
        self._btf = btf
        self._pid = 0
        if len(os.sched_getaffinity(0)) < 2:
            return
        try:
            self._file = os.memfd_create("types")
            self._ready, ready = os.pipe()
            self._pid = os.fork()
        except OSError:
            return
        if self._pid:
            os.close(ready)
            self._at = 0
            return
        status = 1
        try:
            kinds = _kinds(btf)
            self._send(ready, _packed((kinds.offsets, *kinds.by_kind)))
            steps: list[int] = []
            for some in _steps(kinds, sort_by):
                steps += some
            self._send(ready, _packed((steps,)))
            status = 0
        finally:
            os._exit(status)

    def _send(self, ready: int, data: bytes) -> None:
        # Not through the pipe itself, which would wait for a reader that has other work.
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        os.write(ready, len(data).to_bytes(8, "little"))

    def _receive(self) -> list[list[int]] | None:
        if not self._pid:
            return None
        length = int.from_bytes(os.read(self._ready, 8), "little")
        if not length:
            return None
        data = os.pread(self._file, length, self._at)
        self._at += length
        return _unpacked(data)

    def kinds(self) -> Kinds | None:
        """As :func:`_kinds` has them."""
        found = self._receive()
        if found is None:
            return None
        offsets, *by_kind = found
        return Kinds(self._btf.words, offsets, by_kind)

    def steps(self) -> Iterator[list[int]] | None:
        """The steps; to be asked for once, and last."""
        received = self._receive()
        if self._pid:
            os.waitpid(self._pid, 0)
            os.close(self._file)
            os.close(self._ready)
        if received is None:
            return None
        (steps,) = received
        return (steps[at : at + _PART] for at in range(0, len(steps), _PART))


def _packed(lists: Sequence[Sequence[int]]) -> bytes:
    """Lists of 32-bit numbers as bytes: the lengths, then the numbers."""
    from array import array

    return b"".join(
        (
            len(lists).to_bytes(4, sys.byteorder),
            array("I", map(len, lists)).tobytes(),
            *[array("I", numbers).tobytes() for numbers in lists],
        )
    )


def _unpacked(data: bytes) -> list[list[int]]:
    words = memoryview(data).cast("I")
    count = words[0]
    lists = []
    at = 1 + count
    for length in words[1 : 1 + count]:
        lists.append(words[at : at + length].tolist())
        at += length
    return lists


def _roots(btf: Btf, roots: Sequence[int]) -> str:
    # Few types are needed as a rule, and those before the roots and soon after
    # them; the rest of the type section is read only if a type is found missing.
    limit = max(roots) + 4096
    while True:
        is_all = btf.base is not None or not btf.scan_to(limit)
        if is_all:
            btf.own_offsets()
            _check_kinds(btf)
        words = btf.words
        offsets = btf.scanned_offsets()
        if btf.base is not None:
            words, offsets = _joined(btf)
        offsets = [0, *offsets]
        try:
            order = Order(words, offsets, lambda: _kinds(btf))
            for root in roots:
                order.add(root)
            return Texts(btf, words, offsets, btf.names).of(order.steps)
        except IndexError:
            if is_all:
                raise FormatError("the BTF refers to a type that it does not have") from None
            limit *= 4


def blocks(btf: Btf, roots: Sequence[int] = (), is_sorted: bool = True) -> Iterator[str]:
    """The C text of all types, or of ``roots`` and what they need, piece by piece."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 20000))
    try:
        if roots:
            yield _HEAD + _roots(btf, roots) + _TAIL
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
    sys.setrecursionlimit(max(limit, 20000))
    try:
        return _roots(btf, [type_id])
    except RecursionError:
        raise FormatError("the BTF's types are nested too deeply") from None
    finally:
        sys.setrecursionlimit(limit)
