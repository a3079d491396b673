"""Program types, helpers and instructions that a kernel knows, found out by loading programs.

A helper is there for a program type when the verifier, asked to load a program that calls
it, complains of its arguments and not of the helper. The requests are those of libbpf
(src/libbpf_probes.c); each program is closed at once.
"""

from __future__ import annotations

import posix
from errno import EAGAIN, EINVAL, ENOSYS, EOPNOTSUPP, EPERM
from struct import Struct

from pybpftool.kernel.syscall import ENOTSUPP, F_SLEEPABLE, Buffer, bpf, errno_field, repeated_call
from pybpftool.uapi import bpf as uapi

_INSN = Struct("=BBhi")
# Opcodes of include/uapi/linux/bpf.h.
_MOV64_IMM, _SUB64_IMM, _CALL, _EXIT = 0xB7, 0x17, 0x85, 0x95
_JNE_IMM, _JLT_IMM, _JLT32_IMM, _JEQ32_IMM, _JA32 = 0x55, 0xA5, 0xA6, 0x16, 0x06
_MAX_INSNS = 4096  # BPF_MAXINSNS, the whole size of a program before v5.2

# union bpf_attr of BPF_PROG_LOAD, as far as it is filled.
_LOAD_SIZE = 112
_TYPE_AND_COUNT, _ADDRESSES = Struct("=II"), Struct("=QQ")  # at 0 and 8: insns, license
_LOG = Struct("=IIQII")  # at 24: level, size, buffer, kern_version, prog_flags
_TARGET = Struct("=II")  # at 64: prog_ifindex, expected_attach_type
_ATTACH_BTF_ID = 108
_LOG_BYTES = 4096
# BPF_LOG_STATS, include/linux/bpf_verifier.h: errors without the states that lead to them.
_LOG_STATS = 4

_PROG = {name: number for number, name in enumerate(uapi.PROG_TYPES)}
_ATTACH = {name: number for number, name in enumerate(uapi.ATTACH_TYPES)}

# Program type -> the attach type that it cannot be loaded without.
_EXPECTED_ATTACH = {
    "cgroup_sock_addr": "cgroup_inet4_connect",
    "cgroup_sockopt": "cgroup_getsockopt",
    "sk_lookup": "sk_lookup",
    "lirc_mode2": "lirc_mode2",
    "tracing": "trace_fentry",
    "lsm": "modify_return",
    "netfilter": "netfilter",
}
# Types that need a target, which type 1 of vmlinux never is: known by how the kernel refuses.
_REFUSED_BECAUSE = {
    "tracing": b"attach_btf_id 1 is not a function",
    "lsm": b"attach_btf_id 1 is not a function",
    "ext": b"Cannot replace kernel functions",
}
WITHOUT_HELPERS = ("tracing", "ext", "lsm", "struct_ops")
"""Types of which no program can be loaded without a target: their helpers stay unknown."""

LOUD_HELPERS = ("bpf_trace_printk", "bpf_trace_vprintk", "bpf_probe_write_user")
"""Helpers of which the kernel writes to its log when a program with them is loaded."""

_MISSING = (b"invalid func ", b"unknown func ", b"program of this type cannot use helper ")

_NETRONOME = 0x19EE


def _code(*insns: tuple[int, int, int, int]) -> bytes:
    return b"".join(_INSN.pack(*insn) for insn in insns)


_RETURN_0 = _code((_MOV64_IMM, 0, 0, 0), (_EXIT, 0, 0, 0))
# nfp refuses a program of tc that returns 0.
_RETURN_2 = _code((_MOV64_IMM, 0, 0, 2), (_EXIT, 0, 0, 0))
_END = _code((_MOV64_IMM, 0, 0, 1), (_EXIT, 0, 0, 0))

MISC = {
    # v5.2 (c04c0d2b968a)
    "large_insn_limit": _INSN.pack(_MOV64_IMM, 0, 0, 1) * _MAX_INSNS + _code((_EXIT, 0, 0, 0)),
    # v5.3 (2589726d12a1)
    "bounded_loops": _code(
        (_MOV64_IMM, 0, 0, 10), (_SUB64_IMM, 0, 0, 1), (_JNE_IMM, 0, -2, 0), (_EXIT, 0, 0, 0)
    ),
    # v4.14 (92b31a9af73b)
    "v2_isa_extension": _code((_MOV64_IMM, 0, 0, 0), (_JLT_IMM, 0, 1, 0)) + _END,
    # v5.1 (092ed0968bb6)
    "v3_isa_extension": _code((_MOV64_IMM, 0, 0, 0), (_JLT32_IMM, 0, 1, 0)) + _END,
    # v6.6 (1f9a1ea821ff)
    "v4_isa_extension": _code((_MOV64_IMM, 0, 0, 0), (_JEQ32_IMM, 0, 1, 1), (_JA32, 0, 0, 1))
    + _END,
}
"""Programs that only kernels with a feature load, by its name."""


