#!/usr/bin/env python3
"""Run a command under another Linux kernel, in a virtual machine that lives for that command.

    python tests/tools/vm.py --kernel 6.12 -- python -m pytest tests/live

The machine has no disk: the kernel is Debian's (downloaded with apt into a cache directory and
unpacked there, never installed), the root is this machine's `/`, shared read-only through 9p, with
a tmpfs on top for what the command writes.  So the command sees the same files, the same Python and
the same packages; what it writes is gone afterwards, except below the directories given with
`--share`.  Output is streamed, the command's exit status is ours.

Statuses of our own: 2 wrong usage, 124 time is up, 125 the machine could not be started or died.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gzip
import io
import lzma
import os
import re
import selectors
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# Debian suites that carry each kernel series, best first; security updates where they exist.
SUITES = {
    "6.1": [("bookworm", "main"), ("bookworm-security", "main")],
    "6.12": [("trixie", "main"), ("bookworm-backports", "main")],
    "7.3": [("trixie-backports", "main")],
}
# Packages beside linux-image-VERSION, each with a part of newer kernels; older ones have none.
PARTS = ("binary", "base", "modules")
PACKAGE = "linux-image-amd64"
# What the machine needs before it can see the shared root; the kernel may have them built in.
BOOT_MODULES = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"]
# Loaded when the kernel has them, so that tests find the interfaces they use.
DEFAULT_MODULES = ["veth", "dummy", "tun", "cls_bpf", "act_bpf", "sch_ingress", "xsk_diag"]
NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
}
TIMED_OUT, FAILED = 124, 125


class VmError(Exception):
    """The machine can't be had; the message is one sentence."""


def _which(tool: str) -> str | None:
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def missing_tools() -> list[str]:
    """Debian packages whose programs are not here."""
    missing = [package for tool, package in NEEDED.items() if _which(tool) is None]
    busybox = _which("busybox")
    if busybox and b"/ld-linux" in Path(busybox).read_bytes():
        missing.append("busybox-static")
    return missing


def why_not() -> str:
    """Why no machine can be started here; empty when nothing speaks against it."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return "virtual machines are only set up for x86_64 Linux"
    missing = missing_tools()
    if missing:
        return "not installed: %s (vm.py --install gets them)" % ", ".join(missing)
    return ""


def cache_dir(given: str | None = None) -> Path:
    """Where kernels are kept: `given`, else $PYBPFTOOL_VM_CACHE, else ~/.cache/pybpftool-vm."""
    chosen = given or os.environ.get("PYBPFTOOL_VM_CACHE")
    return Path(chosen).absolute() if chosen else Path.home() / ".cache" / "pybpftool-vm"


# --- the kernel ---------------------------------------------------------------------------------


def _run(words: Sequence[str], **options: str | Path) -> str:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        cwd=options.get("cwd"),
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise VmError("%s failed: %s" % (words[0], lines[-1] if lines else "no message"))
    return done.stdout


def _mirrors(given: str | None) -> tuple[str, str | None]:
    """(archive, security archive) of Debian that this machine's own apt sources use."""
    if given:
        return given.rstrip("/"), None
    archive = security = None
    text = _run(
        [
            *("apt-get", "indextargets"),
            *("--format", "$(REPO_URI) $(ORIGIN) $(RELEASE)", "Created-By: Packages"),
        ]
    )
    for line in text.splitlines():
        uri, origin, release = [*line.split(), "", "", ""][:3]
        if origin not in ("Debian", ""):
            continue
        if "security" in release:
            security = security or uri.rstrip("/")
        elif origin == "Debian":
            archive = archive or uri.rstrip("/")
    if archive is None:
        raise VmError("no Debian archive among this machine's apt sources: give one with --mirror")
    return archive, security


def _keyring() -> str:
    for path in (
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "/usr/share/keyrings/debian-archive-keyring.pgp",
    ):
        if os.path.exists(path):
            return "[signed-by=%s] " % path
    return ""


