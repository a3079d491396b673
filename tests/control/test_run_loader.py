"""Light loaders and their signatures."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pybpftool.control import libbpf, run_loader, signing
from pybpftool.control.loader import Loader, loader
from pybpftool.errors import BpfError, LoadError
from pybpftool.kernel import syscall
from pybpftool.kernel.live import LiveKernel
from pybpftool.uapi import bpf as uapi
from tests.support import load
from tests.support.bpfc import compile_object
from tests.support.cli import assert_one_sentence, run
from tests.support.descriptors import descriptors
from tests.support.fakekernel import FakeKernel
from tests.support.objbuild import EXEC, FUNC, RETURN, ObjBuilder

GOOD = """
int hits;
SEC("xdp") int first(struct xdp_md *ctx) { hits++; return XDP_PASS; }
SEC("tcx/ingress") int second(struct __sk_buff *skb) { return hits; }
"""
REFUSED = """
SEC("xdp")
int wrong(struct xdp_md *ctx)
{
    return *(int *)(long)ctx->data;
}
"""

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    try:
        libbpf.library()
    except libbpf.LibbpfError as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("objects")
    sources = {"good": GOOD, "refused": REFUSED}
    return {name: compile_object(directory, text, name) for name, text in sources.items()}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    directory = tmp_path_factory.mktemp("keys")
    key, certificate = str(directory / "key.pem"), str(directory / "certificate.pem")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"]
    words += ["-keyout", key, "-out", certificate]
    subprocess.run(words, check=True, capture_output=True)
    return key, certificate


def test_the_other_byte_order(objects: dict[str, str], tmp_path: Path) -> None:
    build = ObjBuilder(">" if sys.byteorder == "little" else "<")
    build.symbol("main", build.section("xdp", RETURN, flags=EXEC), 0, 16, FUNC)
    (tmp_path / "other.o").write_bytes(build.build())
    if libbpf.as_numbers(libbpf.library().version) >= (1, 5):
        pytest.skip("this libbpf makes loaders in the other byte order")
    with pytest.raises(BpfError, match=r"other byte order need libbpf 1\.5 or newer, and libbpf 1"):
        loader(str(tmp_path / "other.o"))


@needs_openssl
def test_a_signature_that_openssl_verifies(keys: tuple[str, str], tmp_path: Path) -> None:
    insns = os.urandom(800)
    signature = signing.sign(insns, *keys)
    assert signature.digest == hashlib.sha256(insns).digest()
    (tmp_path / "insns").write_bytes(insns)
    (tmp_path / "signature").write_bytes(signature.data)
    words = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-noverify"]
    words += ["-in", f"{tmp_path}/signature", "-content", f"{tmp_path}/insns"]
    words += ["-certfile", keys[1], "-out", "/dev/null"]
    subprocess.run(words, check=True, capture_output=True)
    (tmp_path / "insns").write_bytes(insns + b"x")
    assert subprocess.run(words, check=False, capture_output=True).returncode


@needs_openssl
def test_keys_that_are_none(keys: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(BpfError, match="cannot read '/no/such'"):
        signing.sign(b"x", "/no/such", keys[1])
    (tmp_path / "k").write_text("no key")
    with pytest.raises(BpfError, match=r"cannot sign with the key .*: openssl says: "):
        signing.sign(b"x", f"{tmp_path}/k", keys[1])
    with pytest.raises(BpfError, match=r"cannot read the certificate .*: openssl says: "):
        signing.register(f"{tmp_path}/k")


def test_no_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/no/such")
    with pytest.raises(BpfError, match="install the package openssl"):
        signing.sign(b"x", __file__, __file__)


def test_a_recorded_kernel_stays_as_it_is() -> None:
    nothing = Loader(b"", b"", {})
    with pytest.raises(BpfError, match="a recorded kernel cannot be changed"):
        run_loader.run(FakeKernel(), nothing, "x")
    result = run("-L", "prog", "load", "a.o", kernel=FakeKernel())
    assert_one_sentence(result, "a recorded kernel cannot be changed")


def test_words() -> None:
    assert_one_sentence(run("-L", "prog", "load"), "expected an object file")
    # The path goes unread, as all that follows.
    assert_one_sentence(run("-L", "prog", "load", "/no/such"), "No such file")
    for words in (("-S",), ("-k", "a"), ("-S", "-k", "a"), ("-k", "a", "-i", "b")):
        assert_one_sentence(run(*words, "prog", "load", "x"), "have to be given together")


def test_what_an_old_library_lacks(
    objects: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libbpf.Libbpf, "version", "1.6")
    with pytest.raises(BpfError, match=r"need libbpf 1\.7 or newer, and libbpf 1\.6 is installed"):
        loader(objects["good"], signed=True)


@pytest.mark.live
class TestRun:
    def test_loaded_and_gone(self, objects: dict[str, str]) -> None:
        before = set(load.all_ids("prog"))
        files = descriptors()
        made = loader(objects["good"])
        assert len(made.insns) % 8 == 0
        run_loader.run(LiveKernel(), made, "cannot load")
        assert descriptors() == files
        assert not load.left("prog", set(load.all_ids("prog")) - before)
        result = run("-L", "prog", "load", objects["good"])
        assert (result.status, result.out, result.err) == (0, b"", b"")
        assert run("-j", "-L", "prog", "load", objects["good"], "words").text == "\n"

    def test_descriptors_of_others_stay_open(
        self, objects: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another thread opens files while a loader runs."""
        theirs: list[int] = []

        def meanwhile(command: int, address: int, size: int) -> int:
            theirs.append(os.open("/dev/null", os.O_RDONLY))
            return load_bpf(command, address, size)

        load_bpf = syscall.bpf
        monkeypatch.setattr(run_loader, "bpf", meanwhile)
        files = descriptors()
        run_loader.run(LiveKernel(), loader(objects["good"]), "cannot load")
        with pytest.raises(LoadError):
            run_loader.run(LiveKernel(), loader(objects["refused"]), "cannot load")
        assert len(theirs) > 8
        for fd in theirs:
            os.close(fd)
        assert descriptors() == files

    def test_what_fails_on_the_way_leaves_nothing(
        self, objects: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = loader(objects["good"])
        files = descriptors()
        load_bpf = syscall.bpf
        for refused in (uapi.BPF_MAP_FREEZE, uapi.BPF_PROG_LOAD, uapi.BPF_PROG_TEST_RUN):

            def failing(command: int, address: int, size: int, refused: int = refused) -> int:
                return -errno.EIO if command == refused else load_bpf(command, address, size)

            monkeypatch.setattr(run_loader, "bpf", failing)
            with pytest.raises(LoadError, match="Input/output error"):
                run_loader.run(LiveKernel(), made, "cannot load")
        assert descriptors() == files

    def test_refused(self, objects: dict[str, str]) -> None:
        result = run("-L", "prog", "load", objects["refused"])
        assert result.status == 255
        sentence = result.errors.splitlines()[-1]
        assert "the verifier refuses a program" in sentence
        assert "return *(int *)(long)ctx->data;" in sentence
        assert run("-j", "-L", "prog", "load", objects["refused"]).json["error"] in sentence

    def test_debug(self, objects: dict[str, str]) -> None:
        result = run("-d", "-L", "prog", "load", objects["good"])
        made = loader(objects["good"])
        assert result.text.startswith("   0: (bf) r6 = r1\n")
        *_, last = result.text.splitlines()
        assert int(last.split(":")[0]) == len(made.insns) // 8 - 1
        assert run("-j", "-d", "-L", "prog", "load", objects["good"]).out == b"\n"
        assert result.status == 0
        assert "processed" in result.errors
