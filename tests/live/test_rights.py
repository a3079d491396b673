"""What can be read of pinned objects with some capabilities: what is permitted, and one line."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
from collections.abc import Iterator

import pytest

from pybpftool.kernel import task_iter
from tests.support import asm, attachments, load
from tests.support.btfbuild import GLOBAL, SIGNED, BtfBuilder
from tests.support.cli import run
from tests.support.nobody import as_nobody

pytestmark = pytest.mark.live

NO_TYPES = "Elements are shown as bytes, without their types: cannot open BTF object"
NO_LINES = "Code is shown without source lines and types: cannot open BTF object"


@pytest.fixture
def pins() -> Iterator[str]:
    """A directory with a map, a program and a link of types that BTF tells, open to everybody."""
    btf = BtfBuilder()
    number = btf.add_int("int", 4, SIGNED)
    value = btf.add_struct("pair", 8, [("a", number, 0), ("b", number, 32)])
    proto = btf.add_func_proto(number, [("x", number)])
    function = btf.add_func("rights", proto, GLOBAL)
    file, text = btf.string("dir/a.c"), btf.string("return 1;")
    code = asm.assemble([asm.mov64(asm.R0, 1), asm.exit_()])
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(load.temp_bpffs(is_open=True))
        types = stack.enter_context(load.btf_load(btf.build()))
        map = stack.enter_context(
            load.map_create("hash", 4, 8, 4, name="rights", btf=types, btf_key=number,
                            btf_value=value)
        )  # fmt: skip
        load.map_update(map, struct.pack("=i", 1), struct.pack("=ii", 2, 3))
        prog = stack.enter_context(
            load.prog_load("cgroup_skb", code, name="rights", btf=types,
                           func_info=[(0, function)], line_info=[(0, file, text, 1 << 10)])
        )  # fmt: skip
        cgroup = stack.enter_context(load.temp_cgroup())
        at = os.open(cgroup, os.O_RDONLY)
        stack.callback(os.close, at)
        link = stack.enter_context(load.link_create(prog, at, "cgroup_inet_ingress"))
        for name, fd in (("map", map), ("prog", prog), ("link", link)):
            load.obj_pin(fd, f"{folder}/{name}")
            os.chmod(f"{folder}/{name}", 0o666)
        yield folder


def test_contents_are_dumped_without_btf(pins: str) -> None:
    for caps in ("bpf perfmon", "bpf"):
        done = as_nobody("map", "dump", "pinned", f"{pins}/map", caps=caps)
        assert done.returncode == 0
        line = "key: 01 00 00 00  value: 02 00 00 00 03 00 00 00\nFound 1 element\n"
        assert done.stdout == line
        assert done.stderr.startswith(NO_TYPES) and done.stderr.count("\n") == 1
        assert "CAP_SYS_ADMIN" in done.stderr
    done = as_nobody("-j", "map", "dump", "pinned", f"{pins}/map", caps="bpf perfmon")
    (row,) = json.loads(done.stdout)
    assert list(row) == ["key", "value"] and done.stderr.startswith(NO_TYPES)
    words = ("map", "lookup", "pinned", f"{pins}/map", "key", "1", "0", "0", "0")
    done = as_nobody(*words, caps="bpf perfmon")
    assert (done.returncode, done.stdout) == (0, line.partition("Found")[0])
    assert done.stderr.startswith(NO_TYPES)
    typed = as_nobody("map", "dump", "pinned", f"{pins}/map", caps="sys_admin")
    assert json.loads(typed.stdout) == [{"key": 1, "value": {"a": 2, "b": 3}}]
    assert typed.stderr == ""


def test_the_kernels_own_types_need_no_ids() -> None:
    """A map of struct_ops is of vmlinux's types, which everybody may read."""
    with contextlib.ExitStack() as stack:
        scene = attachments.Scene(stack)
        scene.link("struct_ops", lambda: attachments.struct_ops(scene))
        if "struct_ops" not in scene.ids:
            pytest.skip("this kernel attaches no struct_ops maps by links")
        id = run("-j", "link", "show", "id", str(scene.ids["struct_ops"])).json["map_id"]
        path = f"{stack.enter_context(load.temp_bpffs(is_open=True))}/ops"
        with load.fd_by_id("map", id) as fd:
            load.obj_pin(fd, path)
        os.chmod(path, 0o666)
        words = ("-j", "map", "dump", "pinned", path)
        done = as_nobody(*words, caps="bpf perfmon")
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == run(*words).json


def test_code_is_dumped_without_btf(pins: str) -> None:
    words = ("prog", "dump", "xlated", "pinned", f"{pins}/prog")
    done = as_nobody(*words, caps="bpf perfmon")
    assert (done.returncode, done.stdout) == (0, "   0: (b7) r0 = 1\n   1: (95) exit\n")
    assert done.stderr.startswith(NO_LINES) and done.stderr.count("\n") == 1
    done = as_nobody("-j", *words, caps="bpf perfmon")
    assert [row["disasm"] for row in json.loads(done.stdout)] == ["(b7) r0 = 1", "(95) exit"]
    assert done.stderr.startswith(NO_LINES)
    done = as_nobody(*words, caps="sys_admin")
    assert "; return 1;" in done.stdout and done.stderr == ""
    # Machine code lies at addresses of the kernel.
    jited = ("prog", "dump", "jited", "pinned", f"{pins}/prog")
    done = as_nobody(*jited, caps="bpf perfmon")
    if "bpf_jit_enable" not in done.stderr:
        assert done.returncode == 255 and "CAP_SYSLOG" in done.stderr
        done = as_nobody(*jited, caps="bpf perfmon syslog")
        assert done.returncode == 0 and done.stderr.startswith(NO_LINES)
        assert "; return 1;" in as_nobody(*jited, caps="sys_admin syslog").stdout


