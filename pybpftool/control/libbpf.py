"""The system's libbpf: the one module that calls it.

Every function is looked up when it is first called, for distributions ship libbpf 1.1 to 1.8;
one that the library at hand lacks is :class:`LibbpfError` with both versions. What the library
says goes to :class:`Messages` and never to stderr by itself.
"""

from __future__ import annotations

from pybpftool.cdata import (
    Library,
    Structure,
    addressof,
    byref,
    bytes_at,
    c_bool,
    c_char_p,
    c_function,
    c_int,
    c_size_t,
    c_uint,
    c_void_p,
    callback,
    get_errno,
    sizeof,
)
from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel.syscall import path_bytes, path_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

SONAME = "libbpf.so.1"

WARN, INFO, DEBUG = range(3)
"""Levels of what the library says (enum libbpf_print_level)."""

_Pointer = c_void_p
_Text = c_char_p
_int = c_int
_u32 = c_uint
# Function: the library's version that brought it, what it returns, what it takes.
_FUNCTIONS: dict[str, tuple[str, Any, tuple[Any, ...]]] = {
    "libbpf_major_version": ("0.6", _u32, ()),
    "libbpf_minor_version": ("0.6", _u32, ()),
    "libbpf_prog_type_by_name": ("0.0.3", _int, (_Text, _Pointer, _Pointer)),
    "libbpf_register_prog_handler": ("0.8", _int, (_Text, _int, _int, _Pointer)),
    "libbpf_set_print": ("0.0.1", _Pointer, (_Pointer,)),
    "bpf_object__open_file": ("0.0.5", _Pointer, (_Text, _Pointer)),
    "bpf_object__open_mem": ("0.0.6", _Pointer, (_Text, c_size_t, _Pointer)),
    "bpf_object__load": ("0.0.1", _int, (_Pointer,)),
    "bpf_object__close": ("0.0.1", None, (_Pointer,)),
    "bpf_object__gen_loader": ("0.5", _int, (_Pointer, _Pointer)),
    "bpf_object__next_program": ("0.7", _Pointer, (_Pointer, _Pointer)),
    "bpf_object__next_map": ("0.7", _Pointer, (_Pointer, _Pointer)),
    "bpf_program__name": ("0.0.8", _Text, (_Pointer,)),
    "bpf_program__section_name": ("0.2", _Text, (_Pointer,)),
    "bpf_program__type": ("0.0.5", _int, (_Pointer,)),
    "bpf_program__set_type": ("0.0.1", _int, (_Pointer, _int)),
    "bpf_program__set_expected_attach_type": ("0.0.1", _int, (_Pointer, _int)),
    "bpf_program__set_ifindex": ("0.0.1", None, (_Pointer, _u32)),
    "bpf_program__flags": ("0.6", _u32, (_Pointer,)),
    "bpf_program__set_flags": ("0.6", _int, (_Pointer, _u32)),
    "bpf_program__set_attach_target": ("0.0.7", _int, (_Pointer, _int, _Text)),
    "bpf_program__fd": ("0.0.1", _int, (_Pointer,)),
    "bpf_program__attach": ("0.0.4", _Pointer, (_Pointer,)),
    "bpf_program__attach_cgroup": ("0.0.8", _Pointer, (_Pointer, _int)),
    "bpf_program__attach_xdp": ("0.1", _Pointer, (_Pointer, _int)),
    "bpf_program__autoload": ("0.1", c_bool, (_Pointer,)),
    "bpf_program__set_autoload": ("0.1", _int, (_Pointer, c_bool)),
    "bpf_program__attach_iter": ("0.1", _Pointer, (_Pointer, _Pointer)),
    "bpf_map__name": ("0.0.1", _Text, (_Pointer,)),
    "bpf_map__type": ("0.8", _int, (_Pointer,)),
    "bpf_map__fd": ("0.0.1", _int, (_Pointer,)),
    "bpf_map__autocreate": ("0.8", c_bool, (_Pointer,)),
    "bpf_map__max_entries": ("0.8", _u32, (_Pointer,)),
    "bpf_map__set_max_entries": ("0.1", _int, (_Pointer, _u32)),
    "bpf_map__set_initial_value": ("0.0.6", _int, (_Pointer, _Text, c_size_t)),
    "bpf_map__set_autocreate": ("0.8", _int, (_Pointer, c_bool)),
    "bpf_map__initial_value": ("0.8", _Pointer, (_Pointer, _Pointer)),
    "bpf_map__pin_path": ("0.0.6", _Text, (_Pointer,)),
    "bpf_map__set_pin_path": ("0.0.6", _int, (_Pointer, _Text)),
    "bpf_map__is_pinned": ("0.0.6", c_bool, (_Pointer,)),
    "bpf_map__map_flags": ("0.8", _u32, (_Pointer,)),
    "bpf_map__set_map_flags": ("0.1", _int, (_Pointer, _u32)),
    "bpf_map__attach_struct_ops": ("0.0.7", _Pointer, (_Pointer,)),
    "bpf_map__set_ifindex": ("0.0.3", _int, (_Pointer, _u32)),
    "bpf_map__reuse_fd": ("0.0.1", _int, (_Pointer, _int)),
    "bpf_linker__new": ("0.4", _Pointer, (_Text, _Pointer)),
    "bpf_linker__add_file": ("0.4", _int, (_Pointer, _Text, _Pointer)),
    "bpf_linker__finalize": ("0.4", _int, (_Pointer,)),
    "bpf_linker__free": ("0.4", None, (_Pointer,)),
    "bpf_link__fd": ("0.0.7", _int, (_Pointer,)),
    "bpf_link__disconnect": ("0.0.7", None, (_Pointer,)),
    "bpf_link__destroy": ("0.0.4", _int, (_Pointer,)),
}


