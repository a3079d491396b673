"""Standard output: collected in pieces, written in large blocks, started early."""

from __future__ import annotations

import posix

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# The first block goes out when this many characters are there, so that a reader
# sees a listing begin; later blocks double up to the largest.
_FIRST_BLOCK = 512
_LARGEST_BLOCK = 1 << 18
_F_SETPIPE_SZ, _F_GETPIPE_SZ = 1031, 1032  # linux/fcntl.h; Python has them since 3.10
_WIDE_PIPE = 1 << 20  # /proc/sys/fs/pipe-max-size, unless changed

# What a terminal would act on: C0 but tab and newline, DEL, C1. Names come from
# processes and object files that the reader need not trust. A C1 byte that is not part
# of UTF-8 (0xdc80 + …: surrogateescape) acts on terminals that are in no UTF-8 mode.
_CONTROLS = (*range(9), *range(11, 32), *range(127, 160), *range(0xDC80, 0xDCA0))
_spelt: dict[int, str] = {}  # filled when it is first needed: few outputs are terminals


def escaped(text: str) -> str:
    """A text as terminals show it: control characters spelt out."""
    if not _spelt:
        _spelt.update({c: f"\\x{c & 0xFF:02x}" for c in _CONTROLS})
    return text.translate(_spelt)


def _json_escaped(text: str) -> str:
    """The same for JSON, whose strings have escapes of their own already, but for these."""
    return text.translate({c: f"\\u{c:04x}" for c in range(127, 160)})


class ClosedPipe(Exception):
    """The reader of standard output went away (EPIPE); the program ends quietly."""


class Output:
    """A buffered text stream on a file descriptor.

    :param fd: the descriptor written to; it is not closed.
    :param errors: codec error handler for characters that UTF-8 lacks.
        ``surrogateescape`` gives the kernel's bytes back as they were (text);
        ``backslashreplace`` turns them into JSON's own ``\\udcXX`` escape.

    On a terminal every :meth:`write` is shown at once and control characters
    (escape sequences in a process name) are shown as ``\\x1b`` instead of acting.
    """

    __slots__ = (
        "_errors",
        "_escapes",
        "_fd",
        "_is_wide",
        "_limit",
        "_pieces",
        "_size",
        "_tty",
        "failure",
    )

    failure: str
    """Why a block could not be written, a sentence; empty if all could."""

    def __init__(self, fd: int = 1, errors: str = "surrogateescape") -> None:
        self._fd = fd
        self._errors = errors
        self._pieces: list[str] = []
        self._size = 0
        self._is_wide = False
        self.failure = ""
        self._tty = self._escapes = posix.isatty(fd)
        self._limit = 0 if self._tty else _FIRST_BLOCK

    def set_errors(self, errors: str) -> None:
        """Change the codec error handler for what is written from now on."""
        self.flush()
        self._errors = errors

    def escape(self) -> None:
        """Show control characters from now on as on a terminal, whatever the output is."""
        self.flush()
        self._escapes = True

    @property
    def is_terminal(self) -> bool:
        """Whether the descriptor is a terminal."""
        return self._tty

    def write(self, text: str) -> None:
        """Append ``text``; raises :class:`ClosedPipe` or :class:`BpfError` when a flush fails."""
        self._pieces.append(text)
        self._size += len(text)
        if self._size > self._limit:
            self.flush()
            if not self._tty and self._limit < _LARGEST_BLOCK:
                self._limit *= 2

    def write_pieces(self, pieces: Iterable[str]) -> None:
        """Append some texts."""
        for piece in pieces:
            self.write(piece)

    def write_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Write a large block of printable ASCII at once, after what was collected before."""
        self.flush()
        self._write_all(data)

    def write_encoded(self, data: bytes | bytearray | memoryview) -> None:
        """Write a large block of text that another process encoded, after what came before."""
        if self._escapes:
            self.write(bytes(data).decode("utf-8", "surrogateescape"))
        else:
            self.write_bytes(data)

    def flush(self) -> None:
        """Write out everything collected so far."""
        if not self._pieces:
            return
        text = "".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if self._escapes:
            is_json = self._errors == "backslashreplace"
            text = _json_escaped(text) if is_json else escaped(text)
        self._write_all(text.encode("utf-8", self._errors))

    def discard(self) -> None:
        """Forget what was collected and not yet written."""
        self._pieces.clear()
        self._size = 0

    def _write_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.failure:
            # A block is missing already: what comes behind it would mean something else.
            raise BpfError(self.failure)
        view = memoryview(data)
        if len(view) >= _LARGEST_BLOCK and not self._is_wide:
            self._is_wide = True
            _widen(self._fd)
        while view:
            try:
                view = view[posix.write(self._fd, view) :]
            except BrokenPipeError:
                raise ClosedPipe from None
            except BlockingIOError:
                self._wait_writable()
            except OSError as error:
                self.failure = f"cannot write the output: {error.strerror}"
                raise BpfError(self.failure) from None

    def _wait_writable(self) -> None:
        # A non-blocking standard output (shared with another program) is full.
        import select

        select.select([], [self._fd], [])


def open_standard() -> None:
    """Open what is closed of descriptors 0, 1 and 2, so that no file of ours takes its place.

    For reading: there is nothing to read, and what is written fails, as it did.
    """
    for fd in range(3):
        try:
            posix.fstat(fd)
        except OSError:
            try:
                posix.open("/dev/null", posix.O_RDONLY)
            except OSError:
                posix.open("/", posix.O_PATH)  # there is no /dev


def write_stderr(data: bytes) -> None:
    """Write to standard error as much as it takes: there is nowhere to report its failures."""
    view = memoryview(data)
    while view:
        try:
            view = view[posix.write(2, view) :]
        except BlockingIOError:
            import select

            select.select([], [2], [])
        except OSError:
            return


def _widen(fd: int) -> None:
    """Let a pipe hold as much as an unprivileged user may have in it (fcntl(2)).

    Much then goes through it in a third less time: the two ends wait less for each other.
    """
    import fcntl

    try:
        if fcntl.fcntl(fd, _F_GETPIPE_SZ) < _WIDE_PIPE:
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _WIDE_PIPE)
    except OSError:
        pass  # it is not a pipe, or this user has too many
