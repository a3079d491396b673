"""Four stories end to end, on the running kernel and on recordings, in every report format."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpftool.inspect.reports import FORMATS
from tests.support import asm, load
from tests.support.btfbuild import GLOBAL, SIGNED, BtfBuilder
from tests.support.cli import run

ROOT = Path(__file__).parents[2]
BUDGET = ROOT / "fixtures" / "check"
CONTAINER = "0123456789ab" + "c" * 52

CHILD = """
import sys
sys.path.insert(0, {root!r})
from tests.support import asm, load
if {cgroup!r}:
    with open({cgroup!r} + "/cgroup.procs", "w") as file:
        file.write("0")
prog = load.prog_load("raw_tracepoint", asm.mov64(asm.R0, 0) + asm.exit_(), name={name!r})
link = load.raw_tracepoint_open(prog, "sys_enter")
print("ready", flush=True)
sys.stdin.readline()
link.close()
print("detached", flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def agent(name: str, cgroup: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that holds a program and its link until it is told to close the link."""
    code = CHILD.format(root=str(ROOT), name=name, cgroup=cgroup)
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()
            child.wait()


def tell(child: subprocess.Popen[str]) -> None:
    """Let the agent detach."""
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    assert child.stdout.readline() == "detached\n"


def save(path: Path) -> str:
    assert run("snapshot", "save", str(path), "elements", "none").status == 0
    return str(path)


def everywhere(tmp_path: Path, words: list[str], *parts: str) -> None:
    """Live and recorded, in each format: the finding is there, and the status is 1."""
    after = save(tmp_path / "after.zip")
    for options in ([], ["--snapshot", after]):
        for name in FORMATS:
            result = run(*options, "check", *words, "--report", name)
            assert result.status == 1, (options, name, result)
            for part in parts:
                assert part in result.text, (options, name, part, result.text)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.mark.live
def test_a_leak_and_its_holder(tmp_path: Path) -> None:
    policy = tmp_path / "bpf.toml"
    policy.write_text('schema = 1\n[[rule]]\nid = "leak"\nprog = "pybt_leak*"\nnew = true\n')
    before = save(tmp_path / "before.zip")
    assert run("check", str(policy), "--since", before).status == 0
    with agent("pybt_leak") as child:
        words = [str(policy), "--since", before]
        everywhere(tmp_path, words, "pybt_leak", f"({child.pid})", "sys_enter")


def guard(with_branch: bool) -> load.Fd:
    """A program of three lines, or with one more branch."""
    btf = BtfBuilder()
    number = btf.add_int("int", 4, SIGNED)
    proto = btf.add_func_proto(number, [("skb", btf.add_ptr(number))])
    function = btf.add_func("pybt_guard", proto, GLOBAL)
    file = btf.string("guard.bpf.c")
    texts = ["int len = skb->len;", "if (len > 1500) return 1;", "return 0;"]
    lines = [btf.string(text) for text in texts]
    code = asm.insn(0x61, 2, 1, 0, 0)  # r2 = *(u32 *)(r1 + 0)
    starts = [(0, 10, 0)]
    if with_branch:
        # if r2 <= 1500 goto +2; r0 = 1; exit
        code += asm.insn(0xB5, 2, 0, 2, 1500) + asm.mov64(asm.R0, 1) + asm.exit_()
        starts.append((1, 11, 1))
    starts.append((len(code) // 8, 12, 2))
    code += asm.mov64(asm.R0, 0) + asm.exit_()
    rows = [(slot, file, lines[which], number << 10 | 2) for slot, number, which in starts]
    with load.btf_load(btf.build()) as fd:
        return load.prog_load(
            "socket_filter", code, name="pybt_guard", btf=fd, func_info=[(0, function)],
            line_info=rows,
        )  # fmt: skip


@pytest.mark.live
def test_one_more_branch(tmp_path: Path) -> None:
    policy = tmp_path / "bpf.toml"
    policy.write_text(
        'schema = 1\n[[rule]]\nid = "cost"\nprog = "pybt_guard"\ngrows = { bytes_xlated = "5%" }\n'
    )
    with guard(False):
        before = save(tmp_path / "before.zip")
        result = run("check", "--write", str(policy))
        assert result.status == 0 and "kept" in result.text
        assert run("check", str(policy)).status == 0
    with guard(True):
        after = save(tmp_path / "now.zip")
        for other in ([], [after]):
            result = run("diff", before, *other, "--code", "--only", "prog")
            assert result.status == 1
            at = result.text.index("~ prog socket_filter pybt_guard: code 3 instructions → 6")
            shown = result.text[at:].splitlines()
            assert shown[1] == "    ; if (len > 1500) return 1; [guard.bpf.c:11]"
            assert shown[2] == "    +    1: (b5) if r2 <= 0x5dc goto pc+2"
        everywhere(tmp_path, [str(policy)], "pybt_guard", "24 before", "48 (+100.0")


def test_a_budget_that_a_newer_kernel_breaks(tmp_path: Path) -> None:
    """The same object on 6.12 and on 6.18, whose verifier makes more of `may_goto`."""
    policy = tmp_path / "bpf.toml"
    policy.write_text(
        'schema = 1\n[[rule]]\nid = "budget"\nprog = "budget"\nbytes_xlated = "<= 160"\n'
    )
    for name in FORMATS:
        older, newer = (
            run(
                "--snapshot", str(BUDGET / f"{version}.zip"), "check", str(policy), "--report", name
            )
            for version in ("6.12", "6.18")
        )
        assert (older.status, newer.status) == (0, 1), (name, older, newer)
        for part in ("budget", "184", "160"):
            assert part in newer.text, (name, part)
        assert "p.bpf.c" in newer.text, name


@pytest.mark.live
def test_a_container_whose_agent_detaches(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(load.temp_cgroup()) + f"/docker-{CONTAINER}.scope"
        os.mkdir(group)
        stack.callback(os.rmdir, group)
        policy = tmp_path / "bpf.toml"
        policy.write_text(
            'schema = 1\n[[rule]]\nid = "agent"\n'
            f'prog = {{ name = "pybt_agent", owner = "container:{CONTAINER[:12]}" }}\n'
            'attached = { hook = "raw_tracepoint", tracepoint = "sys_enter" }\n'
        )
        with agent("pybt_agent", group) as child:
            before = save(tmp_path / "before.zip")
            for options in ([], ["--snapshot", before]):
                result = run(*options, "check", str(policy))
                assert result.status == 0, result
            tell(child)
            result = run("diff", before, "--owner", f"container:{CONTAINER[:12]}")
            assert result.status == 1
            assert "- link raw_tracepoint pybt_agent at raw_tracepoint tracepoint" in result.text
            everywhere(tmp_path, [str(policy)], "pybt_agent", "sys_enter")
