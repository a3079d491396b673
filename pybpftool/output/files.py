"""Output files: the one place that writes a file which a user named.

A plain file is complete or not there: its bytes go to a nameless file beside it, which
takes the name at the end, with the mode and the owner that the old one had. Devices, FIFOs and
this process' own descriptors (``/dev/stdout``) are written to and stay what they are.
"""

from __future__ import annotations

import errno
import os
import stat

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_NEW = 0o666  # as far as the umask allows
_PRIVATE = 0o600
_FLAGS = os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY
_MOST_LINKS = 40  # the kernel's own bound (MAXSYMLINKS, linux/namei.h)
# No nameless files here, or no /proc through which one gets its name: a hidden file serves.
_NO_NAMELESS = frozenset(
    (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.EXDEV, errno.EACCES)
)
# Where there can be no other file beside, or none of the same owner.
_NOT_BESIDE = frozenset((errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY))


class _NoTwin(Exception):
    """No file beside the old one can take its place; ``args[0]`` is the OSError."""


def write_file(path: str, data: bytes | bytearray | memoryview, private: bool = False) -> None:
    """Write a whole file.

    :param path: a symbolic link stays, and what it points to is written.
    :param private: whether a new file is for its owner alone.

    Raises BpfError; then an old file is as it was, and there is no new one.
    """
    try:
        _write(path, memoryview(data), _PRIVATE if private else _NEW)
    except (OSError, ValueError) as error:
        # ValueError: a name with a NUL byte.
        reason = error.strerror if isinstance(error, OSError) else error
        raise BpfError(f"cannot write the file '{path}': {reason}") from None


def write_folder(path: str, files: Iterable[tuple[str, Iterable[bytes]]]) -> None:
    """Write files, each in parts, into a new folder or an existing empty one.

    :param files: names with at most one folder in them. The first one comes last into the
        folder, so that one which is not whole has no such file.

    The files, and a new folder, are for their owner alone. Raises BpfError; then the files are
    gone again, and so is a new folder.
    """
    made: list[tuple[Callable[[str], None], str]] = []
    try:
        try:
            os.mkdir(path, 0o700)
            made.append((os.rmdir, path))
        except FileExistsError:
            if os.listdir(path):
                raise OSError(errno.ENOTEMPTY, "the folder is not empty") from None
        _fill(path, files, made)
    except BaseException as error:
        for undo, name in reversed(made):
            try:
                undo(name)
            except OSError:
                pass  # somebody else's, or gone
        if not isinstance(error, (OSError, ValueError)):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise BpfError(f"cannot write the folder '{path}': {reason}") from None


def _fill(
    path: str,
    files: Iterable[tuple[str, Iterable[bytes]]],
    made: list[tuple[Callable[[str], None], str]],
) -> None:
    """Write the files of a folder; ``made`` is filled with what undoes it."""
    flags = _FLAGS | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    folders = {""}
    first: tuple[str, list[bytes]] | None = None

    def write(name: str, pieces: Iterable[bytes]) -> None:
        target = os.path.join(path, name)
        with _closing(os.open(target, flags, _PRIVATE)) as fd:
            made.append((os.unlink, target))
            for piece in pieces:
                _write_all(fd, memoryview(piece))

    for name, pieces in files:
        if first is None:
            first = name, list(pieces)
            continue
        folder = name.rpartition("/")[0]
        if folder not in folders:
            os.mkdir(os.path.join(path, folder), 0o700)
            made.append((os.rmdir, os.path.join(path, folder)))
            folders.add(folder)
        write(name, pieces)
    if first is not None:
        write(*first)


def append_file(path: str, data: bytes) -> None:
    """Add to the end of a file, which others add to as well; make it where there is none."""
    try:
        with _closing(os.open(path, _FLAGS | os.O_APPEND | os.O_CREAT, _NEW)) as fd:
            _write_all(fd, memoryview(data))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BpfError(f"cannot add to the file '{path}': {reason}") from None


def _write(path: str, data: memoryview, mode: int) -> None:
    if not path:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    try:
        old: os.stat_result | None = os.stat(path)
    except FileNotFoundError:
        old = None
    place, descriptor = _follow(path)
    if descriptor is not None:
        # Not opened again: it has a position, and may be a socket.
        with _closing(os.dup(descriptor)) as fd:
            _write_all(fd, data)
        return
    if old is not None and stat.S_ISSOCK(old.st_mode):
        raise OSError(errno.ENXIO, "it is a socket")
    if place is None or (old is not None and not stat.S_ISREG(old.st_mode)):
        with _closing(os.open(path, _FLAGS | os.O_TRUNC)) as fd:
            _write_all(fd, data)
        return
    try:
        _replace(place, data, mode, old)
    except _NoTwin as refusal:
        if old is None:
            raise refusal.args[0] from None
        _overwrite(place, data)


