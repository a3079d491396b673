"""Work that libbpf does on files, in a process of its own.

A file that the library cannot digest ends that process and nothing else.
"""

from __future__ import annotations

import marshal
import posix

from pybpftool.control.libbpf import LibbpfError
from pybpftool.errors import BpfError, FormatError, KernelError, LoadError, NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

_ITEM, _ERROR = "", "!"  # what a message is that calls no listener
_ERRORS = (LoadError, KernelError, FormatError, NotFoundError, LibbpfError, BpfError)
_SIGKILL = 9


class CrashedError(BpfError):
    """The process in which libbpf worked ended midway; nothing that it did is taken back."""


def apart(
    files: str,
    work: Callable[..., Iterator[Any]],
    **listeners: Callable[..., None] | None,
) -> Iterator[Any]:
    """What the generator ``work(**listeners)`` yields in another process, step by step.

    It gets stand-ins that have the listeners called here, None for None. What passes between
    the processes is plain: numbers, str, bytes, None, tuples, lists, dicts of these. An
    exception of its is raised here; :class:`CrashedError`, with ``files`` in its message, if
    the process crashes. The process is gone when this ends, whatever ends it.
    """
    hear, say = posix.pipe()
    wait, go = posix.pipe()
    try:
        pid = posix.fork()
    except OSError as error:
        for fd in (hear, say, wait, go):
            posix.close(fd)
        raise KernelError.of("cannot start a process for libbpf", error.errno or 0) from None
    if not pid:
        posix.close(hear)
        posix.close(go)
        _run(work, listeners, say, wait)
    posix.close(say)
    posix.close(wait)
    failure: Exception | None = None
    try:
        with open(hear, "rb") as said, open(go, "wb", buffering=0, closefd=True) as onward:
            for kind, values in _messages(said):
                if kind == _ITEM:
                    yield values[0]
                    _let_go_on(onward)
                elif kind == _ERROR:
                    failure = _as_error(*values)
                else:
                    listener = listeners[kind]
                    assert listener is not None
                    listener(*values)
    except GeneratorExit:
        posix.waitpid(pid, 0)  # it has seen that nobody asks for more
        raise
    except BaseException:
        posix.kill(pid, _SIGKILL)
        posix.waitpid(pid, 0)
        raise
    _, status = posix.waitpid(pid, 0)
    if failure is not None:
        raise failure
    if status:
        raise CrashedError(f"libbpf cannot digest '{files}': {_ending(status)}")


def _messages(said: Any) -> Iterator[tuple[str, list[Any]]]:
    while True:
        try:
            kind, *values = marshal.load(said)
        except (EOFError, ValueError, TypeError):
            return  # the end, maybe amid a message
        yield kind, values


def _let_go_on(onward: Any) -> None:
    try:
        onward.write(b"\n")
    except BrokenPipeError:
        pass  # it is gone; its status says why


def _ending(status: int) -> str:
    if not posix.WIFSIGNALED(status):
        return "it gave up"
    import signal  # milliseconds, since it is made of enums

    number = posix.WTERMSIG(status)
    try:
        return f"it ended with {signal.Signals(number).name}"
    except ValueError:
        return f"it ended with signal {number}"  # one of real time


def _run(
    work: Callable[..., Iterator[Any]],
    listeners: dict[str, Callable[..., None] | None],
    say: int,
    wait: int,
) -> NoReturn:
    """The other process: do the work, tell all, and end."""
    import _signal  # type: ignore[import-not-found]  # the module signal loads enum

    status = 1
    try:
        # What a terminal sends reaches the first process, too. That ends us, or is gone: then
        # the next that we tell goes nowhere, and what is half done is taken back.
        for name in ("SIGHUP", "SIGINT", "SIGTERM", "SIGPIPE"):
            _signal.signal(getattr(_signal, name), _signal.SIG_IGN)
        said = open(say, "wb", closefd=True)  # noqa: SIM115  # by the end of the process

        def tell(*message: Any) -> None:
            marshal.dump(message, said)
            said.flush()

        items = work(
            **{name: _telling(tell, name, listener) for name, listener in listeners.items()}
        )
        try:
            for item in items:
                tell(_ITEM, item)
                if not posix.read(wait, 1):
                    break
            items.close()  # type: ignore[attr-defined]  # a generator
        except Exception as error:
            items.close()  # type: ignore[attr-defined]
            tell(_ERROR, *as_plain(error))
        status = 0
    finally:
        posix._exit(status)


def _telling(
    tell: Callable[..., None], name: str, listener: Callable[..., None] | None
) -> Callable[..., None] | None:
    return None if listener is None else lambda *values: tell(name, *values)


def as_plain(error: Exception) -> tuple[Any, ...]:
    """An exception in a form that passes: which of :data:`_ERRORS` or what else it is, and more."""
    for index, kind in enumerate(_ERRORS):
        if isinstance(error, kind):
            more = ("errno", "program", "log")
            return index, str(error), *(getattr(error, at) for at in more if hasattr(error, at))
    if isinstance(error, OSError):
        return "OSError", error.errno, error.strerror, error.filename
    if isinstance(error, MemoryError):
        return ("MemoryError",)
    import traceback

    told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return "", f"{type(error).__name__}: {error}", told


def as_bpf_error(kind: int, *values: Any) -> BpfError:
    """The :class:`BpfError` that :func:`as_plain` has described."""
    return _ERRORS[kind](*values)


def _as_error(kind: int | str, *values: Any) -> Exception:
    """The exception that :func:`as_plain` has described."""
    if isinstance(kind, int):
        return as_bpf_error(kind, *values)
    if kind == "OSError":
        return OSError(*values)
    if kind == "MemoryError":
        return MemoryError()
    error = RuntimeError(values[0])
    error.__cause__ = RuntimeError(values[1])
    return error
