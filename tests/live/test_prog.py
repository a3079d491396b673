"""``prog`` on the running kernel, with the corpus of programs loaded."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pybpftool.errors import BpfError, KernelError
from pybpftool.kernel import live
from pybpftool.kernel.interface import PROG_ARRAYS, PROG_INFO
from pybpftool.kernel.live import LiveKernel
from tests.support import asm, load
from tests.support.cli import Result, assert_one_sentence, run
from tests.support.corpus import Corpus, load_corpus
from tests.support.descriptors import descriptors

LOADED_AT = re.compile(rb"loaded_at [^ ]*")
pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "pybpftool"]
DEBIAN = shutil.which("bpftool", path="/usr/sbin:/sbin:/usr/bin")


@pytest.fixture(scope="module")
def corpus() -> Iterator[Corpus]:
    with contextlib.ExitStack() as stack:
        yield load_corpus(stack, links=False)


@pytest.fixture(scope="module")
def shown(corpus: Corpus) -> dict[int, dict[str, Any]]:
    """What ``-f -j prog show`` says of each program of the corpus."""
    rows = run("-f", "-j", "prog", "show").json
    by_id = {row["id"]: row for row in rows}
    return {prog.id: by_id[prog.id] for prog in corpus.progs}


class TestShow:
    def test_every_program_is_there(self, corpus: Corpus, shown: dict[int, dict[str, Any]]) -> None:
        assert len(corpus.progs) >= 40
        for prog in corpus.progs:
            row = shown[prog.id]
            assert row["type"] == prog.type
            assert row["tag"] == load.prog_tag(prog.fd)
            if prog.label != "name_in_btf":  # the kernel was given no name
                assert row.get("name", "").startswith(prog.name[:15])
            assert row["loaded_at"] == pytest.approx(time.time(), abs=3600)

    def test_holders(self, shown: dict[int, dict[str, Any]]) -> None:
        comm = Path("/proc/self/comm").read_text().removesuffix("\n")
        for row in shown.values():
            assert {"pid": os.getpid(), "comm": comm} in row["pids"]

    def test_holders_with_descriptors_of_a_thread_alone(self) -> None:
        """A thread that left the shared table of descriptors (unshare(CLONE_FILES))."""
        ready, leave = threading.Event(), threading.Event()
        ids: list[int] = []

        def private() -> None:
            assert ctypes.CDLL(None).unshare(0x400) == 0
            with load.prog_load("socket_filter", asm.ret(12), name="pt_private") as prog:
                ids.append(load.object_id(prog))
                ready.set()
                leave.wait()

        thread = threading.Thread(target=private)
        thread.start()
        try:
            assert ready.wait(20)
            row = run("-j", "prog", "show", "id", str(ids[0])).json
            assert os.getpid() in [holder["pid"] for holder in row["pids"]]
        finally:
            leave.set()
            thread.join()

    def test_a_holder_with_a_hostile_name(self, corpus: Corpus) -> None:
        prog = corpus.progs[0]
        child = os.fork()
        if child == 0:
            Path("/proc/self/comm").write_bytes(b'e\x1b[1m"\xff)')
            time.sleep(60)
            os._exit(0)
        try:
            for _ in range(200):
                result = run("-j", "prog", "show", "id", str(prog.id))
                comms = [h["comm"] for h in result.json["pids"] if h["pid"] == child]
                if comms == ['e\x1b[1m"\udcff)']:
                    break
                time.sleep(0.05)
            else:
                raise AssertionError(comms)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def test_pins(self, corpus: Corpus, shown: dict[int, dict[str, Any]]) -> None:
        pinned = [prog for prog in corpus.progs if prog.pins]
        if not pinned:
            pytest.skip("nothing could be pinned")
        for prog in corpus.progs:
            assert sorted(shown[prog.id]["pinned"]) == sorted(prog.pins)
        for prog in pinned:
            for pin in prog.pins:
                assert run("-j", "prog", "show", "pinned", pin).json["id"] == prog.id
        text = run("-f", "prog", "show", "id", str(pinned[0].id)).text
        assert f"\n\tpinned {pinned[0].pins[0]}\n" in text

    def test_what_is_pinned_but_no_program(self, corpus: Corpus) -> None:
        for item in corpus.maps:
            for pin in item.pins:
                assert_one_sentence(run("prog", "show", "pinned", pin), "is a map, not a program")

    def test_paths_where_nothing_is_pinned(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        assert_one_sentence(run("prog", "show", "pinned", str(file)), "not in a bpf file system")
        assert_one_sentence(run("prog", "show", "pinned", str(tmp_path / "none")), "No such file")
        assert_one_sentence(run("prog", "show", "pinned", str(tmp_path)))
        assert_one_sentence(run("prog", "show", "pinned", ""))

    def test_references(self, corpus: Corpus, shown: dict[int, dict[str, Any]]) -> None:
        for prog in corpus.progs[::7]:
            for words in (["id", str(prog.id)], ["i", hex(prog.id)]):
                row = run("-j", "prog", "show", *words).json
                assert (row["id"], row["tag"]) == (prog.id, shown[prog.id]["tag"])
            name = shown[prog.id].get("name")
            if name:
                rows = run("-j", "prog", "show", "name", name).json
                ids = [row["id"] for row in (rows if isinstance(rows, list) else [rows])]
                assert prog.id in ids
        twins = {prog.id for prog in corpus.progs if prog.name == "pt_twin"}
        rows = run("-j", "prog", "show", "name", "pt_twin").json
        assert twins <= {row["id"] for row in rows}
        tag = load.prog_tag(corpus.prog("twin0").fd)
        assert len(run("-j", "prog", "show", "tag", tag).json) >= 4

    def test_names_are_completed_from_btf(self, corpus: Corpus, shown: Any) -> None:
        name = shown[corpus.prog("very_long").id]["name"]
        assert len(name) > 15
        assert corpus.prog("very_long").id in {
            row["id"] for row in _rows(run("-j", "prog", "show", "name", name).json)
        }

    def test_metadata(self, corpus: Corpus, shown: dict[int, dict[str, Any]]) -> None:
        found = shown[corpus.prog("meta_ints").id]["metadata"]
        assert (found["s8_min"], found["s32_min"]) == (-128, -(1 << 31))
        assert found["s64_min"] == -(1 << 63)
        assert found["u64_max"] == (1 << 64) - 1
        assert "metadata" not in shown[corpus.prog("meta_no_metadata").id]

    def test_maps(self, corpus: Corpus, shown: dict[int, dict[str, Any]]) -> None:
        assert shown[corpus.prog("ref_hash").id]["map_ids"] == [corpus.map("hash").id]
        assert len(shown[corpus.prog("many_maps").id]["map_ids"]) > 10

    def test_statistics(self, corpus: Corpus, shown: dict[int, dict[str, Any]]) -> None:
        if any("statistics" in label for label, _ in corpus.refused):
            pytest.skip("no run statistics here")
        assert shown[corpus.prog("xdp").id]["run_cnt"] == 3

    def test_pretty_and_compact_say_the_same(self, corpus: Corpus) -> None:
        for prog in corpus.progs[::20]:
            words = ["-f", "prog", "show", "id", str(prog.id)]
            assert run("-j", *words).json == run("-p", *words).json


def _rows(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class TestVanishing:
    def test_programs_that_come_and_go(self, corpus: Corpus) -> None:
        """Listings while another process loads and unloads as fast as it can."""
        code = (
            "from tests.support import asm, load\n"
            "print('ready', flush=True)\n"
            "while True:\n"
            "    fds = [load.prog_load('socket_filter', asm.ret(n), name='pt_quick')"
            " for n in range(8)]\n"
            "    for fd in fds: fd.close()\n"
        )
        child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            ids = {prog.id for prog in corpus.progs}
            for number in range(30):
                result = run(*(["-j"] if number % 2 else []), "prog", "show")
                assert (result.status, result.err) == (0, b"")
                if number % 2:
                    assert ids <= {row["id"] for row in result.json}
            for _ in range(10):
                result = run("-j", "prog", "show", "name", "pt_quick")
                assert result.status == 0 or "pt_quick" in result.json["error"]
                result = run("prog", "dump", "xlated", "name", "pt_quick")
                assert result.status == 0 or assert_one_sentence(result)
        finally:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()

    def test_an_id_that_is_gone(self) -> None:
        with load.prog_load("socket_filter", asm.ret(3)) as prog:
            id = load.object_id(prog)
        for _ in range(100):  # the kernel frees it a little later
            result = run("prog", "show", "id", str(id))
            if result.status:
                break
            time.sleep(0.02)
        assert_one_sentence(result, f"no program with id {id}")


def as_nobody(*argv: str) -> Result:
    """Run as a user without any capability, in this process (its Python may be out of reach)."""
    for module in ("prog", "prog_dump", "snapshot"):
        importlib.import_module(f"pybpftool.cli.{module}")
    for module in ("live", "pins", "holders", "snapshot"):
        importlib.import_module(f"pybpftool.kernel.{module}")
    importlib.import_module("pybpftool.output.jsontext")
    "".encode("cp437")  # the codec that zipfile asks for
    libc = ctypes.CDLL(None)
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: else our own /proc/self/fd is root's
        return run(*argv)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
        libc.prctl(4, 1, 0, 0, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
class TestUnprivileged:
    @pytest.mark.parametrize(
        "words", ["prog show", "-f prog show", "prog show id 1", "prog show name x",
                  "prog dump xlated id 1", "snapshot save /tmp/never.zip"]
    )  # fmt: skip
    def test_the_capability_is_named(self, words: str) -> None:
        result = as_nobody(*words.split())
        assert result.out == b""
        assert_one_sentence(result, "CAP_SYS_ADMIN")
        result = as_nobody("-j", *words.split())
        assert (result.status, result.err) == (255, b"")
        assert "CAP_SYS_ADMIN" in str(result.json)
        assert not os.path.exists("/tmp/never.zip")

    def test_a_pin_that_may_not_be_opened(self, corpus: Corpus) -> None:
        pins = [pin for prog in corpus.progs for pin in prog.pins]
        if not pins:
            pytest.skip("nothing could be pinned")
        assert_one_sentence(as_nobody("prog", "show", "pinned", pins[0]), "permission")

    def test_a_snapshot_needs_no_privilege(self, corpus: Corpus) -> None:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            path = folder + "/s.zip"
            assert run("snapshot", "save", path).status == 0
            os.chmod(path, 0o644)
            result = as_nobody("--snapshot", path, "-j", "prog", "show")
        assert result.status == 0, result
        assert {prog.id for prog in corpus.progs} <= {row["id"] for row in result.json}


class TestDump:
    def test_every_program_in_every_form(self, corpus: Corpus) -> None:
        for prog in corpus.progs:
            plain = run("prog", "dump", "xlated", "id", str(prog.id))
            assert (plain.status, plain.err) == (0, b""), prog.label
            assert "exit" in plain.text
            full = run("prog", "dump", "xlated", "id", str(prog.id), "opcodes", "linum")
            assert full.status == 0
            rows = run("-j", "prog", "dump", "xlated", "id", str(prog.id)).json
            assert len(re.findall(r"^ *\d+: (?:\(|BUG_)", plain.text, re.M)) == len(rows)

    def test_files(self, corpus: Corpus, tmp_path: Path) -> None:
        kernel = LiveKernel()
        for prog in corpus.progs[::25]:
            path = tmp_path / "image"
            words = ["prog", "dump", "xlated", "id", str(prog.id), "file", str(path)]
            assert run(*words).status == 0
            obj = kernel.open("prog", prog.id)
            assert path.read_bytes() == kernel.prog_arrays(obj, ("xlated",))["xlated"]
            kernel.close(obj)

    def test_a_reader_that_leaves(self, corpus: Corpus) -> None:
        """As ``prog show | head -1``."""
        for words in (["prog", "show"], ["-j", "prog", "show"]):
            process = subprocess.Popen(
                [*COMMAND, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.read(10)
            process.stdout.close()
            assert process.stderr.read() == b""
            process.stderr.close()
            assert process.wait(30) in (0, 141)

    def test_hidden_addresses(self, corpus: Corpus) -> None:
        """kernel.kptr_restrict=2: code is shown, without the names of functions, and said why."""
        helpers = corpus.prog("helpers")
        with load.sysctl("kernel.kptr_restrict", "2"):
            result = run("prog", "dump", "xlated", "id", str(helpers.id))
            as_json = run("-j", "prog", "dump", "xlated", "id", str(helpers.id))
            listing = run("-j", "prog", "show", "id", str(helpers.id))
        assert result.status == 0
        assert "kernel.kptr_restrict (2)" in result.errors
        assert result.errors.count("\n") == 1
        assert "call" in result.text and "exit" in result.text
        assert (as_json.status, as_json.err) == (0, b"")
        assert listing.status == 0

    def test_hardened_compiler(self, corpus: Corpus) -> None:
        """net.core.bpf_jit_harden=2 blinds constants; what the kernel gives is shown."""
        with (
            load.sysctl("net.core.bpf_jit_harden", "2"),
            load.prog_load("socket_filter", asm.ret(0x12345), name="pt_hard") as prog,
        ):
            result = run("prog", "dump", "xlated", "id", str(load.object_id(prog)))
            assert result.status == 0 or assert_one_sentence(result, "bpf_jit_harden")
            assert b"Traceback" not in result.err


class TestKernel:
    """The kernel layer itself."""

    def test_listings_close_what_they_open(self, corpus: Corpus) -> None:
        kernel = LiveKernel()
        before = len(descriptors())
        assert sum(1 for _ in kernel.objects("prog")) >= len(corpus.progs)
        listing = kernel.objects("map")
        next(listing)
        listing.close()  # type: ignore[attr-defined]
        assert len(descriptors()) == before

    def test_open(self, corpus: Corpus) -> None:
        kernel = LiveKernel()
        for items in (corpus.progs, corpus.maps):
            for item in items[::10]:
                obj = kernel.open(item.kind, item.id)
                assert (obj.kind, obj.id) == (item.kind, item.id)
                assert item.kind[:3].encode() in b"prog map" and kernel.fdinfo(obj)
                kernel.close(obj)
                kernel.close(obj)  # once is enough, twice does no harm
        for kind in ("prog", "map", "link", "btf"):
            with pytest.raises(KernelError, match=r"no .* with id 4294967295"):
                kernel.open(kind, 0xFFFFFFFF)

    def test_a_closed_descriptor(self, corpus: Corpus) -> None:
        kernel = LiveKernel()
        obj = kernel.open("prog", corpus.progs[0].id)
        number = obj.fd
        kernel.close(obj)
        obj.fd = number
        with pytest.raises(KernelError):
            kernel.prog_arrays(obj, ("xlated",))
        obj.fd = 1 << 20
        with pytest.raises(KernelError, match="cannot read"):
            kernel.fdinfo(obj)

    def test_all_arrays(self, corpus: Corpus) -> None:
        kernel = LiveKernel()
        for prog in corpus.progs[::5]:
            obj = kernel.open("prog", prog.id)
            arrays = kernel.prog_arrays(obj, tuple(PROG_ARRAYS))
            info = PROG_INFO.decode(arrays["info"], kernel.byteorder)
            for name, (_, count, element) in PROG_ARRAYS.items():
                size = info[element] if isinstance(element, str) else element
                data = arrays[name]
                assert data is None or len(data) == info[count] * size
            assert info["id"] == prog.id
            kernel.close(obj)

    @pytest.mark.parametrize(
        "most", [{"map_ids": 1, "func_info": 0}, {"map_ids": 64, "func_info": 16}]
    )
    def test_a_listing_tells_arrays_as_a_request_does(
        self, corpus: Corpus, most: dict[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live, "_MOST_MAPS", most["map_ids"])
        monkeypatch.setattr(live, "_MOST_FUNCS", most["func_info"])
        kernel = LiveKernel()
        told: dict[str, set[int]] = {"map_ids": set(), "func_info": set()}
        ours = {prog.id for prog in corpus.progs}
        for obj in kernel.objects("prog"):
            if obj.id not in ours:
                continue
            plain = kernel.open("prog", obj.id)
            assert plain.arrays is None
            assert obj.info[:192] == plain.info[:192]  # run_time_ns and more may change
            may_be_cut = obj.info[78] != 0
            for name, size in (("map_ids", 4), ("func_info", 8)):
                array = kernel.prog_arrays(plain, (name,))[name]
                assert kernel.prog_arrays(obj, (name,))[name] == array
                count = len(array) // size if may_be_cut or name == "map_ids" else 0
                assert (name in (obj.arrays or ())) == (0 < count <= most[name])
                told[name].add(count)
            kernel.close(plain)
        assert {0, 1} < told["map_ids"] and {0, 1} <= told["func_info"]

    def test_arrays_that_grow_in_between(self, corpus: Corpus) -> None:
        """A program's maps can become more after its info was read."""
        kernel = LiveKernel()
        with load.prog_load("socket_filter", asm.ret(5)) as prog:
            obj = kernel.open("prog", load.object_id(prog))
            load.prog_bind_map(prog, corpus.map("hash").fd.fd)
            load.prog_bind_map(prog, corpus.map("array").fd.fd)
            ids = kernel.prog_arrays(obj, ("map_ids",))["map_ids"]
            kernel.close(obj)
        assert len(ids) in (0, 8)
        assert len(ids) == 8

    def test_btf(self) -> None:
        kernel = LiveKernel()
        names = {obj.id: kernel.btf_name(obj.id) for obj in kernel.objects("btf")}
        assert "vmlinux" in names.values()
        vmlinux = next(id for id, name in names.items() if name == "vmlinux")
        assert kernel.btf_data(vmlinux) == Path("/sys/kernel/btf/vmlinux").read_bytes()

    def test_map_values(self, corpus: Corpus) -> None:
        kernel = LiveKernel()
        obj = kernel.open("map", corpus.map("meta_ints").id)
        assert kernel.map_value(obj, bytes(4))
        with pytest.raises(KernelError, match="cannot look up"):
            kernel.map_value(obj, b"\xff" * 4)
        kernel.close(obj)

    def test_files(self, tmp_path: Path) -> None:
        kernel = LiveKernel()
        assert b"__bpf_call_base" in kernel.file("/proc/kallsyms")
        with pytest.raises(KernelError, match="No such file"):
            kernel.file(str(tmp_path / "none"))
        with pytest.raises(KernelError, match="Is a directory"):
            kernel.file(str(tmp_path))

    def test_pinned(self, corpus: Corpus) -> None:
        kernel = LiveKernel()
        found = kernel.pinned("prog")
        for prog in corpus.progs:
            if prog.pins:
                assert sorted(found[prog.id]) == sorted(prog.pins)
        with pytest.raises(KernelError, match="Invalid argument"):
            kernel.open_pinned("a\0b")

    def test_clock_and_devices(self) -> None:
        kernel = LiveKernel()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        assert kernel.boot_time_ns() / 1e9 == pytest.approx(time.time() - uptime, abs=2)
        own = os.stat("/proc/self/ns/net")
        assert kernel.ifname(1, own.st_dev, own.st_ino) == "lo"
        assert kernel.ifname(1, own.st_dev, own.st_ino + 1) is None
        assert kernel.ifindex_name(1) == "lo"

    def test_a_snapshot_of_this_kernel_answers_as_it_does(
        self, corpus: Corpus, tmp_path: Path
    ) -> None:
        path = str(tmp_path / "s.zip")
        assert run("snapshot", "save", path).status == 0
        for prog in corpus.progs[::9]:
            for words in (["prog", "show"], ["prog", "dump", "xlated"]):
                words = [*words, "id", str(prog.id)]
                live = run(*words)
                assert live.status == 0
                again = run("--snapshot", path, *words)
                # Each reads two clocks: of a program that was loaded as a second began, they may
                # tell this one and the one before.
                assert (again.status, again.err) == (0, live.err)
                assert LOADED_AT.sub(b"", again.out) == LOADED_AT.sub(b"", live.out)


