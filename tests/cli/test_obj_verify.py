"""``obj verify``: programs that clang made, on this kernel."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpftool.control import libbpf, verify
from tests.support.bpfc import compile_object
from tests.support.cli import Result, run
from tests.support.fakekernel import FakeKernel
from tests.support.nobody import as_nobody

SOURCE = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __uint(pinning, 1);
         __type(key, int); __type(value, long); } pybpftool_t_verify SEC(".maps");
SEC("xdp") int fine(struct xdp_md *ctx)
{
    int key = 0;
    return bpf_map_lookup_elem(&pybpftool_t_verify, &key) ? XDP_PASS : XDP_DROP;
}
SEC("?xdp") int wrong(struct xdp_md *ctx)
{
    return *(int *)(long)ctx->data;
}
SEC("weird") int odd(void *ctx) { return 0; }
"""
OPS = """
struct tcp_congestion_ops {
    char name[16];
    __u32 (*ssthresh)(void *sk);
    __u32 (*undo_cwnd)(void *sk);
    void (*cong_avoid)(void *sk, __u32 ack, __u32 acked);
};
SEC("struct_ops/a") __u32 good(unsigned long long *ctx) { return 2; }
SEC("struct_ops/b") __u32 bad(unsigned long long *ctx) { return *(volatile int *)8; }
SEC("struct_ops/c") void more(unsigned long long *ctx) { }
SEC("struct_ops/d") void unused(unsigned long long *ctx) { }
SEC("xdp") int other(void *ctx) { return 2; }
SEC("SECTION") struct tcp_congestion_ops t_control = {
    .name = "pybt_control", .ssthresh = (void *)good, .undo_cwnd = (void *)bad,
    .cong_avoid = (void *)more,
};
"""
CALLS = """
static long (*bpf_tail_call)(void *ctx, void *map, __u32 index) = (void *)12;
SEC("xdp") int first(void *ctx);
SEC("xdp") int second(void *ctx);
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __type(key, __u32);
         int (*values[])(void *); } jumps SEC(".maps") = {
    .values = { [1] = (void *)&first, [2] = (void *)&second } };
SEC("xdp") int first(void *ctx) { bpf_tail_call(ctx, &jumps, 2); return 1; }
SEC("xdp") int second(void *ctx) { bpf_tail_call(ctx, &jumps, 1); return *(int *)ctx; }
SEC("xdp") int third(void *ctx) { bpf_tail_call(ctx, &jumps, 1); return *(int *)8; }
"""
FINE = 'SEC("tcx/ingress") int fine(struct __sk_buff *skb) { return 0; }'


def sentence(result: Result, status: int = 2) -> str:
    assert result.status == status, result
    (line,) = result.errors.splitlines()
    return line


def test_words(tmp_path: Path) -> None:
    assert "expected an object file" in sentence(run("obj", "verify"))
    assert "No such file" in sentence(run("obj", "verify", "/no/such.o"))
    assert "No such file" in sentence(run("obj", "verify", "a.o", "--compare", "/no/such"))
    (tmp_path / "base").write_text("nothing")
    result = run("obj", "verify", "a.o", "--compare", f"{tmp_path}/base")
    assert "cannot compare with" in sentence(result)
    result = run("obj", "verify", "a.o", "--csv", "--compare", "b")
    assert "exclude one another" in sentence(result)
    assert run("-j", "obj", "verify", "a.o", "--csv").json["error"].endswith("one another")


def test_a_recorded_kernel_is_not_loaded_into() -> None:
    result = run("obj", "verify", "a.o", kernel=FakeKernel())
    assert "a recorded kernel cannot be changed" in sentence(result)
    result = run("-j", "obj", "verify", "a.o", kernel=FakeKernel())
    assert (result.status, result.json) == (2, {"error": "a recorded kernel cannot be changed"})


