"""What vm.py builds, without a machine."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest

from tests.tools import vm


def fake_kernel(root: Path, *, compressed: bool = False) -> vm.Kernel:
    """A package tree with three modules, one depending on the others."""
    version = "6.99-test"
    modules = root / "lib" / "modules" / version
    (root / "boot").mkdir(parents=True)
    (root / "boot" / ("vmlinuz-" + version)).write_bytes(b"kernel")
    for name in ("net/9p/9pnet.ko", "net/9p/9pnet_virtio.ko", "fs/9p.ko"):
        path = modules / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (modules / "modules.dep").write_text(
        "fs/9p.ko: net/9p/9pnet.ko\nnet/9p/9pnet.ko:\nnet/9p/9pnet_virtio.ko: net/9p/9pnet.ko\n"
    )
    return vm.Kernel(root)


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    kernel = fake_kernel(tmp_path)
    files = [path.name for path in kernel.module_files(["9p", "9pnet-virtio", "built_in"])]
    assert files == ["9pnet.ko", "9p.ko"]
    files = [path.name for path in kernel.module_files(["9pnet_virtio", "9p"])]
    assert files == ["9pnet.ko", "9pnet_virtio.ko", "9p.ko"]


def test_no_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(vm.VmError, match="no kernel image"):
        vm.Kernel(tmp_path)


def test_the_image_may_stand_beside_the_modules(tmp_path: Path) -> None:
    """Debian's packages of Linux 7.3 have no boot/."""
    kernel = fake_kernel(tmp_path)
    (tmp_path / "boot" / "vmlinuz-6.99-test").rename(kernel.modules / "vmlinuz")
    moved = vm.Kernel(tmp_path)
    assert (moved.version, moved.modules) == (kernel.version, kernel.modules)
    assert moved.image == kernel.modules / "vmlinuz"


def test_parts_of_a_kernel_are_fetched_where_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    unpacked: list[str] = []

    def command(words: list[str], **options: Path) -> str:
        if "depends" in words:
            return "  Depends: linux-image-7.3.4+x-amd64\n"
        if "download" in words:
            asked.append(words[-1])
            if "linux-base-" in words[-1]:
                raise vm.VmError("no such package")
            (options["cwd"] / (words[-1] + ".deb")).write_bytes(b"")
        if words[0] == "dpkg-deb":
            unpacked.append(Path(words[2]).name)
            Path(words[3]).mkdir(exist_ok=True)
        return ""

    monkeypatch.setattr(vm, "_run", command)
    monkeypatch.setattr(vm, "_prepare", lambda unpacked: None)
    vm._download("7.3", tmp_path / "7.3", "http://mirror")
    version = "7.3.4+x-amd64"
    assert asked == [f"linux-{part}-{version}" for part in ("image", "binary", "base", "modules")]
    assert unpacked == [f"linux-{part}-{version}.deb" for part in ("binary", "image", "modules")]
    assert (tmp_path / "7.3").is_dir()


def members(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Read the archive back: name to (mode, data)."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        start = (at + 110 + length + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[start : start + size])
        at = (start + size + 3) // 4 * 4


def test_cpio_is_read_back() -> None:
    cpio = vm.Cpio()
    cpio.file("a/b/c", b"12345", 0o755)
    cpio.file("a/b/d", b"")
    cpio.device("dev/null", 1, 3)
    found = members(cpio.finish())
    assert list(found) == ["a", "a/b", "a/b/c", "a/b/d", "dev", "dev/null"]
    assert found["a/b/c"] == (0o100755, b"12345")
    assert found["a"] == (0o40755, b"")


def test_initramfs_holds_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"a static program")
    monkeypatch.setattr(vm, "_which", lambda tool: str(busybox))
    kernel = fake_kernel(tmp_path / "kernel")
    image = vm.initramfs(
        kernel, ["printf", "%s", "it's; $HOME"], {"A": "b c"}, ["/tmp/x y"], ["9p"], "/"
    )
    found = members(gzip.decompress(image))
    assert found["modules/order"][1].split() == [b"9pnet.ko", b"9pnet_virtio.ko", b"9p.ko"]
    assert found["modules/9p.ko"][1] == b"fs/9p.ko"
    assert b"'/tmp/x y'" in found["shares"][1]
    script = tmp_path / "script"
    script.write_bytes(found["command"][1])
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "it's; $HOME")
    # The shell parses the first program of the machine.
    init = tmp_path / "init"
    init.write_bytes(found["init"][1])
    assert subprocess.run(["sh", "-n", str(init)], check=False).returncode == 0


def test_cache_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYBPFTOOL_VM_CACHE", raising=False)
    assert vm.cache_dir().name == "pybpftool-vm"
    monkeypatch.setenv("PYBPFTOOL_VM_CACHE", "/somewhere")
    assert vm.cache_dir() == Path("/somewhere")
    assert vm.cache_dir("relative") == Path(os.getcwd(), "relative")


def test_unknown_series(tmp_path: Path) -> None:
    with pytest.raises(vm.VmError, match=r"no suite known for kernel 5\.4"):
        vm.get_kernel("5.4", tmp_path)


def test_missing_programs_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(vm, "_which", lambda tool: None)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", "x86_64")))
    assert vm.main(["--cache", str(tmp_path), "--", "true"]) == vm.FAILED
    assert "qemu-system-x86" in capsys.readouterr().err


def test_list(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fake_kernel(tmp_path / "6.12")
    assert vm.main(["--cache", str(tmp_path), "--list"]) == 0
    assert capsys.readouterr().out == "6.1: not fetched\n6.12: 6.99-test\n7.3: not fetched\n"
