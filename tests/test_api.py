"""The library's public names, and the examples of docs/api.md."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pybpftool

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "api.md"
GOLDEN = Path(__file__).parent / "golden" / "public_names.txt"


def test_public_names_are_those_of_the_golden_file() -> None:
    assert pybpftool.__all__ == GOLDEN.read_text().split(), (
        "a name that is new or gone changes what users may import: say so in CHANGELOG.md"
    )
    for name in pybpftool.__all__:
        assert getattr(pybpftool, name) is not None


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        pybpftool.nonsense  # noqa: B018


def test_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "fixtures" / "host" / "snapshot.zip", tmp_path / "host.zip")
    monkeypatch.chdir(tmp_path)
    # Tabs are for readers: doctest knows none.
    text = re.sub(r"^```(python)?$", "", PAGE.read_text(), flags=re.MULTILINE)
    examples = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    assert len(examples.examples) > 40
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(examples, out=told.append, clear_globs=False)
    assert not runner.failures, "".join(told)


def test_a_type_checker_takes_the_examples(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    text = re.sub(r"^```(python)?$", "", PAGE.read_text(), flags=re.MULTILINE)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    sources = [example.source for example in doctest.DocTestParser().get_examples(text)]
    sources += [block for block in blocks if ">>>" not in block]
    (tmp_path / "examples.py").write_text("".join(sources))
    words = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    words += ["--follow-imports", "silent", "examples.py"]
    result = subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )
    assert not result.returncode, result.stdout + result.stderr


def test_examples_that_are_not_run_name_what_there_is() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    shown = [block for block in blocks if ">>>" not in block]
    for block in shown:
        compile(block, PAGE.name, "exec")
        for name in re.findall(r"bpf\.(\w+)", block):
            assert name in pybpftool.__all__
    assert len(shown) == 2


def test_the_kernels_own_types() -> None:
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("this kernel has no BTF")
    task = pybpftool.live().btf("vmlinux")["task_struct"]
    assert task.members["pid"].size == 4
    assert task.members["pid"].offset > 0
