"""``struct_ops register``: its words, and a congestion control for this kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from pybpftool.control import libbpf
from tests.support.bpfc import compile_object
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel

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
