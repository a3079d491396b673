"""``metrics``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import nullcontext
from pathlib import Path

import pytest

from pybpftool.cli.metrics import address
from pybpftool.errors import UsageError
from tests.support.cli import assert_one_sentence, run
from tests.support.hosts import host
from tests.support.nobody import as_nobody

ROOT = Path(__file__).parents[2]
SNAPSHOT = str(ROOT / "fixtures" / "host" / "snapshot.zip")
COMMAND = [sys.executable, "-m", "pybpftool"]


def test_show_and_write(tmp_path: Path) -> None:
    result = run("--snapshot", SNAPSHOT, "metrics")
    assert (result.status, result.errors) == (0, "")
    assert 'pybpftool_programs{name="cali_entry",type="xdp",owner="comm:felix"} 1\n' in result.text
    path = tmp_path / "bpf.prom"
    path.write_text("old")
    before = path.stat().st_ino
    written = run("--snapshot", SNAPSHOT, "metrics", "write", str(path))
    assert (written.status, written.out, written.errors) == (0, b"", "")
    assert path.read_text() == result.text
    assert path.stat().st_ino != before  # another file took its place
    assert os.listdir(tmp_path) == ["bpf.prom"]


def test_json() -> None:
    rows = run("-j", "--snapshot", SNAPSHOT, "metrics", "show", "--stats").json
    byname = {row["name"]: row for row in rows}
    labels = {"name": "cali_entry", "type": "xdp", "owner": "comm:felix"}
    assert byname["pybpftool_programs"]["samples"][0] == {"labels": labels, "value": 1}
    assert byname["pybpftool_program_runs_total"]["type"] == "counter"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["show", "x"], "unexpected argument 'x'"),
        (["write"], "expected a file"),
        (["write", "/nonexistent/x.prom"], "/nonexistent/x.prom"),
        (["serve", "nowhere"], "cannot read 'nowhere' as an address"),
        (["serve", "::1:80"], "stands in brackets, its port behind them: [::1]:80"),
        (["serve", "[::1]"], "its port behind them: [::1]:9435"),
        (["serve", "[::1"], "its port behind them: [::1]:9435"),
        (["serve", "::1"], "its port behind them: [::1]:9435"),
        (["serve", "fe80::1"], "its port behind them: [fe80::1]:9435"),
        (["serve", "example.org:80"], "no address of IPv4 or IPv6"),
        (["serve", "127.0.0.1:70000"], "cannot read '127.0.0.1:70000'"),
        (["serve", "192.0.2.1:1"], "cannot serve at 192.0.2.1:1"),
        (["show", "--interval", "2s"], "--interval goes with --stats"),
        (["serve", "--stats", "--interval", "2s"], "counts while it runs"),
    ],
)
def test_refusals(words: list[str], sentence: str) -> None:
    assert_one_sentence(run("metrics", *words, kernel=host()), sentence)


def test_addresses() -> None:
    assert address("9000") == ("127.0.0.1", 9000)
    assert address("localhost:9000") == ("127.0.0.1", 9000)
    assert address("0.0.0.0:1") == ("0.0.0.0", 1)
    assert address("[::1]:9000") == ("::1", 9000)
    for word in ("", ":", "x:", "1:2:3", "[::1]", "-1", "9000:"):
        with pytest.raises(UsageError):
            address(word)


def test_serving() -> None:
    with subprocess.Popen(
        [*COMMAND, "--snapshot", SNAPSHOT, "metrics", "serve", "127.0.0.1:0"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        assert line.startswith("serving http://127.0.0.1:")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(2):
            with opener.open(line.split()[1].rstrip(";"), timeout=20) as answer:
                assert b"pybpftool_programs{" in answer.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


# Collects so often in place of serving, then says how many inventories are still there.
MANY_SCRAPES = """
import sys, weakref
from pybpftool.cli.main import run
from pybpftool.inspect.inventory import Inventory
from pybpftool.output import textserver

class Inventories(Inventory):
    alive = weakref.WeakSet()
    def __init__(self, kernel):
        super().__init__(kernel)
        self.alive.add(self)

class Server:
    url = "here"
    def __init__(self, host, port, answer):
        self.answer = answer
    def serve(self, fd, is_asked):
        for _ in range(300):
            self.answer()
        print(len(Inventories.alive), flush=True)
    def close(self):
        pass

sys.modules["pybpftool.inspect.inventory"].Inventory = Inventories
textserver.TextServer = Server
run()
"""


def test_what_one_scrape_made_is_freed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MANY_SCRAPES, "--snapshot", SNAPSHOT, "metrics", "serve"],
        capture_output=True, cwd=ROOT, check=True,
    )  # fmt: skip
    assert 0 < int(done.stdout) < 100


@pytest.mark.live
def test_unprivileged() -> None:
    for words in (["metrics"], ["metrics", "--stats"], ["metrics", "serve", "0"]):
        done = as_nobody(*words)
        assert done.returncode == 255
        assert "CAP_" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["metrics", "show"], ["top", "--once", "--interval", "100ms"]])
def test_owners_that_cannot_be_found(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pybpftool.inspect.owners.processes_hidden", lambda kernel: "no /proc")
    kernel = host()
    kernel.is_live = True
    monkeypatch.setattr("pybpftool.control.stats.RunTimeStats", lambda kernel: nullcontext())
    result = run(*words, kernel=kernel)
    assert (result.status, result.errors) == (0, "owners may be missing: no /proc\n")
