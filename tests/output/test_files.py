"""Output files: whole or not there, and nothing that is not a plain file is replaced."""

from __future__ import annotations

import ast
import errno
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpftool.errors import BpfError
from pybpftool.output import files
from pybpftool.output.files import write_file, write_folder

PACKAGE = Path(files.__file__).parents[1]
MUCH = bytes(range(256)) * 4096

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(params=["nameless", "no nameless files", "no /proc"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways to a file beside: file systems differ in what they can do."""
    if request.param == "no nameless files":
        real_open = os.open

        def refuse(path: object, flags: int, *args: object, **kwargs: object) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(95, "Operation not supported")
            return real_open(path, flags, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "open", refuse)
    elif request.param == "no /proc":

        def no_link(*args: object, **kwargs: object) -> None:
            raise FileNotFoundError(2, "No such file or directory")

        monkeypatch.setattr(os, "link", no_link)
    return str(request.param)


class TestPlainFiles:
    def test_a_new_one_has_what_the_umask_leaves(self, tmp_path: Path, way: str) -> None:
        old = os.umask(0o027)
        try:
            write_file(str(tmp_path / "public"), b"data")
            write_file(str(tmp_path / "private"), b"data", private=True)
        finally:
            os.umask(old)
        assert (tmp_path / "public").read_bytes() == b"data"
        assert mode(tmp_path / "public") == 0o640
        assert mode(tmp_path / "private") == 0o600
        assert sorted(os.listdir(tmp_path)) == ["private", "public"]

    def test_an_old_one_keeps_its_mode(self, tmp_path: Path, way: str) -> None:
        path = tmp_path / "file"
        path.write_bytes(MUCH)
        path.chmod(0o2754)
        write_file(str(path), b"short", private=True)
        assert (path.read_bytes(), mode(path)) == (b"short", 0o2754)
        assert os.listdir(tmp_path) == ["file"]

    @as_root
    def test_an_old_one_keeps_its_owner(self, tmp_path: Path, way: str) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        os.chown(path, 1234, 4321)
        path.chmod(0o4711)
        write_file(str(path), b"new")
        assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (1234, 4321, 0o4711)

    def test_a_link_stays(self, tmp_path: Path, way: str) -> None:
        (tmp_path / "below").mkdir()
        target = tmp_path / "below" / "target"
        link = tmp_path / "link"
        link.symlink_to("below/target")
        again = tmp_path / "again"
        again.symlink_to(link)
        for data in (b"dangling", b"there"):
            write_file(str(again), data)
            assert link.is_symlink()
            assert again.is_symlink()
            assert target.read_bytes() == data
            assert not target.is_symlink()

    def test_a_name_relative_to_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write_file("name", b"1")
        assert (tmp_path / "name").read_bytes() == b"1"

    def test_a_name_that_is_no_text(self, tmp_path: Path, way: str) -> None:
        write_file(os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff"), b"1")
        assert os.listdir(os.fsencode(str(tmp_path))) == [b"\xff"]

    def test_the_longest_name(self, tmp_path: Path, way: str) -> None:
        path = tmp_path / ("n" * 255)
        for data in (b"1", b"2"):
            write_file(str(path), data)
            assert path.read_bytes() == data

    @pytest.mark.parametrize("path", ["a\0b", "", "/", "/nowhere/at/all", "."])
    def test_impossible_names(self, path: str) -> None:
        with pytest.raises(BpfError, match="cannot write the file"):
            write_file(path, b"")

    def test_where_no_file_beside_can_be_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that is a mount point, or of another owner."""
        path = tmp_path / "file"
        path.write_bytes(MUCH)

        def busy(*args: object, **kwargs: object) -> None:
            raise OSError(16, "Device or resource busy")

        monkeypatch.setattr(os, "rename", busy)
        write_file(str(path), b"new")
        assert path.read_bytes() == b"new"
        with pytest.raises(BpfError, match="busy"):
            os.unlink(path)
            monkeypatch.setattr(os, "link", busy)
            write_file(str(path), b"new")
        assert os.listdir(tmp_path) == []


class TestFailures:
    @pytest.mark.parametrize("has_old", [False, True])
    def test_a_full_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, has_old: bool
    ) -> None:
        path = tmp_path / "file"
        if has_old:
            path.write_bytes(b"old")
        real = os.write
        written = [0]

        def fill(fd: int, data: memoryview) -> int:
            if written[0] >= 1000:
                raise OSError(28, "No space left on device")
            written[0] += 500
            return real(fd, data[:500])

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fill)
            with pytest.raises(BpfError, match="No space left on device"):
                write_file(str(path), MUCH)
        assert os.listdir(tmp_path) == (["file"] if has_old else [])
        assert not has_old or path.read_bytes() == b"old"

    def test_in_place_the_old_content_comes_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(MUCH)
        real = os.write
        calls = [0]

        def fail_once(fd: int, data: memoryview) -> int:
            calls[0] += 1
            if calls[0] == 2:
                raise OSError(5, "Input/output error")
            return real(fd, data[:5000])

        def refuse(*args: object) -> None:
            raise files._NoTwin(PermissionError(1, "Operation not permitted"))

        monkeypatch.setattr(files, "_replace", refuse)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fail_once)
            with pytest.raises(BpfError, match="Input/output error"):
                write_file(str(path), b"x" * 20000)
        assert path.read_bytes() == MUCH

    def test_the_limit_of_a_files_size(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        program = (
            "import sys; from pybpftool.output.files import write_file\n"
            "try: write_file(sys.argv[1], b'x' * 100000)\n"
            "except Exception as error: print(type(error).__name__, error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            capture_output=True,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),  # noqa: PLW1509
        )
        assert done.returncode == 0, done
        assert b"File too large" in done.stdout
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]

    def test_killed_in_the_middle(self, tmp_path: Path) -> None:
        probe = os.open(tmp_path, os.O_TMPFILE | os.O_WRONLY)
        os.close(probe)
        path = tmp_path / "file"
        path.write_bytes(b"old")
        program = (
            "import os, signal, sys; from pybpftool.output import files\n"
            "real = os.write\n"
            "def write(fd, data):\n"
            "    real(fd, data[:10]); os.kill(os.getpid(), signal.SIGKILL)\n"
            "os.write = write\n"
            "files.write_file(sys.argv[1], b'x' * 100)\n"
        )
        for name in ("file", "new"):
            done = subprocess.run(
                [sys.executable, "-c", program, str(tmp_path / name)], check=False
            )
            assert done.returncode == -signal.SIGKILL
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]

    def test_a_short_write_is_continued(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:3])))
            write_file(str(tmp_path / "image"), b"0123456789")
        assert (tmp_path / "image").read_bytes() == b"0123456789"


