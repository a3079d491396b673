"""``prog load`` and ``prog loadall``: their words, and programs that clang made, on this kernel."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpftool.control import libbpf
from pybpftool.control import load as control
from pybpftool.kernel.pins import is_bpffs
from tests.support import load
from tests.support.bpfc import compile_object
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel

TWO = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
         __type(key, int); __type(value, long); } flows SEC(".maps");
int hits;
SEC("xdp") int first(struct xdp_md *ctx)
{
    int key = 1;
    hits++;
    return bpf_map_lookup_elem(&flows, &key) ? XDP_PASS : XDP_DROP;
}
SEC("tc") int second(struct __sk_buff *skb) { return hits; }
"""
REFUSED = """
SEC("xdp") int fine(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp")
int wrong(struct xdp_md *ctx)
{
    return *(int *)(long)ctx->data;
}
"""
BY_NAME = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __uint(pinning, 1);
         __type(key, int); __type(value, long); } pybpftool_t_pin SEC(".maps");
SEC("xdp") int first(struct xdp_md *ctx)
{
    int key = 0;
    return !bpf_map_lookup_elem(&pybpftool_t_pin, &key);
}
"""


@pytest.fixture
def root_bpffs() -> Iterator[None]:
    """A bpffs at /sys/fs/bpf, where libbpf pins by name; nobody else may have mounted one."""
    if is_bpffs("/sys/fs/bpf"):
        yield
        return
    subprocess.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=True)
    yield
    subprocess.run(["umount", "/sys/fs/bpf"], check=True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "expected an object file"),
        (["a.o"], "expected a path to pin at"),
        (["a.o", "p", "bogus"], "expected 'type', 'map', 'offload_dev'"),
        (["a.o", "p", "type"], "expected a program type"),
        (["a.o", "p", "type", "xdp", "type", "xdp"], "'type' is given twice"),
        (["a.o", "p", "type", "bogus"], "'bogus' is not a program type"),
        (["a.o", "p", "map", "number"], "expected 'idx' or 'name'"),
        (["a.o", "p", "map", "idx", "x"], "cannot read 'x' as the number of a map"),
        (["a.o", "p", "offload_dev", "no-such-dev"], "there is no network device 'no-such-dev'"),
        (["a.o", "p", "offload_dev", "lo", "offload_dev", "lo"], "'offload_dev' is given twice"),
        (["a.o", "p", "offload_dev", "lo", "xdpmeta_dev", "lo"], "exclude one another"),
        (["/no/such.o", "p"], "cannot open '/no/such.o': No such file or directory"),
        (["/", "p"], "cannot open '/': Is a directory"),
        (["/dev/null", "p"], "cannot open '/dev/null': not a regular file"),
        ([__file__, "p"], "it is no ELF file"),
    ],
)
def test_words(words: list[str], sentence: str) -> None:
    for verb in ("load", "loadall"):
        assert_one_sentence(run("prog", verb, *words), sentence)
        assert sentence in run("-j", "prog", verb, *words).json["error"]


def test_a_recorded_kernel_stays_as_it_is() -> None:
    result = run("prog", "load", "a.o", "p", kernel=FakeKernel())
    assert_one_sentence(result, "a recorded kernel cannot be changed")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    try:
        libbpf.library()
    except libbpf.LibbpfError as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("objects")
    sources = {
        "two": TWO,
        "refused": REFUSED,
        "by_name": BY_NAME,
        "odd": 'SEC("nothing/known") int odd(void *ctx) { return 0; }',
        "empty": "int x = 1;",
        "sleeps": 'SEC("syscall") int call(void *ctx) { return 0; }\n'
        'SEC("iter.s/task") int walk(void *ctx) { return 0; }',
        "new": 'SEC("tcx/ingress") int new(struct __sk_buff *skb) { return 0; }',
        "later": 'SEC("?xdp") int later(struct xdp_md *ctx) { return 0; }',
        "tp": 'SEC("raw_tp/sys_enter") int tp(void *ctx) { return 0; }\n'
        'SEC("xdp") int x(void *ctx) { return 0; }',
    }
    return {name: compile_object(directory, text, name) for name, text in sources.items()}


@pytest.mark.live
class TestLoad:
    @pytest.fixture
    def bpffs(self) -> Iterator[Path]:
        with load.temp_bpffs() as directory:
            yield Path(directory)

    def test_first(self, objects: dict[str, str], bpffs: Path) -> None:
        result = run("prog", "load", objects["two"], f"{bpffs}/p")
        assert (result.status, result.out, result.err) == (0, b"", b"")
        assert [path.name for path in bpffs.iterdir()] == ["p"]
        shown = run("-j", "prog", "show", "pinned", f"{bpffs}/p").json
        assert (shown["name"], shown["type"]) == ("first", "xdp")
        again = run("prog", "load", objects["two"], f"{bpffs}/p")
        assert_one_sentence(again, "exists already")

    @pytest.mark.parametrize("place", ["load_object", "_pin_programs", "_pin_map", "object_id"])
    def test_a_library_that_crashes(
        self,
        place: str,
        objects: dict[str, str],
        bpffs: Path,
        root_bpffs: None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        before = set(Path("/sys/fs/bpf").iterdir())
        work = getattr(control, place)

        def crash(*args: object) -> None:
            work(*args)
            os.kill(os.getpid(), 9)

        monkeypatch.setattr(control, place, crash)
        paths = (f"{bpffs}/all", "pinmaps", f"{bpffs}/maps")
        for name in ("two", "by_name"):
            if name == "by_name":
                paths = (f"{bpffs}/all", "pinmaps", "/sys/fs/bpf")
            result = run("prog", "loadall", objects[name], *paths)
            assert_one_sentence(result, f"cannot digest '{objects[name]}': it ended with SIGKILL")
            assert list(bpffs.iterdir()) == []
            assert set(Path("/sys/fs/bpf").iterdir()) == before

    def test_all_and_maps(self, objects: dict[str, str], bpffs: Path) -> None:
        words = (objects["two"], f"{bpffs}/all", "pinmaps", f"{bpffs}/maps")
        result = run("-j", "prog", "loadall", *words)
        assert (result.status, result.text) == (0, "null\n")
        assert {path.name for path in (bpffs / "all").iterdir()} == {"first", "second"}
        assert {path.name for path in (bpffs / "maps").iterdir()} == {"flows", "two_bss"}

    @pytest.mark.parametrize("how", [("name", "flows"), ("idx", "0")])
    def test_a_map_is_replaced(
        self, how: tuple[str, str], objects: dict[str, str], bpffs: Path
    ) -> None:
        with load.map_create("hash", 4, 8, 8, name="flows_old") as fd:
            id = load.object_id(fd, "map")
            words = (objects["two"], f"{bpffs}/p", "map", *how, "id", str(id))
            assert run("prog", "load", *words, "pinmaps", f"{bpffs}/maps").status == 0
            # The name is the other map's from then on.
            assert {path.name for path in (bpffs / "maps").iterdir()} == {"flows_old", "two_bss"}
            shown = run("-j", "prog", "show", "pinned", f"{bpffs}/p").json
            assert id in shown["map_ids"]
            twice = (*words, "map", "idx", "0", "id", str(id))
            twice = (objects["two"], f"{bpffs}/q", *twice[2:])
            assert_one_sentence(run("prog", "load", *twice), "to be replaced twice")
            words = (objects["two"], f"{bpffs}/q", "map", "idx", "9", "id", str(id))
            assert_one_sentence(run("prog", "load", *words), "has no map 9: it has 2")
            words = (objects["two"], f"{bpffs}/q", "map", "name", "flow", "id", str(id))
            assert_one_sentence(run("prog", "load", *words), "has no map 'flow'")

    def test_nothing_is_left_when_one_of_several_is_refused(
        self, objects: dict[str, str], bpffs: Path
    ) -> None:
        result = run("prog", "loadall", objects["refused"], f"{bpffs}/all")
        assert result.status == 255
        *log, sentence = result.errors.splitlines()
        assert "refuses the program 'wrong'" in sentence
        assert "return *(int *)(long)ctx->data;" in sentence
        assert "invalid access to packet" in sentence
        assert any("processed" in line for line in log)
        assert list(bpffs.iterdir()) == []
        answer = run("-j", "prog", "loadall", objects["refused"], f"{bpffs}/all")
        assert answer.json == {"error": sentence.removeprefix("Error: ")}
        assert answer.err == b""

    def test_full(self, objects: dict[str, str], bpffs: Path) -> None:
        words = ("--full", "prog", "loadall", objects["two"], f"{bpffs}/all")
        programs = run("-j", *words).json["programs"]
        assert [program["name"] for program in programs] == ["first", "second"]
        for program in programs:
            shown = run("-j", "prog", "show", "id", str(program["id"])).json
            assert shown["name"] == program["name"]
            assert program["verified_insns"] > 2
            assert "processed" in program["log"]
        words = ("--full", "prog", "loadall", objects["two"], f"{bpffs}/again")
        assert "first    success" in run(*words).text

    def test_full_refusal(self, objects: dict[str, str], bpffs: Path) -> None:
        result = run("-j", "--full", "prog", "loadall", objects["refused"], f"{bpffs}/all")
        assert result.status == 255
        assert result.json["program"] == "wrong"
        assert "invalid access to packet" in result.json["log"]
        assert "invalid access to packet" in result.json["error"]
        assert result.json["verified_insns"] == 2
        assert list(bpffs.iterdir()) == []

    def test_debug_prints_whole_logs(self, objects: dict[str, str], bpffs: Path) -> None:
        result = run("-d", "prog", "loadall", objects["refused"], f"{bpffs}/all")
        assert "libbpf: prog 'fine': -- BEGIN PROG LOAD LOG --" in result.errors
        assert result.errors.count("END PROG LOAD LOG") == 2

    @pytest.mark.usefixtures("root_bpffs")
    def test_nothing_is_left_when_a_pin_fails(self, objects: dict[str, str], bpffs: Path) -> None:
        (bpffs / "all").mkdir()
        assert run("prog", "load", objects["two"], f"{bpffs}/all/second").status == 0
        result = run("prog", "loadall", objects["two"], f"{bpffs}/all", "pinmaps", f"{bpffs}/m")
        assert_one_sentence(result, "there is something of this name already")
        assert [path.name for path in bpffs.iterdir()] == ["all"]
        assert [path.name for path in (bpffs / "all").iterdir()] == ["second"]
        words = (objects["by_name"], f"{bpffs}/all/second")
        assert_one_sentence(run("prog", "load", *words), "exists already")
        assert not os.path.exists("/sys/fs/bpf/pybpftool_t_pin")

    @pytest.mark.usefixtures("root_bpffs")
    def test_a_map_pinned_by_name_stays_after_success(
        self, objects: dict[str, str], bpffs: Path
    ) -> None:
        pin = Path("/sys/fs/bpf/pybpftool_t_pin")
        try:
            assert run("prog", "load", objects["by_name"], f"{bpffs}/p").status == 0
            assert pin.exists()
            words = (objects["by_name"], f"{bpffs}/q", "pinmaps", f"{bpffs}/m")
            assert_one_sentence(run("prog", "load", *words), "the object has it pinned at")
            assert pin.exists()  # it was there before
        finally:
            pin.unlink(missing_ok=True)

    def test_types(self, objects: dict[str, str], bpffs: Path) -> None:
        result = run("prog", "load", objects["odd"], f"{bpffs}/p")
        assert_one_sentence(result, "'odd'", "'nothing/known'", "give it with 'type'")
        assert run("prog", "load", objects["odd"], f"{bpffs}/p", "type", "socket").status == 0
        shown = run("-j", "prog", "show", "pinned", f"{bpffs}/p").json
        assert shown["type"] == "socket_filter"

    @pytest.mark.parametrize("type", ["xdp", "socket"])
    def test_a_type_takes_what_a_section_means(
        self, type: str, objects: dict[str, str], bpffs: Path
    ) -> None:
        words = (objects["sleeps"], f"{bpffs}/all", "type", type, "autoattach")
        result = run("prog", "loadall", *words)
        assert result.status == 0
        assert result.err.count(b"is pinned instead") == 2
        for name in ("call", "walk"):
            shown = run("-j", "prog", "show", "pinned", f"{bpffs}/all/{name}").json
            assert shown["type"] == {"xdp": "xdp", "socket": "socket_filter"}[type]

    def test_a_section_that_older_libraries_do_not_know(
        self, objects: dict[str, str], bpffs: Path
    ) -> None:
        assert run("prog", "load", objects["new"], f"{bpffs}/p").status == 0
        assert run("-j", "prog", "show", "pinned", f"{bpffs}/p").json["type"] == "sched_cls"

    @pytest.mark.parametrize(
        ("name", "verb", "sentence"),
        [
            ("empty", "load", "there is no program in"),
            ("later", "load", "its section asks not to load it"),
            ("later", "loadall", "its section asks not to load it"),
        ],
    )
    def test_nothing_to_pin(
        self, name: str, verb: str, sentence: str, objects: dict[str, str], bpffs: Path
    ) -> None:
        assert_one_sentence(run("prog", verb, objects[name], f"{bpffs}/p"), sentence)
        assert list(bpffs.iterdir()) == []

    def test_autoattach(self, objects: dict[str, str], bpffs: Path) -> None:
        result = run("prog", "loadall", objects["tp"], f"{bpffs}/all", "autoattach")
        assert result.status == 0, result
        assert "'x' has no way to be attached by itself; it is pinned instead" in result.errors
        link = run("-j", "link", "show", "pinned", f"{bpffs}/all/tp").json
        assert (link["type"], link["tp_name"]) == ("raw_tracepoint", "sys_enter")
        assert run("-j", "prog", "show", "pinned", f"{bpffs}/all/x").json["type"] == "xdp"

    def test_a_file_system_is_mounted_or_not(self, objects: dict[str, str], tmp_path: Path) -> None:
        result = run("-n", "prog", "loadall", objects["two"], f"{tmp_path}/new")
        assert_one_sentence(result, "forbids to mount one")
        assert list(tmp_path.iterdir()) == []
        result = run("prog", "loadall", objects["two"], f"{tmp_path}/no/new")
        assert_one_sentence(result, "there is no")
        try:
            assert run("prog", "loadall", objects["two"], f"{tmp_path}/new").status == 0
            assert (tmp_path / "new" / "second").exists()
        finally:
            subprocess.run(["umount", "-l", f"{tmp_path}/new"], check=True)
            subprocess.run(["umount", "-l", f"{tmp_path}/new"], check=False)

    def test_a_mount_goes_when_pinning_fails(self, objects: dict[str, str], tmp_path: Path) -> None:
        words = (objects["by_name"], f"{tmp_path}/new", "pinmaps", f"{tmp_path}/m")
        assert run("prog", "loadall", *words).status == 255
        assert list(tmp_path.iterdir()) == []
        assert not os.path.exists("/sys/fs/bpf/pybpftool_t_pin")
