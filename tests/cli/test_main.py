"""The entry: options, objects, help, errors, statuses, what becomes of a broken output."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import posix
import resource
import subprocess
import sys
import threading
from pathlib import Path
from unittest import mock

import pytest

from pybpftool.cli import main as entry
from pybpftool.cli import options as options_module
from pybpftool.cli.context import Context
from pybpftool.cli.options import Options
from pybpftool.errors import BpfError, UsageError
from pybpftool.output.stream import Output
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel


def scan(*argv: str) -> tuple[list[tuple[str, str]], list[str], str | None]:
    found, words, error = options_module.scan(argv)
    return found, words, None if error is None else str(error)


class TestScan:
    def test_options_stand_anywhere(self) -> None:
        for argv in (["-j", "prog", "show"], ["prog", "-j", "show"], ["prog", "show", "-j"]):
            assert scan(*argv) == ([("j", "")], ["prog", "show"], None)

    def test_combined_letters(self) -> None:
        assert scan("-jpf", "x") == ([("j", ""), ("p", ""), ("f", "")], ["x"], None)

    def test_two_dashes_end_the_options(self) -> None:
        assert scan("-j", "a", "--", "-p", "--", "b") == (
            [("j", "")],
            ["a", "-p", "--", "b"],
            None,
        )

    def test_a_single_dash_is_a_word(self) -> None:
        assert scan("batch", "file", "-") == ([], ["batch", "file", "-"], None)

    def test_an_empty_word_stays(self) -> None:
        assert scan("prog", "", "-j") == ([("j", "")], ["prog", ""], None)

    @pytest.mark.parametrize(("name", "letter"), sorted(options_module._LONG.items()))
    def test_long_forms(self, name: str, letter: str) -> None:
        value = "v" if letter in options_module._WITH_VALUE else ""
        argv = [f"--{name}", value] if value else [f"--{name}"]
        assert scan(*argv) == ([(letter, value)], [], None)
        if value:
            assert scan(f"--{name}={value}") == ([(letter, value)], [], None)
        else:
            assert scan(f"--{name}=x")[2] == f"option '--{name}' takes no value"

    def test_long_forms_may_be_shortened(self) -> None:
        assert scan("--js")[0] == [("j", "")]
        assert scan("--bas", "f")[0] == [("B", "f")]
        assert scan("--bas=f")[0] == [("B", "f")]
        assert scan("--use")[0] == [("L", "")]
        assert scan("--s")[0] == [("S", "")]  # upstream's before ours
        assert scan("--sn", "x")[0] == [("snapshot", "x")]

    def test_a_long_form_that_is_short_for_several(self) -> None:
        assert scan("--b")[2] == "option '--b' is short for several: --bpffs, --base-btf"

    def test_every_unambiguous_beginning_of_a_long_form(self) -> None:
        for name, letter in options_module._LONG.items():
            for length in range(1, len(name)):
                fits = [other for other in options_module._LONG if other.startswith(name[:length])]
                fits = [other for other in fits if other in options_module._UPSTREAM] or fits
                if name not in fits:
                    continue  # short for what upstream takes it for
                found, _, error = scan(f"--{name[:length]}", "v")
                if len(fits) == 1:
                    assert found == [(letter, "v" if letter in options_module._WITH_VALUE else "")]
                else:
                    assert error is not None
                    assert all(other in error for other in fits)

    def test_values_attached_and_detached(self) -> None:
        assert scan("-Bfile", "x") == ([("B", "file")], ["x"], None)
        assert scan("-B", "file", "x") == ([("B", "file")], ["x"], None)
        assert scan("-jBfile", "x") == ([("j", ""), ("B", "file")], ["x"], None)
        assert scan("-jB", "-p", "x") == ([("j", ""), ("B", "-p")], ["x"], None)
        assert scan("--base-btf=", "x") == ([("B", "")], ["x"], None)

    def test_a_value_that_is_missing(self) -> None:
        assert scan("x", "-B")[2] == "option '-B' needs a value"
        assert scan("x", "--snapshot")[2] == "option '--snapshot' needs a value"

    def test_unknown_options(self) -> None:
        assert scan("-jx")[2] == "unknown option '-x' in '-jx'"
        assert scan("-:")[2] == "unknown option '-:' in '-:'"
        assert scan("--nonsense")[2] == "unknown option '--nonsense'"

    def test_what_stood_before_an_error_counts(self) -> None:
        assert scan("-j", "--nonsense", "-p")[0] == [("j", "")]

    def test_posixly_correct_ends_options_at_the_first_word(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(posix.environ, b"POSIXLY_CORRECT", b"1")
        assert scan("-j", "prog", "show", "-p") == ([("j", "")], ["prog", "show", "-p"], None)


class TestParse:
    def parse(self, *argv: str) -> tuple[Options, list[str]]:
        options = Options()
        return options, options_module.parse(argv, options)

    def test_flags(self) -> None:
        options, words = self.parse(
            "-fndmL", "prog", "--resolve", "--escape", "--no-iter", "--snapshot", "s", "-B", "b"
        )
        assert words == ["prog"]
        assert options.bpffs and options.nomount and options.debug
        assert options.mapcompat and options.use_loader and options.resolve and options.escape
        assert (options.snapshot, options.base_btf) == ("s", ["b"])
        assert options.no_iter

    def test_an_expectation_is_one_of_a_run(self) -> None:
        options, words = self.parse("pro", "r", "id", "1", "--expect", "2")
        assert words == ["pro", "r", "id", "1"] and options.of_object == [("expect", "2")]
        with pytest.raises(UsageError, match="'--expect' belongs to 'run', not to 'show'"):
            self.parse("prog", "show", "--expect", "2")
        assert not options.json and not options.pretty

    def test_pretty_means_json(self) -> None:
        options, _ = self.parse("-p")
        assert options.json and options.pretty
        options, _ = self.parse("-j")
        assert options.json and not options.pretty

    def test_signing_needs_its_keys(self) -> None:
        options, _ = self.parse("-S", "-k", "key", "-i", "cert")
        assert options.use_loader
        for argv in (["-S"], ["-k", "key"], ["-i", "cert"]):
            with pytest.raises(UsageError, match="-S"):
                self.parse(*argv)

    def test_version_wins_over_the_words(self) -> None:
        assert self.parse("-V", "prog", "show")[1] == ["version"]

    def test_help_ends_the_run(self) -> None:
        with pytest.raises(options_module.HelpWanted):
            self.parse("-h", "prog")


class TestHelp:
    @pytest.mark.parametrize(
        "argv", [["help"], ["-h"], ["--help"], ["he"], [], ["-h", "nonsense"], ["h", "surplus"]]
    )
    def test_goes_to_stderr(self, argv: list[str]) -> None:
        result = run(*argv)
        assert (result.status, result.out) == (0, b"")
        assert result.errors.startswith("Usage: pybpftool [OPTIONS] OBJECT")

    @pytest.mark.parametrize(
        "argv", [["-j", "help"], ["-j"], ["-p", "help"], ["-j", "map", "help"]]
    )
    def test_is_null_in_json(self, argv: list[str]) -> None:
        result = run(*argv)
        assert (result.status, result.out, result.err) == (0, b"null\n", b"")

    @pytest.mark.parametrize("argv", [["-jh"], ["-p", "map", "-h"], ["-j", "map", "dump", "-h"]])
    def test_of_the_option_is_null_without_a_newline(self, argv: list[str]) -> None:
        result = run(*argv)
        assert (result.status, result.out, result.err) == (0, b"null", b"")

    @pytest.mark.parametrize("name", ["prog", "snapshot"])
    def test_of_an_object(self, name: str) -> None:
        result = run(name, "help")
        assert (result.status, result.out) == (0, b"")
        assert result.errors.startswith(f"Usage: pybpftool {name}")
        assert run("-j", name, "help").out == b"null\n"

    @pytest.mark.parametrize(
        "argv", [["map", "update", "--help"], ["-h", "m", "upd"], ["map", "help", "update"]]
    )
    def test_of_a_command_goes_to_stdout(self, argv: list[str]) -> None:
        result = run(*argv)
        assert (result.status, result.err) == (0, b"")
        first, _, more = result.text.partition("\n\n")
        assert first == ("Usage: pybpftool map update MAP [key DATA] [value VALUE] [UPDATE_FLAGS]")
        assert "       MAP := " in more and "       PROG := " in more
        assert "TYPE :=" not in more and "Options:" not in more

    def test_of_two_commands_at_once(self) -> None:
        text = run("map", "help", "peek").text
        assert text.startswith("Usage: pybpftool map { peek | pop | dequeue } MAP\n")

    def test_of_an_object_or_what_it_does_not_have(self) -> None:
        whole = run("map", "help").errors
        for argv in (["map", "--help"], ["map", "--help", "nonsense"], ["map", "help", "nonsense"]):
            result = run(*argv)
            assert (result.status, result.out, result.errors) == (0, b"", whole)

    def test_names_every_option(self) -> None:
        text = run("help").errors
        for name, letter in options_module._LONG.items():
            if name in options_module._OF_OBJECT:
                for owner in options_module._OF_OBJECT[name][1]:
                    assert f"--{name}" in run(owner, "help").errors, name
            elif letter not in ("m", "L", "S"):  # for commands that do not exist yet
                assert f"--{name}" in text, name


class TestErrors:
    def test_text(self) -> None:
        result = run("nonsense")
        assert result.out == b""
        assert_one_sentence(result, "unknown object 'nonsense'", "pybpftool help")

    def test_json(self) -> None:
        result = run("-j", "nonsense")
        assert (result.status, result.err) == (255, b"")
        assert list(result.json) == ["error"]
        assert result.out.endswith(b"}\n")

    def test_pretty_json(self) -> None:
        result = run("-jp", "nonsense")
        lines = result.text.splitlines()
        assert (lines[0], lines[-1]) == ("{", "}")
        assert lines[1].startswith('    "error": ')

    def test_wrong_option_before_and_after_json(self) -> None:
        assert_one_sentence(run("--nonsense", "-j"), "unknown option '--nonsense'")
        assert run("-j", "--nonsense").json == {"error": "unknown option '--nonsense'"}

    def test_base_btf_is_read_at_once(self) -> None:
        result = run("-B", "/nonexistent/btf", "version")
        assert_one_sentence(result, "/nonexistent/btf")
        assert result.out == b""

    @pytest.mark.parametrize(
        ("error", "sentence"),
        [
            (RecursionError(), "nested too deeply"),
            (MemoryError(), "not enough memory"),
            (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
        ],
    )
    def test_exhaustion(self, error: Exception, sentence: str) -> None:
        with mock.patch.object(entry, "dispatch", side_effect=error):
            assert_one_sentence(run("version"), sentence)
            assert sentence in run("-j", "version").json["error"]

    @pytest.mark.parametrize("mode", [(), ("-j",)])
    def test_output_that_there_is_no_memory_to_write(
        self, mode: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def short(ctx: Context, words: object) -> None:
            if ctx.json is not None:
                ctx.json.begin_array()
            monkeypatch.setattr(Output, "flush", flush)
            ctx.out.write("begun")
            raise MemoryError

        def flush(out: Output) -> None:
            if out._pieces:
                raise MemoryError

        with mock.patch.object(entry, "dispatch", short):
            result = run(*mode, "version")
        assert_one_sentence(result, "not enough memory")
        assert result.out == b""

    @pytest.mark.parametrize(
        ("error", "sentence"),
        [
            (ImportError("No module named 'zlib'"), "cannot be loaded: No module named 'zlib'"),
            (OSError(errno.EIO, "Input/output error"), "call of this command failed: Input"),
            (OSError(errno.EIO, "Bad", "/a b"), "call of this command failed: Bad: '/a b'"),
            (KeyError("x"), "a mistake in pybpftool, please report it with what -d prints: KeyEr"),
            (ValueError("two\nlines"), "ValueError: two lines ("),
        ],
    )
    def test_the_last_resort(
        self, error: Exception, sentence: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        for place in ("parse", "dispatch"):
            with mock.patch.object(entry, place, side_effect=error):
                assert entry.main(["version"], is_last_resort=True) == 255
            told = capfd.readouterr()
            assert told.out == "" and told.err.count("\n") == 1 and sentence in told.err
        with mock.patch.object(entry, "dispatch", side_effect=error):
            assert entry.main(["-j", "version"], is_last_resort=True) == 255
            assert sentence in json.loads(capfd.readouterr().out)["error"]
            for words, kept in (["-d", "version"], True), (["version"], False):
                with pytest.raises(type(error)):
                    entry.main(words, is_last_resort=kept)

    def test_a_wrong_word_without_difflib(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where a part of Python is missing, only the remark is."""
        assert "did you mean 'prog'?" in run("prgo").errors
        monkeypatch.setitem(sys.modules, "difflib", None)
        for words in (["prgo"], ["--jsno", "prog"]):
            done = run(*words)
            assert done.status == 255 and done.errors.count("\n") <= 2
            assert "did you mean" not in done.errors

    def test_a_module_that_fails_while_it_is_loaded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "pybt_broken.py").write_text("raise ValueError(0)\n")
        monkeypatch.syspath_prepend(tmp_path)

        def late(ctx: Context, words: object) -> None:
            __import__("pybt_broken")

        with mock.patch.object(entry, "dispatch", late):
            assert entry.main(["version"], is_last_resort=True) == 255
        assert "a part of Python or of pybpftool cannot be loaded" in capfd.readouterr().err

    def test_interrupt(self) -> None:
        def interrupted(ctx: Context, words: object) -> None:
            assert ctx.json is not None
            ctx.json.begin_array()
            ctx.json.value(1)
            raise KeyboardInterrupt

        with mock.patch.object(entry, "dispatch", interrupted):
            result = run("-j", "version")
        assert (result.status, result.out) == (130, b"[1]\n")

    def test_control_characters_do_not_reach_the_terminal(self) -> None:
        result = run("\x1b[31mred\x07")
        assert "\x1b" not in result.errors and "\x07" not in result.errors
        assert "\\x1b[31mred\\x07" in result.errors

    def test_bytes_that_are_no_text(self) -> None:
        result = run(os.fsdecode(b"no\xfftext"))
        assert_one_sentence(result, "no\\udcfftext")
        assert run("-j", os.fsdecode(b"no\xfftext")).status == 255

    def test_stderr_that_is_closed(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "pybpftool", "nonsense"], stdout=subprocess.PIPE, check=False,
            preexec_fn=lambda: os.close(2),
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (255, b"")

    def test_error_texts_keep_json_valid_after_values(self) -> None:
        def half(ctx: Context, words: object) -> None:
            assert ctx.json is not None
            ctx.json.begin_array()
            ctx.json.value({"id": 1})
            ctx.json.begin_object()
            ctx.json.name("half")
            raise BpfError("broken")

        with mock.patch.object(entry, "dispatch", half):
            for option in ("-j", "-p"):
                result = run(option, "x")
                assert result.status == 255
                assert result.json == [{"id": 1}, {"half": {"error": "broken"}}]


