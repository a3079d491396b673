"""``check --write``: what it proposes is fulfilled by what it was made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import asm
from tests.support.cli import run
from tests.support.fakeprogs import add_prog
from tests.support.hosts import Host, host, twin


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def crowded() -> Host:
    kernel = host()
    twin(kernel, 30)
    for number, name in enumerate((b"", b"a*b?[c]", b"!no", b"\xff\xfe", b'q"u\\o', b"!no")):
        add_prog(kernel, 40 + number, asm.exit_(), name=name)
    kernel.map(60, type=2, key_size=4, value_size=4, max_entries=1, name=b"x.rodata")
    add_prog(kernel, 50, asm.exit_(), name=b"sd_devices", type=15)
    kernel.held["prog"][50] = [(1, "systemd")]
    return kernel


def test_written_and_fulfilled() -> None:
    result = run("check", "--write", kernel=crowded())
    assert (result.status, result.text) == (0, "wrote bpf.toml\nwrote bpf.lock\n")
    judged = run("check", kernel=crowded())
    assert judged.status == 0, judged.text
    assert "0 failed, 0 skipped" in judged.text
    policy = Path("bpf.toml").read_text()
    assert 'attached = { hook = "tcx/ingress", dev = "eth0" }' in policy
    assert "sd_devices" not in policy
    assert "rodata" not in policy
    assert 'used_by = ["counter"]' in policy


def test_one_more_or_less_is_noticed() -> None:
    run("check", "--write", kernel=crowded())
    more = crowded()
    add_prog(more, 99, asm.exit_(), name=b"intruder")
    judged = run("check", kernel=more)
    assert "warning  nothing-else" in judged.text
    less = crowded()
    del less.all["prog"][2]
    assert run("check", kernel=less).status == 1


def test_the_baseline_keeps_other_kernels() -> None:
    run("check", "--write", kernel=host())
    other = host()
    other.release = "6.12.0"
    result = run("check", "--write", kernel=other)
    assert result.text == "wrote bpf.lock\nkept bpf.toml, which is there already\n"
    lock = Path("bpf.lock").read_text()
    assert lock.index("6.12.0") < lock.index("6.18.0-fake")
    assert run("check", kernel=host()).status == run("check", kernel=other).status == 0
    assert run("-j", "check", "--write", kernel=host()).json == {"written": ["bpf.lock"]}
    assert Path("bpf.lock").read_text() == lock


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["check", "--write", "--since", "x"], "'--write' and '--since' exclude one another"),
        (["check", "--write", "/no/such/dir.toml"], "cannot write the file"),
    ],
)
def test_refusals(words: list[str], sentence: str) -> None:
    result = run(*words, kernel=host())
    assert (result.status, result.out) == (2, b"")
    assert sentence in result.errors


def test_a_damaged_baseline_is_not_replaced() -> None:
    Path("bpf.lock").write_text("schema = 1\n[[kernel]]\nrelese = 'x'\n")
    result = run("check", "--write", kernel=host())
    assert result.status == 2
    assert "bpf.lock:3: there is no 'relese' here; did you mean 'release'?" in result.errors
    assert "relese" in Path("bpf.lock").read_text()
