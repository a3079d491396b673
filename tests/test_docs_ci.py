"""docs/ci.md and action.yml: the recipes run, and name what there is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pybpftool.cli.options import _OF_OBJECT
from pybpftool.inspect.policy import load
from pybpftool.inspect.reports import FORMATS
from tests.support.cli import run
from tests.support.hosts import add_tcx, host
from tests.support.saved import save

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "ci.md").read_text()
ACTION = (ROOT / "action.yml").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The pybpftool commands in a recipe, without what runs them."""
    found = []
    for line in text.splitlines():
        at = re.search(r"(?:^|\s|/)pybpftool ((?:--?snapshot|snapshot|check|diff)\b.*)", line)
        if at and "#" not in line.split("pybpftool")[0]:
            found.append(shlex.split(at.group(1)))
    return found


def test_the_policy(tmp_path: Path) -> None:
    (policy,) = blocks("toml")
    (tmp_path / "bpf.toml").write_text(policy)
    rules = load(str(tmp_path / "bpf.toml")).rules
    assert [rule.id for rule in rules] == ["ingress", "flows"]


def test_every_command_is_one() -> None:
    recipes = [*blocks("sh"), *blocks("yaml")]
    assert sum(len(commands(text)) for text in recipes) >= 9
    for words in [words for text in recipes for words in commands(text)]:
        for word in words:
            name, _, rest = word.partition("=")
            if name.startswith("--") and name != "--snapshot":
                assert name[2:] in _OF_OBJECT, words
            if words[words.index(word) - 1] == "--report":
                assert name in FORMATS, words
            assert rest is not None
    for name in FORMATS:
        assert f"| `{name}` |" in PAGE


def test_the_shell_recipes(tmp_path: Path) -> None:
    """They run as they stand, on a recorded kernel."""
    kernel = host()
    kernel.all["prog"][2].info = kernel.all["prog"][2].info.replace(b"counter\0", b"count_f\0")
    add_tcx(kernel, 20, 2, "eth0", 2)
    snapshot = save(kernel, tmp_path / "kernel.zip")
    (tmp_path / "bpf.toml").write_text('schema = 1\n[[rule]]\nid = "r"\nprog = "count_f"\n')
    (tmp_path / "integration-tests").write_text("#!/bin/sh\n")
    (tmp_path / "integration-tests").chmod(0o755)
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "pybpftool"
    script.write_text(
        f'#!/bin/sh\n[ "$1" = --snapshot ] || set -- --snapshot {snapshot} "$@"\n'
        f'exec {sys.executable} -m pybpftool "$@"\n'
    )
    script.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    environment.pop("GITHUB_ACTIONS", None)
    for recipe in blocks("sh"):
        text = recipe.replace(" --wait 30s", "")  # a recorded kernel does not change
        done = subprocess.run(
            ["sh", "-e", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, (recipe, done.stdout, done.stderr)
    assert (tmp_path / "bpf.xml").exists()


def test_the_pytest_recipe(pytester: pytest.Pytester, tmp_path: Path) -> None:
    from tests.support.plugin import missing

    (recipe,) = blocks("python")
    pytester.makepyfile(recipe.replace('kernel=">=6.6", caps=["CAP_BPF"]', 'kernel=">=2.6"'))
    pytester.makefile(".toml", bpf='schema = 1\n[[rule]]\nid = "r"\nprog = "counter"\n')
    snapshot = save(host(), tmp_path / "host.zip")
    words = [word for module in missing() for word in ("-p", module)]
    result = pytester.runpytest_subprocess(*words, "--bpf-snapshot", snapshot)
    result.assert_outcomes(passed=2)


def test_the_action(tmp_path: Path) -> None:
    """Its inputs are used and described, its shell is valid, its options exist."""
    inputs = re.findall(r"^  (\w+):\n    description: ", ACTION, re.MULTILINE)
    assert inputs == ["policy", "run", "wait", "report", "artifact"]
    for name in inputs:
        assert f"${{{{ inputs.{name} }}}}" in ACTION
    for name in re.findall(r"(?<=\s)--([a-z]+)(?= )", ACTION):
        assert name in _OF_OBJECT or name.startswith("preserve"), name
    # No input is pasted into a script: what it holds stays data.
    for script in re.findall(r"run: \|?(.*?)(?=\n      env:|\n    - )", ACTION, re.DOTALL):
        assert "inputs." not in script
        if shutil.which("bash"):
            checked = subprocess.run(
                ["bash", "-n"], input=script, capture_output=True, text=True, check=False
            )
            assert checked.returncode == 0, checked.stderr


def test_what_the_action_runs(tmp_path: Path) -> None:
    """The words that it makes are a command that works."""
    before = save(host(), tmp_path / "before.zip")
    (tmp_path / "bpf.toml").write_text('schema = 1\n[[rule]]\nid = "r"\nprog = "counter"\n')
    words = ["check", str(tmp_path / "bpf.toml"), "--since", before, "--report", "github"]
    result = run(*words, "--report", f"junit={tmp_path / 'bpf.xml'}", kernel=host())
    assert result.status == 0, result
    assert result.text.startswith("4 rules: 4 passed")
