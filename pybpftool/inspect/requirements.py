"""What a test needs of the kernel and of its own rights."""

from __future__ import annotations

from pybpftool.inspect.wording import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE"
    " NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO"
    " SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME"
    " SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG"
    " WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
CAPABILITIES = tuple(f"CAP_{name}" for name in _NAMES.split())
"""The capabilities by number (``include/uapi/linux/capability.h``)."""

_SIGNS = (">=", "<=", "==", "!=", ">", "<")


def missing(kernel: str = "", caps: Iterable[str] = ()) -> str:
    """Why a test cannot run here, empty where it can.

    ``kernel`` is one or several comparisons like ``>=5.16, <6.12``. Raises ValueError for what
    means nothing.
    """
    import os

    release = os.uname().release
    for part in filter(None, (part.strip() for part in kernel.split(","))):
        if not _holds(part, release):
            return f"this needs Linux {part}, here runs {release}"
    names = [caps] if isinstance(caps, str) else list(caps)
    held = _held() if names else 0
    for name in names:
        if name not in CAPABILITIES:
            raise ValueError(f"there is no capability '{name}'{nearest(name, CAPABILITIES)}")
        if not held >> CAPABILITIES.index(name) & 1:
            return f"this needs the capability {name}"
    return ""


def _holds(part: str, release: str) -> bool:
    sign = next((sign for sign in _SIGNS if part.startswith(sign)), "")
    wanted = _version(part[len(sign) :].strip())
    if not sign or not wanted:
        raise ValueError(f"'{part}' is not a comparison of a version like >=5.16")
    # As many parts as are given count: 6.12.3 is 6.12.
    found = (*_version(release), 0, 0, 0)[: len(wanted)]
    return {
        ">=": found >= wanted, "<=": found <= wanted, "==": found == wanted,
        "!=": found != wanted, ">": found > wanted, "<": found < wanted,
    }[sign]  # fmt: skip


def _version(text: str) -> tuple[int, ...]:
    """The numbers that a release begins with."""
    numbers = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


def _held() -> int:
    """The capabilities in effect."""
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"CapEff:"):
                return int(line.split()[1], 16)
    return 0
