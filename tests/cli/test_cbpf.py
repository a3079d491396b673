"""``cbpf``."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel.seccomp import status_of
from tests.support import load, netdevs
from tests.support.classic import ICMP, ICMP_C, ICMP_DECIMAL
from tests.support.cli import assert_one_sentence, run
from tests.support.hosts import host
from tests.support.nobody import as_nobody

# A process with two filters of seccomp and one on a socket.
CHILD = """\
import ctypes, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
class Prog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
def code(*insns):
    return ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *insn) for insn in insns))
def seccomp(*insns):
    data = code(*insns)
    prog = Prog(len(insns), ctypes.cast(data, ctypes.c_void_p))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(prog), 0, 0) == 0, ctypes.get_errno()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
data = code((0x28, 0, 0, 12), (0x15, 0, 1, 0x800), (6, 0, 0, 0xffff), (6, 0, 0, 0))
s.setsockopt(socket.SOL_SOCKET, 26, struct.pack("H6xQ", 4, ctypes.addressof(data)))
seccomp((0x20, 0, 0, 0), (0x15, 0, 1, 101), (6, 0, 0, 0x50001), (6, 0, 0, 0x7fff0000))
seccomp((6, 0, 0, 0x7ffc0000))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def child() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.kill()


class TestDis:
    def test_forms(self, tmp_path: Path) -> None:
        path = tmp_path / "filter"
        for content in (ICMP_C, ICMP_DECIMAL):
            assert run("cbpf", "dis", stdin=content.encode()).text == ICMP
            path.write_text(content)
            assert run("cbpf", "dis", str(path)).text == ICMP
            assert run("cbpf", "dis", str(path), "form", "dd").text == ICMP_C
            assert run("cbpf", "dis", "form", "ddd", stdin=content.encode()).text == ICMP_DECIMAL
        raw = run("cbpf", "dis", str(path), "form", "raw").out
        assert len(raw) == 6 * 8
        assert run("cbpf", "dis", "-", stdin=raw).text == ICMP
        first = run("-j", "cbpf", "dis", str(path)).json[0]
        assert first == {"code": 40, "jt": 0, "jf": 0, "k": 12, "text": "(000) ldh      [12]"}

    def test_what_the_kernel_would_refuse(self) -> None:
        result = run("cbpf", "dis", stdin=b"1\n21 9 0 0\n")
        assert result.status == 0
        assert "would refuse this filter: (000) jumps beyond the end" in result.errors

    @pytest.mark.parametrize(
        ("words", "stdin", "sentence"),
        [
            (["dis", "/nonexistent"], b"", "cannot read '/nonexistent': No such file"),
            (["dis", "a\0b"], b"", "cannot read"),
            (["dis", "-", "form", "x"], b"", "unknown form 'x'"),
            (["dis", "-", "x"], b"", "expected 'form'"),
            (["dis"], b"hello", "cannot read 'hello' as a number"),
            (["dis"], bytes(5 << 20), "too large"),
            (["dis", "form"], b"", "cannot read 'form'"),
            (["seccomp"], b"", "expected a process id"),
            (["seccomp", "0"], b"", "no process id"),
            (["seccomp", "x"], b"", "cannot read 'x'"),
            (["seccomp", "1", "all"], b"", "expected 'brief'"),
            (["seccomp", "1"], b"", "not in a snapshot"),
            (["sockets"], b"", "not in a snapshot"),
            (["sockets", "x"], b"", "unexpected argument 'x'"),
            ([], b"", "expected a command"),
        ],
    )
    def test_refusals(self, words: list[str], stdin: bytes, sentence: str) -> None:
        assert_one_sentence(run("cbpf", *words, stdin=stdin, kernel=host()), sentence)


class TestCompile:
    @pytest.fixture(autouse=True)
    def libpcap(self) -> None:
        if run("cbpf", "compile", "ip").status:
            pytest.skip("there is no libpcap")

    def test_as_tcpdump(self) -> None:
        # Of an untouched snaplen, as tcpdump has.
        assert run("cbpf", "compile", "icmp").text == ICMP
        assert run("cbpf", "compile", "icmp", "form", "ddd").text == ICMP_DECIMAL
        tcpdump = shutil.which("tcpdump")
        if tcpdump is None:
            return
        for link, expression in (
            ("EN10MB", "tcp port 80 and host 10.0.0.1"),
            ("RAW", "udp and not dst net 192.168.0.0/16"),
            ("LINUX_SLL", "arp or ip6"),
        ):
            for form in ("d", "dd", "ddd"):
                command = [tcpdump, "-y", link, f"-{form}", expression]
                expected = subprocess.run(command, capture_output=True, text=True, check=True)
                result = run("cbpf", "compile", expression, "link", link, "form", form)
                assert result.text == expected.stdout

    def test_options(self) -> None:
        assert run("cbpf", "compile", "icmp", "snaplen", "96").text.count("#96\n") == 1
        whole = run("-j", "cbpf", "compile", "tcp port 80", "unoptimized").json
        assert len(whole) > len(run("-j", "cbpf", "compile", "tcp port 80").json)

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["tcp prot 80"], "libpcap does not take 'tcp prot 80': "),
            (["ip", "link", "NOTHING"], "no link type 'NOTHING'"),
            (["ip", "form"], "expected a form"),
            (["ip", "quick"], "expected 'link', 'snaplen', 'unoptimized' or 'form'"),
            (["ip\0x"], "no NUL"),
            ([], "expected a filter expression"),
        ],
    )
    def test_refusals(self, words: list[str], sentence: str) -> None:
        assert_one_sentence(run("cbpf", "compile", *words), sentence)


