"""What one run has in hand: kernel, base BTF, remarks and errors."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from pybpftool.cli.context import Context
from pybpftool.cli.options import Options
from pybpftool.errors import BpfError
from pybpftool.output.stream import Output
from tests.support.btfbuild import BtfBuilder
from tests.support.cli import assert_one_sentence, run
from tests.support.hosts import host


def test_base_btf_is_parsed_once(tmp_path: Path) -> None:
    file = tmp_path / "base.btf"
    btf = BtfBuilder()
    btf.add_int("int", 4)
    file.write_bytes(btf.build())
    options = Options()
    options.base_btf = [str(file)]
    ctx = Context(options, Output())
    base = ctx.base_btf
    assert base is not None
    file.unlink()
    assert ctx.base_btf is base


def test_several_base_btfs_stand_on_each_other(tmp_path: Path) -> None:
    base = BtfBuilder()
    number = base.add_int("int", 4)
    middle = BtfBuilder(first_id=2, base_strings=len(b"\0int\0"))
    middle.add_typedef("middle", number)
    top = BtfBuilder(first_id=3, base_strings=len(b"\0int\0middle\0"))
    top.add_typedef("top", 2)
    paths = [str(tmp_path / name) for name in ("base", "middle", "top")]
    for path, part in zip(paths, (base, middle, top)):
        Path(path).write_bytes(part.build())
    words = ("btf", "dump", "file", paths[2])
    result = run("-B", paths[0], "-B", paths[1], *words)
    assert (result.status, result.text) == (0, "[3] TYPEDEF 'top' type_id=2\n")
    # What stands alone takes the place of what came before, as with bpftool 7.8.0.
    alone = run("-B", paths[0], "-B", paths[0], "btf", "dump", "file", paths[1])
    assert alone.text == "[2] TYPEDEF 'middle' type_id=1\n"
    assert run("-B", paths[0], *words).status == 255


def test_base_btf_that_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "base.btf"
    file.write_bytes(b"no BTF at all")
    assert_one_sentence(run("-B", str(file), "version"), "base.btf")


def test_a_snapshot_that_is_missing() -> None:
    assert_one_sentence(run("--snapshot", "/nonexistent.zip", "prog", "show"), "/nonexistent.zip")


def test_errors_mark_the_run_as_failed(capfd: pytest.CaptureFixture[str]) -> None:
    ctx = Context(Options(), Output())
    assert not ctx.failed
    ctx.error(BpfError("broken \x1b[1m \udcff\nsecond line"))
    assert ctx.failed
    assert capfd.readouterr().err == "Error: broken \\x1b[1m \\udcff\nsecond line\n"


def test_a_remark_when_stderr_is_gone() -> None:
    saved = os.dup(2)
    os.close(2)
    try:
        Context(Options(), Output()).say("nobody hears this")
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def test_staying_frees_what_refers_to_itself() -> None:
    gc.disable()  # as run() leaves it
    try:
        Context(Options(), Output()).stay()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.enable()


@pytest.mark.parametrize(
    "words",
    [
        ("metrics", "serve", "0"),
        ("top",),
        ("monitor",),
        ("check", "{policy}", "--wait", "1s"),
        ("batch", "file", "/dev/null"),
    ],
)
def test_commands_that_do_the_same_again_and_again_stay(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stay(ctx: Context) -> None:
        raise BpfError("it stays")

    monkeypatch.setattr(Context, "stay", stay)
    policy = tmp_path / "bpf.toml"
    policy.write_text('schema = 1\n[[rule]]\nid = "r"\nprog = "counter"\n')
    kernel = host()
    kernel.is_live = True
    kernel.files["/sys/devices/system/cpu/online"] = b"0\n"
    result = run(*(word.format(policy=policy) for word in words), kernel=kernel)
    assert result.errors.endswith("it stays\n")
