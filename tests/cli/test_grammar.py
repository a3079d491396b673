"""Words of a command line: prefixes, numbers, the cursor, tables of commands."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpftool.cli.grammar import Args, select
from pybpftool.cli.main import OBJECTS
from pybpftool.cnumber import c_number
from pybpftool.errors import UsageError
from tests.support.cli import assert_one_sentence, run

UPSTREAM_OBJECTS = [
    "help", "batch", "prog", "map", "link", "cgroup", "perf", "net", "feature", "btf", "gen",
    "struct_ops", "iter", "token", "version",
]  # fmt: skip
UPSTREAM_PROG = [
    "show", "list", "help", "dump", "pin", "load", "loadall", "attach", "detach", "tracelog",
    "run", "profile",
]  # fmt: skip


class TestPrefix:
    @pytest.mark.parametrize(
        ("word", "name", "fits"),
        [
            ("p", "prog", True),
            ("prog", "prog", True),
            ("progs", "prog", False),
            ("", "prog", True),
            ("P", "prog", False),
            ("rog", "prog", False),
        ],
    )
    def test_a_word_is_short_for_what_begins_with_it(
        self, word: str, name: str, fits: bool
    ) -> None:
        if fits:
            assert select([(name, "found")], Args([word]), "pybpftool") == "found"
        else:
            with pytest.raises(UsageError):
                select([(name, "found")], Args([word]), "pybpftool")

    def test_the_objects_stand_in_upstreams_order(self) -> None:
        assert [*OBJECTS][: len(UPSTREAM_OBJECTS)] == UPSTREAM_OBJECTS

    @pytest.mark.parametrize("name", OBJECTS)
    def test_every_beginning_of_an_object_is_the_first_that_fits(self, name: str) -> None:
        table = [(other, other) for other in OBJECTS]
        for length in range(1, len(name) + 1):
            word = name[:length]
            first = next(other for other, _ in table if other.startswith(word))
            assert select(table, Args([word]), "pybpftool") == first
        assert select(table, Args([name]), "pybpftool") == name

    @pytest.mark.parametrize(
        ("word", "meant"),
        [("b", "batch"), ("bt", "btf"), ("p", "prog"), ("pe", "perf"), ("v", "version"),
         ("s", "struct_ops"), ("sn", "snapshot"), ("n", "net"), ("f", "feature")],
    )  # fmt: skip
    def test_what_short_objects_mean(self, word: str, meant: str) -> None:
        table = [(name, name) for name in OBJECTS]
        assert select(table, Args([word]), "pybpftool") == meant

    def test_the_commands_of_prog_begin_as_upstreams(self) -> None:
        from pybpftool.cli.prog import VERBS

        assert [name for name, _ in VERBS][: len(UPSTREAM_PROG)] == UPSTREAM_PROG
        for word, meant in (("l", "list"), ("d", "dump"), ("p", "pin"), ("r", "run"),
                            ("lo", "load"), ("loada", "loadall"), ("de", "detach"),
                            ("pr", "profile")):  # fmt: skip
            table = [(name, name) for name, _ in VERBS]
            assert select(table, Args([word]), "prog") == meant

    def test_no_word_means_the_first_command(self) -> None:
        assert select((("show", 1), ("list", 2)), Args([]), "prog") == 1

    def test_an_unknown_command_is_named(self) -> None:
        with pytest.raises(UsageError, match="unknown command 'xyz' for 'prog'"):
            select((("show", 1),), Args(["xyz"]), "prog")

    def test_select_takes_the_word_that_it_used(self) -> None:
        args = Args(["sh", "id"])
        select((("show", 1),), args, "prog")
        assert args.rest() == ["id"]


class TestNumber:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("0", 0),
            ("7", 7),
            ("007", 7),
            ("010", 8),
            ("0x10", 16),
            ("0X1f", 31),
            ("0xFf", 255),
            ("4294967295", 0xFFFFFFFF),
            ("18446744073709551615", (1 << 64) - 1),
            ("+1", 1),
            (" \t17", 17),
            ("\n+0x11", 17),
        ],
    )
    def test_numbers(self, text: str, value: int) -> None:
        assert c_number(text) == value

    @pytest.mark.parametrize(
        "text",
        ["", " ", "x", "0x", "0xg", "0x-1", "0x+1", "0x_1", "0x 1", "08", "09", "0o7", "0b1",
         "0x0x5", "0X0x5", "0x0X",
         "-1", " -1", "++1", "+ 1", "+", "1_000", "0_7", "1 ", "1.0", "1e3", "\u0661",
         "\uff11", "1\0", "1x", "0-7", "0 7", "00x1", "\udc80"],
    )  # fmt: skip
    def test_what_is_no_number(self, text: str) -> None:
        assert c_number(text) is None

    @given(st.text(alphabet="0123456789abcfxXo+ \t", max_size=10))
    def test_agrees_with_strtoull(self, text: str) -> None:
        libc = ctypes.CDLL(None)
        libc.strtoull.restype = ctypes.c_uint64
        raw = ctypes.create_string_buffer(text.encode())
        end = ctypes.c_char_p()
        value = libc.strtoull(raw, ctypes.byref(end), 0)
        whole = text != "" and not end.value
        assert c_number(text) == (value if whole else None)

    @given(st.text(max_size=6))
    def test_never_fails(self, text: str) -> None:
        value = c_number(text)
        assert value is None or value >= 0


class TestArgs:
    def test_walks(self) -> None:
        args = Args(["a", "b", "c"])
        assert (len(args), args.previous(), args.peek()) == (3, "", "a")
        assert args.take("one") == "a"
        assert (len(args), args.previous(), args.rest()) == (2, "a", ["b", "c"])
        assert Args(["a", "b"], 1).take("one") == "b"

    def test_take_at_the_end(self) -> None:
        with pytest.raises(UsageError, match=r"^expected an id, but the command ends there$"):
            Args([]).take("an id")
        args = Args(["id"])
        args.take("x")
        assert args.peek() is None
        with pytest.raises(UsageError, match=r"^expected an id after 'id', but"):
            args.take("an id")

    def test_accept(self) -> None:
        args = Args(["opc", "lin"])
        assert not args.accept("linum")
        assert args.accept("opcodes")
        assert args.accept("linum")
        assert not args.accept("linum")

    @pytest.mark.parametrize(
        ("word", "meant"), [("i", "id"), ("t", "tag"), ("n", "name"), ("pin", "pinned")]
    )
    def test_choose(self, word: str, meant: str) -> None:
        assert Args([word]).choose(("id", "tag", "name", "pinned")) == meant

    def test_choose_says_what_it_wanted(self) -> None:
        with pytest.raises(UsageError, match=r"^expected 'id', 'tag' or 'name', got 'x'$"):
            Args(["x"]).choose(("id", "tag", "name"))
        with pytest.raises(UsageError, match=r"^expected 'xlated', got 'j'$"):
            Args(["j"]).choose(("xlated",))
        with pytest.raises(UsageError, match="'jited' or 'xlated', but the command ends"):
            Args([]).choose(("jited", "xlated"))

    def test_number(self) -> None:
        assert Args(["0x20"]).number("an id") == 32
        assert Args([""]).number("an id") == 0
        assert Args([str(1 << 40)]).number("a cookie", 64) == 1 << 40
        with pytest.raises(UsageError, match="cannot read 'x1' as an id"):
            Args(["x1"]).number("an id")
        with pytest.raises(UsageError, match="'4294967296' is too large for an id"):
            Args(["4294967296"]).number("an id")
        with pytest.raises(UsageError, match=r"'9{30}' is too large"):
            Args(["9" * 30]).number("an id", 64)

    def test_pid(self) -> None:
        assert Args(["17"]).pid() == 17
        for word in ("", "0", "00"):
            with pytest.raises(UsageError, match=f"'{word}' is no process id"):
                Args([word]).pid()
        with pytest.raises(UsageError, match="too large for a process id"):
            Args(["2147483648"]).pid()

    def test_a_number_of_thousands_of_digits(self) -> None:
        """Python refuses to read such decimal texts; the sentence stays ours."""
        for text in ("9" * 5000, "0" + "7" * 9000, "0x" + "f" * 9000):
            with pytest.raises(UsageError):
                Args([text]).number("an id")

    def test_end(self) -> None:
        Args([]).end()
        with pytest.raises(UsageError, match="unexpected argument 'more'"):
            Args(["more", "words"]).end()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("prg", "show"), "unknown object 'prg'; did you mean 'prog'? See 'pybpftool help'"),
        (
            ("prog", "shw"),
            "unknown command 'shw' for 'prog'; did you mean 'show'? See 'pybpftool prog help'",
        ),
        (("map", "show", "nme", "x"), "expected 'id', 'name' or 'pinned', got 'nme'; did you mean"),
        (("prog", "show", "5"), "got '5'; did you mean 'id 5'?"),
        (("prog", "show", "0x10"), "did you mean 'id 0x10'?"),
        (("zzz",), "unknown object 'zzz'; see 'pybpftool help'"),
    ],
)
def test_the_nearest_right_word(words: tuple[str, ...], sentence: str) -> None:
    assert_one_sentence(run(*words), sentence)
