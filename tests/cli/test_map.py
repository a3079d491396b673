"""`map show` on kernels made by hand, and the words of all commands."""

from __future__ import annotations

import pytest

from pybpftool.cli.map import HELP
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel


@pytest.fixture
def kernel() -> FakeKernel:
    """Maps with every attribute that a listing shows."""
    fake = FakeKernel()
    fake.map(3, type=2, key_size=4, value_size=8, max_entries=2, name=b"counts")
    fake.map(
        4, type=3, key_size=4, value_size=4, max_entries=9, map_flags=0x480, name=b"progs", btf_id=7
    )
    fake.map(5, type=200, name=b"")
    fake.map(
        6, type=1, name=b"off\xffload", ifindex=3, netns_dev=5, netns_ino=4026531840, max_entries=1
    )
    fake.fdinfos["map", 3] = b"pos:\t0\nmemlock:\t328\nmap_id:\t3\nfrozen:\t1\n"
    fake.fdinfos["map", 4] = b"memlock:\t400\nfrozen:\t1\nowner_prog_type:\t6\nowner_jited:\t1\n"
    fake.fdinfos["map", 6] = b"memlock:\tmuch\nfrozen:\t0\n"
    fake.held["map"] = {3: [(12, "sh"), (40, "x y")]}
    return fake


TEXT = """\
3: array  name counts  flags 0x0
\tkey 4B  value 8B  max_entries 2  memlock 328B
\tfrozen
\tpids sh(12), x y(40)
4: prog_array  name progs  flags 0x480
\tkey 4B  value 4B  max_entries 9  memlock 400B
\towner_prog_type xdp  owner jited
\tbtf_id 7  frozen
5: type 200  flags 0x0
\tkey 0B  value 0B  max_entries 0
6: hash  name off\udcffload  flags 0x0  offloaded_to ifindex 3 ns_dev 5 ns_ino 4026531840
\tkey 0B  value 0B  max_entries 1
"""


def test_text(kernel: FakeKernel) -> None:
    kernel.ifname = lambda *arguments: None  # type: ignore[method-assign]
    result = run("map", "show", kernel=kernel)
    assert result.text == TEXT
    assert result.status == 0 and not result.err
    assert run("map", "list", kernel=kernel).text == TEXT
    assert run("map", kernel=kernel).text == TEXT
    assert kernel.opened == 0


def test_json(kernel: FakeKernel) -> None:
    kernel.ifname = lambda *arguments: "eth7"  # type: ignore[method-assign]
    rows = run("-j", "map", kernel=kernel).json
    assert rows[0] == {
        "id": 3,
        "type": "array",
        "name": "counts",
        "flags": 0,
        "bytes_key": 4,
        "bytes_value": 8,
        "max_entries": 2,
        "bytes_memlock": 328,
        "frozen": 1,
        "pids": [{"pid": 12, "comm": "sh"}, {"pid": 40, "comm": "x y"}],
    }
    assert rows[1]["owner_prog_type"] == "xdp" and rows[1]["owner_jited"] is True
    assert rows[1]["btf_id"] == 7
    assert rows[2]["type"] == 200 and "name" not in rows[2] and "bytes_memlock" not in rows[2]
    assert rows[3]["dev"] == {
        "ifindex": 3,
        "ns_dev": 5,
        "ns_inode": 4026531840,
        "ifname": "eth7",
    }
    assert list(rows[3]) == [
        "id", "type", "name", "flags", "dev", "bytes_key", "bytes_value", "max_entries", "frozen",
    ]  # fmt: skip
    assert rows == run("-jp", "map", kernel=kernel).json


def test_owner_that_is_not_known(kernel: FakeKernel) -> None:
    kernel.fdinfos["map", 4] = b"owner_prog_type:\t99\n"
    assert "\n\towner_prog_type 99  \n\tbtf_id 7\n" in run("map", kernel=kernel).text
    assert run("-j", "map", "show", "id", "4", kernel=kernel).json["owner_prog_type"] == 99
    kernel.fdinfos["map", 4] = b"owner_jited:\t0\n"
    assert "\n\towner not jited\n" in run("map", kernel=kernel).text


def test_device_name(kernel: FakeKernel) -> None:
    kernel.ifname = lambda *arguments: "eth7"  # type: ignore[method-assign]
    assert "flags 0x0  offloaded_to eth7\n" in run("map", "show", "id", "6", kernel=kernel).text


