"""The one-file edition: it runs alone, from a read-only disk, and from a pipe."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pybpftool

ROOT = Path(__file__).parents[1]
RECORDING = ROOT / "fixtures" / "host" / "snapshot.zip"
FIRST = f"pybpftool v{pybpftool.__version__}\n".encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it was made, for the Python that runs the tests."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, ROOT / ".ci" / "pyz", "--here", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def archive(folder: Path) -> Path:
    return folder / "pybpftool.pyz"


def run(*words: object, **how: object) -> subprocess.CompletedProcess[bytes]:
    """Without site-packages: nothing but the file and the standard library."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [sys.executable, "-I", "-S", *map(str, words)]
    how.setdefault("env", clean)
    return subprocess.run(command, capture_output=True, check=False, timeout=120, **how)  # type: ignore[call-overload,no-any-return]


def installed(*words: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "pybpftool", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    "words",
    [
        "prog show",
        "-j map show",
        "prog dump xlated id 166795 linum",
        "btf show",
        "link show",
        "nonsense",
    ],
)
def test_prints_the_same(archive: Path, words: str) -> None:
    options = ["--snapshot", RECORDING, *words.split()]
    ours, theirs = run(archive, *options), installed(*options)
    assert ours.stdout == theirs.stdout
    assert ours.stderr == theirs.stderr
    assert ours.returncode == theirs.returncode


def test_every_module_is_in_it(archive: Path) -> None:
    """Imported one by one, as bytecode."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "pybpftool").rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py", "pytest_plugin.py")
        and "adapters" not in path.parts
    ]
    code = (
        "import importlib, runpy, sys\n"
        "import posix; posix._exit = sys.exit\n"
        "sys.argv = [sys.argv[1], 'version']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: pass\n"
        f"for name in {names!r}:\n"
        "    loader = importlib.import_module(name).__spec__.loader\n"
        "    assert type(loader).__name__ == 'Modules' and 0 not in loader.index, name\n"
    )
    done = run("-c", code, archive)
    assert (done.returncode, done.stderr) == (0, b"")


def test_from_a_pipe(folder: Path) -> None:
    text = (folder / "pybpftool-stdin.py").read_bytes()
    done = run("-", "--snapshot", RECORDING, "prog", "show", input=text)
    assert done.stdout == installed("--snapshot", RECORDING, "prog", "show").stdout
    assert (done.returncode, done.stderr) == (0, b"")
    reading, writing = os.pipe()
    with subprocess.Popen(["cat", folder / "pybpftool-stdin.py"], stdout=writing):
        os.close(writing)
        done = run(f"/dev/fd/{reading}", "version", pass_fds=(reading,))
        os.close(reading)
    assert done.stdout.startswith(FIRST), done


@pytest.mark.parametrize("fd", [0, 7])
def test_from_an_open_file(archive: Path, fd: int) -> None:
    """As ``python3 /dev/fd/7 7<pybpftool.pyz`` does, and from memory."""
    memory = os.memfd_create("pyz")
    os.write(memory, archive.read_bytes())
    for source in (os.open(archive, os.O_RDONLY), memory):
        done = run(
            f"/dev/fd/{fd}", "version", preexec_fn=lambda s=source: os.dup2(s, fd), close_fds=False
        )
        os.close(source)
        assert done.stdout.startswith(FIRST), done


@pytest.mark.live
def test_from_a_read_only_disk(archive: Path, tmp_path: Path) -> None:
    """A mount of its own, with nothing writable but what the kernel makes."""
    where = tmp_path / "disk"
    where.mkdir()
    script = (
        f"mount -t tmpfs none {where} && cp {archive} {where}/p && mount -o remount,ro {where} &&"
        f" cd {where} && {sys.executable} {where}/p version &&"
        f" {sys.executable} {where}/p prog show >/dev/null"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, check=False, timeout=120
    )
    assert done.stdout.startswith(FIRST), done
    assert (done.returncode, done.stderr) == (0, b"")


def test_another_python_compiles(archive: Path, tmp_path: Path) -> None:
    """The sources serve where no bytecode is of the right kind."""
    other = tmp_path / "other.pyz"
    with zipfile.ZipFile(archive) as old:
        main = old.read("__main__.py").decode()
    other.write_bytes(archive.read_bytes())
    code = (
        "import _frozen_importlib_external as e, runpy, sys\n"
        "e.MAGIC_NUMBER = bytes(4)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    assert "BLOBS[0]" in main
    done = run("-c", code, other, "--snapshot", RECORDING, "prog", "show")
    assert done.stdout == installed("--snapshot", RECORDING, "prog", "show").stdout


def test_under_the_name_bpftool(archive: Path, tmp_path: Path) -> None:
    link = tmp_path / "bpftool"
    link.symlink_to(archive)
    done = run(link, "--version")
    assert done.stdout.splitlines()[0] == f"bpftool v{pybpftool.UPSTREAM_VERSION}".encode()
    done = subprocess.run([link, "--version"], capture_output=True, check=False)
    assert done.stdout.splitlines()[0] == f"bpftool v{pybpftool.UPSTREAM_VERSION}".encode()


def test_runs_no_code_of_the_caller(archive: Path, tmp_path: Path) -> None:
    for name in ("capstone", "pybpftool", "zlib_not", "elftools"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('foreign')\n")
    env = {**os.environ, "PYTHONPATH": f":{tmp_path}"}
    done = subprocess.run(
        [sys.executable, archive, "--snapshot", RECORDING, "prog", "dump", "jited", "id", "166795"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert b"foreign" not in done.stdout + done.stderr


def test_made_twice_it_is_equal(folder: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / ".ci" / "pyz", "--here", tmp_path], check=True)
    for name in ("pybpftool.pyz", "pybpftool-stdin.py"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_an_old_python_is_told() -> None:
    """The loader is read by Pythons that know no annotations and no f-strings."""
    text = (ROOT / ".ci" / "pyz_main.py").read_text()
    tree = ast.parse(text, feature_version=(3, 4))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    (told,) = [node for node in tree.body if isinstance(node, ast.If)]
    exec(compile(ast.Module(told.body[:1], []), "told", "exec"), {"sys": (fake := _Sys())})
    assert fake.text == "Error: pybpftool needs Python 3.9 or newer, and this is 2.7\n"


class _Sys:
    version_info = (2, 7, 18)
    text = ""

    @property
    def stderr(self) -> _Sys:
        return self

    def write(self, text: str) -> None:
        self.text += text