class TestContext:
    def test_say_is_silent_in_json(self) -> None:
        def talk(ctx: Context, words: object) -> None:
            ctx.out.write("first\n" if ctx.json is None else "")
            ctx.say("a remark")

        with mock.patch.object(entry, "dispatch", talk):
            result = run("x")
            assert (result.status, result.out, result.err) == (0, b"first\n", b"a remark\n")
            assert run("-j", "x").err == b""

    def test_kernel(self) -> None:
        from pybpftool.kernel.live import LiveKernel
        from pybpftool.output.stream import Output

        ctx = Context(Options(), Output())
        assert isinstance(ctx.kernel, LiveKernel)
        assert ctx.kernel is ctx.kernel
        fake = FakeKernel()
        assert Context(Options(), Output(), fake).kernel is fake
        assert ctx.base_btf is None


class TestBrokenOutput:
    def test_a_closed_pipe_ends_quietly(self) -> None:
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [sys.executable, "-m", "pybpftool", "version"],
            stdout=write, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
        os.close(write)
        assert (done.returncode, done.stderr) == (141, b"")

    @pytest.mark.parametrize("option", [[], ["-j"], ["-p"]])
    def test_a_full_disk_is_one_sentence(self, option: list[str]) -> None:
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "pybpftool", *option, "version"],
                stdout=full, stderr=subprocess.PIPE, check=False,
            )  # fmt: skip
        assert done.returncode == 255
        assert done.stderr == b"Error: cannot write the output: No space left on device\n"

    def test_a_full_disk_in_process(self) -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        saved = os.dup(1)
        os.dup2(full, 1)
        try:
            assert entry.main(["-j", "version"]) == 255
        finally:
            os.dup2(saved, 1)
            os.close(saved)
            os.close(full)

    def test_one_document_whatever_follows_it(self) -> None:
        def late(ctx: Context, words: object) -> None:
            assert ctx.json is not None
            ctx.json.value([1])
            raise BpfError("too late")

        with mock.patch.object(entry, "dispatch", late):
            result = run("-j", "version")
        assert (result.status, result.out) == (255, b"[1]\n")
        assert result.errors == "Error: too late\n"

    def test_a_closed_stdout(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "pybpftool", "version"], stderr=subprocess.PIPE, check=False,
            preexec_fn=lambda: os.close(1),
        )  # fmt: skip
        assert done.returncode == 255
        assert done.stderr.count(b"\n") == 1
        assert os.strerror(errno.EBADF).encode() in done.stderr

    def test_a_closed_pipe_in_process(self) -> None:
        read, write = os.pipe()
        os.close(read)
        saved = os.dup(1)
        os.dup2(write, 1)
        try:
            assert entry.main(["version"]) == entry.EXIT_CLOSED_PIPE
        finally:
            os.dup2(saved, 1)
            os.close(saved)
            os.close(write)

    def test_a_nonblocking_stdout_gets_everything(self) -> None:
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETFL, os.O_NONBLOCK)
        content = bytearray()

        def drain() -> None:
            while block := os.read(read, 1 << 14):
                content.extend(block)

        kernel = FakeKernel()
        for id in range(1, 3000):
            kernel.prog(id, name=b"n")
        reader = threading.Thread(target=drain)
        saved = os.dup(1)
        os.dup2(write, 1)
        os.close(write)
        reader.start()
        try:
            status = entry.main(["prog", "show"], kernel)
        finally:
            os.dup2(saved, 1)
            os.close(saved)
        reader.join()
        os.close(read)
        assert status == 0
        assert content.count(b"socket_filter") == 2999


