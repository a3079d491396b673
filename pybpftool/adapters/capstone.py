"""Machine code to text, by capstone.

capstone's Python class makes an object per instruction, which costs ten times what
the decoding does. Its C library fills an array of ``cs_insn`` instead; here that
array is copied as one block and its columns are read in bulk. Importing the package
also costs more than loading the library, so on x86-64, where the constants are
known, only the library is opened.
"""

from __future__ import annotations

import posix
import sys

from pybpftool.adapters import missing
from pybpftool.cdata import (
    Library,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_size_t,
    c_uint,
    c_ulonglong,
    c_void_p,
    sizeof,
)
from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SYNTAXES = ("att", "intel")
"""The two spellings of x86 code."""

# Instructions per call: the array stays in the processor's cache.
_BATCH = 1024

_MODE_32 = 4
_MODE_64 = 8
_X86 = {"x86_64": _MODE_64, **dict.fromkeys(("i386", "i486", "i586", "i686"), _MODE_32)}

# Numbers of capstone 5; others have the values of their package.
_CONSTANTS_5 = {
    "CS_ARCH_X86": 3,
    "CS_OPT_SYNTAX": 1,
    "CS_OPT_SYNTAX_INTEL": 1,
    "CS_OPT_SYNTAX_ATT": 2,
    "CS_OPT_SKIPDATA": 5,
    "CS_OPT_ON": 3,
}

# uname -m -> names of the architecture in capstone (newer ones first), of the mode's parts
_OTHERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "aarch64": (("AARCH64", "ARM64"), ()),
    "aarch64_be": (("AARCH64", "ARM64"), ()),
    "arm": (("ARM",), ("ARM",)),
    "riscv64": (("RISCV",), ("RISCV64", "RISCVC|RISCV_C")),
    "riscv32": (("RISCV",), ("RISCV32", "RISCVC|RISCV_C")),
    "s390x": (("SYSTEMZ", "SYSZ"), ()),
    "ppc64": (("PPC",), ("64",)),
    "ppc64le": (("PPC",), ("64",)),
    "ppc": (("PPC",), ("32",)),
    "mips64": (("MIPS",), ("MIPS64",)),
    "mips": (("MIPS",), ("MIPS32",)),
    "sparc64": (("SPARC",), ("V9",)),
    "loongarch64": (("LOONGARCH",), ("LOONGARCH64",)),
    "loongarch32": (("LOONGARCH",), ("LOONGARCH32",)),
}
# Whose instructions begin with their lowest byte, whatever the order of data: A64 and BE8.
_LITTLE_CODE = ("aarch64", "armv6", "armv7")


class _Layout:
    """Where ``struct cs_insn`` keeps its fields."""

    __slots__ = ("mnemonic", "op_str", "size", "stride")

    def __init__(self, stride: int, size: int, mnemonic: int, op_str: int) -> None:
        self.stride = stride
        self.size = size
        self.mnemonic = mnemonic
        self.op_str = op_str


# capstone 5 on 64-bit machines: id, address, size, bytes[24], mnemonic[32], op_str[160].
_LAYOUT_5 = _Layout(248, 16, 42, 74)


