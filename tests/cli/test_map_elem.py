"""Element commands, `create`, `pin`, `freeze` and dumps on maps of the running kernel."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from pybpftool.cli import map_dump
from tests.support import asm, load
from tests.support.btfbuild import SIGNED, BtfBuilder
from tests.support.cli import Result, assert_one_sentence, run
from tests.support.map_corpus import Maps, all_maps, u32, update_batch

pytestmark = pytest.mark.live


def w(line: str) -> list[str]:
    """The words of a line."""
    return line.split()


def mounts() -> str:
    """What is mounted where."""
    with open("/proc/mounts", errors="surrogateescape") as file:
        return file.read()


def command(fd: load.AnyFd, *words: str, mode: str = "") -> Result:
    """`map WORDS[0] id N WORDS[1:]`."""
    number = str(load.object_id(fd, "map"))
    marks, words = (words[:1], words[1:]) if words[0] == "--" else ((), words)
    return run(*mode.split(), *marks, "map", words[0], "id", number, *words[1:])


def works(fd: load.AnyFd, *words: str, mode: str = "") -> Result:
    """As `command`, which must succeed without a word on stderr."""
    result = command(fd, *words, mode=mode)
    assert (result.status, result.err) == (0, b""), result
    return result


@pytest.fixture
def hash_map() -> Iterator[load.Fd]:
    """Two elements, keys 1 and 2."""
    with load.map_create("hash", 4, 2, 3, name="elements") as fd:
        load.map_update(fd, u32(1), b"\x10\x11")
        load.map_update(fd, u32(2), b"\x20\x21")
        yield fd


class TestBytes:
    @pytest.mark.parametrize(
        "key",
        (
            "1 0 0 0",
            "0x1 00 0 0",
            "hex 1 0 0 0",
            "hex 01 00 00 0x0",
            "01 0 0 0",
            "+1 0 0 0",
            "hex _01 _-0 _0x0 +0",
            "_1 _+0 0 0",
        ),
    )
    def test_lookup(self, hash_map: load.Fd, key: str) -> None:
        words = [word.replace("_", " \t") for word in key.split()]
        text = works(hash_map, "lookup", "key", *words).text
        assert text == "key: 01 00 00 00  value: 10 11\n"

    @pytest.mark.parametrize("key", [["1", "", "0", ""], ["hex", "01", "00", "00", ""]])
    def test_an_empty_byte_is_zero(self, hash_map: load.Fd, key: list[str]) -> None:
        text = works(hash_map, "lookup", "key", *key).text
        assert text == "key: 01 00 00 00  value: 10 11\n"
        # It may be the last one.
        assert "as a byte" not in command(hash_map, "getnext", "key", *key).errors
        works(hash_map, "update", "key", *key, "value", "5", "")
        assert load.map_lookup(hash_map, u32(1), 2) == b"\5\0"

    def test_words_mean_the_same_again(self, hash_map: load.Fd) -> None:
        for words, data in (
            ("10 010 0x10 255", b"\x0a\x08\x10\xff"),
            ("hex 10 010 0x10 ff", b"\x10\x10\x10\xff"),
            ("10 010 0x0000000010 +000007", b"\x0a\x08\x10\x07"),
        ):
            for value in (b"\1\2", b"\3\4"):
                element = [*words.split(), "value", *map(str, value)]
                works(hash_map, "update", "key", *element)
                assert load.map_lookup(hash_map, data, 2) == value
            works(hash_map, "delete", "key", *words.split())

    def test_lookup_in_json(self, hash_map: load.Fd) -> None:
        result = works(hash_map, "lookup", "key", "1", "0", "0", "0", mode="-j")
        assert result.text == '{"key":["0x01","0x00","0x00","0x00"],"value":["0x10","0x11"]}\n'
        assert result.json == works(hash_map, "look", "k", "1", "0", "0", "0", mode="-p").json

    def test_what_is_not_there(self, hash_map: load.Fd) -> None:
        result = command(hash_map, "lookup", "key", "9", "0", "0", "0")
        assert result.status and result.text == "key:\n09 00 00 00\n\nNot found\n"
        result = command(hash_map, "lookup", "key", "9", "0", "0", "0", mode="-j")
        assert result.status and result.out == b"null\n"

    def test_update(self, hash_map: load.Fd) -> None:
        assert works(hash_map, "update", "key", *w("3 0 0 0 value 255 0xff")).out == b""
        assert load.map_lookup(hash_map, u32(3), 2) == b"\xff\xff"
        result = works(hash_map, "update", *w("exist value hex a b key 1 0 0 0"), mode="-j")
        assert result.out == b"null\n"
        assert load.map_lookup(hash_map, u32(1), 2) == b"\x0a\x0b"

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            ("lookup", "the key is missing"),
            ("lookup key 1 2 3", "the key has 4 bytes, only 3 are given"),
            ("lookup key 1 0 0 0 5", "expected 'key' or 'value', got '5'"),
            ("lookup key 1 0 0 256", "'256' does not fit a byte"),
            ("-- lookup key 1 0 0 -129", "'-129' does not fit a byte"),
            ("lookup key 1 0 0 x", "cannot read 'x' as a byte"),
            ("lookup key 1 0 0 ++1", "cannot read '++1' as a byte"),
            ("lookup key hex 1 0 0 0x", "cannot read '0x' as a byte"),
            ("lookup key 1 0 0 08", "cannot read '08' as a byte"),
            ("lookup key hex 1 0 0 g", "cannot read 'g' as a byte"),
            # The first that is wrong is told.
            ("lookup key x 300", "cannot read 'x' as a byte"),
            ("lookup key 300 x 0 0", "'300' does not fit a byte"),
            ("lookup key hex 100 0 0 0", "'100' does not fit a byte"),
            ("lookup key 1 0 0 0 key 1 0 0 0", "the key is given twice"),
            ("lookup key 1 0 0 0 value 1 1", "a value has no place here"),
            ("lookup key 1 0 0 0 any", "'any' has no place here"),
            ("update key 1 0 0 0", "the value is missing"),
            ("update value 1 2", "the key is missing"),
            ("update key 1 0 0 0 value 1", "the value has 2 bytes, only 1 are given"),
            ("update key 1 0 0 0 value 1 2 value 1 2", "the value is given twice"),
            ("update key 1 0 0 0 value 1 2 any exist", "'exist' has no place here"),
            ("update key 1 0 0 0 value 1 2 noexist", "an element with this key already"),
            ("update key 9 0 0 0 value 1 2 exist", "no element with this key"),
            ("delete key 9 0 0 0", "no element with this key"),
            ("delete", "the key is missing"),
            ("pop", "is not a queue or stack"),
            ("getnext key 1", "the key has 4 bytes"),
            ("lookup key {.a=1}", "has no BTF to read '{.a=1}' by"),
            ("event_pipe", "is not a perf_event_array"),
            ("freeze x", "unexpected argument 'x'"),
        ],
    )
    def test_refusals(self, hash_map: load.Fd, words: str, part: str) -> None:
        before = {load.map_lookup(hash_map, u32(key), 2) for key in (1, 2)}
        assert_one_sentence(command(hash_map, *words.split()), part)
        answer = command(hash_map, *words.split(), mode="-j")
        assert answer.status and part in answer.json["error"]
        assert {load.map_lookup(hash_map, u32(key), 2) for key in (1, 2)} == before

    def test_delete(self, hash_map: load.Fd) -> None:
        assert works(hash_map, "delete", *w("key 1 0 0 0")).out == b""
        assert works(hash_map, "delete", *w("key 2 0 0 0"), mode="-j").out == b"null\n"
        assert works(hash_map, "dump").text == "Found 0 elements\n"

    def test_getnext(self, hash_map: load.Fd) -> None:
        text = works(hash_map, "getnext").text
        first = 1 if "01 00 00 00" in text else 2
        assert text == f"key: None\nnext key:\n{first:02x} 00 00 00\n"
        key = w(f"key {first} 0 0 0")
        assert works(hash_map, "getnext", *key).text == (
            f"key:\n{first:02x} 00 00 00\nnext key:\n{3 - first:02x} 00 00 00\n"
        )
        record = works(hash_map, "getnext", *key, mode="-j").json
        assert record["key"][0] == f"0x0{first}" and record["next_key"][0] == f"0x0{3 - first}"
        assert works(hash_map, "getnext", mode="-j").json["key"] is None
        last = w(f"key {3 - first} 0 0 0")
        assert_one_sentence(command(hash_map, "getnext", *last), "No such file")


def test_queue_and_stack() -> None:
    for map_type, order in (("queue", (1, 2)), ("stack", (2, 1))):
        with load.map_create(map_type, 0, 4, 2) as fd:
            for push in ("push", "enqueue"):
                number = 1 if push == "push" else 2
                assert works(fd, push, "value", str(number), "0", "0", "0").out == b""
            assert_one_sentence(command(fd, "push", "value", *w("1 1 1 1")), "the map is full")
            assert works(fd, "peek").text == f"value: {order[0]:02x} 00 00 00\n"
            assert works(fd, "peek", mode="-j").json["key"] == []
            assert works(fd, "pop").text == f"value: {order[0]:02x} 00 00 00\n"
            assert works(fd, "dequeue", "x", mode="-j").json["value"][0] == f"0x0{order[1]}"
            empty = command(fd, "pop")
            assert empty.status and empty.text == "Error: empty map\n"
            empty = command(fd, "pop", mode="-j")
            assert empty.status and empty.out == b"null\n"
            empty = command(fd, "peek")
            assert empty.status and empty.text == "key:\n\n\nNot found\n"
            assert_one_sentence(command(fd, "peek", "key", "1"), "have no keys")
            assert_one_sentence(command(fd, "delete"), "cannot delete")


def test_words_after_the_path_of_a_pin_are_not_looked_at(hash_map: load.Fd) -> None:
    with load.temp_bpffs() as directory:
        assert works(hash_map, "pin", f"{directory}/pin", "more", "words").out == b""
        assert os.path.exists(f"{directory}/pin")


def test_values_that_are_maps_and_programs() -> None:
    with contextlib.ExitStack() as stack:
        inner = stack.enter_context(load.map_create("array", 4, 8, 2, name="inner_one"))
        outer = stack.enter_context(load.map_create("array_of_maps", 4, 4, 3, inner=inner))
        inner_id = load.object_id(inner, "map")
        slot = w("key 1 0 0 0 value")
        works(outer, "update", *slot, "id", str(inner_id))
        assert works(outer, "lookup", *slot[:-1]).text == (
            f"key: 01 00 00 00  inner_map_id: {inner_id} \n"
        )
        assert works(outer, "lookup", *slot[:-1], mode="-j").json["inner_map_id"] == inner_id
        works(outer, "update", "key", "2", "0", "0", "0", "value", "name", "inner_one")
        assert works(outer, "dump").text.endswith("Found 2 elements\n")
        assert_one_sentence(command(outer, "update", *slot, "tag", "1"), "'id', 'name' or 'pinned'")
        assert_one_sentence(command(outer, "update", *slot, "id", "4294967295"), "no map with id")
        assert_one_sentence(command(outer, "update", *slot, "id"), "expected a map id")

        prog = stack.enter_context(load.prog_load("socket_filter", asm.ret(0), name="taken"))
        array = stack.enter_context(load.map_create("prog_array", 4, 4, 3))
        prog_id = str(load.object_id(prog))
        result = command(array, "update", *slot, "id", prog_id)
        assert result.status == 0 and result.errors.startswith("Warning: ")
        works(array, "update", *slot, "name", "taken", mode="-j")
        assert struct.unpack("=I", load.map_lookup(array, u32(1), 4))[0] == int(prog_id)
        works(array, "delete", *w("key 1 0 0 0"))
        assert works(array, "dump").text == "Found 0 elements\n"


def test_two_maps_of_a_name() -> None:
    with (
        load.map_create("array", 4, 1, 1, name="twice_there") as one,
        load.map_create("array", 4, 1, 1, name="twice_there") as two,
    ):
        ids = [load.object_id(fd, "map") for fd in (one, two)]
        text = run("map", "dump", "name", "twice_there").text
        entry = "key: 00 00 00 00  value: 00\nFound 1 element\n"
        assert text == "\n".join(f"{id}: array  name twice_there  flags 0x0\n{entry}" for id in ids)
        rows = run("-j", "map", "dump", "name", "twice_there").json
        assert [row["id"] for row in rows] == ids
        assert rows[0]["elements"] == [{"key": ["0x00"] * 4, "value": ["0x00"]}]
        assert_one_sentence(
            run("map", "lookup", "name", "twice_there", "key", "0", "0", "0", "0"),
            f"the maps {ids[0]} and {ids[1]} have the name 'twice_there'",
        )


class TestTyped:
    @pytest.fixture
    def typed(self) -> Iterator[load.Fd]:
        """A hash of struct flow to struct stats."""
        btf = BtfBuilder()
        number = btf.add_int("int", 4, SIGNED)
        char = btf.add_int("char", 1, SIGNED)
        name = btf.add_array(char, number, 8)
        state = btf.add_enum("state", [("IDLE", 0), ("BUSY", 7)])
        key = btf.add_struct("flow", 8, [("pid", number, 0), ("cpu", number, 32)])
        value = btf.add_struct(
            "stats", 16, [("n", number, 0), ("comm", name, 32), ("s", state, 96)]
        )
        with load.btf_load(btf.build()) as fd:
            made = load.map_create(
                "hash", 8, 16, 4, name="typed", btf=fd, btf_key=key, btf_value=value
            )
        with made:
            yield made

    def test_round(self, typed: load.Fd) -> None:
        key = "{.pid = 1, .cpu = 2}"
        works(typed, "update", "key", key, "value", '{.n = -5, .comm = "sh", .s = BUSY}')
        raw = struct.pack("=i8si", -5, b"sh", 7)
        assert load.map_lookup(typed, struct.pack("=ii", 1, 2), 16) == raw
        text = works(typed, "lookup", "key", key).text
        assert text == (
            "{\n"
            '    "key": {\n        "pid": 1,\n        "cpu": 2\n    },\n'
            '    "value": {\n        "n": -5,\n        "comm": "sh",\n        "s": "BUSY"\n    }\n'
            "}\n"
        )
        record = works(typed, "lookup", "key", "={1, 2}", mode="-j").json
        assert record["formatted"]["value"] == {"n": -5, "comm": "sh", "s": "BUSY"}
        assert works(typed, "getnext", mode="-j").json["next_key"][0] == "0x01"
        works(typed, "delete", "key", key)
        assert works(typed, "dump").text == "[]\n"

    def test_bytes_still_work(self, typed: load.Fd) -> None:
        works(typed, "update", "key", *["1"] * 8, "value", *["hex"], *["2"] * 16)
        assert load.map_lookup(typed, b"\1" * 8, 16) == b"\2" * 16

    @pytest.mark.parametrize(
        ("key", "part"),
        [
            ("{.pid = 1, .tid = 2}", "no member 'tid' (it has pid, cpu)"),
            ("{.pid = 99999999999}", "does not fit 'pid'"),
            ("=5", "needs braces"),
            ("{", "expected a value"),
        ],
    )
    def test_what_does_not_fit(self, typed: load.Fd, key: str, part: str) -> None:
        for words in (("lookup",), ("delete",), ("update", "value", "{1}")):
            result = command(typed, words[0], "key", key, *words[1:])
            assert_one_sentence(result, part)


class TestCreate:
    @pytest.fixture
    def place(self) -> Iterator[str]:
        """A directory in a bpf file system."""
        with load.temp_bpffs() as path:
            yield path

    def test_create_pin_freeze(self, place: str) -> None:
        path = f"{place}/made"
        words = w("type hash key 4 value 0x8 entries 010 name by_hand flags 1")
        result = run("map", "create", path, *words)
        assert (result.status, result.out, result.err) == (0, b"", b"")
        record = run("-j", "map", "show", "pinned", path).json
        assert {key: record[key] for key in ("type", "name", "flags", "max_entries")} == {
            "type": "hash",
            "name": "by_hand",
            "flags": 1,
            "max_entries": 8,
        }
        assert (record["bytes_key"], record["bytes_value"]) == (4, 8)
        assert run("-j", "map", "pin", "pinned", path, f"{place}/again").out == b"null\n"
        assert run("-j", "map", "show", "pinned", f"{place}/again").json["id"] == record["id"]
        assert run("map", "pin", "pinned", path, f"{place}/third").status == 0
        assert run("map", "freeze", "pinned", path).status == 0
        assert run("-j", "map", "show", "pinned", path).json["frozen"] == 1
        update = run("map", "update", "pinned", path, *w("key 1 0 0 0 value 1 2 3 4 5 6 7 8"))
        assert_one_sentence(update, "Operation not permitted")
        assert_one_sentence(run("map", "freeze", "pinned", path), "cannot freeze map")

    def test_inner_map(self, place: str) -> None:
        words = w("key 4 value 4 entries 2 name n")
        assert run("-j", "map", "create", f"{place}/in", "type", "array", *words).out == b"null\n"
        outer = ["type", "array_of_maps", *words, "inner_map", "pinned", f"{place}/in"]
        assert run("map", "create", f"{place}/out", *outer).status == 0
        slot = w("key 0 0 0 0 value pinned")
        assert run("map", "update", "pinned", f"{place}/out", *slot, f"{place}/in").status == 0

    def test_long_name(self, place: str) -> None:
        words = w("type array key 4 value 4 entries 2 name a_name_of_20_letters")
        result = run("map", "create", f"{place}/long", *words)
        assert result.status == 0 and result.errors.startswith("Warning: ")
        assert run("-j", "map", "show", "pinned", f"{place}/long").json["name"] == "a_name_of_20_le"

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            ("", "the type of the map is missing"),
            ("type hash", "the name of the map is missing"),
            ("type hsh", "'hsh' is not a map type"),
            ("type hash type hash", "'type' is given twice"),
            ("type hash key", "expected the size of a key"),
            ("type hash key x", "cannot read 'x'"),
            ("type hash name n value 4294967296", "too large"),
            ("type hash name n bogus 4", "got 'bogus'"),
            ("type hash name n key 4 value 0 entries 1", "does not take these sizes"),
            ("type hash name n offload_dev nothing0", "no network device 'nothing0'"),
            ("type array_of_maps name n inner_map id 4294967295", "no map with id"),
        ],
    )
    def test_refusals(self, place: str, words: str, part: str) -> None:
        assert_one_sentence(run("map", "create", f"{place}/x", *words.split()), part)
        assert not os.listdir(place)

    def test_nothing_stays_when_pinning_fails(self, place: str) -> None:
        """The fixture bpf_leaks sees to the maps."""
        words = w("type array key 4 value 4 entries 1 name gone")
        for path, part in (
            (place, "exists already"),
            (f"{place}/no/where", "there is no directory"),
            (f"{place}/with.dot", "cannot pin"),
        ):
            assert_one_sentence(run("map", "create", path, *words), part)
        assert not os.listdir(place)

    def test_program(self, place: str) -> None:
        with load.prog_load("socket_filter", asm.ret(0)) as prog:
            number = str(load.object_id(prog))
            assert run("-j", "prog", "pin", "id", number, f"{place}/prog").out == b"null\n"
            assert_one_sentence(run("prog", "pin", "id", number, f"{place}/prog"), "exists already")
            assert_one_sentence(run("prog", "pin", "id", number), "expected the path")
            with load.obj_get(f"{place}/prog") as again:
                assert load.object_id(again) == int(number)

    def test_mounting(self) -> None:
        """A directory becomes a bpf file system, unless -n is given or the pin fails."""
        words = w("type array key 4 value 4 entries 1 name m")
        with tempfile.TemporaryDirectory() as place:
            try:
                forbidden = run("-n", "map", "create", f"{place}/m", *words)
                assert_one_sentence(forbidden, "-n forbids")
                assert place not in mounts()
                # A dot is not part of a name in a bpf file system.
                assert_one_sentence(run("map", "create", f"{place}/m.m", *words), "cannot pin")
                assert place not in mounts()
                assert run("map", "create", f"{place}/m", *words).status == 0
                assert f" {place} bpf " in mounts()
                assert os.stat(place).st_mode & 0o777 == 0o700
            finally:
                while f" {place} " in mounts():
                    subprocess.run(["umount", place], check=True)


class TestDump:
    def test_memory_and_all_elements(self) -> None:
        """100,000 elements through a pipe: all of them, in few MiB."""
        count = 100_000
        with load.map_create("hash", 8, 64, count, flags=load.F_NO_PREALLOC) as fd:
            keys = [struct.pack("=Q", number * 7) for number in range(count)]
            update_batch(fd, keys, [key * 8 for key in keys])
            script = (
                "import sys\n"
                "from pybpftool.cli.main import main\n"
                "status = main(sys.argv[1:])\n"
                "rows = open('/proc/self/status').read().splitlines()\n"
                "peak = next(row for row in rows if row.startswith('VmHWM'))\n"
                "print(peak.split()[1], file=sys.stderr)\n"
                "sys.exit(status)\n"
            )
            number = str(load.object_id(fd, "map"))
            done = subprocess.run(
                [sys.executable, "-c", script, "map", "dump", "id", number],
                capture_output=True,
                check=True,
            )
        assert done.stdout.endswith(b"Found 100000 elements\n")
        lines = done.stdout.split(b"\n")
        found = {bytes.fromhex(line.decode()) for line in lines[1 : 7 * count : 7]}
        assert found == set(keys)
        assert int(done.stderr) < 60 << 10

    def test_a_closed_pipe(self) -> None:
        with load.map_create("array", 4, 64, 50_000) as fd:
            number = str(load.object_id(fd, "map"))
            command = [sys.executable, "-m", "pybpftool", "map", "dump", "id", number]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as process:
                assert process.stdout and process.stderr
                assert process.stdout.read(4) == b"key:"
                process.stdout.close()
                assert process.stderr.read() == b""
                assert process.wait(20) == 141

    def test_elements_that_cannot_be_read(self) -> None:
        with load.map_create("perf_event_array", 4, 4, 2) as fd:
            reason = os.strerror(524)  # ENOTSUPP, which strerror() does not know
            text = works(fd, "dump").text
            assert text == (
                f"key:\n00 00 00 00\nvalue:\n{reason}\n"
                f"key:\n01 00 00 00\nvalue:\n{reason}\nFound 0 elements\n"
            )
            rows = works(fd, "dump", mode="-j").json
            assert rows[1] == {
                "key": ["0x01", "0x00", "0x00", "0x00"],
                "value": {"error": reason},
            }

    def test_progress(self) -> None:
        """A line on the terminal's stderr, gone at the end, and nothing of it in the output."""
        import pty

        parent, child = pty.openpty()
        script = (
            "import sys, time\n"
            "import pybpftool.cli.map_dump as dump\n"
            "dump._PATIENCE = 0.0\n"
            "from pybpftool.cli.main import main\n"
            "sys.exit(main(sys.argv[1:]))\n"
        )
        with load.map_create("array", 4, 8, 30_000) as fd:
            number = str(load.object_id(fd, "map"))
            done = subprocess.run(
                [sys.executable, "-c", script, "-j", "map", "dump", "id", number],
                stdout=subprocess.PIPE,
                stderr=child,
                check=True,
            )
        os.close(child)
        shown = ""
        with contextlib.suppress(OSError):  # EIO: all was read
            while part := os.read(parent, 4096):
                shown += part.decode()
        os.close(parent)
        assert f"\rmap {number}: " in shown and "of at most 30000" in shown
        assert shown.endswith("\r\x1b[K")
        assert b"\r" not in done.stdout and done.stdout.count(b'"key"') == 30_000