def test_compile_without_libpcap(monkeypatch: pytest.MonkeyPatch) -> None:
    from pybpftool.adapters import libpcap

    monkeypatch.setattr(libpcap, "_NAMES", ("libnothing.so.1",))
    assert_one_sentence(run("cbpf", "compile", "ip"), "needs libpcap, which is not installed")


def test_compile_with_a_libpcap_that_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pybpftool.adapters import libpcap

    damaged = tmp_path / "libpcap.so"
    damaged.write_bytes(b"no ELF")
    monkeypatch.setattr(libpcap, "_NAMES", (str(damaged),))
    assert_one_sentence(run("cbpf", "compile", "ip"), "libpcap cannot be loaded: ")


class TestProcesses:
    def test_sockets(self, child: int) -> None:
        rows = run("-j", "cbpf", "sockets").json
        (row,) = [row for row in rows if row["pid"] == child]
        assert (row["domain"], row["type"], row["protocol"]) == ("inet", "dgram", 17)
        assert row["insns"][1] == {"code": 21, "jt": 0, "jf": 1, "k": 2048}
        text = run("cbpf", "sockets").text
        assert f"pid {child} (python" in text
        assert "\t(001) jeq      #0x800           jt 2\tjf 3\n" in text

    def test_a_packet_socket_at_a_device_of_any_name(self) -> None:
        name = b"\x1b[2Jpk\xff"
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(load.temp_netns())
                load.ip("link", "add", "pybt_pk", "type", "veth", "peer", "name", "pybt_pkp")
                user = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
                user.bind(("pybt_pk", 0x0800))
                netdevs.rename("pybt_pk", name)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"no such device or socket: {error}")
            drop = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))
            attach = struct.pack("HP", 1, ctypes.addressof(drop))
            user.setsockopt(socket.SOL_SOCKET, 26, attach)  # SO_ATTACH_FILTER
            rows = run("-j", "cbpf", "sockets").json
            text = run("cbpf", "sockets").text
            (row,) = [
                row for row in rows if (row["pid"], row["fd"]) == (os.getpid(), user.fileno())
            ]
        assert (row["domain"], row["protocol"]) == ("packet", 0x0800)
        assert row["devname"] == name.decode("utf-8", "surrogateescape")
        assert "  protocol 0x0800  dev \\x1b[2Jpk\\xff  inode " in text

    def test_a_name_that_ends_lines(self) -> None:
        code = (
            "open('/proc/self/comm', 'wb').write(b'a\\x1cSeccomp:\\t2')\nprint(flush=True)\ninput()"
        )
        words = [sys.executable, "-c", code]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            result = run("cbpf", "seccomp", str(process.pid))
            process.kill()
        assert result.text.endswith(": seccomp disabled\n")
        assert "a\\x1cSeccomp:\\x092" in result.text

    def test_seccomp(self, child: int) -> None:
        if os.geteuid():
            pytest.skip("needs CAP_SYS_ADMIN")
        result = run("cbpf", "seccomp", str(child))
        if "EIO" in result.errors or "Invalid" in result.errors:
            pytest.skip("needs CONFIG_CHECKPOINT_RESTORE")
        assert result.status == 0, result
        assert "filter 1 (added last, asked first): 1 instructions\n" in result.text
        found = run("-j", "cbpf", "seccomp", str(child)).json
        assert (found["mode"], len(found["filters"])) == ("filter", 2)
        assert [len(one) for one in found["filters"]] == [4, 1]
        if os.uname().machine == "x86_64":
            assert found["verdicts"]["x86_64"]["errno EPERM"] == ["ptrace"]
            assert "read" in found["verdicts"]["x86_64"]["log"]
        # It goes on.
        time.sleep(0.05)
        state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        assert state in "SR"
        brief = run("cbpf", "seccomp", str(child), "brief").text
        assert "(000)" not in brief and "ptrace" in brief

    def test_a_stopped_process_stays_stopped(self, child: int) -> None:
        if os.geteuid():
            pytest.skip("needs CAP_SYS_ADMIN")
        os.kill(child, signal.SIGSTOP)
        deadline = time.monotonic() + 5
        path = Path(f"/proc/{child}/stat")
        while path.read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline
        assert run("cbpf", "seccomp", str(child), "brief").status == 0
        while path.read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline

    def test_without_filters(self) -> None:
        with subprocess.Popen(["sleep", "60"]) as process:
            result = run("cbpf", "seccomp", str(process.pid))
            assert result.text.endswith(": seccomp disabled\n")
            process.kill()
        assert_one_sentence(run("cbpf", "seccomp", str(process.pid)), "there is no process")

    def test_a_process_that_proc_does_not_show(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def hidden(*_: object) -> NoReturn:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")

        monkeypatch.setattr("builtins.open", hidden)
        for pid in (os.getpid(), 1):
            with pytest.raises(KernelError, match=rf"^process {pid} cannot be looked at: /proc"):
                status_of(pid)
        with pytest.raises(KernelError, match="there is no process 2147483647"):
            status_of(2147483647)

    def test_processes_that_nobody_may_look_into(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pybpftool.kernel.socket_filters.filtered_sockets", lambda: ([], 1))
        monkeypatch.setattr("pybpftool.inspect.owners.processes_hidden", lambda kernel: "")
        told = "cannot look at the sockets of 1 process, which Linux lets nobody look into here\n"
        assert run("cbpf", "sockets").errors == told

    def test_unprivileged(self, child: int) -> None:
        done = as_nobody("cbpf", "sockets")
        assert done.returncode == 0
        assert "cannot look at the sockets of" in done.stderr
        assert "this needs the capabilities CAP_SYS_PTRACE and CAP_DAC_READ" in done.stderr
        done = as_nobody("-j", "cbpf", "seccomp", str(child))
        assert done.returncode == 255
        assert "this needs the capability CAP_SYS_" in json.loads(done.stdout)["error"]