class TestOtherKinds:
    def test_a_fifo_is_written_to(self, tmp_path: Path) -> None:
        path = tmp_path / "fifo"
        os.mkfifo(path)
        link = tmp_path / "link"
        link.symlink_to(path)
        for name in (path, link):
            got: list[bytes] = []
            reader = threading.Thread(target=lambda got=got: got.append(path.read_bytes()))
            reader.start()
            write_file(str(name), MUCH)
            reader.join()
            assert got == [MUCH]
        assert stat.S_ISFIFO(path.lstat().st_mode)
        assert link.is_symlink()

    @as_root
    @pytest.mark.parametrize(("minor", "reason"), [(3, None), (7, "No space left")])
    def test_a_device_stays_one(self, tmp_path: Path, minor: int, reason: str | None) -> None:
        path = tmp_path / "device"
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            os.close(os.open(path, os.O_WRONLY))
        except OSError as error:
            pytest.skip(f"no device nodes here: {error}")
        if reason is None:
            write_file(str(path), b"data")
        else:
            with pytest.raises(BpfError, match=reason):
                write_file(str(path), b"data")
        assert stat.S_ISCHR(path.lstat().st_mode)

    def test_a_socket_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            with pytest.raises(BpfError, match="socket"):
                write_file(str(path), b"data")
        assert stat.S_ISSOCK(path.lstat().st_mode)

    def test_a_directory_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BpfError, match="directory"):
            write_file(str(tmp_path), b"data")

    @pytest.mark.parametrize("way", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
    @pytest.mark.parametrize("kind", ["file", "pipe", "socket"])
    def test_standard_output(self, tmp_path: Path, way: str, kind: str) -> None:
        """What was written before stays, and what comes later follows."""
        if way == "link":
            (tmp_path / "link").symlink_to("/dev/stdout")
            way = str(tmp_path / "link")
        program = (
            "import os, sys; from pybpftool.output.files import write_file\n"
            "os.write(1, b'a'); write_file(sys.argv[1], b'b'); os.write(1, b'c')\n"
        )
        command = [sys.executable, "-c", program, way]
        if kind == "file":
            with open(tmp_path / "out", "wb") as out:
                subprocess.run(command, stdout=out, check=True)
            got = (tmp_path / "out").read_bytes()
        elif kind == "pipe":
            got = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        else:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                subprocess.run(command, stdout=theirs.fileno(), check=True)
                got = ours.recv(100)
        assert got == b"abc"


def _opens_for_writing(call: ast.Call) -> bool:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = getattr(function.value, "id", "") if isinstance(function, ast.Attribute) else ""
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    if name in ("replace", "rename", "renames", "link", "truncate") and owner == "os":
        return True
    if name in ("mkstemp", "NamedTemporaryFile", "TemporaryFile", "copyfile"):
        return True
    if name == "write_text" and isinstance(function, ast.Attribute):
        return True
    if owner == "os" and name == "open":
        return any(
            isinstance(node, ast.Attribute) and node.attr in ("O_WRONLY", "O_RDWR", "O_CREAT")
            for argument in arguments
            for node in ast.walk(argument)
        )
    if any(keyword.arg == "closefd" for keyword in call.keywords):
        return False  # a descriptor that somebody else has opened: memory, or a pipe
    if name in ("open", "fdopen", "ZipFile"):
        return any(
            isinstance(argument, ast.Constant)
            and isinstance(argument.value, str)
            and argument.value.strip("bt+") in ("w", "a", "x")
            for argument in arguments
        )
    return False


def test_nobody_else_writes_files() -> None:
    allowed = {"output/files.py", "kernel/archive.py"}  # an archive in memory
    writers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _opens_for_writing(node)
    }
    assert writers - allowed == set()
    assert "output/files.py" in writers