class TestPartsWithoutForm:
    """A long double has no form: text stops there, as upstream's does at every float."""

    @pytest.fixture
    def types(self) -> Iterator[tuple[load.Fd, int, int, int]]:
        """BTF, and the ids of int, struct k {int a; long double f;} and struct v {k's, int z;}."""
        btf = BtfBuilder()
        number = btf.add_int("int", 4, SIGNED)
        real = btf.add_float("long double", 16)
        key = btf.add_struct("k", 32, [("a", number, 0), ("f", real, 128)])
        value = btf.add_struct("v", 48, [("a", number, 0), ("f", real, 128), ("z", number, 256)])
        with load.btf_load(btf.build()) as fd:
            yield fd, number, key, value

    def test_value(self, types: tuple[load.Fd, int, int, int]) -> None:
        btf, number, _, value = types
        with load.map_create("array", 4, 48, 2, btf=btf, btf_key=number, btf_value=value) as fd:
            load.map_update(fd, u32(1), struct.pack("=i28xi12x", 5, -2))
            element = (
                '{\n        "key": %d,\n        "value": {\n            "a": %d,\n'
                '            "f": (unsupported-kind)\n        }\n    }'
            )
            text = works(fd, "dump").text
            assert text == f"[{element % (0, 0)},{element % (1, 5)}\n]\n"
            rows = works(fd, "dump", mode="-j").json
            assert rows[1]["formatted"] == {"key": 1, "value": {"a": 5, "f": None, "z": -2}}
            assert works(fd, "lookup", "key", *w("1 0 0 0")).text == (
                '{\n    "key": 1,\n    "value": {\n        "a": 5,\n'
                '        "f": (unsupported-kind)\n    }\n}\n'
            )

    def test_key(self, types: tuple[load.Fd, int, int, int]) -> None:
        """The value is not even begun."""
        btf, _, key, value = types
        with load.map_create("hash", 32, 48, 2, btf=btf, btf_key=key, btf_value=value) as fd:
            load.map_update(fd, bytes(32), bytes(48))
            assert works(fd, "dump").text == (
                '[{\n        "key": {\n            "a": 0,\n'
                '            "f": (unsupported-kind)\n        }\n    }\n]\n'
            )

    def test_per_cpu_values(self, types: tuple[load.Fd, int, int, int]) -> None:
        """Those of the other CPUs are left out."""
        btf, number, _, value = types
        with load.map_create(
            "percpu_array", 4, 48, 1, btf=btf, btf_key=number, btf_value=value
        ) as fd:
            assert works(fd, "dump").text == (
                '[{\n        "key": 0,\n        "values": [{\n                "cpu": 0,\n'
                '                "value": {\n                    "a": 0,\n'
                '                    "f": (unsupported-kind)\n                }\n'
                "            }\n        ]\n    }\n]\n"
            )
            rows = works(fd, "dump", mode="-j").json
            assert len(rows[0]["formatted"]["values"]) == load.possible_cpus()


