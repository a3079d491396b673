"""The installed command: which Python it finds, and that the caller's settings do not matter."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

import pybpftool
from tests.support.cli import run as run_here

PACKAGE = Path(pybpftool.__file__).parent
SCRIPT = PACKAGE / "_script" / "pybpftool"
SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"

LONG = "a" * 100
PLACES = ["plain", "with a blank", f"{LONG}/{LONG}", "qu'ote\"$HOME`;é"]


def install(prefix: Path, how: str = "package") -> Path:
    """A virtual environment as pip leaves it; the command in it."""
    venv.EnvBuilder(symlinks=True, with_pip=False).create(prefix)
    packages = prefix / SITE
    if how == "package":
        (packages / "pybpftool").symlink_to(PACKAGE)
    else:
        (packages / "pybpftool.pth").write_text(f"{PACKAGE.parent}\n")
    command = prefix / "bin" / "pybpftool"
    shutil.copy(SCRIPT, command)
    command.chmod(0o755)
    return command


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("venv") / "v")


def run(
    *argv: str | bytes | os.PathLike[str], env: dict[str, str] | None = None, **how: Any
) -> subprocess.CompletedProcess[bytes]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LC_", "LANG"))}
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        [os.fspath(word) for word in argv],
        env={**clean, **(env or {})},
        capture_output=True,
        check=False,
        timeout=60,
        **how,
    )
    return done


def assert_version(done: subprocess.CompletedProcess[bytes]) -> None:
    assert done.stdout.startswith(b"pybpftool v"), done
    assert (done.returncode, done.stderr) == (0, b""), done


class TestPlaces:
    @pytest.mark.parametrize("place", PLACES)
    @pytest.mark.parametrize("how", ["package", "editable"])
    def test_a_virtual_environment_anywhere(self, tmp_path: Path, place: str, how: str) -> None:
        command = install(tmp_path / place, how)
        assert_version(run(command, "version"))
        link = tmp_path / "bin" / "pybpftool"
        link.parent.mkdir()
        link.symlink_to(command)
        assert_version(run(link, "version"))

    def test_by_every_name(self, command: Path, tmp_path: Path) -> None:
        path = {"PATH": f"{command.parent}:{os.environ['PATH']}"}
        assert_version(run("sh", "-c", "pybpftool version", env=path))
        assert_version(run("sh", command, "version"))
        assert_version(run("sh", "pybpftool", "version", cwd=command.parent))
        assert_version(run("./pybpftool", "version", cwd=command.parent))

    def test_under_the_name_bpftool(self, command: Path, tmp_path: Path) -> None:
        link = tmp_path / "bpftool"
        link.symlink_to(command)
        assert run(link, "--version").stdout.splitlines()[0] == (
            f"bpftool v{pybpftool.UPSTREAM_VERSION}".encode()
        )
        assert json.loads(run(link, "-jV").stdout)["version"] == pybpftool.UPSTREAM_VERSION

    @pytest.mark.parametrize(
        ("probe", "answer"),
        [
            ("bpftool version | head -n 1", f"bpftool v{pybpftool.UPSTREAM_VERSION}"),
            ("bpftool gen help 2>&1 | grep -c 'gen skeleton.*name'", "1"),
            ("bpftool help 2>&1 | grep -cw gen", "1"),
            ("bpftool feature list_builtins map_types | head -n 3 | tail -n 1", "array"),
            ("bpftool feature list_builtins prog_types | grep -x struct_ops", "struct_ops"),
            ("bpftool prog help 2>&1 | grep -o loadall | head -n 1", "loadall"),
        ],
    )
    def test_probes_of_build_systems(
        self, command: Path, tmp_path: Path, probe: str, answer: str
    ) -> None:
        (tmp_path / "bpftool").symlink_to(command)
        path = f"{tmp_path}:{os.environ['PATH']}"
        found = run("/bin/sh", "-c", probe, env={**os.environ, "PATH": path})
        assert found.stdout.decode().strip() == answer

    @pytest.mark.parametrize("packages", ["site-packages", "dist-packages"])
    def test_beside_no_interpreter(self, tmp_path: Path, packages: str) -> None:
        """``pip install --user``, ``--prefix``: the folder's name tells which Python."""
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        found = tmp_path / "lib" / version / packages
        found.mkdir(parents=True)
        (found / "pybpftool").symlink_to(PACKAGE)
        (tmp_path / "lib" / "python3.1" / "site-packages").mkdir(parents=True)
        command = tmp_path / "bin" / "pybpftool"
        command.parent.mkdir()
        shutil.copy(SCRIPT, command)
        command.chmod(0o755)
        home = tmp_path / "interpreter"
        home.mkdir()
        (home / version).symlink_to(Path(sysconfig.get_config_var("BINDIR")) / version)
        assert_version(run(command, "version", env={"PATH": f"{home}:/usr/bin:/bin"}))

    def test_a_package_that_is_not_there(self, tmp_path: Path) -> None:
        command = install(tmp_path / "v")
        (tmp_path / "v" / SITE / "pybpftool").unlink()
        done = run(command, "version")
        assert (done.returncode, done.stdout) == (255, b"")
        assert done.stderr.startswith(b"Error: the package pybpftool cannot be read from ")
        assert done.stderr.count(b"\n") == 1

    def test_a_module_that_cannot_be_loaded(self, tmp_path: Path) -> None:
        """Its file cannot be read, or memory is short: a sentence, whoever starts it."""
        command = install(tmp_path / "v")
        package = tmp_path / "v" / SITE / "pybpftool"
        package.unlink()
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        (package / "errors.py").write_text("raise OSError(12, 'Cannot allocate memory')\n")
        module = [tmp_path / "v" / "bin" / "python", "-m", "pybpftool"]
        for words in ([command], module):
            done = run(*words, "-j", "version", cwd=tmp_path)
            assert (done.returncode, done.stdout) == (255, b"")
            assert b"cannot be loaded: OSError(12, 'Cannot allocate memory')" in done.stderr
            assert done.stderr.count(b"\n") == 1

    def test_no_process_for_following_a_link(self, command: Path, tmp_path: Path) -> None:
        """As where a cgroup has no room for one: the shell's fork(2) fails."""
        if os.geteuid() == 0:
            pytest.skip("root may always have one more; the live test covers it")
        link = tmp_path / "pybpftool"
        link.symlink_to(command)
        done = run(
            link,
            "version",
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (0, 0)),
        )
        assert done.stdout.startswith(b"pybpftool v")

    def test_packages_that_are_elsewhere_are_found(self, tmp_path: Path) -> None:
        """The adapters' packages by a .pth file, which Python's module site reads."""
        command = install(tmp_path / "v")
        (tmp_path / "more" / "tabulate").mkdir(parents=True)
        (tmp_path / "more" / "tabulate" / "__init__.py").touch()
        assert b"tabulate" not in run(command, "version").stdout
        (tmp_path / "v" / SITE / "more.pth").write_text(f"{tmp_path / 'more'}\n")
        assert run(command, "version").stdout.endswith(b"features: tabulate\n")