class TestFolders:
    FILES = (("first", [b"a", b"b"]), ("x/one", [b"1"]), ("x/two", [b"2", b"3"]), ("last", [b""]))

    @staticmethod
    def content(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    @pytest.mark.parametrize("is_there", [True, False])
    def test_all_files(self, tmp_path: Path, is_there: bool) -> None:
        folder = tmp_path / "new"
        if is_there:
            folder.mkdir()
        write_folder(str(folder), self.FILES)
        wanted = {"first": b"ab", "x/one": b"1", "x/two": b"23", "last": b""}
        assert self.content(folder) == wanted
        assert {path.stat().st_mode & 0o77 for path in folder.rglob("*")} == {0}
        with pytest.raises(BpfError, match="the folder is not empty"):
            write_folder(str(folder), self.FILES)
        assert self.content(folder) == wanted

    @pytest.mark.parametrize("is_there", [True, False])
    @pytest.mark.parametrize("after", range(4))
    def test_a_failure_leaves_nothing(self, tmp_path: Path, is_there: bool, after: int) -> None:
        folder = tmp_path / "new"
        if is_there:
            folder.mkdir()

        def files() -> Iterator[tuple[str, list[bytes]]]:
            yield from self.FILES[:after]
            assert not (folder / "first").exists()  # it comes last
            raise OSError(errno.ENOSPC, "no room")

        with pytest.raises(BpfError, match=r"cannot write the folder '.*': no room"):
            write_folder(str(folder), files())
        assert list(tmp_path.iterdir()) == ([folder] if is_there else [])
        assert not is_there or list(folder.iterdir()) == []

    def test_what_somebody_else_put_there_stays(self, tmp_path: Path) -> None:
        folder = tmp_path / "new"

        def files() -> Iterator[tuple[str, list[bytes]]]:
            yield "first", [b""]
            (folder / "other").write_bytes(b"theirs")
            yield "other", [b"ours"]

        with pytest.raises(BpfError, match="File exists"):
            write_folder(str(folder), files())
        assert self.content(folder) == {"other": b"theirs"}


def test_a_file_that_cannot_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems over a network tell then that there is no room: there is no file."""
    place, close = tmp_path / "new", os.close
    refused: list[int] = []

    def failing(fd: int) -> None:
        if not refused and stat.S_ISREG(os.fstat(fd).st_mode):
            close(fd)
            refused.append(fd)
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        close(fd)

    monkeypatch.setattr(os, "close", failing)
    with pytest.raises(BpfError, match="quota"):
        write_file(str(place), b"x")
    assert refused
    assert list(tmp_path.iterdir()) == []