@pytest.fixture(scope="module")
def maps() -> Iterator[Maps]:
    """All types."""
    with all_maps() as made:
        yield made


@pytest.mark.parametrize("mode", ["", "-j", "-p"])
def test_dumps_in_pieces_are_the_same(
    mode: str, maps: Maps, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = [command(item.fd, "dump", mode=mode) for item in maps.made]
    monkeypatch.setattr(map_dump, "HUGE", 1)
    assert [command(item.fd, "dump", mode=mode) for item in maps.made] == usual
    assert any(b"formatted" in each.out for each in usual) == bool(mode)


def test_every_command_on_every_type(maps: Maps) -> None:
    """Whatever the map: an answer or one sentence, valid JSON, no traceback."""
    seen = set()
    for item in maps.made:
        if item.type in seen:
            continue
        seen.add(item.type)
        key = ["key", *["1"] * item.key_size] if item.key_size else []
        for words in (("lookup", *key), ("getnext",), ("getnext", *key), ("peek",), ("show",)):
            for mode in ("", "-j", "-jp"):
                if words[0] == "getnext" and "storage" in item.type:
                    continue
                result = command(item.fd, *words, mode=mode)
                assert b"Traceback" not in result.err
                if mode:
                    assert result.json is None or result.json
                assert result.out or result.err
                assert result.status or not result.err
    assert len(seen) >= 25
