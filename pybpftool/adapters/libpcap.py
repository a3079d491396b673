"""libpcap's compiler of filter expressions, where the system has libpcap."""

from __future__ import annotations

import ctypes

from pybpftool.errors import BpfError

_NAMES = ("libpcap.so.0.8", "libpcap.so.1")  # Debian's name, and that of the others
_NO_NETMASK = 0xFFFFFFFF  # PCAP_NETMASK_UNKNOWN
_MOST_INSNS = 1 << 16


class _Program(ctypes.Structure):
    """``struct bpf_program``."""

    _fields_ = [("count", ctypes.c_uint), ("insns", ctypes.c_void_p)]


def _library() -> ctypes.CDLL:
    for name in _NAMES:
        try:
            library = ctypes.CDLL(name)
        except OSError as error:
            # dlerror(3) has a sentence for what is not there, and others for the rest.
            if "No such file" in str(error):
                continue
            raise BpfError(f"libpcap cannot be loaded: {error}") from None
        library.pcap_open_dead.restype = ctypes.c_void_p
        library.pcap_geterr.restype = ctypes.c_char_p
        return library
    raise BpfError(
        "compiling a filter needs libpcap, which is not installed (package libpcap0.8 of Debian"
        " and Ubuntu, libpcap of the others)"
    )


def link_type(name: str) -> int | None:
    """The number of a link type by its name in libpcap, like ``EN10MB``; None for none."""
    number: int = _library().pcap_datalink_name_to_val(name.encode("utf-8", "surrogateescape"))
    return None if number < 0 else number


def compiled(expression: str, link: int, snaplen: int, optimize: bool) -> bytes:
    """The instructions of an expression as an array of ``struct sock_filter``.

    Raises BpfError with libpcap's own words.
    """
    if "\0" in expression:
        raise BpfError("an expression has no NUL in it")
    library = _library()
    handle = ctypes.c_void_p(library.pcap_open_dead(link, snaplen))
    if not handle:
        raise BpfError("libpcap takes no such link type")
    program = _Program()
    try:
        text = expression.encode("utf-8", "surrogateescape")
        failed = library.pcap_compile(
            handle, ctypes.byref(program), text, int(optimize), ctypes.c_uint(_NO_NETMASK)
        )
        if failed:
            reason = library.pcap_geterr(handle).decode("utf-8", "replace")
            raise BpfError(f"libpcap does not take '{expression}': {reason}")
        if not program.insns or program.count > _MOST_INSNS:
            raise BpfError("libpcap made no filter")
        data = ctypes.string_at(program.insns, program.count * 8)
        library.pcap_freecode(ctypes.byref(program))
    finally:
        library.pcap_close(handle)
    return data