class Block:
    """Some consecutive instructions.

    ``sizes`` holds the bytes of each. Bytes that are not an instruction come as ``.byte``
    with their values as operands. A block is valid until the next one is asked for: it
    is capstone's own array.
    """

    __slots__ = ("_address", "_layout", "sizes")

    def __init__(self, address: int, count: int, layout: _Layout) -> None:
        self._address = address
        self._layout = layout
        array = (c_char * (count * layout.stride)).from_address(address)
        halves = memoryview(array).cast("B").cast("H")
        self.sizes: list[int] = halves[layout.size // 2 :: layout.stride // 2].tolist()

    def mnemonic(self, index: int) -> str:
        """The mnemonic of one instruction, with its prefixes."""
        layout = self._layout
        text = c_char_p(self._address + index * layout.stride + layout.mnemonic).value
        return (text or b"").decode("ascii", "replace")

    def operands(self, index: int) -> str:
        """The operands of one instruction, separated by commas and blanks."""
        layout = self._layout
        text = c_char_p(self._address + index * layout.stride + layout.op_str).value
        return (text or b"").decode("ascii", "replace")


class _Data(Block):
    """Bytes at the end of an image that are too few for an instruction."""

    __slots__ = ("_bytes",)

    def __init__(self, data: bytes) -> None:
        self._bytes = [data[at : at + 16] for at in range(0, len(data), 16)]
        self.sizes = list(map(len, self._bytes))

    def mnemonic(self, index: int) -> str:
        return ".byte"

    def operands(self, index: int) -> str:
        return ", ".join(f"0x{byte:02x}" for byte in self._bytes[index])


class Disassembler:
    """A disassembler for one architecture.

    :param machine: a kernel's ``uname -m``.
    :param byteorder: ``"<"`` or ``">"``, that of the kernel.
    :param syntax: one of :data:`SYNTAXES`; only x86 has a choice.

    ``is_relative`` says that jumps have their distance as operand, not the address.

    Raises BpfError where capstone is missing or lacks the architecture.
    """

    __slots__ = ("_close", "_disasm", "_free", "_handle", "_layout", "is_relative")

    def __init__(self, machine: str, byteorder: str = "<", syntax: str = "att") -> None:
        self.is_relative = False
        library = _bundled_library() if machine in _X86 else None
        if library is not None:
            self._layout = _LAYOUT_5
            constants = _CONSTANTS_5
            arch, mode = constants["CS_ARCH_X86"], _X86[machine]
        else:
            package = _package()
            library = Library("capstone", package._cs._handle)
            constants = vars(package)
            self.is_relative = machine.startswith("riscv") and package.cs_version()[0] < 6
            fields = package._cs_insn
            self._layout = _Layout(
                sizeof(fields),
                fields.size.offset,
                fields.mnemonic.offset,
                fields.op_str.offset,
            )
            arch, mode = _architecture(package, machine, byteorder)
        handle = c_size_t()
        start = library.function("cs_open")
        start.argtypes = (c_int, c_uint, c_void_p)
        if start(arch, mode, byref(handle)):
            raise BpfError(f"this capstone cannot disassemble the machine code of {machine}")
        self._close = library.function("cs_close")
        self._close.argtypes = (c_void_p,)
        self._handle = handle
        self._disasm = library.function("cs_disasm")
        self._disasm.argtypes = (c_size_t, c_void_p, c_size_t, c_ulonglong, c_size_t, c_void_p)
        self._disasm.restype = c_size_t
        self._free = library.function("cs_free")
        self._free.argtypes = (c_void_p, c_size_t)
        self._free.restype = None
        option = library.function("cs_option")
        option.argtypes = (c_size_t, c_int, c_size_t)
        option(handle, constants["CS_OPT_SKIPDATA"], constants["CS_OPT_ON"])
        if machine in _X86:
            value = constants[f"CS_OPT_SYNTAX_{syntax.upper()}"]
            option(handle, constants["CS_OPT_SYNTAX"], value)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self._close(byref(self._handle))

    def blocks(self, image: bytes, address: int) -> Iterator[Block]:
        """The instructions of ``image``, which lies at ``address``, in their order."""
        buffer = c_char_p(image)
        base = c_void_p.from_buffer(buffer).value or 0
        array = c_void_p()
        at = 0
        length = len(image)
        while at < length:
            start = address + at & 0xFFFFFFFFFFFFFFFF
            count = self._disasm(self._handle, base + at, length - at, start, _BATCH, byref(array))
            if not count:
                yield _Data(image[at:])
                return
            try:
                block = Block(array.value or 0, count, self._layout)
                at += sum(block.sizes)
                yield block
            finally:
                self._free(array, count)


def _bundled_library() -> Library | None:
    """The library in the capstone package if its layout is known, without importing the package."""
    if sys.maxsize < 1 << 32 or b"LIBCAPSTONE_PATH" in posix.environ:
        return None
    # As importlib.util.find_spec() finds it, which takes longer.
    finders = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
    specs = (finder.find_spec("capstone", None) for finder in finders)
    spec = next(filter(None, specs), None)
    for place in (spec and spec.submodule_search_locations) or ():
        try:
            library = Library(f"{place}/lib/libcapstone.so")
            version = library.function("cs_version")
        except (OSError, AttributeError):
            continue
        version.argtypes = (c_void_p, c_void_p)
        if version(None, None) >> 8 == 5:
            return library
    return None


def _package() -> Any:
    try:
        import capstone
    except (ImportError, OSError) as error:  # a library for other processors
        raise missing("disassembling machine code", "capstone", error) from None
    return capstone


def _architecture(package: Any, machine: str, byteorder: str) -> tuple[int, int]:
    """capstone's numbers for an architecture and its mode."""
    if machine in _X86:
        return package.CS_ARCH_X86, _X86[machine]
    key = "arm" if machine.startswith("armv") else machine
    if key not in _OTHERS:
        raise BpfError(f"there is no disassembler for the machine code of {machine}")
    archs, modes = _OTHERS[key]
    found = [
        getattr(package, f"CS_ARCH_{name}") for name in archs if hasattr(package, f"CS_ARCH_{name}")
    ]
    if not found:
        version = ".".join(map(str, package.cs_version()[:2]))
        raise BpfError(
            f"capstone {version} cannot disassemble the machine code of {machine}; a newer one may"
        )
    is_big = byteorder == ">" and not machine.startswith(_LITTLE_CODE)
    mode = package.CS_MODE_BIG_ENDIAN if is_big else 0
    for names in modes:
        for name in names.split("|"):
            if hasattr(package, f"CS_MODE_{name}"):
                mode |= getattr(package, f"CS_MODE_{name}")
                break
    return found[0], mode & 0xFFFFFFFF