class LibbpfError(BpfError):
    """There is no libbpf here, or one that is too old."""


class _OpenOptions(Structure):
    """``struct bpf_object_open_opts`` as libbpf 1.1 has it; later ones are longer."""

    _fields_ = (
        ("sz", c_size_t),
        ("object_name", _Text),
        ("relaxed_maps", c_bool),
        ("pin_root_path", _Text),
        ("attach_prog_fd", _u32),  # a hole since libbpf 1.0
        ("kconfig", _Text),
        ("btf_custom_path", _Text),
        ("kernel_log_buf", _Pointer),
        ("kernel_log_size", c_size_t),
        ("kernel_log_level", _u32),
    )


class LoaderOptions(Structure):
    """``struct gen_loader_opts``: what becomes of a light loader; ``gen_hash`` since 1.7."""

    _fields_ = (
        ("sz", c_size_t),
        ("data", _Pointer),
        ("insns", _Pointer),
        ("data_sz", _u32),
        ("insns_sz", _u32),
        ("gen_hash", c_bool),
    )

    def made(self) -> tuple[bytes, bytes]:
        """The loader's instructions and data, while its object is open and loaded."""
        insns = bytes_at(self.insns, self.insns_sz)
        return insns, bytes_at(self.data, self.data_sz)


class _IterOptions(Structure):
    """``struct bpf_iter_attach_opts``."""

    _fields_ = (
        ("sz", c_size_t),
        ("link_info", _Pointer),
        ("link_info_len", _u32),
    )


class Messages:
    """What the library said, as (level, text); ``aloud`` hears each of them at once."""

    __slots__ = ("aloud", "said")

    def __init__(self, aloud: Callable[[str], None] | None = None) -> None:
        self.said: list[tuple[int, str]] = []
        self.aloud = aloud

    def add(self, level: int, text: str) -> None:
        """Keep one message."""
        self.said.append((level, text))
        if self.aloud is not None:
            self.aloud(text)

    def warnings(self) -> list[str]:
        """The warnings, without the library's name in front and the newline behind."""
        return [
            text.removeprefix("libbpf: ").rstrip("\n") for level, text in self.said if level == WARN
        ]


