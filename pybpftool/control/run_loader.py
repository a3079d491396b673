"""Running loader programs, as light skeletons do: in the kernel, once, without libbpf."""

from __future__ import annotations

import os
import struct
from errno import E2BIG, EOPNOTSUPP

from pybpftool.control import require_live
from pybpftool.control.bpf_object import LOG_ALL
from pybpftool.control.refusal import by_verifier
from pybpftool.errors import LoadError
from pybpftool.kernel.syscall import ELEM_ATTR, F_SLEEPABLE, INFO_ATTR, Buffer, bpf
from pybpftool.uapi import bpf as uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.control.loader import Loader
    from pybpftool.control.signing import Signature
    from pybpftool.kernel.interface import Kernel

_INSN_SIZE = 8
_LOG_SIZE = (1 << 24) - 1
# union bpf_attr, BPF_MAP_CREATE: map_type, key_size, value_size, max_entries, map_name,
# excl_prog_hash, excl_prog_hash_size (v6.18); the rest stays zero.
_CREATE = struct.Struct("=4I12x16s36xQI4x")
_CREATE_SIZE, _CREATE_OLD_SIZE = 92, 48
_HASH_SIZE = 32
_MAP_INFO_HASH = 88  # struct bpf_map_info: hash, hash_size (v6.18), at this offset
# BPF_PROG_LOAD: prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, prog_flags,
# prog_name, fd_array, signature, signature_size, keyring_id (v6.18)
_LOAD = struct.Struct("=2I2Q2IQ4xI16s56xQ24xQIi")
_LOAD_SIZE, _LOAD_OLD_SIZE = 168, 128
# BPF_PROG_TEST_RUN: prog_fd, retval, ctx_size_in, ctx_in
_RUN = struct.Struct("=Ii32xI4xQ16x")
# struct bpf_loader_ctx: sz, flags, log_level, log_size, log_buf
_CONTEXT = struct.Struct("=4IQ")
# Room for what the loader says of its maps and programs: no more than libbpf has in one (64 of 16
# bytes, 32 of 4).
_DESCRIPTORS = 64 * 16 + 32 * 4


def run(
    kernel: Kernel,
    loader: Loader,
    what: str,
    signature: Signature | None = None,
    aloud: Callable[[str], None] | None = None,
) -> None:
    """Run a loader; what it has loaded goes at once, for nothing pins it.

    ``what`` begins the sentence of a failure. Raises LoadError.
    """
    require_live(kernel)
    log = Buffer(_LOG_SIZE) if aloud is not None else None
    try:
        _run(loader, what, signature, log, LOG_ALL)
    except LoadError:
        if aloud is not None:
            raise
        # Once more, to hear why.
        _run(loader, what, signature, Buffer(_LOG_SIZE), 1)
        raise
    finally:
        if aloud is not None and log is not None:
            aloud(_text(log) + "\n")


def _run(
    loader: Loader, what: str, signature: Signature | None, log: Buffer | None, level: int
) -> None:
    opened: list[int] = []
    try:
        map_fd = _data_map(loader, what, signature, opened)
        prog_fd = _load(loader, what, map_fd, signature, log, level)
        opened.append(prog_fd)
        attr, context = _context(prog_fd, log, level)
        result = bpf(uapi.BPF_PROG_TEST_RUN, attr.address, len(attr.data))
        if result >= 0:
            result = struct.unpack_from("=i", attr.data, 4)[0]
            opened += _descriptors(context)
        if result < 0:
            said = _text(log) if log is not None else ""
            # A log of BTF stays there where nothing was given to the verifier.
            if said.strip() and not said.startswith("magic: "):
                raise by_verifier(what, "", said, -result)
            raise LoadError(f"{what}: the light loader ends with '{os.strerror(-result)}'", -result)
    finally:
        for fd in opened:
            os.close(fd)


def _descriptors(context: Buffer) -> list[int]:
    """What a loader has loaded; one that fails has closed it, and leaves nothing there.

    Behind its head are a ``struct bpf_map_desc`` for each map and a ``struct bpf_prog_desc`` for
    each program. Descriptors alone are not 0 in them: we give no map a size or a value.
    """
    words = struct.unpack_from(f"={_DESCRIPTORS // 4}i", context.data, _CONTEXT.size)
    return [word for word in words if word > 0]