class TestTheCallersPython:
    HOSTILE = {
        "PYTHONPATH": ":/nonexistent:.",
        "PYTHONHOME": "/nonexistent",
        "PYTHONPLATLIBDIR": "nowhere",
        "PYTHONHASHSEED": "nonsense",
        "PYTHONUTF8": "nonsense",
        "PYTHONSTARTUP": "struct.py",
        "PYTHONMALLOC": "nonsense",
        "PYTHONDEVMODE": "1",
        "PYTHONINSPECT": "1",
        "PYTHONVERBOSE": "1",
        "PYTHONDEBUG": "1",
        "PYTHONOPTIMIZE": "2",
        "PYTHONIOENCODING": "nonsense",
        "PYTHONWARNINGS": "error",
        "PYTHONTRACEMALLOC": "nonsense",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONPROFILEIMPORTTIME": "1",
        "PYTHONINTMAXSTRDIGITS": "nonsense",
        "PYTHONBREAKPOINT": "struct.x",
        "PYTHONEXECUTABLE": "/nonexistent",
        "PYTHONPYCACHEPREFIX": "/nonexistent",
        "PYTHONNOUSERSITE": "",
        "PYTHONUSERBASE": ".",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONSAFEPATH": "",
        "PYTHON_COLORS": "nonsense",
        "PYTHON_GIL": "nonsense",
    }

    @pytest.fixture
    def hostile(self, tmp_path: Path) -> Path:
        """A directory in which each module that we import is a trap."""
        for name in ("struct", "os", "site", "stat", "errno", "sitecustomize", "usercustomize"):
            (tmp_path / f"{name}.py").write_text(f"raise SystemExit('ran {name}.py')\n")
        for name in ("pybpftool", "encodings", "json"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('ran {name}')\n")
        return tmp_path

    @pytest.mark.parametrize("name", sorted(HOSTILE))
    def test_a_variable(self, command: Path, hostile: Path, name: str) -> None:
        assert_version(run(command, "version", env={name: self.HOSTILE[name]}, cwd=hostile))

    def test_all_at_once(self, command: Path, hostile: Path) -> None:
        assert_version(run(command, "version", env=self.HOSTILE, cwd=hostile))
        assert_version(run(command, "version", env={"PYTHONPATH": str(hostile)}, cwd=hostile))
        assert os.listdir(hostile / "pybpftool") == ["__init__.py"]

    def test_as_a_module(self, hostile: Path) -> None:
        """As far as Python lets us: what its own start imports is out of our hands."""
        shutil.rmtree(hostile / "pybpftool")
        shutil.rmtree(hostile / "encodings")
        for name in ("os", "site", "stat", "sitecustomize", "usercustomize"):
            (hostile / f"{name}.py").unlink()
        for path in (str(PACKAGE.parent), f":{PACKAGE.parent}", f"{PACKAGE.parent}:."):
            done = run(
                sys.executable, "-m", "pybpftool", "-j", "version",
                env={"PYTHONPATH": path}, cwd=hostile,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, b""), done
            assert "version" in json.loads(done.stdout)


class TestInheritedState:
    @pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
    def test_closed_descriptors(self, command: Path, tmp_path: Path, closed: tuple[int]) -> None:
        def close() -> None:
            for fd in closed:
                os.close(fd)

        path = tmp_path / "open"
        done = subprocess.run([command, "help"], check=False, capture_output=True, preexec_fn=close)
        assert done.returncode == 0
        assert done.stdout == b""
        assert 2 in closed or done.stderr.startswith(b"Usage: ")
        done = subprocess.run(
            [command, "version"], check=False, capture_output=True, preexec_fn=close
        )
        assert done.returncode == (255 if 1 in closed else 0)
        assert not path.exists()

    def test_a_full_standard_error(self, command: Path) -> None:
        with open("/dev/full", "wb") as full:
            assert subprocess.run([command, "help"], check=False, stderr=full).returncode == 0

    @pytest.mark.parametrize("number", ["SIGCHLD", "SIGPIPE", "SIGINT", "SIGTERM", "SIGHUP"])
    def test_signals_ignored_or_blocked(self, command: Path, number: str) -> None:
        what = getattr(signal, number)

        def ignore() -> None:
            signal.signal(what, signal.SIG_IGN)

        def block() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, [what])

        for change in (ignore, block):
            assert_version(run(command, "version", preexec_fn=change))

    @pytest.mark.parametrize(
        ("limit", "value"),
        [
            ("NOFILE", 12),
            ("FSIZE", 0),
            ("CORE", 0),
            ("STACK", 256 << 10),
            ("AS", 256 << 20),
            ("MEMLOCK", 0),
        ],
    )
    def test_limits(self, command: Path, limit: str, value: int) -> None:
        number = getattr(resource, f"RLIMIT_{limit}")

        def lower() -> None:
            resource.setrlimit(number, (value, value))

        assert_version(run(command, "version", preexec_fn=lower))


class TestBytes:
    @pytest.mark.parametrize(
        "locale", ["C", "POSIX", "C.UTF-8", "de_DE.ISO-8859-1", "ja_JP.EUC-JP", "none.such"]
    )
    @pytest.mark.parametrize("name", [b"caf\xc3\xa9", b"\xff\xfe", b"\xa4\xa2", b"\x8e"])
    def test_names_in_any_locale(
        self, command: Path, tmp_path: Path, locale: str, name: bytes
    ) -> None:
        path = os.fsencode(tmp_path) + b"/" + name + b".zip"
        for start in ([os.fsencode(command)], [os.fsencode(sys.executable), b"-m", b"pybpftool"]):
            done = run(
                *start, b"--snapshot", path, b"prog", b"show",
                env={
                    "LC_ALL": locale, "PYTHONCOERCECLOCALE": "0",
                    "PYTHONPATH": str(PACKAGE.parent), "LOCPATH": os.environ.get("LOCPATH", ""),
                },
            )  # fmt: skip
            assert done.returncode == 255
            here = run_here("--snapshot", os.fsdecode(path), "prog", "show")
            assert done.stderr == here.err
