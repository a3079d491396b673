"""bpf(2) and the few other system calls that Python lacks."""

from __future__ import annotations

import posix
import sys
from struct import Struct

from pybpftool.cdata import (
    addressof,
    c_char,
    c_char_p,
    c_function,
    c_int,
    c_long,
    c_size_t,
    c_uint,
    c_ulong,
    c_void_p,
    get_errno,
    held_function,
)
from pybpftool.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# __NR_bpf, _kcmp, _add_key, _perf_event_open, _pidfd_getfd of asm/unistd.h; machines whose
# `uname -m` begins so, for x86, ARM and MIPS those that abi() tells apart. The rest have the
# generic table.
_NUMBERS = {
    "x86_64": (321, 312, 248, 298, 438),
    "i386": (357, 349, 286, 336, 438),
    "arm": (386, 378, 309, 364, 438),
    "ppc": (361, 354, 269, 319, 438),
    "s390": (351, 343, 278, 331, 438),
    "mips": (4355, 4347, 4280, 4333, 4438),
    "mips64": (5315, 5306, 5239, 5292, 5438),
    "sparc": (349, 341, 281, 327, 438),
    "parisc": (341, 332, 264, 318, 438),
    "alpha": (515, 506, 439, 493, 548),
    "m68k": (354, 347, 279, 332, 438),
    "sh": (375, 367, 285, 336, 438),
    "microblaze": (387, 379, 286, 366, 438),
    "xtensa": (340, 331, 256, 327, 438),
}
_GENERIC = 280, 272, 217, 241, 438


def abi(machine: str, is_64bit: bool) -> str:
    """The architecture whose numbers a program's system calls, ioctls and options have.

    ``uname -m`` alone does not tell: 64-bit kernels run 32-bit programs, and setarch(8)
    has them tell 32-bit names to 64-bit ones. x32 and n32, which no distribution uses for
    all of its programs, are not told from i386 and mips.
    """
    if machine == "x86_64" or machine.endswith("86"):
        return "x86_64" if is_64bit else "i386"
    if machine.startswith(("aarch64", "arm")):
        return "aarch64" if is_64bit else "arm"
    if machine.startswith("mips"):
        return "mips64" if is_64bit else "mips"
    return next(filter(machine.startswith, _NUMBERS), machine)


# What 64-bit kernels tell under setarch(8): COMPAT_UTS_MACHINE of asm/compat.h.
_COMPAT = ("i686", "armv8l", "armv8b", "ppc", "ppcle", "s390", "mips", "sparc", "parisc")


def kernel_machine(told: str) -> str:
    """The kernel's own ``uname -m``, of which a task under setarch(8) is told another one.

    /proc/sys/kernel/arch (v6.1, bfca3dd3d068) has it for all tasks; older kernels are believed.
    """
    if told in _COMPAT:
        try:
            with open("/proc/sys/kernel/arch") as file:
                return file.read().strip() or told
        except OSError:
            pass
    return told


ABI = abi(posix.uname().machine, sys.maxsize > 1 << 32)
"""Our own."""
_nr_bpf, _nr_kcmp, _nr_add_key, _nr_perf_event_open, _nr_pidfd_getfd = _NUMBERS.get(ABI, _GENERIC)
_PERF_FLAG_FD_CLOEXEC = 1 << 3
KCMP_FILES = 2
_SHORT_STATFS = "s390", "alpha"
ELEM_ATTR = Struct("=IxxxxQQQ")
"""``union bpf_attr`` of commands on a map's elements: map_fd, key, value or next_key, flags."""
INFO_ATTR = Struct("=IIQ")
"""The same of BPF_OBJ_GET_INFO_BY_FD: bpf_fd, info_len, info."""
PATH_ATTR = Struct("=QII")
"""The same of BPF_OBJ_PIN and BPF_OBJ_GET: pathname, bpf_fd, file_flags."""
PATH_MAX = 4096
"""Bytes of a path with its zero (include/uapi/linux/limits.h)."""
F_SLEEPABLE = 1 << 4
"""BPF_F_SLEEPABLE of BPF_PROG_LOAD."""

