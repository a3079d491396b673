"""``struct_ops register``: its words, and a congestion control for this kernel."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from pybpftool.control import libbpf
from pybpftool.control import register as control
from pybpftool.control.register import Registered, register
from pybpftool.errors import BpfError, KernelError
from pybpftool.gen import for_libbpf
from pybpftool.kernel.live import LiveKernel
from pybpftool.uapi.bpf import BPF_MAP_INFO_SIZE, MAP_TYPES
from tests.support import load
from tests.support.bpfc import compile_object
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel
from tests.support.nobody import as_nobody

CONTROL = """
struct tcp_congestion_ops {
    char name[16];
    __u32 (*ssthresh)(void *sk);
    __u32 (*undo_cwnd)(void *sk);
    void (*cong_avoid)(void *sk, __u32 ack, __u32 acked);
};
SEC("struct_ops/a") __u32 ssthresh(unsigned long long *ctx) { return 2; }
SEC("struct_ops/b") __u32 undo(unsigned long long *ctx) { return 2; }
SEC("struct_ops/c") void avoid(unsigned long long *ctx) { }
SEC(".struct_ops") struct tcp_congestion_ops t_control = {
    .name = "pybt_control", .ssthresh = (void *)ssthresh, .undo_cwnd = (void *)undo,
    .cong_avoid = (void *)avoid,
};
"""


def test_words() -> None:
    assert_one_sentence(run("struct_ops", "register"), "expected an object file")
    assert_one_sentence(run("struct_ops", "register", "/no/such.o"), "No such file")
    result = run("struct_ops", "register", "a.o", "d", "more")
    assert_one_sentence(result, "unexpected argument 'more'")


def test_a_recorded_kernel_stays_as_it_is() -> None:
    result = run("struct_ops", "register", "a.o", kernel=FakeKernel())
    assert_one_sentence(result, "a recorded kernel cannot be changed")


class Modular(FakeKernel):
    """Of its own types everybody may read those of vmlinux alone."""

    is_live = True

    def btf_name(self, id: int) -> str:
        raise KernelError("cannot open BTF", errno.EPERM)

    def structs_of(self, size: int, prefix: str, count: int) -> list[str]:
        return [f"{prefix}quick"]


@pytest.mark.parametrize(
    ("link", "btf_id", "told"),
    [
        (None, 1, "Registered quick ops id 5"),
        (9, 1, "Registered quick ops map id 5 link id 9"),
        (None, 7, "Registered ops id 5"),
        (9, 7, "Registered ops map id 5 link id 9"),
    ],
)
def test_what_was_registered_is_told_without_the_right_to_ids(
    link: int | None, btf_id: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Modular()
    ops = MAP_TYPES.index("struct_ops")
    info = kernel.map(
        5, type=ops, name=b"ops", btf_vmlinux_id=btf_id, btf_vmlinux_value_type_id=3
    ).info
    found = Registered(5, link, info)
    monkeypatch.setattr(for_libbpf, "for_file", lambda *_: None)
    monkeypatch.setattr(control, "register", lambda *_: iter([found]))
    result = run("struct_ops", "register", "a.o", kernel=kernel)
    assert (result.status, result.errors) == (0, f"{told}\n")


def skip_where_the_kernel_has_none(errors: str) -> None:
    if "ENOTSUPP" in errors or "No such process" in errors:
        pytest.skip("this kernel has no struct_ops of TCP")
    if "EINVAL" in errors or "Invalid argument" in errors:
        pytest.skip("this kernel has no links of struct_ops (Linux 6.4)")


@pytest.fixture
def library() -> None:
    try:
        libbpf.library()
    except libbpf.LibbpfError as error:
        pytest.skip(str(error))


@pytest.mark.live
@pytest.mark.usefixtures("library")
class TestRegister:
    def test_none_in_the_object(self, tmp_path: Path) -> None:
        path = compile_object(tmp_path, 'SEC("xdp") int p(void *ctx) { return 0; }')
        result = run("struct_ops", "register", path)
        assert_one_sentence(result, "there is no struct_ops in")

    def test_a_directory_that_cannot_be(self, tmp_path: Path) -> None:
        path = compile_object(tmp_path, CONTROL)
        result = run("-n", "struct_ops", "register", path, f"{tmp_path}/new")
        assert_one_sentence(result, "forbids to mount one")
        assert not (tmp_path / "new").exists()

    def test_registered(self, tmp_path: Path) -> None:
        path = compile_object(tmp_path, CONTROL)
        result = run("struct_ops", "register", path)
        skip_where_the_kernel_has_none(result.errors)
        assert result.status == 0, result
        assert result.errors.startswith("Registered tcp_congestion_ops t_control id ")
        assert run("struct_ops", "unregister", "name", "t_control").status == 0

    def test_what_the_kernel_tells_of_a_map_is_whole(self, tmp_path: Path) -> None:
        """With the BTF of a module, whose id stands behind what all kernels tell."""
        path = compile_object(tmp_path, CONTROL)
        (found,) = register(LiveKernel(), path)
        if isinstance(found, BpfError):
            skip_where_the_kernel_has_none(str(found))
            raise found
        try:
            with load.fd_by_id("map", found.map_id) as fd:
                told = load.info(fd, 512)
            assert told.startswith(found.map_info)
            assert len(found.map_info) >= min(len(told), BPF_MAP_INFO_SIZE)
        finally:
            run("struct_ops", "unregister", "id", str(found.map_id))

    @pytest.mark.parametrize("section", [".struct_ops", ".struct_ops.link"])
    def test_without_the_right_to_ids(self, section: str) -> None:
        """What was registered is told by who may not open it by its id."""
        text = CONTROL.replace('SEC(".struct_ops")', f'SEC("{section}")')
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            path = compile_object(Path(folder), text)
            words = ("struct_ops", "register", path)
            done = as_nobody(*words, caps="bpf perfmon net_admin")
            skip_where_the_kernel_has_none(done.stderr)
            assert done.stderr.startswith("Registered tcp_congestion_ops t_control ")
            assert done.returncode == 0
            if section == ".struct_ops":
                assert run("struct_ops", "unregister", "name", "t_control").status == 0

    def test_both_kinds_in_one_object(self, tmp_path: Path) -> None:
        """Also where the library does not see the second."""
        text = (
            CONTROL
            + """
        SEC(".struct_ops.link") struct tcp_congestion_ops t_second = {
            .name = "pybt_second", .ssthresh = (void *)ssthresh, .undo_cwnd = (void *)undo,
            .cong_avoid = (void *)avoid,
        };
        """
        )
        result = run("struct_ops", "register", compile_object(tmp_path, text))
        skip_where_the_kernel_has_none(result.errors)
        assert result.status == 0, result
        first, second = result.errors.splitlines()
        assert first.startswith("Registered tcp_congestion_ops t_control id ")
        assert second.startswith("Registered tcp_congestion_ops t_second map id ")
        assert run("struct_ops", "unregister", "name", "t_control").status == 0

    def test_members_that_the_kernel_does_not_have(self, tmp_path: Path) -> None:
        """An object of another kernel is taken, if what it sets is there."""
        more = """
    int of_another_kernel;
    void (*also_of_another)(void *sk);
};
SEC("struct_ops/d")"""
        text = CONTROL.replace('};\nSEC("struct_ops/a")', more, 1)
        result = run("struct_ops", "register", compile_object(tmp_path, text))
        skip_where_the_kernel_has_none(result.errors)
        assert result.status == 0, result
        assert run("struct_ops", "unregister", "name", "t_control").status == 0
        text = text.replace(".cong_avoid", ".of_another_kernel = 1, .cong_avoid")
        result = run("struct_ops", "register", compile_object(tmp_path, text))
        assert_one_sentence(result, "Cannot find member of_another_kernel")

    def test_registered_by_a_link(self, tmp_path: Path) -> None:
        """Also where the library is too old to see such maps."""
        text = CONTROL.replace('SEC(".struct_ops")', 'SEC(".struct_ops.link")')
        result = run("struct_ops", "register", compile_object(tmp_path, text))
        skip_where_the_kernel_has_none(result.errors)
        assert result.status == 0, result
        words = result.errors.split()
        assert words[:5] == ["Registered", "tcp_congestion_ops", "t_control", "map", "id"]
        assert words[6:8] == ["link", "id"]
        # The link was pinned nowhere, so it went with the command.
        assert run("struct_ops", "show", "id", words[5]).status == 255