@pytest.mark.parametrize("kind", ["map", "prog", "link"])
@pytest.mark.parametrize("caps", ["", "bpf perfmon"])
def test_records_are_shown(pins: str, kind: str, caps: str) -> None:
    for form in ((), ("-j",), ("-f",)):
        done = as_nobody(*form, kind, "show", "pinned", f"{pins}/{kind}", caps=caps)
        assert (done.returncode, done.stderr) == (0, ""), form
        assert done.stdout
    plain = as_nobody(kind, "show", "pinned", f"{pins}/{kind}", caps=caps)
    full = as_nobody(kind, "show", "--full", "pinned", f"{pins}/{kind}", caps=caps)
    assert (full.returncode, full.stdout) == (0, plain.stdout)
    assert full.stderr.startswith(f"Without what --full adds: cannot list {kind}")
    assert full.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["map", "prog", "link"])
def test_holders_are_told_though_proc_hides_them(pins: str, kind: str) -> None:
    """An iterator tells them, which needs no right to look at other users' processes."""
    if task_iter.held(kind) is None:
        pytest.skip("this kernel has no task_file iterator for us")
    words = ("-j", kind, "show", "pinned", f"{pins}/{kind}")
    for caps in ("bpf perfmon", "sys_admin"):
        shown = json.loads(as_nobody(*words, caps=caps).stdout)
        assert os.getpid() in [holder["pid"] for holder in shown.get("pids", ())], caps
        assert "pids" not in json.loads(as_nobody("--no-iter", *words, caps=caps).stdout)
    assert "pids" not in json.loads(as_nobody(*words, caps="bpf").stdout)


def test_perf_events_are_told_though_proc_hides_them() -> None:
    if task_iter.held("event") is None:
        pytest.skip("this kernel has no task_file iterator for us")
    with contextlib.ExitStack() as stack:
        prog = stack.enter_context(load.prog_load("raw_tracepoint", asm.ret(0), name="seen"))
        link = stack.enter_context(load.raw_tracepoint_open(prog, "sys_enter"))
        # Far behind the numbers in use: nobody finds it by trying.
        far = fcntl.fcntl(link.fd, fcntl.F_DUPFD_CLOEXEC, 500)
        stack.callback(os.close, far)
        shown = json.loads(as_nobody("-j", "perf", "show", caps="sys_admin").stdout)
    assert (os.getpid(), far) in [(row["pid"], row["fd"]) for row in shown]


def test_a_pinned_program_runs_without_ids(pins: str) -> None:
    words = ("-j", "prog", "run", "pinned", f"{pins}/prog", "data_in", "/etc/hostname")
    done = as_nobody(*words, "repeat", "1", caps="bpf perfmon net_admin")
    assert "CAP_SYS_ADMIN" not in done.stdout


@pytest.mark.parametrize(
    "words",
    ["prog show", "map show", "link show", "btf show", "iter show", "struct_ops show",
     "btf dump id 1", "prog show name x"],
)  # fmt: skip
def test_ids_need_cap_sys_admin(words: str) -> None:
    for caps in ("", "bpf perfmon", "bpf perfmon syslog net_admin sys_ptrace"):
        done = as_nobody(*words.split(), caps=caps)
        assert done.returncode == 255 and "CAP_SYS_ADMIN" in done.stderr
    done = as_nobody(*words.split(), caps="sys_admin")
    assert "CAP_" not in done.stderr


HIDDEN = "Not seen: cannot see the descriptors of other users' processes: this needs the capabilit"


@pytest.mark.parametrize("words", ["owners", "why prog pinned PROG", "doctor unheld"])
def test_a_proc_that_hides_processes(pins: str, words: str) -> None:
    """What holds objects is left out, and said once; who may see everything is shown it."""
    given = words.replace("PROG", f"{pins}/prog").split()
    for caps, missing in (
        ("sys_admin dac_override", "y CAP_SYS_PTRACE "),
        ("sys_admin", "ies CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH "),
    ):
        done = as_nobody(*given, caps=caps, hides_pids=True)
        if done.stderr.startswith("mount:"):
            pytest.skip(done.stderr)
        assert done.stderr.count(HIDDEN) == 1 and HIDDEN + missing in done.stderr
        assert "Traceback" not in done.stderr and "mistake" not in done.stderr
        assert done.returncode in (1, 2) and done.stdout
    done = as_nobody(*given, caps="sys_admin sys_ptrace dac_override", hides_pids=True)
    assert HIDDEN not in done.stderr


@pytest.mark.parametrize("words", ["prog show", "map show", "link show", "btf show", "perf show",
                                   "iter show", "attachments", "metrics"])  # fmt: skip
def test_listings_where_proc_hides_processes(pins: str, words: str) -> None:
    done = as_nobody(*words.split(), caps="sys_admin dac_override", hides_pids=True)
    if done.stderr.startswith("mount:"):
        pytest.skip(done.stderr)
    # Where another network namespace may not be entered, that is said.
    is_whole = words != "attachments" or not done.stderr.startswith("Not seen: ")
    assert done.returncode == (0 if is_whole else 2)
    if words == "metrics":  # in which units and containers the holders are, /proc alone tells
        assert done.stderr.startswith("owners may be missing: ") and done.stderr.count("\n") == 1
    elif is_whole:
        assert done.stderr == ""
    assert "Traceback" not in done.stderr and "mistake" not in done.stderr