def test_a_file_that_cannot_be_read_stands_in_the_document() -> None:
    result = run("-j", "obj", "verify", "/no/such.o")
    reason = "cannot open '/no/such.o': No such file or directory"
    assert (result.status, result.json, result.err) == (2, [{"error": reason}], b"")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    try:
        libbpf.library()
    except libbpf.LibbpfError as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("objects")
    sources = {"three": SOURCE, "fine": FINE}
    return {name: compile_object(directory, text, name) for name, text in sources.items()}


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory into which every user may look, as into none of pytest's."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.mark.live
class TestVerify:
    def test_table(self, objects: dict[str, str]) -> None:
        """That nothing stays loaded, the fixture bpf_leaks sees to."""
        result = run("obj", "verify", objects["three"])
        assert result.status == 1
        lines = result.text.splitlines()
        assert lines[0].split()[:4] == ["FILE", "PROGRAM", "VERDICT", "INSNS"]
        verdicts = {line.split()[1]: line.split()[2] for line in lines[1:4]}
        assert verdicts == {"fine": "success", "wrong": "failure", "odd": "failure"}
        assert "invalid access to packet" in result.text
        assert "its section 'weird'" in result.text
        assert not os.path.exists("/sys/fs/bpf/pybpftool_t_verify")

    def test_json(self, objects: dict[str, str]) -> None:
        result = run("-j", "obj", "verify", objects["three"], objects["fine"])
        records = {(r["file"], r["program"]): r for r in result.json}
        fine = records[objects["three"], "fine"]
        assert fine["verdict"] == "success"
        assert fine["insns"] >= 8
        assert fine["stack_depths"][0] >= 4
        assert "reason" not in fine
        assert "data" in records[objects["three"], "wrong"]["reason"]
        assert len(records) == 4

    def test_the_rest_is_verified_when_a_file_is_none(self, objects: dict[str, str]) -> None:
        result = run("obj", "verify", "/no/such.o", objects["fine"])
        assert result.status == 2
        assert "success" in result.text
        assert "No such file" in result.errors

    @pytest.mark.parametrize("mode", [(), ("-j",)])
    def test_a_refused_program_is_certain(
        self, objects: dict[str, str], mode: tuple[str, ...]
    ) -> None:
        """Whatever could not be told of other files."""
        assert run(*mode, "obj", "verify", "/no/such.o", objects["three"]).status == 1

    @pytest.mark.parametrize("caps", ["", "bpf"])
    def test_without_capabilities_nothing_is_judged(
        self, objects: dict[str, str], public: Path, caps: str
    ) -> None:
        path = shutil.copy(objects["fine"], f"{public}/one.o")
        result = as_nobody("obj", "verify", path, caps=caps)
        assert result.returncode == 2, result
        assert result.stdout.splitlines()[1].split()[1:4] == ["fine", "unknown", "-"]
        reason = result.stdout.splitlines()[3]
        assert "this needs the capability CAP_BPF" in reason
        assert "libbpf says" not in reason
        answer = as_nobody("-j", "obj", "verify", path, caps=caps)
        assert answer.returncode == 2
        (record,) = json.loads(answer.stdout)
        assert (record["verdict"], record["insns"]) == ("unknown", None)
        assert record["reason"] == reason.removeprefix("fine: ")
        # A run with capabilities tells of no change by them, and none tells what changed.
        base = public / "base"
        base.write_text(answer.stdout)
        assert run("obj", "verify", path, "--compare", str(base)).status == 0
        base.write_bytes(run("-j", "obj", "verify", path).out)
        again = as_nobody("obj", "verify", path, "--compare", str(base), caps=caps)
        assert (again.returncode, "success -> unknown" in again.stdout) == (2, True)

    def test_what_the_verifier_refuses_is_refused_for_others_too(
        self, objects: dict[str, str], public: Path
    ) -> None:
        path = shutil.copy(objects["three"], f"{public}/one.o")
        result = as_nobody("-j", "obj", "verify", path, caps="bpf net_admin perfmon")
        verdicts = {record["program"]: record["verdict"] for record in json.loads(result.stdout)}
        assert (result.returncode, verdicts["wrong"], verdicts["fine"]) == (
            1, "failure", "success",
        )  # fmt: skip

    def test_programs_in_slots_of_an_array(self, tmp_path: Path) -> None:
        """Each is tried alone: it is no fault of one that the array lacks the others."""
        result = run("-j", "obj", "verify", compile_object(tmp_path, CALLS))
        verdicts = {record["program"]: record["verdict"] for record in result.json}
        assert verdicts == {"first": "success", "second": "success", "third": "failure"}
        assert all(record["insns"] for record in result.json), result.json

    def test_slots_of_an_array_and_programs_together(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verify, "_FEW", 0)
        self.test_programs_in_slots_of_an_array(tmp_path)

    @pytest.mark.parametrize("few", [0, 100])
    def test_programs_together_and_alone(
        self, few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = ["fine0", "bad0", "fine1", "fine2", "bad1", "bad2", "fine3", "fine4"]
        source = 'SEC("nothing") int untold(void *ctx) { return 0; }\n'
        for name in names:
            value = "3" if "fine" in name else "*(volatile int *)8"
            source += f'SEC("tc") int {name}(struct __sk_buff *skb) {{ return {value}; }}\n'
        path = compile_object(tmp_path, source)
        monkeypatch.setattr(verify, "_FEW", few)
        for together in (2, 3, 64):
            monkeypatch.setattr(verify, "_TOGETHER", together)
            result = run("-j", "obj", "verify", path)
            found = [(row["program"], row["verdict"], row.get("reason")) for row in result.json]
            assert sorted(name for name, _, _ in found) == sorted([*names, "untold"])
            for name, verdict, reason in found:
                assert (verdict == "success") == ("fine" in name)
                assert ("verifier refuses" in (reason or "")) == ("bad" in name)
            assert all(row["insns"] == 2 for row in result.json if "fine" in row["program"])

    def test_compare(self, objects: dict[str, str], tmp_path: Path) -> None:
        base = tmp_path / "base"
        base.write_bytes(run("obj", "verify", objects["three"], "--csv").out)
        result = run("obj", "verify", objects["three"], "--compare", str(base))
        assert result.status == 0
        assert "+0 (+0.00%)" in result.text
        base.write_text(base.read_text().replace("wrong,failure", "wrong,success"))
        result = run("obj", "verify", objects["three"], "--compare", str(base))
        assert result.status == 1
        assert "success -> failure" in result.text
        answer = run("-j", "obj", "verify", objects["three"], "--compare", str(base)).json
        assert answer[0]["old"]["insns"] == answer[0]["new"]["insns"]

    @pytest.mark.parametrize("section", [".struct_ops", ".struct_ops.link", "?.struct_ops.link"])
    def test_programs_of_struct_ops(self, tmp_path: Path, section: str) -> None:
        """One that is refused does not take the others with it."""
        path = compile_object(tmp_path, OPS.replace("SECTION", section))
        result = run("-j", "obj", "verify", path)
        records = {record["program"]: record for record in result.json}
        reason = records["good"].get("reason", "")
        if "No such process" in reason or "not found in kernel BTF" in reason:
            pytest.skip("this kernel has no struct_ops of TCP")
        verdicts = {name: record["verdict"] for name, record in records.items()}
        assert verdicts == {"good": "success", "bad": "failure", "more": "success",
                            "unused": "failure", "other": "success"}  # fmt: skip
        assert records["unused"]["reason"] == "no map of struct_ops refers to the program 'unused'"
        assert "refuses the program 'bad'" in records["bad"]["reason"]
        base = tmp_path / "base"
        base.write_bytes(result.out)
        assert run("obj", "verify", path, "--compare", str(base)).status == 0

    def test_base_as_json(self, objects: dict[str, str], tmp_path: Path) -> None:
        base = tmp_path / "base"
        base.write_bytes(run("-j", "obj", "verify", objects["fine"]).out)
        assert run("obj", "verify", objects["fine"], "--compare", str(base)).status == 0