def _apt_options(work: Path) -> list[str]:
    """Keep apt's lists, downloads and sources in `work`, away from the machine's own."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    pairs = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": "-",
        "Dir::Etc::preferencesparts": "-",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
        "Acquire::Languages": "none",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",
    }
    return [word for key, value in pairs.items() for word in ("-o", "%s=%s" % (key, value))]


def _download(series: str, target: Path, mirror: str | None) -> None:
    """Get the newest kernel of `series` and unpack it into `target`."""
    if series not in SUITES:
        raise VmError("no suite known for kernel %s; there are %s" % (series, ", ".join(SUITES)))
    archive, security = _mirrors(mirror)
    failures = []
    for suite, component in SUITES[series]:
        where = security if suite.endswith("-security") else archive
        if where is None:
            continue
        with tempfile.TemporaryDirectory(prefix="apt-", dir=target.parent) as name:
            work = Path(name)
            line = "deb %s%s %s %s\n" % (_keyring(), where, suite, component)
            (work / "sources.list").write_text(line)
            options = _apt_options(work)
            try:
                _run(["apt-get", *options, "update"])
                text = _run(["apt-cache", *options, "depends", PACKAGE])
                found = re.search(r"Depends: (linux-image-%s\.\S+)" % re.escape(series), text)
                if found is None:
                    raise VmError("%s of %s is no %s kernel" % (PACKAGE, suite, series))
                _run(["apt-get", *options, "download", found[1]], cwd=work)
                for part in PARTS:
                    name = found[1].replace("linux-image", "linux-" + part, 1)
                    with contextlib.suppress(VmError):
                        _run(["apt-get", *options, "download", name], cwd=work)
                unpacked = work / "unpacked"
                for package in sorted(work.glob("*.deb")):
                    _run(["dpkg-deb", "-x", str(package), str(unpacked)])
                _prepare(unpacked)
                os.rename(unpacked, target)
                return
            except VmError as error:
                failures.append("%s: %s" % (suite, error))
    raise VmError("kernel %s can't be had (%s)" % (series, "; ".join(failures)))


def _prepare(unpacked: Path) -> None:
    """Make the unpacked package usable: modules under lib/ with their dependency lists."""
    if not (unpacked / "lib").exists():
        (unpacked / "lib").symlink_to("usr/lib")
    depmod = ["depmod"] if _which("depmod") else ["busybox", "depmod"]
    for version in os.listdir(unpacked / "lib" / "modules"):
        _run([*depmod, "-b", str(unpacked), version])


def _module_name(path: str) -> str:
    return path.rsplit("/", 1)[-1].split(".", 1)[0].replace("-", "_")


class Kernel:
    """An unpacked kernel package.

    The image is ``boot/vmlinuz-VERSION``; in packages of Linux 7 it stands beside the modules.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        images = sorted((root / "boot").glob("vmlinuz-*"))
        beside = sorted((root / "lib" / "modules").glob("*/vmlinuz"))
        if images:
            self.image = images[0]
            self.version = self.image.name.removeprefix("vmlinuz-")
        elif beside:
            self.image = beside[0]
            self.version = self.image.parent.name
        else:
            raise VmError("%s holds no kernel image" % root)
        self.modules = root / "lib" / "modules" / self.version

    def module_files(self, names: Sequence[str]) -> list[Path]:
        """Files of modules and what they depend on, in loading order; built-in ones have none."""
        depends: dict[str, tuple[str, list[str]]] = {}
        for line in (self.modules / "modules.dep").read_text().splitlines():
            path, _, rest = line.partition(":")
            depends[_module_name(path)] = (path, rest.split())
        ordered: list[Path] = []

        def add(name: str) -> None:
            path, before = depends[name]
            # Not in the order of the line: depmod of kmod and of busybox write different ones.
            for item in before:
                add(_module_name(item))
            if self.modules / path not in ordered:
                ordered.append(self.modules / path)

        for name in names:
            if name in depends:
                add(name)
        return ordered


