"""More kinds for :mod:`tests.tools.fuzz`: what this machine's own files say, and libbpf's input.

``host`` damages what is read of /proc and /sys while commands ask the running kernel; ``load``
damages object files for commands that hand them to libbpf; ``kept`` what earlier runs wrote.
Without the right to use bpf(2) the first two have no commands.
"""

from __future__ import annotations

import builtins
import os
import posix
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pybpftool.errors import BpfError
from pybpftool.inspect import verdicts
from pybpftool.kernel import syscall
from tests.support import bpfc, load

Words = list[str]
Damage = Callable[[bytes, random.Random], bytes]
_MOST = 1 << 20  # bytes of a file that are read to be damaged
_REAL = {"open": builtins.open, "posix": posix.open, "link": posix.readlink,
         "unlocked": syscall.read_unlocked}  # fmt: skip
COMMANDS = """
prog show
-j map show
-f prog show
link show
-j perf show
--resolve perf show
net show
-j net show all
cgroup tree
iter list
token list
struct_ops show
owners
-j owners
attachments
why pid 1
why dev lo
doctor unheld unattached twice stats
metrics show
feature probe
feature probe macros
feature list_builtins kfuncs
cbpf sockets
-j cbpf sockets
prog dump jited id 4294967290
--table --columns all prog show
btf show
map show name nothing
prog tracelog stdout id 4294967290
""".strip().splitlines()


class DamagedFiles:
    """While it is there, files of /proc and /sys have odd contents."""

    rng = random.Random(0)
    share = 0.0
    damage: Damage

    @classmethod
    def begin(cls, rng: random.Random, damage: Damage) -> None:
        """Damage some files from now on, as ``rng`` wants it."""
        cls.rng, cls.share, cls.damage = rng, rng.choice((0.01, 0.1, 0.5)), staticmethod(damage)
        for module, name, function in (
            (builtins, "open", cls._open),
            (posix, "open", cls._posix_open),
            (os, "open", cls._posix_open),
            (posix, "readlink", cls._readlink),
            (os, "readlink", cls._readlink),
            (syscall, "read_unlocked", cls._read_unlocked),
        ):
            setattr(module, name, function)

    @classmethod
    def _content(cls, path: Any) -> bytes | None:
        """Damaged content of a file; None for those that stay as they are."""
        if not isinstance(path, str) or not path.startswith(("/proc/", "/sys/")):
            return None
        if path.startswith("/sys/kernel/btf") or cls.rng.random() >= cls.share:
            return None
        try:
            fd = _REAL["posix"](path, os.O_RDONLY | os.O_NONBLOCK)  # type: ignore[operator]
        except OSError:
            return None
        try:
            return cls.damage(os.read(fd, _MOST), cls.rng)
        except OSError:
            return None
        finally:
            os.close(fd)

    @classmethod
    def _file(cls, path: Any) -> int | None:
        content = cls._content(path)
        if content is None:
            return None
        fd = os.memfd_create("damaged")
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    @classmethod
    def _open(cls, path: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        fd = cls._file(path) if "r" in mode and "+" not in mode else None
        return _REAL["open"](path if fd is None else fd, mode, *more, **named)  # type: ignore[operator]

    @classmethod
    def _posix_open(cls, path: Any, flags: int, mode: int = 0o777, **named: Any) -> int:
        odd = flags & (os.O_ACCMODE | os.O_DIRECTORY | os.O_PATH)
        whole = path
        if not odd and isinstance(path, str) and named.get("dir_fd") is not None:
            whole = os.path.join(_REAL["link"](f"/proc/self/fd/{named['dir_fd']}"), path)  # type: ignore[operator]
        fd = None if odd else cls._file(whole)
        return _REAL["posix"](path, flags, mode, **named) if fd is None else fd  # type: ignore[operator]

    @classmethod
    def _readlink(cls, path: Any, **named: Any) -> Any:
        target = _REAL["link"](path, **named)  # type: ignore[operator]
        if isinstance(target, str) and cls.rng.random() < cls.share / 4:
            return os.fsdecode(cls.damage(os.fsencode(target), cls.rng).replace(b"\0", b""))
        return target

    @classmethod
    def _read_unlocked(cls, path: str) -> bytes:
        content = cls._content(path)
        return _REAL["unlocked"](path) if content is None else content  # type: ignore[operator]


def host_case(rng: random.Random, damage: Damage) -> list[Words]:
    """What the running kernel answers beside bpf(2): texts of processes, mounts, symbols."""
    if not load.have_cap_bpf():
        return []
    DamagedFiles.begin(rng, damage)
    return [line.split() for line in rng.sample(COMMANDS, 2)]


SOURCE = """
struct { __uint(type, 1); __type(key, int); __type(value, long); __uint(max_entries, 4); }
    counts SEC(".maps");
int hits; const volatile int most = 3;
SEC("xdp") int fuzzed(struct xdp_md *ctx)
{
    int key = 1;
    long *count = bpf_map_lookup_elem(&counts, &key);
    if (count && hits++ < most) *count += 1;
    return 2;
}
SEC("tc") int other(struct __sk_buff *skb) { return hits; }
"""


@cache
def loadable() -> bytes:
    """An object that loads; nothing without a clang."""
    import tempfile

    if bpfc.find_clang() is None:
        return b""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return Path(bpfc.compile_object(Path(folder), SOURCE)).read_bytes()
        except pytest.skip.Exception:
            return b""


def load_case(rng: random.Random, folder: str, damage: Damage) -> list[Words]:
    """A damaged object in the hands of libbpf, which loads it and pins nothing."""
    if not load.have_cap_bpf() or not loadable():
        return []
    path = f"{folder}/t.bpf.o"
    Path(path).write_bytes(damage(loadable(), rng))
    words = [
        ["obj", "verify", path],
        ["-j", "obj", "verify", path],
        ["-n", "prog", "load", path, f"{folder}/pin"],
        ["prog", "load", path, "/nonexistent/pin"],
        ["gen", "object", f"{folder}/linked.o", path],
        ["-L", "gen", "skeleton", path],
        ["iter", "pin", path, "/nonexistent/pin"],
    ]
    return rng.sample(words, 3)


_VERDICTS = b"""\
file_name,prog_name,verdict,duration,total_insns,total_states,peak_states
a.bpf.o,main,success,12,100,8,8
a.bpf.o,"other, one",failure,3,1,0,0
"""


def kept_case(rng: random.Random, folder: str, damage: Damage, recording: str) -> list[Words]:
    """What an earlier run wrote: a policy and its lock, verdicts to compare with."""
    try:
        verdicts.read(os.fsdecode(damage(_VERDICTS, rng)))
    except BpfError:
        pass
    from tests.support.cli import run

    run("--snapshot", recording, "check", "--write", f"{folder}/bpf.toml")
    for name in ("bpf.lock", "bpf.toml") if rng.random() < 0.3 else ("bpf.lock",):
        path = Path(folder, name)
        if path.exists():
            path.write_bytes(damage(path.read_bytes(), rng))
    words = ["--snapshot", recording, "check", f"{folder}/bpf.toml"]
    form = rng.choice(("text", "github", "junit", "json", "tap", "sarif"))
    return [words, ["-j", *words], [*words, "--report", form]]