_bpf = c_function("syscall")
_bpf.argtypes = (c_long, c_int, c_void_p, c_uint)
_bpf.restype = c_long

_FREAD_BLOCK = 1 << 24

ENOTSUPP = 524
"""An error of the kernel alone (include/linux/errno.h): strerror(3) has no text for it."""


class Buffer:
    """Memory with a fixed address that the kernel reads and writes.

    ``data`` is a bytearray that must keep its size.
    """

    __slots__ = ("_pin", "address", "data")

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)
        # Its first byte alone: an array type of ctypes for each size takes longer than the call.
        self._pin = c_char.from_buffer(self.data if size else bytearray(1))
        self.address = addressof(self._pin)

    def number(self, offset: int) -> c_uint:
        """The 32-bit number at an offset; its ``value`` reads and writes the buffer."""
        return c_uint.from_buffer(self.data, offset)

    @classmethod
    def of(cls, content: bytes) -> Buffer:
        """A buffer that holds ``content``."""
        buffer = cls(len(content))
        buffer.data[:] = content
        return buffer


def path_bytes(path: str) -> bytes:
    """A path as the kernel takes it (:func:`os.fsencode`, without the module os)."""
    return posix.fspath(path).encode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def path_text(path: bytes) -> str:
    """The text of a path that the kernel tells (:func:`os.fsdecode`)."""
    return path.decode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def bpf(cmd: int, attr: int, size: int) -> int:
    """bpf(cmd, attr, size) with ``attr`` an address; the result, or ``-errno``.

    Interrupted calls, and EAGAIN as libbpf retries it for program loading, are not
    hidden: callers that need it repeat the call.
    """
    result: int = _bpf(_nr_bpf, cmd, attr, size)
    if result < 0:
        return -get_errno()
    return result


def repeated_call(cmd: int, attr: int, size: int) -> tuple[Callable[..., int], tuple[object, ...]]:
    """A function and its arguments for a bpf(2) call that is made thousands of times.

    ``function(*arguments)`` costs half of :func:`bpf`: no argument is converted, errno
    is not kept (the result is -1 then) and the interpreter's lock is held.
    """
    # A function object of its own: without argtypes ctypes takes ready-made arguments as they are.
    function = held_function("syscall")
    function.restype = c_int
    arguments = (
        c_long(_nr_bpf),
        c_int(cmd),
        c_void_p(attr),
        c_uint(size),
    )
    return function, arguments


def pidfd_getfd(pidfd: int) -> Callable[[int], int]:
    """A function that copies file descriptors of another process (pidfd_getfd(2)).

    It takes a descriptor's number there and returns the copy's, negative when refused.
    """
    function = held_function("syscall")
    function.restype = c_int
    number = c_int()
    arguments = (c_long(_nr_pidfd_getfd), c_int(pidfd), number, c_uint(0))

    def copy(wanted: int) -> int:
        number.value = wanted
        return function(*arguments)  # type: ignore[no-any-return]  # ctypes says nothing

    return copy


def errno_field() -> c_int | None:
    """The calling thread's errno, None where the C library hides it.

    Valid right after a call of :func:`repeated_call` that returned -1.
    """
    try:
        location = held_function("__errno_location")
    except AttributeError:
        return None
    location.restype = c_void_p
    return c_int.from_address(location())


def checked(what: str, result: int) -> int:
    """``result`` unless it is an error; then raise KernelError("what: reason")."""
    if result < 0:
        raise KernelError.of(what, -result)
    return result


