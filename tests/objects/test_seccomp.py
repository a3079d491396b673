"""What seccomp filters let a task do."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import resource
import signal
import struct
import sys

import pytest

from pybpftool.errors import FormatError
from pybpftool.insn.classic import ClassicInsn, encode, faults
from pybpftool.objects.seccomp import _ARITHMETIC, Task, action_text, annotated, native, outcomes
from pybpftool.uapi.syscalls import ARCHITECTURES, GENERIC, I386, X86_64
from tests.support.classic import random_filter

X64, ARM64 = 0xC000003E, 0xC00000B7
ALLOW, KILL, EPERM = 0x7FFF0000, 0x80000000, 0x00050001


def insns(*rows: tuple[int, int, int, int]) -> list[ClassicInsn]:
    return [ClassicInsn(*row) for row in rows]


# Other architectures are killed, mount is refused, the rest allowed.
MOUNT = insns(
    (0x20, 0, 0, 4), (0x15, 1, 0, X64), (0x06, 0, 0, KILL),
    (0x20, 0, 0, 0), (0x15, 0, 1, 165), (0x06, 0, 0, EPERM), (0x06, 0, 0, ALLOW),
)  # fmt: skip
# socket with AF_INET alone, execve not at all; asks for no architecture.
SOCKET = insns(
    (0x20, 0, 0, 0), (0x15, 2, 0, 41), (0x15, 4, 0, 59), (0x06, 0, 0, ALLOW),
    (0x20, 0, 0, 16), (0x15, 2, 0, 2), (0x06, 0, 0, 0x0005000D), (0x06, 0, 0, 0x00030005),
    (0x06, 0, 0, ALLOW),
)  # fmt: skip


def test_tables() -> None:
    assert (X86_64[0], X86_64[59], X86_64[321], X86_64[469]) == (
        "read", "execve", "bpf", "file_setattr")  # fmt: skip
    assert (I386[11], I386[357], I386[403]) == ("execve", "bpf", "clock_gettime64")
    assert (GENERIC[280], GENERIC[221], GENERIC[79]) == ("bpf", "execve", "newfstatat")
    assert ARCHITECTURES[ARM64] == ("aarch64", GENERIC)
    assert ARCHITECTURES[0xC00000F3][1][258] == "riscv_hwprobe"
    assert 258 not in GENERIC
    assert ARCHITECTURES[0x5E][0] == "xtensa"
    assert len({name for name, _ in ARCHITECTURES.values()}) == len(ARCHITECTURES)


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("x86_64", "x86_64"),
        ("i486", "i386"),
        ("i686", "i386"),
        ("aarch64", "aarch64"),
        ("aarch64_be", "aarch64"),
        ("armv5tel", "arm"),
        ("armv7l", "arm"),
        ("armv7b", "armeb"),
        ("ppc", "ppc"),
        ("sparc64", "sparc64"),
        ("riscv32", "riscv32"),
    ],
)
def test_the_architecture_of_a_kernel(machine: str, name: str) -> None:
    assert ARCHITECTURES[native(machine) or 0][0] == name
    assert native("vax") is None


def test_outcomes() -> None:
    assert outcomes(MOUNT, X64, 165) == {EPERM}
    assert outcomes(MOUNT, X64, 0) == {ALLOW}
    assert outcomes(MOUNT, ARM64, 0) == {KILL}
    assert outcomes(SOCKET, X64, 41) == {ALLOW, 0x0005000D}
    assert outcomes(SOCKET, X64, 59) == {0x00030005}


def test_arithmetic_and_memory_are_followed() -> None:
    code = insns(
        (0x20, 0, 0, 0), (0x02, 0, 0, 3), (0x54, 0, 0, 0xF), (0x07, 0, 0, 0), (0x60, 0, 0, 3),
        (0x1C, 0, 0, 0), (0x15, 0, 1, 0x20), (0x06, 0, 0, ALLOW), (0x16, 0, 0, 0),
    )  # fmt: skip
    assert outcomes(code, X64, 0x25) == {ALLOW}
    assert outcomes(code, X64, 0x35) == {0x30}


def test_an_old_architecture_that_is_asked_for() -> None:
    code = insns((0x20, 0, 0, 4), (0x15, 0, 1, 0x14), (0x06, 0, 0, 0), (0x06, 0, 0, ALLOW))
    found = Task(7, "agent", 2, [code], "x86_64").verdicts()
    assert found["ppc"] == {"kill_thread": ["others"]}
    assert found.keys() == {"x86_64", "ppc"}


def test_the_strictest_filter_counts() -> None:
    task = Task(7, "agent", 2, [MOUNT, SOCKET], "x86_64")
    assert task.verdict(X64, 165) == "errno EPERM"
    assert task.verdict(X64, 41) == "allow | errno EACCES"
    assert task.verdict(X64, 59) == "trap 5"
    assert task.verdict(ARM64, 59) == "kill_process"
    verdicts = task.verdicts()
    assert verdicts.keys() == {"x86_64"}  # 2 is AF_INET there, not AUDIT_ARCH_SPARC
    assert verdicts["x86_64"]["errno EPERM"] == ["mount"]
    assert verdicts["x86_64"]["allow"][-1] == "others"
    assert sum(map(len, verdicts["x86_64"].values())) == len(X86_64) + 1


def test_text() -> None:
    text = Task(7, "agent", 2, [MOUNT, SOCKET], "x86_64").text()
    assert text.startswith(
        "pid 7 (agent): seccomp filter, 2 filters\n\nfilter 0: 7 instructions\n"
        "(000) ld       [4]\t; arch\n"
        "(001) jeq      #0xc000003e      jt 3\tjf 2\t; x86_64\n"
        "(002) ret      #-2147483648\t; kill_process\n"
        "(003) ld       [0]\t; nr\n"
        "(004) jeq      #0xa5            jt 5\tjf 6\t; mount\n"
    )
    assert "\nfilter 1 (added last, asked first): 9 instructions\n" in text
    assert "(005) jeq      #0x2             jt 8\tjf 6\n" in text  # an argument, no system call
    assert "\n  errno EPERM           mount\n" in text
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "(000)" not in Task(7, "agent", 2, [MOUNT], "x86_64").text(with_code=False)


def test_other_modes() -> None:
    assert Task(7, "agent", 0, [], "x86_64").text() == "pid 7 (agent): seccomp disabled\n"
    json = Task(7, "agent", 1, [], "x86_64").json()
    assert json == {"pid": 7, "comm": "agent", "mode": "strict", "filters": [], "verdicts": {}}


def test_architectures_that_a_filter_names_are_shown() -> None:
    code = insns(
        (0x20, 0, 0, 4), (0x15, 0, 3, 0x40000003), (0x20, 0, 0, 0), (0x15, 1, 0, 11),
        (0x06, 0, 0, ALLOW), (0x06, 0, 0, EPERM),
    )  # fmt: skip
    verdicts = Task(7, "agent", 2, [code], "x86_64").verdicts()
    assert verdicts["i386"]["errno EPERM"] == ["execve"]
    assert verdicts["x86_64"] == {"errno EPERM": [*[X86_64[n] for n in sorted(X86_64)], "others"]}
    assert "; execve" in "".join(annotated(code, "x86_64"))
    x32 = insns((0x20, 0, 0, 0), (0x35, 0, 1, 0x40000000), (0x06, 0, 0, EPERM), (0x06, 0, 0, ALLOW))
    verdicts = Task(7, "agent", 2, [x32], "aarch64").verdicts()
    assert verdicts.keys() == {"aarch64"}
    verdicts = Task(7, "agent", 2, [x32], "x86_64").verdicts()
    assert verdicts["x32"].keys() == {"errno EPERM"}
    assert verdicts["x86_64"].keys() == {"allow"}


@pytest.mark.parametrize(
    ("result", "words"),
    [(0, "kill_thread"), (0x00050026, "errno ENOSYS"), (0x000503E7, "errno 999"),
     (0x7FF00002, "trace 2"), (0x7FFC0000, "log"), (0x7FC00000, "user_notif"),
     (0x12340000, "kill_process"), (0x00051388, "errno 4095")],
)  # fmt: skip
def test_actions(result: int, words: str) -> None:
    assert action_text(result) == words


def test_damaged_filters() -> None:
    with pytest.raises(FormatError, match="beyond its end"):
        outcomes(insns((0x05, 0, 0, 9)), X64, 0)
    with pytest.raises(FormatError, match="no instruction"):
        outcomes(insns((0x28, 0, 0, 0)), X64, 0)
    # Doubling at every step, but each state is looked at once.
    many = [*insns((0x20, 0, 0, 16), (0x15, 0, 1, 0), (0x02, 0, 0, 1)) * 200,
            ClassicInsn(6, 0, 0, ALLOW)]  # fmt: skip
    assert outcomes(many, X64, 0) == {ALLOW}


def test_division_by_zero_ends_a_filter() -> None:
    """It returns 0 then: Linux, bpf_convert_filter() of net/core/filter.c."""
    by_x = ((0x00, 0, 0, 5), (0x01, 0, 0, 0), (0x3C, 0, 0, 0), (0x06, 0, 0, ALLOW))
    assert outcomes(insns(*by_x), X64, 0) == {0}
    assert Task(7, "agent", 2, [insns(*by_x)], "x86_64").verdict(X64, 0) == "kill_thread"
    by_two = (by_x[0], (0x01, 0, 0, 2), by_x[2], (0x15, 0, 1, 2), (0x06, 0, 0, EPERM), by_x[3])
    assert outcomes(insns(*by_two), X64, 0) == {EPERM}
    by_argument = insns((0x20, 0, 0, 16), (0x07, 0, 0, 0), (0x00, 0, 0, 5), *by_x[2:])
    assert outcomes(by_argument, X64, 0) == {0, ALLOW}
    for code in (0x94, 0x9C):
        with pytest.raises(FormatError, match="no instruction that seccomp takes"):
            outcomes(insns(by_x[0], (code, 0, 0, 3), by_x[3]), X64, 0)


def test_a_result_that_an_argument_decides() -> None:
    code = insns((0x20, 0, 0, 16), (0x16, 0, 0, 0))
    assert Task(7, "agent", 2, [code], "x86_64").verdict(X64, 0) == (
        "allow | log | trace ? | user_notif | errno ? | trap ? | kill_thread | kill_process"
    )


def test_of_equal_verdicts_the_newest_counts() -> None:
    old, new = insns((0x06, 0, 0, EPERM)), insns((0x06, 0, 0, 0x0005000D))
    assert Task(7, "agent", 2, [old, new], "x86_64").verdict(X64, 0) == "errno EACCES"


# seccomp_check_filter() of kernel/seccomp.c, without the returns
TAKEN = (*sorted(_ARITHMETIC), 0x00, 0x01, 0x02, 0x03, 0x05, 0x07, 0x87, 0x20, 0x60, 0x61, 0x80,
         0x81, 0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D)  # fmt: skip


def is_taken(insn: ClassicInsn) -> bool:
    if insn.code == 0x20:
        return insn.k < 64 and insn.k % 4 == 0
    return insn.code in (*TAKEN, 0x06, 0x16)


def filter_at_random(source: random.Random, nr: int) -> list[ClassicInsn]:
    """A filter that does something to one system call, and allows all others."""
    results = (0, 0x80000000, 0x00030007, 0x00050001, 0x0005FFFF, 0x7FF00003, 0x7FFC0000, ALLOW)
    body = []
    for code, jt, jf, k in random_filter(source, (*TAKEN, 0x20, 0x20, 0x3C, 0x3C)):
        if code == 0x06:
            k = source.choice((*results, ALLOW, ALLOW, 0x12340000))
        elif code == 0x20 and source.random() < 0.95:
            k = source.randrange(0, 64, 4)
        elif code in (0x02, 0x03, 0x60, 0x61):
            k = source.randrange(3)
        body.append((code, jt, jf, k))
    return insns((0x20, 0, 0, 0), (0x15, 1, 0, nr), (0x06, 0, 0, ALLOW), *body)


def run_with(filters: list[list[ClassicInsn]], nr: int, arguments: list[int]) -> str:
    """What a system call of a child with these filters comes to, "refused" with a bad filter."""
    libc = ctypes.CDLL(None, use_errno=True)
    programs = []
    for filter in filters:
        code = encode(filter, "<" if sys.byteorder == "little" else ">")
        kept = ctypes.create_string_buffer(code)
        program = struct.pack("@HP", len(filter), ctypes.addressof(kept))
        programs.append((kept, ctypes.create_string_buffer(program)))
    call = [ctypes.c_ulong(each) for each in (nr, *arguments)]
    answer, tell = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGSYS, lambda *_: os._exit(77))
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        for _, each in programs:
            if libc.prctl(22, 2, each, 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
                os.write(tell, b"refused")
                os._exit(0)
        failed = libc.syscall(*call) < 0
        number = ctypes.get_errno()
        for _ in range(3):
            pass  # a signal is handled between two instructions
        os.write(tell, b"errno %d" % number if failed else b"allowed")
        os._exit(0)
    os.close(tell)
    _, status = os.waitpid(child, 0)
    said = os.read(answer, 99).decode()
    os.close(answer)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGSYS
        return "killed"
    return "trap" if os.WEXITSTATUS(status) == 77 else said


def means(verdict: str, observed: str) -> bool:
    """Whether one word of ours may show as this: nobody traces the child or answers for it."""
    word, _, data = verdict.partition(" ")
    if word in ("trace", "user_notif"):
        return observed == f"errno {errno.ENOSYS}"
    if word == "errno":
        number = getattr(errno, data, data)
        return (observed.startswith("errno ") and data == "?") or observed == f"errno {number}" or (
            data in ("0", "?") and observed == "allowed")  # fmt: skip
    if word == "trap":
        return observed == "trap"
    return observed == ("allowed" if word in ("allow", "log") else "killed")


def search(seed: int, count: int) -> dict[str, int]:
    """Run filters at random; how often each thing happened."""
    source = random.Random(seed)
    machine = os.uname().machine
    arch = native(machine) or 0
    (nr,) = [nr for nr, name in ARCHITECTURES[arch][1].items() if name == "getppid"]
    seen: dict[str, int] = {}
    for _ in range(count):
        filters = [filter_at_random(source, nr) for _ in range(source.choice((1, 1, 2)))]
        arguments = [source.choice((0, 1, 5, 64, 1 << 31, 2**64 - 1)) for _ in range(6)]
        refused = any(faults(each) or not all(map(is_taken, each)) for each in filters)
        if refused and source.random() < 0.8:
            continue
        observed = run_with(filters, nr, arguments)
        seen[observed] = seen.get(observed, 0) + 1
        assert refused == (observed == "refused"), (filters, observed)
        if not refused:
            verdict = Task(7, "x", 2, filters, machine).verdict(arch, nr)
            assert any(means(one, observed) for one in verdict.split(" | ")), (
                filters, arguments, verdict, observed)  # fmt: skip
    return seen


@pytest.mark.skipif(native(os.uname().machine) is None, reason="a machine without tables")
def test_beside_the_kernel() -> None:
    """What a system call comes to is among what is said of it; what is refused has faults."""
    seen = search(2005, 400)
    assert min(seen.get(what, 0) for what in ("allowed", "killed", "refused", "errno 1")) > 2
