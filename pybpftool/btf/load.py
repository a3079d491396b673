"""Opening BTF: files, ELF files, objects in a kernel.

The only module of :mod:`pybpftool.btf` that knows files, kernels and ELF.
"""

from __future__ import annotations

import posix
import struct

from pybpftool.btf.section import HEADER_BYTES, HEADER_MIN
from pybpftool.btf.table import Btf
from pybpftool.errors import BpfError, FormatError
from pybpftool.uapi.btf import MAGIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from mmap import mmap
    from typing import Protocol

    from pybpftool.kernel.interface import Kernel

    class BtfSource(Protocol):
        """The part of the kernel interface that BTF needs."""

        @property
        def is_live(self) -> bool:
            """Whether it is the running kernel."""
            ...

        def btf_data(self, btf_id: int, /) -> bytes:
            """The raw BTF of one object (BPF_OBJ_GET_INFO_BY_FD)."""
            ...

        def file(self, path: str, /) -> bytes:
            """The content of a file of /sys."""
            ...


VMLINUX = "/sys/kernel/btf/vmlinux"
SYSFS = "/sys/kernel/btf/"

# BTF above this size that has not come from the kernel is still read as a whole;
# a file claiming more is refused rather than pulled into memory.
_MAX_FILE = 1 << 30
_EM_NONE, _EM_BPF = 0, 247
_SECTIONS = (".BTF", ".BTF.base")


def from_file(path: str, base: Btf | None = None) -> Btf:
    """Read a file of raw BTF, or an ELF file's ``.BTF`` section.

    An ELF file's own ``.BTF.base`` comes before ``base``; with both, the
    types are moved onto ``base``. Raises :class:`FormatError` or
    :class:`BpfError`.
    """
    data = _read(path)
    if data[:4] == b"\x7fELF":
        btf = _from_elf(path, base)
        machine = int.from_bytes(data[18:20], "big" if data[5:6] == b"\2" else "little")
        btf.is_of_machine = machine not in (_EM_NONE, _EM_BPF)
        return btf
    try:
        return Btf(data, base, path == VMLINUX)
    except FormatError as error:
        raise FormatError(f"cannot read BTF from '{path}': {error}") from None


def stacked(paths: Sequence[str], read: Callable[[str, Btf | None], Btf] = from_file) -> Btf:
    """Read files as :func:`from_file`, split BTF on top of the file before it; the last one.

    A file that stands alone takes the place of those before it. ``read`` reads one: a
    recorded kernel has files of its own in /sys.
    """
    btf = read(paths[0], None)
    for path in paths[1:]:
        try:
            btf = read(path, None)
        except FormatError:  # as a rule for want of its base
            btf = read(path, btf)
    return btf


def _from_elf(path: str, base: Btf | None) -> Btf:
    from pybpftool.elf.sections import read_sections

    pointer_size, found = read_sections(path, _SECTIONS)
    data = found.get(".BTF")
    if data is None:
        raise FormatError(f"'{path}' has no .BTF section")
    try:
        if ".BTF.base" in found:
            own_base = Btf.from_bytes(found[".BTF.base"])
            btf = Btf.from_bytes(data, own_base)
            if base is not None:
                from pybpftool.btf.relocate import relocate

                btf = relocate(btf, own_base, base)
        else:
            btf = Btf.from_bytes(data, base)
    except FormatError as error:
        raise FormatError(f"cannot read BTF from '{path}': {error}") from None
    btf.pointer_size = pointer_size
    return btf


def from_id(btf_id: int, kernel: BtfSource, base: Btf | None = None) -> Btf:
    """BTF object ``btf_id`` of a kernel; a module's gets vmlinux as its base.

    With a ``base`` that it was not made for it raises :class:`FormatError`, where its
    names and types lead out of both.
    """
    data = kernel.btf_data(btf_id)
    if base is not None:
        try:
            return Btf.from_bytes(data, base)
        except FormatError as error:
            raise FormatError(f"BTF object {btf_id} does not fit its base: {error}") from None
    if _is_split(data):
        base = vmlinux(kernel)
    return Btf(data, base, True)


def from_kernel_file(path: str, kernel: Kernel, base: Btf | None = None) -> Btf:
    """The BTF that a recorded kernel has at a path below :data:`SYSFS`.

    For a module, that of the object with its name; raises :class:`BpfError` where none
    was recorded.
    """
    if path == VMLINUX:
        return vmlinux(kernel)
    name = path[len(SYSFS) :]
    for obj in kernel.objects("btf"):
        if kernel.btf_name(obj.id) == name:
            return from_id(obj.id, kernel, base)
    raise BpfError(f"the recorded kernel has no BTF '{path}'")


def modules(kernel: Kernel) -> Iterator[Btf]:
    """The BTF of each module of a kernel, running or recorded."""
    import os

    if not kernel.is_live:
        for obj in kernel.objects("btf"):
            if kernel.btf_name(obj.id) not in ("", "vmlinux"):
                yield from_id(obj.id, kernel)
        return
    # Files here need no capability, unlike the kernel's list of BTF objects.
    try:
        names = sorted(os.listdir(SYSFS))
    except OSError:
        return
    for name in names:
        path = SYSFS + name
        if path == VMLINUX:
            continue
        try:
            yield from_file(path, vmlinux(kernel))
        except BpfError:
            if os.path.exists(path):
                raise
            # The module is gone meanwhile.


def _is_split(data: bytes) -> bool:
    """Whether raw BTF looks as if it continued another (its strings do not start empty)."""
    if len(data) < HEADER_MIN:
        return False
    order = "<" if int.from_bytes(data[:2], "little") == MAGIC else ">"
    header_len, _, _, str_off, str_len = struct.unpack_from(f"{order}5I", data, 4)
    return str_len == 0 or data[header_len + str_off : header_len + str_off + 1] != b"\0"


def _read(path: str) -> bytes | mmap:
    """A file's contents; refuses what is not a regular file or too large."""
    from pybpftool.reading import is_regular, read_all

    try:
        # Without O_NONBLOCK a FIFO would wait for a writer.
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "impossible name"
        raise BpfError(f"cannot open '{path}': {reason}") from None
    try:
        if not is_regular(descriptor):
            raise BpfError(f"cannot read BTF from '{path}': not a regular file")
        status = posix.fstat(descriptor)
        if status.st_size > _MAX_FILE:
            head = posix.pread(descriptor, HEADER_BYTES, 0)
            if head[:4] == b"\x7fELF":
                return head
            raise BpfError(f"cannot read BTF from '{path}': the file has more than 1 GiB")
        if path == VMLINUX:
            mapped = _map(descriptor, status.st_size)
            if mapped is not None:
                return mapped
        return read_all(descriptor)
    except OSError as error:
        raise BpfError(f"cannot read '{path}': {error.strerror}") from None
    finally:
        posix.close(descriptor)


def _map(descriptor: int, size: int) -> mmap | None:
    # Reading sysfs goes page by page; kernels since 6.16 can map the file.
    from mmap import MAP_PRIVATE, PROT_READ, mmap

    try:
        return mmap(descriptor, size, flags=MAP_PRIVATE, prot=PROT_READ)
    except (OSError, ValueError):
        return None


_vmlinux: Btf | None = None


def vmlinux(kernel: BtfSource | None = None) -> Btf:
    """The BTF of the running kernel, opened once, or of a recorded one."""
    global _vmlinux
    if kernel is not None and not kernel.is_live:
        return Btf.from_bytes(kernel.file(VMLINUX))
    if _vmlinux is None:
        _vmlinux = from_file(VMLINUX)
    return _vmlinux