def same_files(pid: int, tid: int) -> bool:
    """Whether two threads share their table of file descriptors (kcmp(2)).

    True also where the kernel cannot tell, so that a thread is not looked at twice.
    """
    kcmp = c_function("syscall")
    kcmp.restype = c_long
    result: int = kcmp(
        c_long(_nr_kcmp),
        c_int(pid),
        c_int(tid),
        c_int(KCMP_FILES),
        c_ulong(0),
        c_ulong(0),
    )
    return result <= 0


def perf_event_open(attr: Buffer, pid: int, cpu: int, leader: int = -1) -> int:
    """A descriptor of an event that ``struct perf_event_attr`` describes, or ``-errno``.

    :param pid: the task that is measured, -1 for all.
    :param cpu: where it is measured, -1 for everywhere.
    :param leader: an event whose group it joins, to be counted at the same times.
    """
    function = c_function("syscall")
    function.restype = c_long
    fd: int = function(
        c_long(_nr_perf_event_open),
        c_void_p(attr.address),
        c_int(pid),
        c_int(cpu),
        c_int(leader),
        c_ulong(_PERF_FLAG_FD_CLOEXEC),
    )
    return -get_errno() if fd < 0 else fd


def ptrace(request: int, pid: int, address: int, data: int) -> int:
    """ptrace(2); its result, or ``-errno``."""
    function = c_function("ptrace")
    function.restype = c_long
    result: int = function(c_long(request), c_int(pid), c_void_p(address), c_void_p(data))
    return -get_errno() if result < 0 else result


def getsockopt(fd: int, level: int, option: int, buffer: Buffer | None, length: int) -> int:
    """getsockopt(2) with a length of its own meaning; the length it gives back, or ``-errno``."""
    size = c_uint(length)
    address = c_void_p(None if buffer is None else buffer.address)
    numbers = [c_int(number) for number in (fd, level, option)]
    if c_function("getsockopt")(*numbers, address, c_void_p(addressof(size))):
        return -get_errno()
    return size.value


def socket_name(fd: int) -> bytes:
    """getsockname(2): the address of a socket as the kernel gives it; empty where it refuses."""
    address, size = Buffer(128), c_uint(128)  # struct sockaddr_storage
    pointers = c_void_p(address.address), c_void_p(addressof(size))
    return b"" if c_function("getsockname")(c_int(fd), *pointers) else bytes(address.data)


def add_key(kind: str, description: str, payload: bytes, keyring: int) -> int:
    """Add a key to a keyring (add_key(2)); its serial number, or ``-errno``."""
    function = c_function("syscall")
    function.restype = c_long
    serial: int = function(
        c_long(_nr_add_key),
        c_char_p(kind.encode()),
        c_char_p(path_bytes(description)),
        c_char_p(payload),
        c_size_t(len(payload)),
        c_int(keyring),
    )
    return -get_errno() if serial < 0 else serial


def if_indextoname(index: int) -> str | None:
    """The name of a network device in this namespace (if_indextoname(3))."""
    name = (c_char * 16)()
    function = c_function("if_indextoname")
    function.argtypes = (c_uint, c_char_p)
    function.restype = c_char_p
    if function(index, name) is None:
        return None
    return name.value.decode("utf-8", "surrogateescape")


# include/uapi/linux/capability.h
_CAPABILITY_HEADER = 0x20080522.to_bytes(4, sys.byteorder) + bytes(4)  # version 3, our own
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _CAP_SYS_PTRACE = 1, 2, 19
_CAP_SYS_ADMIN, _CAP_SYSLOG, _CAP_PERFMON, CAP_BPF = 21, 34, 38, 39
_PR_CAPBSET_READ = 23


def effective_capabilities() -> int:
    """The capabilities of this process that count, a bit each (capget(2)). Raises KernelError."""
    header, data = Buffer.of(_CAPABILITY_HEADER), Buffer(24)
    if c_function("capget")(c_void_p(header.address), c_void_p(data.address)):
        raise KernelError.of("cannot read our capabilities", get_errno())
    return data.number(0).value | data.number(12).value << 32