class ProgProbe:
    """Programs of the kernel, or of a network device; one attribute buffer, used again and again.

    ``refused`` counts what ended with EPERM.
    """

    def __init__(self, ifindex: int, unprivileged: bool) -> None:
        self.ifindex = ifindex
        self.unprivileged = unprivileged
        self.refused = 0
        self._attr = Buffer(_LOAD_SIZE)
        self._licence = Buffer.of(b"GPL\0")
        self._log = Buffer(_LOG_BYTES)
        self._load, self._arguments = repeated_call(
            uapi.BPF_PROG_LOAD, self._attr.address, _LOAD_SIZE
        )
        self._errno = errno_field()
        self._log_level = _LOG_STATS
        # Kernels before v5.2 know only the levels that cost more.
        self._fill(_PROG["socket_filter"], Buffer.of(_RETURN_0), True)
        if self._try() == -EINVAL:
            self._log_level = 1

    def has_syscall(self) -> bool:
        """Whether there is a bpf(2)."""
        self._fill(0, Buffer(0), with_log=False)
        return self._try() != -ENOSYS

    def prog_type(self, name: str) -> bool:
        """Whether programs of a type are known."""
        reason = _REFUSED_BECAUSE.get(name)
        code = Buffer.of(_RETURN_2 if self.ifindex else _RETURN_0)
        self._fill(_PROG[name], code, reason is not None, "" if self.ifindex else name)
        result = self._try()
        if self.ifindex:
            return result == 0
        if reason is not None:
            return result == -EINVAL and reason in self._said()
        if name == "struct_ops":
            return result == -ENOTSUPP
        return result == 0

    def helpers(self, name: str, wanted: list[tuple[int, str]]) -> list[str]:
        """Those of the helpers that programs of a type may call."""
        code = Buffer.of(_code((_CALL, 0, 0, 0), (_EXIT, 0, 0, 0)))
        self._fill(_PROG[name], code, True, "" if self.ifindex else name)
        call, log = code.number(4), self._log.data
        missing: tuple[bytes, ...] = _MISSING
        if self.ifindex and self._vendor() == _NETRONOME:
            missing = (*missing, b"not supported by FW", b"unsupported function id")
        found = []
        load, arguments, errno, find = self._load, self._arguments, self._errno, log.find
        for number, helper in wanted:
            call.value = number
            log[0] = 0
            fd = load(*arguments)
            if fd >= 0:
                posix.close(fd)
                found.append(helper)
                continue
            end = find(0)
            for sentence in missing:
                if find(sentence, 0, end) >= 0:
                    break
            else:
                if (errno is None or errno.value in (EAGAIN, EPERM)) and not self._knows(missing):
                    continue
                found.append(helper)
        return found

    def _knows(self, missing: tuple[bytes, ...]) -> bool:
        """Whether the helper that is described is there, asked again if need be."""
        result = self._try()
        # A device's driver refuses for reasons of its own, too.
        if result == -EPERM and self.unprivileged and not self.ifindex:
            return False
        said = self._said()
        return not result or not any(sentence in said for sentence in missing)

    def misc(self) -> dict[str, bool]:
        """Which of :data:`MISC` are loaded."""
        found = {}
        for name, code in MISC.items():
            self._fill(_PROG["socket_filter"], Buffer.of(code), False)
            found[name] = self._try() == 0
        return found

    def _fill(self, type: int, code: Buffer, with_log: bool, name: str = "") -> None:
        """Describe a program; ``name`` is its type's where that says how it is loaded."""
        attr = self._attr.data
        attr[:] = bytes(_LOAD_SIZE)
        self._code = code  # lives as long as its address is used
        _TYPE_AND_COUNT.pack_into(attr, 0, type, len(code.data) // _INSN.size)
        _ADDRESSES.pack_into(attr, 8, code.address if code.data else 0, self._licence.address)
        log = (self._log_level, _LOG_BYTES, self._log.address) if with_log else (0, 0, 0)
        self._log.data[0] = 0
        version = kernel_version() if name == "kprobe" else 0
        _LOG.pack_into(attr, 24, *log, version, F_SLEEPABLE if name == "syscall" else 0)
        expected = _ATTACH.get(_EXPECTED_ATTACH.get(name, ""), 0)
        _TARGET.pack_into(attr, 64, self.ifindex, expected)
        if name in _REFUSED_BECAUSE:
            Struct("=I").pack_into(attr, _ATTACH_BTF_ID, 1)

    def _try(self) -> int:
        """Load what was described: 0, or ``-errno``."""
        self._log.data[0] = 0
        for _ in range(5):  # as libbpf: the verifier may be interrupted
            fd = self._load(*self._arguments)
            if fd >= 0:
                posix.close(fd)
                return 0
            errno = self._errno.value if self._errno is not None else self._refusal()
            if errno != EAGAIN:
                break
        if errno == EPERM:
            self.refused += 1
        return -errno

    def _refusal(self) -> int:
        result = bpf(uapi.BPF_PROG_LOAD, self._attr.address, _LOAD_SIZE)
        if result >= 0:
            posix.close(result)
            return EOPNOTSUPP
        return -result

    def _said(self) -> bytes:
        return bytes(self._log.data).partition(b"\0")[0]

    def _vendor(self) -> int:
        """The PCI vendor of the device, -1 when there is no such device."""
        from pybpftool.kernel.syscall import if_indextoname

        name = if_indextoname(self.ifindex)
        try:
            with open(f"/sys/class/net/{name}/device/vendor", "rb") as file:
                return int(file.read(8), 0)
        except (OSError, ValueError):
            return -1


def kernel_version() -> int:
    """The number that programs of kprobes had to name before v5.0 (``LINUX_VERSION_CODE``)."""
    info = posix.uname()
    text = info.release
    _, is_debian, version = info.version.partition("Debian ")
    if is_debian:
        text = version
    try:
        with open("/proc/version_signature", encoding="ascii", errors="replace") as file:
            text = (file.read() or "").split()[2]  # Ubuntu's
    except (OSError, IndexError):
        pass
    numbers = []
    for part in text.split(".")[:3]:
        digits = ""
        for character in part:
            if not character.isdigit():
                break
            digits += character
        numbers.append(int(digits or 0))
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major << 16 | minor << 8 | min(patch, 255)
