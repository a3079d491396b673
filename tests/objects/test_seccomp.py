"""What seccomp filters let a task do."""

from __future__ import annotations

import pytest

from pybpftool.errors import FormatError
from pybpftool.insn.classic import ClassicInsn
from pybpftool.objects.seccomp import Task, action_text, annotated, native, outcomes
from pybpftool.uapi.syscalls import ARCHITECTURES, GENERIC, I386, X86_64

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
     (0x12340000, "kill_process")],
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