def _follow(path: str) -> tuple[str | None, int | None]:
    """Where a path ends: (name of its own, None), (None, own descriptor) or (None, None).

    The last is another process' descriptor in /proc, which has no name to be replaced at.
    """
    for _ in range(_MOST_LINKS):
        directory, name = os.path.split(path)
        directory = os.path.realpath(directory or ".")
        path = os.path.join(directory, name)
        if name.isdecimal() and directory.endswith("/fd") and directory.startswith("/proc/"):
            own = os.path.realpath("/proc/self/fd"), os.path.realpath("/proc/thread-self/fd")
            return None, int(name) if directory in own else None
        try:
            target = os.readlink(path)
        except OSError:
            break  # no link, or nothing yet
        path = os.path.join(directory, target)
    return path, None


def _replace(place: str, data: memoryview, mode: int, old: os.stat_result | None) -> None:
    directory, name = os.path.split(place)
    if not name:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    beside = os.path.join(directory, f".{name[:200]}.{os.getpid()}")
    try:
        # The kernel makes the directory entry only when the file is whole: whatever ends this
        # process before, SIGKILL included, leaves nothing.
        fd = os.open(directory, _FLAGS | os.O_TMPFILE, mode)
    except OSError as error:
        if error.errno not in _NO_NAMELESS:
            raise _NoTwin(error) if error.errno in _NOT_BESIDE else error from None
        fd = -1
    is_named = False
    try:
        if fd < 0:
            fd = _open_beside(beside, mode)
            is_named = True
        if old is not None:
            _take_after(fd, old)
        _write_all(fd, data)
        if not is_named:
            if old is None and _give_name(fd, place):
                closing, fd = fd, -1
                try:
                    os.close(closing)
                except OSError:
                    os.unlink(place)
                    raise
                return
            is_named = _give_name(fd, beside)
            if not is_named:
                other = _open_beside(beside, mode)
                os.close(fd)
                fd = other
                is_named = True
                if old is not None:
                    _take_after(fd, old)
                _write_all(fd, data)
        # File systems over a network tell here that there is no room.
        closing, fd = fd, -1
        os.close(closing)
        try:
            os.rename(beside, place)
        except OSError as error:
            raise _NoTwin(error) if error.errno in _NOT_BESIDE else error from None
        is_named = False
    finally:
        if fd >= 0:
            os.close(fd)
        if is_named:
            os.unlink(beside)


def _open_beside(beside: str, mode: int) -> int:
    try:
        return os.open(beside, _FLAGS | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except OSError as error:
        raise _NoTwin(error) if error.errno in _NOT_BESIDE else error from None


def _take_after(fd: int, old: os.stat_result) -> None:
    """Give a new file the owner and the mode of the old one."""
    new = os.fstat(fd)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(fd, old.st_uid, old.st_gid)
        except OSError as error:
            raise _NoTwin(error) from None
    # After the owner, whose change takes set-user-ID away.
    os.fchmod(fd, stat.S_IMODE(old.st_mode))


def _give_name(fd: int, name: str) -> bool:
    """Give a nameless file its name (linkat(2)); whether it has it."""
    directory = os.open(os.path.dirname(name) or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Only with a directory's descriptor does Python pass AT_SYMLINK_FOLLOW.
        os.link(f"/proc/self/fd/{fd}", os.path.basename(name), dst_dir_fd=directory)
    except OSError:
        return False
    finally:
        try:
            os.close(directory)
        except OSError:
            pass  # nothing was written to it
    return True


def _overwrite(place: str, data: memoryview) -> None:
    """Write into an existing plain file, whose old content comes back if that fails."""
    with _closing(os.open(place, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)) as fd:
        size = os.fstat(fd).st_size
        kept = os.pread(fd, min(size, len(data)), 0)
        try:
            _write_all(fd, data)
            os.ftruncate(fd, len(data))
        except BaseException:
            os.lseek(fd, 0, os.SEEK_SET)
            _write_all(fd, memoryview(kept))
            os.ftruncate(fd, size)
            raise


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            import select

            select.select([], [fd], [])


class _closing:
    """A descriptor that is closed at the end of a ``with``; importing contextlib costs more."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)
