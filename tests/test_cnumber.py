"""Numbers of any length: a sentence, never Python's own limit on digits."""

from __future__ import annotations

from pathlib import Path

import pytest

from pybpftool.cnumber import c_number, decimal
from tests.support.cli import run

MANY = "9" * 5000
RECORDED = str(Path(__file__).parents[1] / "fixtures" / "host" / "snapshot.zip")


def test_decimal() -> None:
    assert [decimal(text) for text in ("0", "007", "18446744073709551615")] == [0, 7, (1 << 64) - 1]
    for text in ("", "-1", "+1", "1 ", "0x1", "1_0", "\u0661", "\u00b2", "1" * 21, MANY):
        assert decimal(text) is None
    assert c_number(MANY) is None


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--table", "--filter", f"id>{MANY}", "prog", "show"], 0),
        (["--table", "--filter", f"id={MANY}", "prog", "show"], 0),
        (["net", "show", "netns", MANY], 255),
        (["prog", "show", "id", MANY], 255),
        (["prog", "dump", "xlated", "id", "166795", "visual", "func", f"func_{MANY}"], 255),
        (["gen", "skeleton", "/dev/null", "--libbpf", MANY], 255),
        (["gen", "skeleton", "/dev/null", "--libbpf", f"1.{MANY}"], 255),
        (["btf", "dump", "id", "1", "root_id", MANY], 255),
        (["top", "--interval", f"{MANY}s"], 255),
    ],
)
def test_numbers_of_a_command_line(words: list[str], status: int) -> None:
    done = run("--snapshot", RECORDED, *words)
    assert done.status == status, done.errors
    assert done.errors.count("\n") == (1 if status else 0)


def test_numbers_of_files(tmp_path: Path) -> None:
    policy, verdicts = tmp_path / "p.toml", tmp_path / "v.csv"
    policy.write_text(f'schema = 1\n[[rule]]\nid = "a"\nprog = {{ name = "x" }}\ncount = {MANY}\n')
    done = run("--snapshot", RECORDED, "check", str(policy))
    assert done.status == 2 and "p.toml:5: " in done.errors
    from pybpftool.inspect.verdicts import read

    verdicts.write_text(f"file_name,prog_name,verdict,total_insns\na,b,success,{MANY}\n")
    (verdict,) = read(verdicts.read_text())
    assert verdict.insns is None