class Libbpf:
    """The loaded library. :func:`library` gives the one of this process."""

    __slots__ = ("_callback", "_dll", "_functions", "messages")

    def __init__(self, dll: Library) -> None:
        self._dll = dll
        self._functions: dict[str, Any] = {}
        self.messages = Messages()
        vasprintf, free = c_function("vasprintf"), c_function("free")
        vasprintf.argtypes = (_Pointer, _Pointer, _Pointer)
        free.argtypes = (_Pointer,)
        free.restype = None

        def hear(level: int, format: int, arguments: int) -> int:
            # A va_list reaches us as one pointer-sized word on all that have a JIT of BPF;
            # alpha's is a struct of two.
            text = _Pointer()
            size: int = vasprintf(byref(text), format, arguments)
            if size >= 0 and text.value:
                said = bytes_at(text.value, size).decode("utf-8", "surrogateescape")
                free(text)
                self.messages.add(level, said)
            return size

        # The library keeps its address.
        self._callback = callback(hear, _int, _Pointer, _Pointer)
        self.call("libbpf_set_print", self._callback)

    @property
    def version(self) -> str:
        """As ``1.1``."""
        return f"{self.call('libbpf_major_version')}.{self.call('libbpf_minor_version')}"

    @property
    def errno(self) -> int:
        """The error of the last call that returns a pointer."""
        return get_errno()

    def has(self, name: str) -> bool:
        """Whether the library at hand has a function of the table."""
        try:
            self._dll.address(name)
        except AttributeError:
            return False
        return True

    def require(self, version: str, what: str) -> None:
        """Raise LibbpfError unless the library is of this version or newer."""
        if as_numbers(self.version) < as_numbers(version):
            raise LibbpfError(
                f"{what} need libbpf {version} or newer, and libbpf {self.version} is installed"
            )

    def call(self, name: str, *arguments: object) -> Any:
        """Call a function of the table; its C result. errno is :attr:`errno`."""
        function = self._functions.get(name)
        if function is None:
            since, result, parameters = _FUNCTIONS[name]
            try:
                function = self._dll.function(name)
            except AttributeError:
                raise LibbpfError(
                    f"this needs libbpf {since} or newer, and libbpf {self.version} is installed"
                    f" (it has no {name})"
                ) from None
            function.restype = result
            function.argtypes = parameters
            self._functions[name] = function
        return function(*arguments)

    def checked(self, what: str, name: str, *arguments: object) -> int:
        """As :meth:`call` of a function that returns a number; a negative one is KernelError."""
        result: int = self.call(name, *arguments)
        if result < 0:
            raise KernelError.of(what, -result)
        return result

    def open_object(
        self,
        path: str,
        name: str | None,
        kernel_btf: str | None,
        relaxed_maps: bool,
        log_level: int,
        data: bytes | None = None,
    ) -> int | None:
        """Open an object file, or ``data`` as one; its handle, None with :attr:`errno` set."""
        options = _OpenOptions(
            sz=sizeof(_OpenOptions),
            object_name=None if name is None else path_bytes(name),
            relaxed_maps=relaxed_maps,
            btf_custom_path=None if kernel_btf is None else path_bytes(kernel_btf),
            kernel_log_level=log_level,
        )
        place = byref(options)
        handle: int | None
        if data is None:
            handle = self.call("bpf_object__open_file", path_bytes(path), place)
        else:
            handle = self.call("bpf_object__open_mem", data, len(data), place)
        return handle

    def generate_loader(self, obj: object, signed: bool) -> LoaderOptions:
        """Have loading an object make a light loader instead. Raises BpfError."""
        if signed:
            self.require("1.7", "light loaders that can be signed")
        size = sizeof(LoaderOptions) if signed else LoaderOptions.gen_hash.offset
        options = LoaderOptions(sz=size, gen_hash=signed)
        self.checked("cannot make a light loader", "bpf_object__gen_loader", obj, byref(options))
        return options

    def initial_value(self, map: int) -> bytes | None:
        """What a map of global variables holds at first."""
        size = c_size_t()
        data = self.call("bpf_map__initial_value", map, byref(size))
        return bytes_at(data, size.value) if data else None

    def attach_iterator(self, prog: int, map_fd: int | None) -> int | None:
        """Attach a program as an iterator, over a map's elements; the link's handle or None."""
        # union bpf_iter_link_info, which begins with map.map_fd.
        info = (_u32 * 4)(map_fd or 0)
        options = _IterOptions(sz=sizeof(_IterOptions))
        if map_fd is not None:
            options.link_info = addressof(info)
            options.link_info_len = sizeof(info)
        link: int | None = self.call("bpf_program__attach_iter", prog, byref(options))
        return link

    def each(self, name: str, obj: object) -> Iterator[int]:
        """The handles that ``bpf_object__next_NAME`` goes through."""
        handle = self.call(f"bpf_object__next_{name}", obj, None)
        while handle:
            yield handle
            handle = self.call(f"bpf_object__next_{name}", obj, handle)

    def text(self, name: str, handle: int) -> str:
        """What a function returns that gives a string; empty for none."""
        return path_text(self.call(name, handle) or b"")

    def forget_section(self, section: str) -> None:
        """Have programs of a section mean nothing by themselves, in objects opened from now on."""
        name = path_bytes(section)
        what = f"cannot leave the section '{section}' without a meaning"
        self.checked(what, "libbpf_register_prog_handler", name, 0, 0, None)

    def prog_type(self, section: str) -> tuple[int, int] | None:
        """Program and attach type of a section that this library knows."""
        prog_type, attach_type = _int(), _int()
        error = self.call(
            "libbpf_prog_type_by_name",
            path_bytes(section),
            byref(prog_type),
            byref(attach_type),
        )
        return None if error else (prog_type.value, attach_type.value)


def installed() -> tuple[int, ...]:
    """The version of the installed library. Raises LibbpfError."""
    return as_numbers(library().version)


def as_numbers(version: str) -> tuple[int, ...]:
    """A version in a form that compares."""
    return tuple(map(int, version.split(".")))


_library: Libbpf | None = None


def library() -> Libbpf:
    """The system's libbpf, loaded once. Raises LibbpfError where there is none."""
    global _library
    if _library is None:
        try:
            dll = Library(SONAME)
        except OSError as error:
            # dlerror(3) has a sentence for what is not there, and others for the rest.
            if SONAME not in str(error) or "No such file" not in str(error):
                raise LibbpfError(f"the library {SONAME} cannot be loaded: {error}") from None
            raise LibbpfError(
                f"this needs the library {SONAME}: install the package libbpf1"
                " (Debian, Ubuntu, openSUSE) or libbpf (Fedora, Arch, Alpine)"
            ) from None
        _library = Libbpf(dll)
    return _library