@pytest.mark.skipif(DEBIAN is None, reason="Debian's bpftool is not installed")
class TestBesideDebian:
    """Debian's bpftool (7.1 in bookworm): where the forms are the same, the answers are."""

    def ask(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        assert DEBIAN is not None
        return subprocess.run([DEBIAN, *words], capture_output=True, check=False)

    def test_show(self, corpus: Corpus) -> None:
        for prog in corpus.progs[::3]:
            for look in range(5):
                theirs = self.ask("-j", "prog", "show", "id", str(prog.id))
                try:
                    row = json.loads(theirs.stdout)
                except ValueError:
                    break  # it writes metadata that is no JSON
                ours = run("-j", "prog", "show", "id", str(prog.id)).json
                if look < 4 and ours["loaded_at"] != row["loaded_at"]:
                    continue  # each reads two clocks, and a second may end between the two
                if abs(ours["loaded_at"] - row["loaded_at"]) == 1:
                    row["loaded_at"] = ours["loaded_at"]  # it was loaded just then
                for name in ("id", "name", "tag", "gpl_compatible", "loaded_at", "uid",
                             "bytes_xlated", "jited", "bytes_jited", "bytes_memlock", "map_ids",
                             "btf_id", "run_cnt", "run_time_ns"):  # fmt: skip
                    assert ours.get(name) == row.get(name), (prog.label, name)
                break

    def test_dump(self, corpus: Corpus) -> None:
        equal = 0
        for prog in corpus.progs[::5]:
            words = ["prog", "dump", "xlated", "id", str(prog.id)]
            theirs = self.ask(*words)
            ours = run(*words)
            assert ours.status == 0
            if theirs.returncode == 0 and theirs.stdout == ours.out:
                equal += 1
            elif b"BUG" not in theirs.stdout and not theirs.returncode:
                # Newer instructions: it prints another one for what it does not know.
                known = [line for line in theirs.stdout.splitlines() if line in ours.out]
                assert len(known) * 2 >= theirs.stdout.count(b"\n"), prog.label
        assert equal > 20


def test_what_is_pinned_must_be_known(tmp_path: Path) -> None:
    """A file of a bpf file system that is not an object is not a program."""
    kernel = LiveKernel()
    for name in ("/sys/fs/bpf/progs.debug", "/sys/fs/bpf/maps.debug"):
        if os.path.exists(name):
            with pytest.raises(BpfError):
                kernel.open_pinned(name)