class TestRun:
    def test_as_a_module(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "pybpftool", "version"],
            capture_output=True, check=False, env={**os.environ, "PYTHONPATH": os.getcwd()},
        )  # fmt: skip
        assert done.returncode == 0, done
        assert done.stdout.startswith(b"pybpftool v")

    @pytest.mark.parametrize(("effect", "status"), [(0, 0), (255, 255), (KeyboardInterrupt(), 130)])
    def test_leaves_without_ceremony(self, effect: object, status: int) -> None:
        import gc

        answer = {"side_effect": [effect]} if isinstance(effect, int) else {"side_effect": effect}
        with (
            mock.patch.object(entry, "main", **answer),
            mock.patch("posix._exit") as leave,
        ):
            entry.run()
        gc.enable()
        leave.assert_called_once_with(status)

    def test_everyday_commands_import_nothing_slow(self) -> None:
        code = (
            "import sys; before = set(sys.modules)\n"
            "from pybpftool.cli.main import main\n"
            "main(['version'])\n"
            "slow = {'typing', 're', 'enum', 'dataclasses', 'json', 'argparse', 'pathlib',"
            " 'logging', 'contextlib', 'functools', 'collections', 'ctypes', 'struct', 'os'}\n"
            "print(sorted(slow & (set(sys.modules) - before)), file=sys.stderr)\n"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
            capture_output=True, check=True,
        )  # fmt: skip
        assert done.stderr == b"[]\n"

    @pytest.mark.parametrize("words", [["prog", "show"], ["map", "show"], ["btf", "show"]])
    def test_listings_of_a_recorded_kernel_import_nothing_slow(self, words: list[str]) -> None:
        """Every import statement counts, that of a module which is loaded already as well."""
        code = (
            "import builtins, sys\n"
            "from pybpftool.cli.main import main\n"
            "from pybpftool.kernel.snapshot import SnapshotKernel\n"
            "kernel = SnapshotKernel.load('fixtures/host/snapshot.zip')\n"
            "list(kernel.objects('prog')); kernel.holders('prog')\n"
            "asked, real = set(), builtins.__import__\n"
            "def watched(name, *rest, **named):\n"
            "    asked.add(name.partition('.')[0]); return real(name, *rest, **named)\n"
            "builtins.__import__ = watched\n"
            f"status = main({words!r}, kernel)\n"
            "slow = {'typing', 're', 'enum', 'dataclasses', 'json', 'argparse', 'pathlib',"
            " 'logging', 'contextlib', 'functools', 'collections', 'ctypes', 'importlib',"
            " 'os'}\n"
            "print(status, 'pybpftool' in asked, sorted(slow & asked), file=sys.stderr)\n"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
            capture_output=True, check=True,
        )  # fmt: skip
        assert done.stderr == b"0 True []\n"
        assert done.stdout


def limited(mib: float, *words: str) -> subprocess.CompletedProcess[bytes]:
    """What a command comes to in an address space of this size; it may not take forever."""
    size = int(mib * (1 << 20))
    return subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8", "-c",
         "import sys; sys.path.insert(0, '.'); from pybpftool.cli.main import run; run()", *words],
        capture_output=True, check=False, timeout=30,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size)),
    )  # fmt: skip


@pytest.mark.skipif(not Path("/sys/kernel/btf/vmlinux").exists(), reason="the kernel has no BTF")
@pytest.mark.parametrize("form", ["raw", "c"])
def test_a_shortage_of_memory_ends_in_a_sentence(form: str) -> None:
    """Wherever it comes, which the size decides; CPython 3.11 could go on forever."""
    least = next(mib for mib in range(8, 512, 2) if not limited(mib, "version").returncode)
    seen = set()
    for more in range(2, 16):
        words = ("btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", form)
        result = limited(least + 0.7 * more, *words)
        assert result.returncode in (0, 255), result.stderr
        assert result.stderr.count(b"\n") == (1 if result.returncode else 0), result.stderr
        seen.add(result.returncode)
    assert 255 in seen
