"""Mutated policies, baselines and snapshots: an answer, or one sentence that says where."""

from __future__ import annotations

import json
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import run
from tests.support.hosts import Host, host, twin
from tests.support.saved import save

POLICY = """\
schema = 1
[[rule]]
id = "ingress"
prog = { name = "count*", type = "sched_cls", owner = "unit:*" }
count = 1
attached = { dev = "eth0", hook = "tcx/ingress" }
verified_insns = "<= 90%"
grows = "5%"
calls = { forbid = ["bpf_probe_write_user"], require = "bpf_trace_printk" }
maps = ["flows"]
[[rule]]
id = "flows"
map = { name = "flows" }
type = ["hash", "lru_hash"]
max_entries = 16
used_by = ["counter"]
memlock = "<= 64 MiB"
has = { key = "1", value = "0" }
elements = "< 80%"
[[rule]]
id = "rest"
prog = { owner = "!unit:agent.service" }
allow = ["systemd", "comm:other", "first"]
count = 0
level = "warn"
[[rule]]
id = "link"
link = { type = "tcx" }
attached = [{ dev = "eth*" }]
[[rule]]
id = "pins"
pin = "/sys/fs/bpf/*"
count = 0
"""
LOCK = """\
schema = 1
[[kernel]]
release = "6.18.0-fake"
machine = "x86_64"
[[kernel.prog]]
name = "counter"
type = "sched_cls"
verified_insns = 40
"""
WORDS = ["true", "-1", "1e9", '"', "'", "[", "]", "{", "}", "=", "\n", "[[rule]]\n", "prog", "map",
         '"*"', '"!x"', "0x1F", "99999999999999999999", "\\u0000", "\x00", "é", "1979-05-27", "#",
         '"<= 5 GiB"', "[[]]", "count = 0\n", "new = true\n"]  # fmt: skip


def mutated_text(chance: random.Random, text: str) -> str:
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(text) + 1)
        length = chance.choice((0, 1, 1, 3, 20))
        insert = chance.choice(("", chance.choice(WORDS), chr(chance.randrange(1, 0x2100))))
        text = text[:at] + insert + text[at + length :]
    if chance.random() < 0.2:
        lines = text.split("\n")
        first, second = chance.randrange(len(lines)), chance.randrange(len(lines))
        lines[first], lines[second] = lines[second], lines[first]
        text = "\n".join(lines)
    return text


def judged(words: list[str], kernel: Host | None, what: str) -> int:
    """One run: a report or a difference with its status, or one sentence."""
    result = run(*words, kernel=kernel)
    assert result.status in (0, 1, 2), (what, result)
    assert "Traceback" not in result.errors, (what, result.errors)
    if not result.out and result.status == 2:
        lines = result.errors.splitlines()
        assert lines, what
        assert all(line.startswith(("Error: ", "Not compared: ")) for line in lines), what
    return result.status


@pytest.mark.parametrize("seed", range(int(os.environ.get("MUTATIONS", "300")) // 100))
def test_policies(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    kernel = host()
    policy, lock = tmp_path / "bpf.toml", tmp_path / "bpf.lock"
    refused = 0
    for _ in range(100):
        is_lock = chance.random() < 0.2
        text = POLICY if is_lock else mutated_text(chance, POLICY)
        policy.write_bytes(text.encode())
        lock.write_bytes((mutated_text(chance, LOCK) if is_lock else LOCK).encode())
        result = run("check", str(policy), kernel=kernel)
        assert result.status in (0, 1, 2), (text, result)
        assert "Traceback" not in result.errors, text
        if not result.out:
            refused += 1
            (line,) = result.errors.splitlines()
            # Every refusal names a file and a line.
            place = line.removeprefix("Error: ").split(":")
            assert place[0] in (str(policy), str(lock)), (text, line)
            assert int(place[1]) >= 1, (text, line)
    assert refused > 20


def changed(chance: random.Random, value: Any, depth: int = 0) -> Any:
    """A JSON value with one place changed."""
    if isinstance(value, dict) and value and depth < 8:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            return {other: one for other, one in value.items() if other != key}
        return {**value, key: changed(chance, value[key], depth + 1)}
    if isinstance(value, list) and value and depth < 8:
        at = chance.randrange(len(value))
        return [*value[:at], changed(chance, value[at], depth + 1), *value[at + 1 :]]
    if isinstance(value, str) and value and chance.random() < 0.6:
        at = chance.randrange(len(value))
        return value[:at] + chance.choice("0123456789abcdefx") + value[at + 1 :]
    return chance.choice((None, True, 0, -1, 1 << 40, 1.5, "", "x", [], {}, {"hex": "00"}, [[1]]))


@pytest.mark.parametrize("seed", range(int(os.environ.get("MUTATIONS", "200")) // 100))
def test_snapshots(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    kernel = host()
    twin(kernel, 30)
    good = save(kernel, tmp_path / "good.zip")
    with zipfile.ZipFile(good) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    answers = json.loads(members["answers.json"])
    (tmp_path / "bpf.toml").write_text(POLICY)
    (tmp_path / "bpf.lock").write_text(LOCK)
    path = str(tmp_path / "bad.zip")
    for _ in range(100):
        bad = dict(members)
        if chance.random() < 0.8:
            bad["answers.json"] = json.dumps(changed(chance, answers)).encode()
        else:
            name = chance.choice(list(bad))
            data = bytearray(bad[name])
            data[chance.randrange(len(data))] = chance.randrange(256)
            bad[name] = bytes(data)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in bad.items():
                archive.writestr(name, content)
        for words in (
            ["diff", path, good, "--code", "--elements"],
            ["-j", "diff", good, path],
            ["--snapshot", path, "check", str(tmp_path / "bpf.toml")],
            ["--snapshot", good, "check", "--since", path, str(tmp_path / "bpf.toml")],
        ):
            judged(words, None, f"seed {seed}: {words}")
