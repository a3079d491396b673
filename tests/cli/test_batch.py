"""``batch``: how a file becomes commands, where it stops, what it prints."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpftool.cli import main as table
from pybpftool.cli.batch import commands, split_words
from pybpftool.cli.context import Context
from pybpftool.cli.grammar import Args
from pybpftool.errors import BpfError, UsageError
from pybpftool.kernel.interface import BpfObject
from pybpftool.kernel.live import LiveKernel
from tests.support import load
from tests.support.cli import Result, assert_one_sentence, run
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
        found = []
        for _, line, is_plain in commands(str(file)):
            found.append(split_words(line))
            assert not is_plain or line.split() == found[-1]
        return found

    def test_numbers_of_lines(self, tmp_path: Path) -> None:
        file = tmp_path / "batch"
        file.write_bytes(b"# what follows\n\na \\\n b\nc\n")
        assert [number for number, *_ in commands(str(file))] == [3, 5]

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

    @given(st.lists(st.sampled_from(list("ab \t\r\n#\\'\"\x0b\x1c\x7f\xe4")), max_size=30))
    def test_plain_lines_are_split_alike(self, characters: list[str]) -> None:
        with tempfile.TemporaryDirectory() as directory, contextlib.suppress(UsageError):
            self.read(Path(directory), "".join(characters).encode("latin-1"))

    def test_which_lines_are_plain(self, tmp_path: Path) -> None:
        file = tmp_path / "batch"
        file.write_bytes(b"map update id 1 key 0x1 \t value 2\r\n'a'\nb#\nc \\\nd\ne\x0b\nf\ng")
        found = [is_plain for *_, is_plain in commands(str(file))]
        assert found == [True, False, False, False, False, True, False]

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


@pytest.mark.live
class TestKeptMaps:
    """Maps stay open for commands on elements that follow each other."""

    @pytest.fixture
    def pins(self) -> Iterator[dict[str, str]]:
        with load.temp_bpffs() as directory, contextlib.ExitStack() as stack:
            inner = stack.enter_context(load.map_create("array", 4, 8, 4, name="inner"))
            maps = {
                "hash": load.map_create("hash", 4, 8, 100, name="hash"),
                "array": load.map_create("percpu_array", 4, 8, 100, name="array"),
                "inner": inner,
                "outer": load.map_create("array_of_maps", 4, 4, 4, inner=inner, name="outer"),
            }
            for name, fd in maps.items():
                load.obj_pin(stack.enter_context(fd), f"{directory}/{name}")
            yield {name: f"pinned {directory}/{name}" for name in maps}

    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Pins that are opened."""
        found: list[str] = []
        real = LiveKernel.open_pinned

        def open_pinned(kernel: LiveKernel, path: str) -> BpfObject:
            found.append(path.rpartition("/")[2])
            return real(kernel, path)

        monkeypatch.setattr(LiveKernel, "open_pinned", open_pinned)
        return found

    def batch(self, *lines: str, options: str = "") -> Result:
        return run(*options.split(), "batch", "file", "-", stdin="\n".join(lines).encode() + b"\n")

    def lines(self, pins: dict[str, str], last: int = 5) -> list[str]:
        return [
            line
            for number in range(last)
            for line in (
                f"map update {pins['hash']} key {number} 0 0 0 value {number} 1 2 3 4 5 6 7",
                f"map update {pins['array']} key hex {number} 0 0 0 value hex 0 a b c d e f 7 any",
                f"map lookup {pins['hash']} key {number} 0 0 0",
                f"map lookup {pins['array']} key {number} 0 0 0",
                f"map lookup {pins['array']} key {number + 50} 0 0 0",
            )
        ]

    @pytest.mark.parametrize("options", ["", "-j", "-p"])
    def test_answers_are_the_same(
        self, options: str, pins: dict[str, str], opened: list[str]
    ) -> None:
        lines = self.lines(pins)
        before = descriptors()
        result = self.batch(*lines, options=options)
        assert result.status == 0
        # A word that is new here may be that of any command: it finds none of them open.
        assert opened == ["hash", "array"] * 3
        assert descriptors() == before
        # Comments and another spelling in between: each is opened anew.
        opened.clear()
        apart = [each for line in lines for each in (line, "help")]
        single = self.batch(*apart, options=options)
        assert len(opened) == len(lines)
        if options:
            answers = [row for row in single.json if row["command"] != ["help"]]
            assert result.json == answers
            assert result.json[2]["output"] is not None
        else:
            assert result.text.replace("25 commands", "50 commands") == single.text
            assert "00 01 02" in result.text

    def test_other_commands_find_none_open(self, pins: dict[str, str]) -> None:
        show = f"map show {pins['hash']}"
        lines = [*self.lines(pins, 1), show, *self.lines(pins, 1)]
        result = self.batch(*lines, options="-j")
        held = [row["output"] for row in result.json if row["command"][1] == "show"]
        assert held == [run("-j", *show.split()).json]

    def test_what_other_maps_hold_may_be_gone(self, pins: dict[str, str]) -> None:
        """A map that an outer map held alone is not there any more once it is replaced."""
        with load.map_create("array", 4, 8, 4, name="passing") as passing:
            number = load.object_id(passing)
            key = "key 1 0 0 0"
            assert run(*f"map update {pins['outer']} {key} value id {number}".split()).status == 0
        look = f"map lookup id {number} {key}"
        result = self.batch(
            look, look, f"map update {pins['outer']} {key} value {pins['inner']}", look
        )
        assert result.status == 255
        assert f"standard input:4: there is no map with id {number}" in result.errors

    def test_a_failure(self, pins: dict[str, str]) -> None:
        before = descriptors()
        update = f"map update {pins['hash']} key 1 0 0 0 value 1 2 3 4 5 6 7"
        result = self.batch(f"{update} 8", f"{update} 9", update, f"{update} 1")
        assert "standard input:3: the value has 8 bytes, only 7 are given" in result.errors
        assert result.status == 255
        found = run("-j", *f"map lookup {pins['hash']} key 1 0 0 0".split()).json
        assert found["value"][-1] == "0x09"
        rows = self.batch(f"{update} 8", update, f"{update} 9", options="-j").json
        assert rows[0]["output"] is None
        assert "only 7 are given" in rows[1]["output"]["error"]
        assert len(rows) == 2
        assert descriptors() == before

    def test_no_more_than_some(self, pins: dict[str, str], opened: list[str]) -> None:
        before = descriptors()
        with mock.patch("pybpftool.cli.kept_maps._MOST", 1):
            assert self.batch(*self.lines(pins, 2)).status == 0
        assert len(opened) == 8  # what was used last alone is open
        assert descriptors() == before

    def test_none_is_open_while_commands_are_waited_for(self, pins: dict[str, str]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "pybpftool", "batch", "file", "-"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        try:
            look = f"map lookup {pins['hash']} key 1 0 0 0\n".encode()
            update = f"map update {pins['hash']} key 1 0 0 0 value 1 2 3 4 5 6 7 8\n".encode()
            process.stdin.write(update + look)
            process.stdin.flush()
            assert process.stdout.readline().startswith(b"key: 01 00 00 00")
            deadline = time.monotonic() + 10
            directory = Path(f"/proc/{process.pid}/fd")
            while any("bpf-map" in os.readlink(fd) for fd in directory.iterdir()):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.stdin.write(look)
            process.stdin.close()
            assert process.stdout.readline().startswith(b"key: 01 00 00 00")
            assert process.stdout.read() == b"processed 3 commands\n"
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
            process.wait()
