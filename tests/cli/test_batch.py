"""``batch``: how a file becomes commands, where it stops, what it prints."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from pybpftool.cli import main as table
from pybpftool.cli.batch import commands, split_words
from pybpftool.cli.context import Context
from pybpftool.cli.grammar import Args
from pybpftool.errors import BpfError, UsageError
from tests.support.cli import assert_one_sentence, run
from tests.support.descriptors import descriptors
from tests.support.fakekernel import FakeKernel


@contextlib.contextmanager
def _object(name: str, run_object: Callable[[Context, Args], None]) -> Iterator[None]:
    """A further object, whose module runs `run_object`."""
    module = types.ModuleType(f"pybpftool.cli.{name}")
    module.run = run_object  # type: ignore[attr-defined]
    with (
        mock.patch.dict(sys.modules, {module.__name__: module}),
        mock.patch.object(table, "OBJECTS", (name, *table.OBJECTS)),
    ):
        yield


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    kernel.prog(1, name=b"one")
    kernel.prog(2, name=b"two")
    return kernel


class TestSplit:
    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("", []),
            (" \t\r\n", []),
            ("a", ["a"]),
            ("a b\tc\rd\n", ["a", "b", "c", "d"]),
            ("  lead", ["lead"]),
            ("trail  ", ["trail"]),
            ("'a b' \"c d\"", ["a b", "c d"]),
            ("'a\"b'", ['a"b']),
            ('"a\'b"', ["a'b"]),
            ("''", [""]),
            ("'' x", ["", "x"]),
            ("'a'b", ["a", "b"]),
            ("a'b c'", ["a'b", "c'"]),
            ("'a\\'b", ["a\\", "b"]),
            ('x""', ['x""']),
            # Blanks of other kinds are part of words.
            ("a\x0bb\x85c\u2003d e", ["a\x0bb\x85c\u2003d", "e"]),
            ("'a\x0bb' c\x0cd", ["a\x0bb", "c\x0cd"]),
        ],
    )
    def test_words(self, line: str, words: list[str]) -> None:
        assert split_words(line) == words

    @pytest.mark.parametrize("line", ["'", "a 'b", "\"it's", "x \"y'z"])
    def test_a_quote_without_end(self, line: str) -> None:
        with pytest.raises(UsageError, match="a quote is opened and never closed"):
            split_words(line)


class TestFile:
    def read(self, tmp_path: Path, content: bytes) -> list[list[str]]:
        file = tmp_path / "batch"
        file.write_bytes(content)
        return [split_words(line) for _, line in commands(str(file))]

    def test_numbers_of_lines(self, tmp_path: Path) -> None:
        file = tmp_path / "batch"
        file.write_bytes(b"# what follows\n\na \\\n b\nc\n")
        assert [number for number, _ in commands(str(file))] == [3, 5]

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", []),
            (b"\n\n  \n", []),
            (b"a b\nc", [["a", "b"], ["c"]]),
            (b"# all\na # rest\n#\n", [["a"]]),
            (b"a#b\n", [["a"]]),
            (b"a '#' b\n", UsageError),  # a comment begins inside quotes too
            (b"a \\\nb\n", [["a", "b"]]),
            (b"a\\\nb\n", [["ab"]]),
            (b"a \\\n \\\n b\nc\n", [["a", "b"], ["c"]]),
            (b"a \\ \nb\n", [["a", "\\"], ["b"]]),
            (b"a # no \\\nb\n", [["a"], ["b"]]),
            (b"a \\\nb # c\nd\n", [["a", "b"], ["d"]]),
            (b"a\\", [["a\\"]]),
            (b"a\r\nb\r\n", [["a"], ["b"]]),
            (b"\xff\xc3\xa4\n", [["\udcff\u00e4"]]),
            (b"'a\\\nb'\n", [["ab"]]),
        ],
    )
    def test_commands(self, tmp_path: Path, content: bytes, expected: object) -> None:
        if isinstance(expected, type):
            with pytest.raises(expected):
                self.read(tmp_path, content)
        else:
            assert self.read(tmp_path, content) == expected

    def test_a_continuation_without_a_line(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="the command is continued, but the file ends"):
            self.read(tmp_path, b"a\nb \\\n")

    def test_a_comment_ends_a_continued_command(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, b"a \\\n#\nb\n") == [["a"], ["b"]]

    def test_lines_longer_than_any_block(self, tmp_path: Path) -> None:
        words = ["w%06d" % number for number in range(40_000)]
        assert self.read(tmp_path, " ".join(words).encode() + b"\nend\n") == [words, ["end"]]

    def test_many_lines(self, tmp_path: Path) -> None:
        assert len(self.read(tmp_path, b"prog show\n" * 30_000)) == 30_000

    def test_the_file_is_closed_when_the_batch_stops(self, tmp_path: Path) -> None:
        file = tmp_path / "batch"
        file.write_text("a\nb\n")
        before = len(descriptors())
        lines = commands(str(file))
        next(lines)
        lines.close()  # type: ignore[attr-defined]
        assert len(descriptors()) == before

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("/nonexistent/file", "No such file or directory"),
            ("/", "Is a directory"),
            ("a\0b", "null"),
        ],
    )
    def test_what_cannot_be_read(self, name: str, reason: str) -> None:
        with pytest.raises(BpfError, match=f"batch file.*{reason}"):
            list(commands(name))


class TestRun:
    def test_text(self, kernel: FakeKernel) -> None:
        result = run("batch", "file", "-", stdin=b"prog show id 1\nprog show id 2\n", kernel=kernel)
        assert (result.status, result.err) == (0, b"")
        one = run("prog", "show", "id", "1", kernel=kernel).out
        two = run("prog", "show", "id", "2", kernel=kernel).out
        assert result.out == one + two + b"processed 2 commands\n"

    def test_stops_at_the_first_failure(self, kernel: FakeKernel) -> None:
        stdin = b"prog show id 1\nprog show id 9\nprog show id 2\n"
        result = run("batch", "file", "-", stdin=stdin, kernel=kernel)
        assert_one_sentence(result, "Error: standard input:2: ", "9")
        assert result.out == run("prog", "show", "id", "1", kernel=kernel).out

    @pytest.mark.parametrize("line", ["prog show id 9", "prog show id x", "nonsense", "'", "p \\"])
    def test_a_failure_names_file_and_line(
        self, kernel: FakeKernel, tmp_path: Path, line: str
    ) -> None:
        file = tmp_path / "batch"
        file.write_text(f"# two\nprog show id 1\n{line}\n")
        sentence = assert_one_sentence(run("batch", "file", str(file), kernel=kernel))
        assert sentence.startswith(f"{file}:3: ")

    def test_an_empty_batch(self) -> None:
        assert run("batch", "file", "-").out == b"processed 0 commands\n"
        assert run("-j", "batch", "file", "-").out == b"[]\n"
        assert run("-p", "batch", "file", "/dev/null").out == b"[]\n"

    def test_json(self, kernel: FakeKernel) -> None:
        result = run("-j", "batch", "file", "-", stdin=b"prog list\np s id 2\n", kernel=kernel)
        all = run("-j", "prog", "show", kernel=kernel).json
        assert result.json == [
            {"command": ["prog", "list"], "output": all},
            {"command": ["p", "s", "id", "2"], "output": all[1]},
        ]

    @pytest.mark.parametrize("option", ["-j", "-p"])
    @pytest.mark.parametrize("failing", ["prog show id 9", "prog show id x", "nonsense", "''"])
    def test_json_stays_valid_after_a_failure(
        self, kernel: FakeKernel, option: str, failing: str
    ) -> None:
        stdin = f"prog show id 1\n{failing}\nprog show id 2\n".encode()
        result = run(option, "batch", "file", "-", stdin=stdin, kernel=kernel)
        if failing == "''":  # an empty word is short for the first object, help
            assert result.status == 0
            return
        assert (result.status, result.err) == (255, b"")
        assert len(result.json) == 2
        assert list(result.json[1]["output"]) == ["error"]

    @pytest.mark.parametrize("option", ["-j", "-p"])
    @pytest.mark.parametrize("content", [b"prog show id 1\n'", b"prog show id 1\n\\\n", b"'"])
    def test_json_stays_valid_after_a_malformed_line(
        self, kernel: FakeKernel, option: str, content: bytes
    ) -> None:
        result = run(option, "batch", "file", "-", stdin=content, kernel=kernel)
        assert result.status == 255
        assert list(result.json[-1]) == ["error"]

    def test_json_of_a_command_that_prints_nothing(self) -> None:
        with _object("quiet", mock.Mock()):
            result = run("-j", "batch", "file", "-", stdin=b"quiet\n")
        assert result.json == [{"command": ["quiet"], "output": None}]

    def test_json_closes_what_a_failure_left_open(self) -> None:
        def half(ctx: Context, args: Args) -> None:
            assert ctx.json is not None
            ctx.json.begin_array()
            ctx.json.begin_object()
            ctx.json.fields({"id": 1})
            raise BpfError("gone")

        with _object("x", half):
            for option in ("-j", "-p"):
                result = run(option, "batch", "file", "-", stdin=b"x\ny\n")
                assert result.status == 255
                assert result.json == [{"command": ["x"], "output": [{"id": 1, "error": "gone"}]}]

    def test_unreadable_files(self) -> None:
        assert_one_sentence(run("batch", "file", "/nonexistent"), "/nonexistent")
        result = run("-j", "batch", "file", "/nonexistent")
        assert result.status == 255
        assert "/nonexistent" in str(result.json)

    @pytest.mark.parametrize(
        ("argv", "part"),
        [
            (["batch"], "'file'"),
            (["batch", "file"], "a file name"),
            (["batch", "fool", "x"], "got 'fool'"),
            (["batch", "file", "-", "more"], "unexpected argument 'more'"),
        ],
    )
    def test_wrong_words(self, argv: list[str], part: str) -> None:
        assert_one_sentence(run(*argv), part)

    def test_shortened(self) -> None:
        assert run("b", "f", "-").out == b"processed 0 commands\n"

    def test_answers_come_before_the_next_command_is_read(self) -> None:
        """A batch may be a conversation over pipes."""
        process = subprocess.Popen(
            [sys.executable, "-m", "pybpftool", "batch", "file", "-"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        try:
            for _ in range(2):
                process.stdin.write(b"version\n")
                process.stdin.flush()
                lines = [process.stdout.readline() for _ in range(4)]
                assert lines[0].startswith(b"pybpftool v")
            process.stdin.close()
            assert process.stdout.read() == b"processed 2 commands\n"
            assert process.wait(10) == 0
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
                process.wait()

    def test_a_batch_in_a_batch(self, tmp_path: Path) -> None:
        inner = tmp_path / "inner"
        inner.write_text("version\n")
        outer = tmp_path / "outer"
        outer.write_text(f"batch file {inner}\n")
        result = run("batch", "file", str(outer))
        assert result.status == 0
        assert result.text.count("processed 1 commands") == 2
        assert isinstance(run("-j", "batch", "file", str(outer)).json[0]["output"], list)

    def test_a_batch_that_runs_itself(self, tmp_path: Path) -> None:
        file = tmp_path / "self"
        file.write_text(f"batch file {file}\n")
        start = time.monotonic()
        assert_one_sentence(run("batch", "file", str(file)))
        result = run("-j", "batch", "file", str(file))
        assert result.status == 255
        assert time.monotonic() - start < 30