def get_kernel(series: str, cache: Path, mirror: str | None = None) -> Kernel:
    """The kernel of a series like "6.12", downloaded when the cache does not have it."""
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / series
    with open(cache / (series + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _download(series, target, mirror)
    return Kernel(target)


# --- the initial file system --------------------------------------------------------------------


class Cpio:
    """Writer of the kernel's initramfs format (cpio "newc")."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._inode = 0
        self._folders: set[str] = set()

    def _entry(self, name: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        raw = name.encode() + b"\0"
        fields = [self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(raw), 0]
        self._out.write(b"070701" + b"".join(b"%08X" % value for value in fields) + raw)
        self._pad()
        self._out.write(data)
        self._pad()

    def _pad(self) -> None:
        self._out.write(bytes(-self._out.tell() % 4))

    def folder(self, name: str) -> None:
        """Add a folder and its parents."""
        if name and name not in self._folders:
            self.folder(os.path.dirname(name))
            self._folders.add(name)
            self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file and its folders."""
        self.folder(os.path.dirname(name))
        self._entry(name, stat.S_IFREG | mode, data)

    def device(self, name: str, major: int, minor: int) -> None:
        """Add a character device."""
        self.folder(os.path.dirname(name))
        self._entry(name, stat.S_IFCHR | 0o600, b"", (major, minor))

    def finish(self) -> bytes:
        """The archive."""
        self._entry("TRAILER!!!", 0, b"")
        return self._out.getvalue()


# Runs as process 1.  The ports are found by the names that qemu gives them.
INIT = r"""#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
fail() { echo "vm: $*" >/dev/console; echo "vm: $*"; reboot -f; }
for module in $(cat /modules/order); do
    insmod /modules/$module || echo "vm: module $module is not loaded"
done
port() {
    for tries in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        for entry in /sys/class/virtio-ports/*; do
            if [ "$(cat $entry/name 2>/dev/null)" = "$1" ]; then
                echo /dev/${entry##*/}
                return
            fi
        done
        sleep 0.1
    done
    echo /dev/console
}
mkdir -p /lower /rw /root
mount -t 9p -o "trans=virtio,version=9p2000.L,ro,$CACHE,msize=524288" host /lower \
    || fail "the host's root can't be mounted"
mount -t tmpfs -o size=80% tmpfs /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /root \
    || fail "the overlay can't be mounted"
for name in proc sys dev run; do mkdir -p /root/$name; done
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs tmpfs /root/dev/shm
mount -t tmpfs tmpfs /root/run
ln -sf /proc/self/fd /root/dev/fd
mount -t bpf bpf /root/sys/fs/bpf
mount -t tracefs tracefs /root/sys/kernel/tracing
mount -t debugfs debugfs /root/sys/kernel/debug
mount -t securityfs securityfs /root/sys/kernel/security
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
. /shares
mkdir -p /root/lib/modules/$VERSION
mount --bind "/root$MODULES" /root/lib/modules/$VERSION
ip link set lo up
hostname vm
cp /command /root/run/vm-command
OUT=$(port out); ERR=$(port err); STATUS=$(port status)
chroot /root /bin/sh /run/vm-command </dev/null >$OUT 2>$ERR
echo "status $?" >$STATUS
sync
reboot -f
"""


def _shell_env(name: str, value: str) -> str:
    return "export %s=%s\n" % (name, shlex.quote(value))


def initramfs(
    kernel: Kernel, command: Sequence[str], env: dict[str, str], shares: Sequence[str],
    modules: Sequence[str], cwd: str,
) -> bytes:  # fmt: skip
    """Build the initial file system: busybox, modules with what they need, the command."""
    cpio = Cpio()
    for folder in ("proc", "sys", "dev", "bin", "modules", "tmp", "etc"):
        cpio.folder(folder)
    cpio.device("dev/console", 5, 1)
    cpio.device("dev/null", 1, 3)
    busybox = _which("busybox")
    if busybox is None:
        raise VmError("busybox is not installed")
    cpio.file("bin/busybox", Path(busybox).read_bytes(), 0o755)
    order = []
    for file in kernel.module_files([*BOOT_MODULES, *modules]):
        data = file.read_bytes()
        name = file.name
        if name.endswith(".xz"):
            data, name = lzma.decompress(data), name[:-3]
        cpio.file("modules/" + name, data)
        order.append(name)
    cpio.file("modules/order", "\n".join(order).encode())
    head, rest = INIT.split("\n", 1)
    settings = _shell_env("VERSION", kernel.version)
    settings += _shell_env("MODULES", str(kernel.modules.resolve()))
    # A client cache that trusts the host not to change files during the run.
    settings += _shell_env("CACHE", "cache=loose")
    cpio.file("init", ("%s\n%s%s" % (head, settings, rest)).encode(), 0o755)
    mounts = "".join(
        "mkdir -p /root%s\nmount -t 9p -o trans=virtio,version=9p2000.L,rw,msize=524288 share%d "
        "/root%s || fail 'a shared directory cannot be mounted'\n"
        % (shlex.quote(path), index, shlex.quote(path))
        for index, path in enumerate(shares)
    )
    cpio.file("shares", mounts.encode())
    script = "".join(_shell_env(name, value) for name, value in env.items())
    script += "cd %s || exit 126\nexec %s\n" % (shlex.quote(cwd), shlex.join(command))
    cpio.file("command", script.encode())
    return gzip.compress(cpio.finish(), 1)


# --- the machine --------------------------------------------------------------------------------


@contextlib.contextmanager
def _ports(work: Path, names: Sequence[str]) -> Iterator[dict[str, socket.socket]]:
    """Listening sockets, one for each of the machine's ports."""
    with contextlib.ExitStack() as stack:
        listeners = {}
        for name in names:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            listener.bind(str(work / name))
            listener.listen(1)
            listeners[name] = listener
        yield listeners


class _NoKvm(Exception):
    """KVM is there but can't run this machine: nested and partial implementations."""


def _accelerators(cache: Path | None) -> list[str]:
    """What to try: KVM, when it can be opened and did not fail since this machine was started."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError:
        return ["tcg"]
    if cache is not None:
        with contextlib.suppress(OSError):
            if (cache / "no-kvm").read_text() == _boot_id():
                return ["tcg"]
    return ["kvm", "tcg"]


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()


def _qemu(
    kernel: Kernel, work: Path, ports: Sequence[str], shares: Sequence[str], memory: int, cpus: int,
    accelerator: str,
) -> list[str]:  # fmt: skip
    words = [_which("qemu-system-x86_64") or "qemu-system-x86_64"]
    if accelerator == "tcg":
        # With a thread for each CPU the emulation now and then misses that another CPU has
        # patched the kernel's code (static keys), and the kernel dies of a stale int3.
        accelerator = "tcg,thread=single"
    words += ["-accel", accelerator, "-cpu", "max", "-m", "%dM" % memory]
    words += ["-smp", str(cpus), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    words += ["-kernel", str(kernel.image), "-initrd", str(work / "initramfs")]
    # On a busy host the emulated timer is too late for the kernel's test of it, which panics.
    options = "console=ttyS0 loglevel=4 panic=-1 no_timer_check net.ifnames=0 random.trust_cpu=on"
    words += ["-append", options]
    words += ["-chardev", "file,id=console,path=%s" % (work / "console")]
    words += ["-serial", "chardev:console", "-device", "virtio-rng-pci"]
    words += ["-device", "virtio-serial-pci"]
    for name in ports:
        words += ["-chardev", "socket,id=%s,path=%s" % (name, work / name)]
        words += ["-device", "virtserialport,chardev=%s,name=%s" % (name, name)]
    exports = [
        ("host", "/", ",readonly=on"),
        *(("share%d" % i, p, "") for i, p in enumerate(shares)),
    ]
    for tag, path, mode in exports:
        words += [
            "-virtfs",
            "local,path=%s,mount_tag=%s,security_model=none,multidevs=remap%s"
            % (path.replace(",", ",,"), tag, mode),
        ]
    return words


def _pump(
    process: subprocess.Popen[bytes], listeners: dict[str, socket.socket], deadline: float
) -> tuple[bytes, bytes, bool]:
    """Copy the machine's output to ours until it ends.

    Returns (status line, what qemu said, was in time); raises _NoKvm when KVM gave up.
    """
    sinks = {"out": sys.stdout.buffer, "err": sys.stderr.buffer}
    kept = {"status": b"", "qemu": b""}
    assert process.stderr is not None
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for name, listener in listeners.items():
            selector.register(listener, selectors.EVENT_READ, name)
        selector.register(process.stderr, selectors.EVENT_READ, "qemu")
        # qemu closes everything when it ends; until it has opened a port, only its stderr tells.
        while any(key.fileobj not in listeners.values() for key in selector.get_map().values()):
            for key, _ in selector.select(0.5):
                name, channel = str(key.data), key.fileobj
                if isinstance(channel, socket.socket) and channel in listeners.values():
                    connection = stack.enter_context(channel.accept()[0])
                    selector.unregister(channel)
                    selector.register(connection, selectors.EVENT_READ, name)
                    continue
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(channel)
                elif name in sinks:
                    sinks[name].write(data)
                    sinks[name].flush()
                else:
                    kept[name] += data
                    if b"KVM internal error" in kept["qemu"]:
                        raise _NoKvm
            if time.monotonic() > deadline:
                return kept["status"], kept["qemu"], False
    return kept["status"], kept["qemu"], True


def run(
    kernel: Kernel,
    command: Sequence[str],
    *,
    shares: Sequence[str] = (),
    env: dict[str, str] | None = None,
    modules: Sequence[str] = (),
    cwd: str | None = None,
    timeout: float = 600,
    memory: int = 2048,
    cpus: int = 2,
    cache: Path | None = None,
    verbose: bool = False,
) -> int:
    """Boot, run `command`, return its status; see the module's text for our own statuses."""
    started = time.monotonic()
    folders = [os.path.realpath(path) for path in shares]
    for path in folders:
        os.makedirs(path, exist_ok=True)
    settings = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin",
        "HOME": os.environ.get("HOME", "/root"),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        **(env or {}),
    }
    ports = ["out", "err", "status"]
    image = initramfs(
        kernel, command, settings, folders, [*DEFAULT_MODULES, *modules], cwd or os.getcwd()
    )
    for accelerator in _accelerators(cache):
        with tempfile.TemporaryDirectory(prefix="vm-") as name:
            work = Path(name)
            (work / "initramfs").write_bytes(image)
            with _ports(work, ports) as listeners:
                process = subprocess.Popen(
                    _qemu(kernel, work, ports, folders, memory, cpus, accelerator),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
                try:
                    status, said, in_time = _pump(process, listeners, started + timeout)
                    if accelerator == "kvm" and in_time and not status:
                        # Some nested KVM ends qemu itself, with an assertion.
                        raise _NoKvm
                except _NoKvm:
                    if cache is not None:
                        (cache / "no-kvm").write_text(_boot_id())
                    continue
                finally:
                    process.kill()
                    process.wait()
                    if process.stderr:
                        process.stderr.close()
            console = (work / "console").read_text("utf-8", "replace").splitlines()
        if verbose:
            took = time.monotonic() - started
            print("vm: %s, %.1f s in all" % (accelerator, took), file=sys.stderr)
        found = re.match(rb"status (\d+)", status)
        if found:
            return int(found[1])
        words = [*said.decode("utf-8", "replace").splitlines(), *console[-25:]]
        tail = "".join("\n" + line for line in words)
        if not in_time:
            print("vm: no end after %g s, machine stopped%s" % (timeout, tail), file=sys.stderr)
            return TIMED_OUT
        print("vm: the machine ended without a status%s" % tail, file=sys.stderr)
        return FAILED
    print("vm: no way of running a machine works here", file=sys.stderr)
    return FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="vm.py",
        usage="vm.py [OPTIONS] -- COMMAND...",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("--kernel", default="6.12", help="series: %s" % ", ".join(SUITES))
    parser.add_argument("--cache", help="directory of kernels (~/.cache/pybpftool-vm)")
    parser.add_argument("--mirror", help="Debian archive (else the one of this machine's apt)")
    parser.add_argument("--share", action="append", default=[], metavar="DIR", help="writable")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--modules", action="append", default=[], metavar="NAME[,NAME...]")
    parser.add_argument("--cwd", help="directory of the command (the current one)")
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS")
    parser.add_argument("--memory", type=int, default=2048, metavar="MB")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="kernels known and in the cache")
    parser.add_argument("--fetch", action="store_true", help="only fill the cache")
    parser.add_argument("--install", action="store_true", help="install what is missing, with apt")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args(argv)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    cache = cache_dir(args.cache)
    if args.list:
        for series in SUITES:
            state = Kernel(cache / series).version if (cache / series).exists() else "not fetched"
            print("%s: %s" % (series, state))
        return 0
    try:
        if args.install and missing_tools():
            _run(["apt-get", "update"])
            _run(["apt-get", "install", "-y", "--no-install-recommends", *missing_tools()])
        reason = why_not()
        if reason:
            raise VmError(reason)
        if args.install and not command and not args.fetch:
            return 0
        kernel = get_kernel(args.kernel, cache, args.mirror)
        if args.fetch:
            print(kernel.version)
            return 0
        if not command:
            parser.error("no command given")
        return run(
            kernel,
            command,
            shares=args.share,
            env=dict(pair.partition("=")[::2] for pair in args.env),
            modules=[name for group in args.modules for name in group.split(",")],
            cwd=args.cwd,
            timeout=args.timeout,
            memory=args.memory,
            cpus=args.cpus,
            cache=cache,
            verbose=args.verbose,
        )
    except (VmError, OSError) as error:
        print("vm: %s" % error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
