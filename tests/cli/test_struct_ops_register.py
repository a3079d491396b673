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
        if "ENOTSUPP" in result.errors or "No such process" in result.errors:
            pytest.skip("this kernel has no struct_ops of TCP")
        assert result.status == 0, result
        assert result.errors.startswith("Registered tcp_congestion_ops t_control id ")
        assert run("struct_ops", "unregister", "name", "t_control").status == 0

    def test_both_kinds_in_one_object(self, tmp_path: Path) -> None:
        """A library that does not see the second is never silent about it."""
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
        if "ENOTSUPP" in result.errors or "No such process" in result.errors:
            pytest.skip("this kernel has no struct_ops of TCP")
        try:
            if libbpf.as_numbers(libbpf.library().version) < (1, 2):
                assert result.status == 255
                assert "has struct_ops beside those that this libbpf knows" in result.errors
                assert "needs libbpf 1.2 or newer" in result.errors
            else:
                assert result.errors.count("Registered tcp_congestion_ops") == 2
        finally:
            assert run("struct_ops", "unregister", "name", "t_control").status == 0

    def test_registered_by_a_link(self, tmp_path: Path) -> None:
        """Also where the library is too old to see such maps."""
        text = CONTROL.replace('SEC(".struct_ops")', 'SEC(".struct_ops.link")')
        result = run("struct_ops", "register", compile_object(tmp_path, text))
        if "ENOTSUPP" in result.errors or "No such process" in result.errors:
            pytest.skip("this kernel has no struct_ops of TCP")
        if "EINVAL" in result.errors or "Invalid argument" in result.errors:
            pytest.skip("this kernel has no links of struct_ops (Linux 6.4)")
        assert result.status == 0, result
        words = result.errors.split()
        assert words[:5] == ["Registered", "tcp_congestion_ops", "t_control", "map", "id"]
        assert words[6:8] == ["link", "id"]
        # The link was pinned nowhere, so it went with the command.
        assert run("struct_ops", "show", "id", words[5]).status == 255
