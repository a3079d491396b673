"""What one kernel tells of its links: fields of ``struct bpf_link_info`` by name, and names."""

from __future__ import annotations

import struct
from errno import EPERM

from pybpftool.errors import FormatError, KernelError
from pybpftool.uapi.bpf import BPF_LINK_INFO, PROG_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.attach_target import AttachTargets
    from pybpftool.objects.links.functions import ProbedFunctions
    from pybpftool.objects.symbols import Place, Resolver

    # Fields of an arm: unpack, bytes needed, names, (name, offset, code) of each
    Layout = tuple[
        Callable[[bytes], tuple[Any, ...]],
        int,
        tuple[str, ...],
        tuple[tuple[str, int, str], ...],
    ]
    Json = dict[str, Any]

    class Target(Protocol):
        """What every class of :mod:`pybpftool.objects.links` can do."""

        def text(self) -> str:
            """The lines below the head of a link."""

        def json(self) -> Json:
            """The JSON properties behind those that all links have."""

    class TargetClass(Protocol):
        """A class of targets."""

        @classmethod
        def read(cls, source: LinkSource) -> Target | None:
            """The target of the link that ``source`` stands at."""


class Info(dict):  # type: ignore[type-arg]  # str to int, bytes or None
    """Fields by name. Those that the kernel's shorter struct lacks read as 0, ``get()`` as None."""

    __slots__ = ()

    def __missing__(self, name: str) -> int:
        return 0


def word(names: tuple[str, ...], number: int) -> str | int:
    """The name of a number, or the number itself where the table ends before it."""
    return names[number] if number < len(names) else number


class LinkSource:
    """The links of one kernel, one after the other; keeps what several of them share.

    ``resolve`` asks for names that upstream does not show: progs and places in files.
    """

    __slots__ = (
        "_details",
        "_functions",
        "_layouts",
        "_order",
        "_prog_types",
        "_resolver",
        "_targets",
        "info",
        "kernel",
        "obj",
        "prog_id",
        "type",
    )

    obj: BpfObject
    info: bytes
    prog_id: int
    type: int

    def __init__(self, kernel: Kernel, resolve: bool = False) -> None:
        self.kernel = kernel
        self._order = kernel.byteorder
        self._layouts: dict[str, Layout] = {}
        self._details: dict[str, bytes] = {}
        self._prog_types: dict[int, str | int] = {}
        self._functions: ProbedFunctions | None = None
        self._resolver: Resolver | None = None
        self._targets: AttachTargets | None = None
        if resolve:
            from pybpftool.objects.symbols import Resolver

            self._resolver = Resolver(kernel)

    def fields(self, arm: str) -> Info:
        """The fields of an arm of the link's info, named as in :data:`BPF_LINK_INFO`."""
        layout = self._layouts.get(arm)
        if layout is None:
            layout = self._layouts[arm] = self._layout(arm)
        unpack, size, names, rows = layout
        info = self.info
        if len(info) >= size:
            return Info(zip(names, unpack(info)))
        found = Info()
        for name, offset, code in rows:
            if offset + struct.calcsize("=" + code) <= len(info):
                found[name] = struct.unpack_from(self._order + code, info, offset)[0]
        return found

    def values(self, arm: str) -> tuple[int, ...]:
        """The fields of :meth:`fields` in their order, 0 for those that the info lacks.

        For kinds of links that a machine has thousands of.
        """
        layout = self._layouts.get(arm)
        if layout is not None and len(self.info) >= layout[1]:
            return layout[0](self.info)
        found = self.fields(arm)
        return tuple([found[row[0]] for row in BPF_LINK_INFO[arm]])

    def _layout(self, arm: str) -> Layout:
        rows = BPF_LINK_INFO[arm]
        codes, at = [self._order], 0
        for _, offset, code in rows:
            codes.append(f"{offset - at}x{code}")
            at = offset + struct.calcsize("=" + code)
        return struct.Struct("".join(codes)).unpack_from, at, tuple(row[0] for row in rows), rows

    def ask(self) -> None:
        """Make the second request, which fills what the info points to; it brings a new info."""
        details = self._details = self.kernel.link_details(self.obj)
        info = details.get("info")
        if not isinstance(info, bytes):
            raise FormatError(f"the details of link {self.obj.id} are not an answer to the request")
        self.info = info

    def string(self) -> str:
        """The name that the info points to."""
        return self._details.get("name", b"").decode("utf-8", "surrogateescape")

    def number(self, name: str) -> int | None:
        """One number of 64 bits, None if the details do not have it."""
        return self.numbers(name, 1)[0] if name in self._details else None

    def numbers(self, name: str, count: int, code: str = "Q") -> tuple[int, ...]:
        """An array of numbers of 64 bits, or of those that ``code`` stands for (struct module)."""
        data = self._details.get(name, b"")
        # Before the layout: a 32-bit Python makes none of as many numbers as may be claimed.
        if len(data) < struct.calcsize("=" + code) * count:
            raise FormatError(f"the details of a link have fewer {name} than they claim")
        return struct.unpack_from(f"{self._order}{count}{code}", data)

    def device(self, ifindex: int) -> str | None:
        """The name of a network device; None for one that is gone or in another namespace."""
        return self.kernel.ifindex_name(ifindex) if ifindex else None

    def prog_type(self, id: int) -> str | int | None:
        """The type of a program, as a number where it is newer than our tables.

        None where the kernel does not tell: ids may be opened with CAP_SYS_ADMIN alone.
        """
        found = self._prog_types.get(id)
        if found is None:
            try:
                prog = self.kernel.open("prog", id)
            except KernelError as error:
                if error.errno != EPERM:
                    raise
                return None
            self.kernel.close(prog)
            number = struct.unpack_from(self._order + "I", prog.info)[0]
            found = self._prog_types[id] = word(PROG_TYPES, number)
        return found

    def functions(self, addresses: Sequence[int]) -> dict[int, tuple[str, str]] | None:
        """address -> (function, module); None where the kernel hides addresses."""
        if self._functions is None:
            from pybpftool.objects.links.functions import ProbedFunctions

            self._functions = ProbedFunctions(self.kernel)
        return self._functions.find(addresses) if self._functions.is_known else None

    def btf_function(self, object_id: int, type_id: int) -> tuple[str | None, str]:
        """(name, module) of a function by its type in a BTF object; None where it has no name."""
        if self._targets is None:
            from pybpftool.objects.attach_target import AttachTargets

            self._targets = AttachTargets(self.kernel)
        name = self._targets.name(object_id, type_id)
        module = "" if name is None else self.kernel.btf_name(object_id) or ""
        return name, "" if module == "vmlinux" else module

    def place(self, path: str, offset: int) -> Place | None:
        """What stands at an offset of a file; None unless such names are asked for."""
        return None if self._resolver is None else self._resolver.place(path, offset)

    def prog_name(self, id: int) -> str | None:
        """The name of a program; None where it has none and unless such names are asked for."""
        if self._resolver is None or not id:
            return None
        return self._resolver.prog_name(id) or None
