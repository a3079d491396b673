"""Why libbpf and the verifier refuse a file: one sentence made of all that they said."""

from __future__ import annotations

import posix
from errno import EACCES, EISDIR, EPERM

from pybpftool.control.libbpf import WARN, as_numbers
from pybpftool.errors import BpfError, FormatError, LoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.control.libbpf import Libbpf

_LOG_BEGIN = "-- BEGIN PROG LOAD LOG --\n"
_LOG_END = "-- END PROG LOAD LOG --"
# Warnings that only repeat that something failed, or that are followed by another attempt.
_REPEATED = (
    "failed to load object",
    "failed to load BPF skeleton",
    "Error loading .BTF into kernel",
    "supported section(type) names are",
    "Failed to bump RLIMIT_MEMLOCK",
)
# What an older libbpf stumbles over, and the version that copes with it.
_NEWER = (
    (".addr_space.1", "1.4"),  # globals of arenas
    ("exception_callback:", "1.3"),
    ("exception callback type id not found", "1.3"),  # says the verifier
    (".struct_ops.link", "1.2"),
    (".percpu", "1.8"),
    ("attr 'map_extra': expected PTR, got enum64", "1.4"),
)
# What only repeats that a capability is missing.
_UNPERMITTED = ("bpf_object__probe_loading()", "BPF program load failed: ")
_SHOWN = 3  # warnings that a sentence quotes
_MOST_ERRNO = 4000  # above are libbpf's own numbers


def check_file(path: str) -> None:
    """Refuse what is not a readable ELF file before libbpf sees it."""
    from pybpftool.reading import is_directory, is_regular, read_some

    try:
        # Without O_NONBLOCK a FIFO would wait for a writer.
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
        try:
            if is_directory(fd):
                raise IsADirectoryError(EISDIR, posix.strerror(EISDIR))
            if not is_regular(fd):
                raise BpfError(f"cannot open '{path}': not a regular file")
            magic = read_some(fd, 4)
        finally:
            posix.close(fd)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "impossible name"
        raise BpfError(f"cannot open '{path}': {reason}") from None
    if magic != b"\x7fELF":
        raise FormatError(f"cannot open '{path}': it is no ELF file")


def refused(what: str, lib: Libbpf, errno: int) -> LoadError:
    """The error for a call that libbpf refused: one sentence made of all that it said."""
    warnings = lib.messages.warnings()
    for program, log in reversed(_logs(warnings)):
        if log.strip():
            error = by_verifier(what, program, log, errno)
            more = _age(str(error), lib) or _skipped(lib)
            return LoadError(f"{error}{more}", errno, program, log)
        break
    warnings = [warning for warning in warnings if _LOG_BEGIN not in warning]
    reason = _reason([*_telling(warnings)] or _last_failure(lib), errno)
    return LoadError(f"{what}: {reason}{_age(reason, lib) or _skipped(lib)}", errno)


def _age(reason: str, lib: Libbpf) -> str:
    """What to add if the library at hand is too old for this."""
    for sign, version in _NEWER:
        if sign in reason and as_numbers(lib.version) < as_numbers(version):
            return f" (this needs libbpf {version} or newer, and libbpf {lib.version} is installed)"
    return ""


def _skipped(lib: Libbpf) -> str:
    """What to add if the library has passed over a section that a newer one knows."""
    for _, text in lib.messages.said:
        if "skipping unrecognized data section" in text:
            section = text.rpartition(" ")[2].strip()
            for sign, version in _NEWER:
                if sign == section and as_numbers(lib.version) < as_numbers(version):
                    return (
                        f" (the section {section} needs libbpf {version} or newer, and libbpf"
                        f" {lib.version} is installed)"
                    )
    return ""


def _logs(said: list[str]) -> list[tuple[str, str]]:
    """Programs and the logs of the verifier among what libbpf said."""
    found = []
    for text in said:
        begin = text.find(_LOG_BEGIN)
        if begin >= 0:
            log = text[begin + len(_LOG_BEGIN) :].partition(_LOG_END)[0]
            found.append((_quoted(text[:begin]), log))
    return found


def logs(lib: Libbpf) -> dict[str, str]:
    """The verifier's logs of what was just loaded, by program."""
    return dict(_logs([text for _, text in lib.messages.said]))


def by_verifier(what: str, program: str, log: str, errno: int) -> LoadError:
    """The error for a program that the verifier refused; ``program`` may be unknown (empty)."""
    from pybpftool.control import verifier_log

    found = verifier_log.refusal(log)
    name = f"the program '{program}'" if program else "a program"
    if not found.reason:
        # What comes after the verifier (no memory, no descriptor left) stands in no log.
        sentence = f"{what}: the kernel refuses {name}: {_strerror(errno)}"
        return LoadError(sentence, errno, program, log)
    where = ""
    if found.place:
        where += f" at {found.place}"
    if found.source:
        where += f" `{found.source}`"
    return LoadError(
        f"{what}: the verifier refuses {name}{where}: {found.reason}",
        errno,
        program,
        log,
    )


def _telling(warnings: list[str]) -> Iterator[str]:
    """The warnings that say something new."""
    for warning in warnings:
        if warning.startswith(_REPEATED) or "Retrying without BTF" in warning:
            continue
        if warning.startswith("prog '") and ": failed to load: " in warning:
            continue
        yield warning.replace("\n", " ")


def _last_failure(lib: Libbpf) -> list[str]:
    """What libbpf said last, if that is of a failure: it has reasons that are no warnings."""
    for level, text in lib.messages.said[-1:]:
        if level != WARN and "failed" in text:
            return [text.removeprefix("libbpf: ").rstrip("\n")]
    return []


def _reason(warnings: list[str], errno: int) -> str:
    lacks_right = errno in (EPERM, EACCES) and posix.geteuid() != 0
    if lacks_right:
        warnings = [said for said in warnings if not any(part in said for part in _UNPERMITTED)]
    text = "; ".join(warnings[:_SHOWN])
    if lacks_right:
        need = (
            "this needs the capability CAP_BPF, for most programs CAP_PERFMON or CAP_NET_ADMIN"
            " as well (try as root)"
        )
        return f"{need}; libbpf says: {text}" if text else need
    return f"libbpf says: {text}" if text else _strerror(errno)


def _strerror(errno: int) -> str:
    from pybpftool.kernel.syscall import ENOTSUPP

    if errno == ENOTSUPP:
        return "the kernel does not support that (ENOTSUPP)"
    return posix.strerror(errno) if errno < _MOST_ERRNO else f"error {errno} of libbpf"


def _quoted(text: str) -> str:
    """What stands between the first pair of quotes."""
    return text.partition("'")[2].rpartition("'")[0]
