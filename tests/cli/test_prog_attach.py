"""``prog attach`` and ``prog detach``: their words, and maps of sockets of the running kernel."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

import pytest

from pybpftool.cli.grammar import Args
from pybpftool.cli.prog_attach import _attach_type
from pybpftool.control import sockets
from pybpftool.errors import UsageError
from pybpftool.kernel.interface import BpfObject
from tests.support import asm, load
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel


class Live(FakeKernel):
    is_live = True

    def open_writable(self, id: int) -> BpfObject:
        return self.open("map", id)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("sk_msg_verdict", "sk_msg_verdict"),
        ("m", "sk_msg_verdict"),
        ("str", "sk_skb_stream_parser"),
        ("stream_v", "sk_skb_stream_verdict"),
        ("sk_skb_verdict", "sk_skb_verdict"),
        ("skb", "sk_skb_verdict"),
        ("flow_dissector", "flow_dissector"),
        ("", "sk_skb_stream_parser"),
    ],
)
def test_types(word: str, name: str) -> None:
    assert _attach_type(Args([word])) == name


@pytest.mark.parametrize("word", ["sk_msg", "flow", "xdp", "sk_msg_verdict_"])
def test_words_that_are_no_types(word: str) -> None:
    with pytest.raises(UsageError, match=r"unknown attach type .*; there are sk_skb_stream_parser"):
        _attach_type(Args([word]))


def test_a_recorded_kernel_stays_as_it_is() -> None:
    kernel = FakeKernel()
    kernel.prog(7)
    for verb in ("attach", "detach"):
        result = run("prog", verb, "id", "7", "flow_dissector", kernel=kernel)
        assert_one_sentence(result, "a recorded kernel cannot be changed")


@pytest.mark.live
class TestSockmap:
    @pytest.fixture
    def ids(self) -> Iterator[dict[str, str]]:
        code = asm.assemble([asm.mov64(asm.R0, 1), asm.exit_()])
        with contextlib.ExitStack() as stack:
            found = {}
            for label, type in (("skb", "sk_skb"), ("other", "sk_skb"), ("xdp", "xdp")):
                fd = stack.enter_context(load.prog_load(type, code, name=f"t_{label}"))
                found[label] = str(load.object_id(fd))
            map = stack.enter_context(load.map_create("sockmap", 4, 4, 1, name="t_sockmap"))
            found["map"] = str(load.object_id(map, "map"))
            yield found

    def test_attached_and_taken_off(self, ids: dict[str, str]) -> None:
        words = ("id", ids["skb"], "stream_verdict", "id", ids["map"])
        result = run("prog", "attach", *words)
        assert (result.status, result.out, result.err) == (0, b"", b"")
        # Another program is not the one that is attached.
        other = ("id", ids["other"], "stream_verdict", "id", ids["map"])
        assert_one_sentence(run("prog", "detach", *other), "it is not attached there")
        assert run("-j", "prog", "detach", *words).text == "null\n"
        assert_one_sentence(run("prog", "detach", *words), "it is not attached there")

    def test_what_is_refused(self, ids: dict[str, str]) -> None:
        words: tuple[str, ...] = ("id", ids["xdp"], "stream_verdict", "id", ids["map"])
        assert_one_sentence(run("prog", "attach", *words), "is of another type")
        words = ("id", ids["skb"], "stream_verdict")
        assert_one_sentence(run("prog", "attach", *words), "the command ends there")


@pytest.mark.parametrize(
    ("words", "number", "sentence"),
    [
        ("flow_dissector", errno.EINVAL, "the program is attached there already, or of another"),
        ("flow_dissector", errno.EEXIST, "the network namespace as flow_dissector: there is one"),
        ("msg_verdict id 9", errno.EINVAL, "map 9 as sk_msg_verdict: the program or the map is of"),
        ("msg_verdict id 9", errno.EOPNOTSUPP, "the map cannot have such a program"),
        ("msg_verdict id 9", errno.EPERM, "needs the capability CAP_NET_ADMIN"),
    ],
)
def test_what_the_kernel_refuses(
    monkeypatch: pytest.MonkeyPatch, words: str, number: int, sentence: str
) -> None:
    kernel = Live()
    for obj in (kernel.prog(7), kernel.map(9)):
        kernel.all[obj.kind][obj.id] = BpfObject(obj.kind, obj.id, 5, obj.info)
    monkeypatch.setattr(sockets, "bpf", lambda *words: -number)
    assert_one_sentence(run("prog", "attach", "id", "7", *words.split(), kernel=kernel), sentence)
    assert kernel.opened == 0
