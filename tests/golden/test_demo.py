"""A few programs of the corpus, recorded."""

from __future__ import annotations

from pathlib import Path

from tests.support.cli import run

DEMO = Path(__file__).resolve().parents[2] / "fixtures" / "kernels" / "demo.zip"


def test_the_recording_shows_something_of_everything() -> None:
    assert DEMO.stat().st_size < 150_000
    rows = run("-j", "--snapshot", str(DEMO), "-f", "prog", "show").json
    assert len(rows) >= 10
    for field in ("name", "pids", "map_ids", "btf_id", "metadata", "run_cnt"):
        assert any(field in row for row in rows), field
    assert any(row["pinned"] for row in rows)
    dumps = ""
    for row in rows:
        result = run(
            "--snapshot", str(DEMO), "prog", "dump", "xlated", "id", str(row["id"]), "linum"
        )
        assert (result.status, result.err) == (0, b"")
        dumps += result.text
    for sign in ("[file:", "call pc", "#bpf_prog_", "map[id:", "if r", "call bpf_"):
        assert sign in dumps, sign