def may_trace() -> bool:
    """Whether we may load programs that trace; CAP_SYS_ADMIN was all of it before v5.8."""
    ours = effective_capabilities()
    return bool(ours >> _CAP_SYS_ADMIN & 1 or (ours >> CAP_BPF & ours >> _CAP_PERFMON & 1))


def may_see_addresses() -> bool:
    """Whether addresses of the kernel are shown to us, unless to nobody (kernel.kptr_restrict)."""
    return bool(effective_capabilities() >> _CAP_SYSLOG & 1)


def may_look_into_processes() -> bool:
    """Whether we may look at the descriptors of other users' processes (fs/proc/fd.c)."""
    ours = effective_capabilities()
    reads_all = ours >> _CAP_DAC_OVERRIDE & 1 or ours >> _CAP_DAC_READ_SEARCH & 1
    return bool(ours >> _CAP_SYS_PTRACE & 1 and reads_all)


def set_effective_capabilities(mask: int) -> None:
    """Let only these of our permitted capabilities count (capset(2)). Raises KernelError."""
    header, data = Buffer.of(_CAPABILITY_HEADER), Buffer(24)
    pointers = c_void_p(header.address), c_void_p(data.address)
    if c_function("capget")(*pointers) == 0:
        data.number(0).value = mask & 0xFFFFFFFF
        data.number(12).value = mask >> 32
        if c_function("capset")(*pointers) == 0:
            return
    raise KernelError.of("cannot give up our capabilities", get_errno())


def knows_capability(number: int) -> bool:
    """Whether the running kernel has a capability of this number (prctl(2))."""
    result: int = c_function("prctl")(
        c_int(_PR_CAPBSET_READ), *(c_ulong(n) for n in (number, 0, 0, 0))
    )
    return result >= 0


def setns(fd: int, kind: int) -> int:
    """Enter the namespace behind a file descriptor (setns(2)); 0, or ``-errno``."""
    if c_function("setns")(c_int(fd), c_int(kind)):
        return -get_errno()
    return 0


def file_system_type(path: str) -> int | None:
    """The magic number of the file system that a path lies in (statfs(2): ``f_type``)."""
    try:
        name = path_bytes(path)
    except ValueError:
        return None
    buffer = Buffer(512)
    function = c_function("statfs")
    function.argtypes = (c_char_p, c_void_p)
    if function(name, buffer.address):
        return None
    # struct statfs begins with a long, but for two 64-bit architectures (asm/statfs.h).
    kind = c_uint if ABI in _SHORT_STATFS else c_ulong
    return int(kind.from_buffer(buffer.data).value) & 0xFFFFFFFF


def read_unlocked(path: str) -> bytes:
    """The content of a file of /proc, read without the interpreter's lock.

    Such files come a page at a time: a large one takes a thousand system calls, and after
    each of them a reading thread would have to wait for the lock, up to 5 ms, while another
    thread computes. One call of fread(3) makes all of them by itself. Raises KernelError.
    """
    fopen, fread, ferror, fclose = (
        c_function(name) for name in ("fopen", "fread", "ferror", "fclose")
    )
    fopen.argtypes = (c_char_p, c_char_p)
    fopen.restype = c_void_p
    fread.argtypes = (c_void_p, c_size_t, c_size_t, c_void_p)
    fread.restype = c_size_t
    ferror.argtypes = fclose.argtypes = (c_void_p,)
    file = fopen(path_bytes(path), b"re")
    if not file:
        raise KernelError.of(f"cannot open {path}", get_errno())
    try:
        blocks = []
        while True:
            block = Buffer(_FREAD_BLOCK)
            count = fread(block.address, 1, _FREAD_BLOCK, file)
            blocks.append(bytes(memoryview(block.data)[:count]))
            if count < _FREAD_BLOCK:
                break
        if ferror(file):
            raise KernelError.of(f"cannot read {path}", get_errno())
        return b"".join(blocks)
    finally:
        fclose(file)
