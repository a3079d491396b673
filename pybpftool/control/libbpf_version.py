"""The version of the installed libbpf, told by the name of its file where possible."""

from __future__ import annotations

import posix

_SONAME = "libbpf.so.1"


def installed() -> str | None:
    """As ``1.1``; None where there is no libbpf."""
    for directory in _directories():
        try:
            target = posix.readlink(f"{directory}/{_SONAME}")
        except OSError:
            continue
        # libbpf.so.1 -> libbpf.so.1.1.2
        parts = target.rpartition("libbpf.so.")[2].split(".")
        if len(parts) >= 2 and all(part.isdecimal() for part in parts):
            return ".".join(parts[:2])
        break
    from pybpftool.control.libbpf import LibbpfError, library

    try:
        return library().version
    except LibbpfError:
        return None


def _directories() -> list[str]:
    """Where the dynamic linker looks, in its order."""
    paths = posix.environ.get(b"LD_LIBRARY_PATH", b"").decode("utf-8", "surrogateescape")
    given = [path for path in paths.split(":") if path]
    triplet = f"{posix.uname().machine}-linux-gnu"
    roots = ("/usr/local/lib", f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib64", "/usr/lib64")
    return [*given, *roots, "/lib", "/usr/lib"]