def test_pinned_paths(kernel: FakeKernel) -> None:
    kernel.pins["map"] = {4: ["/sys/fs/bpf/b", "/sys/fs/bpf/a"]}
    text = run("-f", "map", "show", kernel=kernel).text
    assert "owner jited\n\tpinned /sys/fs/bpf/b\n\tpinned /sys/fs/bpf/a\n\tbtf_id 7" in text
    rows = run("-fj", "map", "show", kernel=kernel).json
    assert [row["pinned"] for row in rows] == [[], ["/sys/fs/bpf/b", "/sys/fs/bpf/a"], [], []]
    one = run("map", "show", "pinned", "/sys/fs/bpf/a", kernel=kernel)
    assert one.text.startswith("4: prog_array")
    assert kernel.opened == 0


def test_by_name(kernel: FakeKernel) -> None:
    kernel.map(8, type=2, name=b"counts")
    text = run("map", "show", "name", "counts", kernel=kernel).text
    assert [line[:2] for line in text.splitlines() if line[0] != "\t"] == ["3:", "8:"]
    assert [
        row["id"] for row in run("-j", "map", "show", "name", "counts", kernel=kernel).json
    ] == [
        3,
        8,
    ]
    assert run("-j", "map", "show", "name", "progs", kernel=kernel).json["id"] == 4
    assert kernel.opened == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("show id", "expected its value after 'id'"),
        ("show id x", "cannot read 'x' as a map id"),
        ("show id 99", "there is no map with id 99"),
        ("show tag 1", "expected 'id', 'name' or 'pinned', got 'tag'"),
        ("show id 3 4", "unexpected argument '4'"),
        ("show name nothing", "no map has the name 'nothing'"),
        ("show name sixteen_letters_", "longer than 15 bytes"),
        ("show pinned /nowhere", "/nowhere"),
        ("dump", "expected 'id', 'name' or 'pinned'"),
        ("dump id 3 x", "unexpected argument 'x'"),
        ("update id 3 key 0 0 0 0 value 1", "a recorded kernel cannot be changed"),
        ("delete name counts key 0 0 0 0", "cannot be changed"),
        ("pin id 3 /x", "cannot be changed"),
        ("create /x type hash name y", "cannot be changed"),
        ("freeze id 3", "cannot be changed"),
        ("event_pipe id 3", "cannot be changed"),
        ("nonsense", "unknown command 'nonsense'"),
    ],
)
def test_wrong_words(kernel: FakeKernel, words: str, part: str) -> None:
    assert_one_sentence(run("map", *words.split(), kernel=kernel), part)
    assert kernel.opened == 0
    result = run("-j", "map", *words.split(), kernel=kernel)
    assert part in result.json["error"]
    assert result.status and not result.err


def test_help() -> None:
    assert run("map", "help").errors == HELP
    assert run("-j", "map", "help").out == b"null\n"
    commands = "show list create dump update lookup getnext delete pin event_pipe peek push pop"
    for command in [*commands.split(), "enqueue", "dequeue", "freeze", "help"]:
        assert command in HELP


@pytest.mark.parametrize("mode", ["", "-j", "-p"])
def test_elements_are_asked_of_the_kernel(kernel: FakeKernel, mode: str) -> None:
    """`dump`, `lookup`, `getnext` and `peek` need nothing but answers, whoever gives them."""
    kernel.map(9, type=22, value_size=4, max_entries=3, name=b"queue")
    kernel.elems[3] = {bytes((n, 0, 0, 0)): bytes((n, *b"abcdefg")) for n in range(3)}
    kernel.next[9] = b"next"
    flags = mode.split()
    for words in ("dump id 3", "lookup id 3 key 1 0 0 0", "getnext id 3", "peek id 9"):
        assert run(*flags, "map", *words.split(), kernel=kernel).status == 0, words
    if mode:
        rows = run(*flags, "map", "dump", "name", "counts", kernel=kernel).json
        assert [row["key"][0] for row in rows] == ["0x00", "0x01", "0x02"]
        return
    dump = run("map", "dump", "id", "3", kernel=kernel).text
    assert dump.endswith("key: 02 00 00 00  value: 02 61 62 63 64 65 66 67\nFound 3 elements\n")
    assert run("map", "peek", "id", "9", kernel=kernel).text == "value: 6e 65 78 74\n"
    assert run("map", "getnext", "id", "3", *["key", "1", "0", "0", "0"], kernel=kernel).text == (
        "key:\n01 00 00 00\nnext key:\n02 00 00 00\n"
    )
    missing = run("map", "lookup", "id", "3", *["key", "9", "0", "0", "0"], kernel=kernel)
    assert (missing.status, missing.text) == (255, "key:\n09 00 00 00\n\nNot found\n")
    assert kernel.opened == 0