def _data_map(loader: Loader, what: str, signature: Signature | None, opened: list[int]) -> int:
    digest = None if signature is None else Buffer.of(signature.digest)
    attr = Buffer.of(
        _CREATE.pack(
            uapi.MAP_TYPES.index("array"), 4, len(loader.data), 1, b"__loader.map",
            digest.address if digest else 0, _HASH_SIZE if digest else 0,
        )
    )  # fmt: skip
    size = _CREATE_SIZE if digest else _CREATE_OLD_SIZE
    fd = bpf(uapi.BPF_MAP_CREATE, attr.address, size)
    if fd == -E2BIG and digest:
        raise LoadError(f"{what}: signed programs need Linux 6.18 or newer", E2BIG)
    opened.append(_done(what, "its data", fd))
    key, value = Buffer(4), Buffer.of(loader.data)
    attr = Buffer.of(ELEM_ATTR.pack(fd, key.address, value.address, 0))
    _done(what, "its data", bpf(uapi.BPF_MAP_UPDATE_ELEM, attr.address, len(attr.data)))
    attr = Buffer.of(struct.pack("=I", fd))
    _done(what, "its data", bpf(uapi.BPF_MAP_FREEZE, attr.address, len(attr.data)))
    if digest:
        # Asking for it makes the kernel compute the hash, which the loader looks at.
        hash = Buffer(_HASH_SIZE)
        info = Buffer(_MAP_INFO_HASH + 16)
        struct.pack_into("=QI", info.data, _MAP_INFO_HASH, hash.address, _HASH_SIZE)
        attr = Buffer.of(INFO_ATTR.pack(fd, len(info.data), info.address))
        _done(what, "a hash", bpf(uapi.BPF_OBJ_GET_INFO_BY_FD, attr.address, len(attr.data)))
    return fd


def _load(
    loader: Loader,
    what: str,
    map_fd: int,
    signature: Signature | None,
    log: Buffer | None,
    level: int,
) -> int:
    insns, licence = Buffer.of(loader.insns), Buffer.of(b"Dual BSD/GPL\0")
    fds = Buffer.of(struct.pack("=i", map_fd))
    signed = Buffer.of(signature.data) if signature is not None else None
    attr = Buffer.of(
        _LOAD.pack(
            uapi.PROG_TYPES.index("syscall"), len(loader.insns) // _INSN_SIZE,
            insns.address, licence.address,
            level if log else 0, len(log.data) if log else 0, log.address if log else 0,
            F_SLEEPABLE, b"__loader.prog", fds.address,
            signed.address if signed else 0, len(signed.data) if signed else 0,
            signature.keyring if signature is not None else 0,
        )
    )  # fmt: skip
    size = _LOAD_SIZE if signed else _LOAD_OLD_SIZE
    fd = bpf(uapi.BPF_PROG_LOAD, attr.address, size)
    if fd == -EOPNOTSUPP and signed:
        raise LoadError(
            f"{what}: this kernel was built without support for signatures of data", EOPNOTSUPP
        )
    return _done(what, "the loader", fd)


def _context(prog_fd: int, log: Buffer | None, level: int) -> tuple[Buffer, Buffer]:
    size = _CONTEXT.size + _DESCRIPTORS
    context = Buffer(size)
    _CONTEXT.pack_into(
        context.data, 0, size, 0, level if log else 0, len(log.data) if log else 0,
        log.address if log else 0,
    )  # fmt: skip
    return Buffer.of(_RUN.pack(prog_fd, 0, size, context.address)), context


def _done(what: str, part: str, result: int) -> int:
    if result < 0:
        raise LoadError(f"{what}: the kernel refuses {part}: {os.strerror(-result)}", -result)
    return result


def _text(log: Buffer) -> str:
    end = log.data.find(b"\0")
    return bytes(log.data[:end]).decode("utf-8", "surrogateescape")
