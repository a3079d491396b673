"""``prog profile``: its words, what it prints, and runs that are counted."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from pybpftool.cli import prog_profile
from pybpftool.cli.grammar import Args
from pybpftool.control import profile as control
from pybpftool.control.profile import METRICS, Metric, Profile, Reading
from pybpftool.errors import UsageError
from tests.support import asm, load
from tests.support.btfbuild import BtfBuilder
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel

BY_NAME = {metric.name: metric for metric in METRICS}


class Live(FakeKernel):
    is_live = True


def reading(name: str, counter: int, enabled: int = 100, running: int = 100) -> Reading:
    return Reading(BY_NAME[name], counter, enabled, running)


def metrics(line: str) -> list[str]:
    return [metric.name for metric in prog_profile._metrics(Args(line.split()))]


def test_metrics() -> None:
    assert metrics("i c cycles l1d") == ["cycles", "instructions", "l1d_loads"]
    assert metrics("t con d") == ["dtlb_misses", "task-clock", "context-switches"]
    with pytest.raises(UsageError, match="got 'bogus'"):
        metrics("cycles bogus")
    with pytest.raises(UsageError, match="5 metrics are too many: at most 4"):
        metrics("c i l1 ll it")
    with pytest.raises(UsageError, match="the command ends there"):
        metrics("")


def test_text() -> None:
    found = Profile(
        4,
        (
            reading("cycles", 1000),
            reading("instructions", 2500, 100, 100),
            reading("dtlb_misses", 5, 200, 50),
        ),
    )
    assert prog_profile.text(found) == (
        "\n                 4 run_cnt             \n"
        "              1000 cycles              #   250.00 cycles per run                \n"
        "              2500 instructions        #     2.50 insns per cycle               \n"
        "                20 dtlb_misses         #  8000.00 dtlb misses per million insns "
        "(25.00%)\n"
    )


def test_text_without_what_a_ratio_needs() -> None:
    # No runs, no cycles, and an event that never had a counter.
    found = Profile(0, (reading("cycles", 0), reading("instructions", 0, 10, 0)))
    lines = prog_profile.text(found).split("\n")
    assert lines[2] == f"                 0 cycles              {'':41}"
    assert lines[3] == f"                 0 instructions        {'':41}(0.00%)"
    found = Profile(3, (reading("llc_misses", 7),))
    assert prog_profile.text(found).split("\n")[2].rstrip() == "                 7 llc_misses"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Live:
    """A kernel whose programs run five times, whatever is asked for."""

    def answer(kernel: object, prog: object, metrics: list[Metric], *rest: object) -> Profile:
        return Profile(5, tuple(Reading(metric, 40, 300, 100) for metric in metrics))

    monkeypatch.setattr(control, "profile", answer)
    kernel = Live()
    kernel.prog(7)
    return kernel


def test_json(counted: Live) -> None:
    result = run("-j", "prog", "profile", "id", "7", "duration", "1", "i", "c", kernel=counted)
    assert result.text == (
        '[{"metric":"cycles","run_cnt":5,"value":120,"enabled":300,"running":100},'
        '{"metric":"instructions","run_cnt":5,"value":120,"enabled":300,"running":100}]\n'
    )
    assert counted.opened == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("id 7", "the command ends there"),
        ("id 7 duration", "got 'duration'"),
        ("id 7 duration 3", "cannot read|expected"),
        ("id 7 duration 3x cycles", "cannot read '3x' as a number of seconds"),
        ("id 8 cycles", "there is no prog with id 8"),
        ("bogus 7 cycles", "got 'bogus'"),
    ],
)
def test_words_that_are_refused(counted: Live, words: str, sentence: str) -> None:
    result = run("prog", "profile", *words.split(), kernel=counted)
    assert result.status == 255
    assert any(part in result.errors for part in sentence.split("|"))
    assert counted.opened == 0


def test_a_recorded_kernel_counts_nothing() -> None:
    kernel = FakeKernel()
    kernel.prog(7)
    result = run("prog", "profile", "id", "7", "cycles", kernel=kernel)
    assert_one_sentence(result, "a recorded kernel cannot be changed")


def test_a_program_without_btf() -> None:
    kernel = Live()
    kernel.prog(7)
    result = run("prog", "profile", "id", "7", "cycles", kernel=kernel)
    assert_one_sentence(result, "it was loaded without BTF")
    kernel.prog(7, btf_id=3)
    result = run("prog", "profile", "id", "7", "cycles", kernel=kernel)
    assert_one_sentence(result, "has no information about functions")


def objects() -> list[list[int]]:
    return [load.all_ids(kind) for kind in ("prog", "map", "link")]


def objects_after(before: list[list[int]]) -> list[list[int]]:
    """What there is once the kernel has freed what is closed: it does so a little later."""
    for _ in range(500):
        if objects() == before:
            break
        time.sleep(0.02)
    return objects()


@pytest.mark.live
class TestRuns:
    @pytest.fixture
    def prog(self) -> Iterator[tuple[load.Fd, str]]:
        """A program with BTF and its id; skips where nothing can be attached to programs."""
        btf = BtfBuilder()
        number = btf.add_int("int", 4, 1)
        function = btf.add_func("counted", btf.add_func_proto(number))
        code = asm.assemble([asm.mov64(asm.R0, 2), asm.exit_()])
        with contextlib.ExitStack() as stack:
            object = stack.enter_context(load.btf_load(btf.build()))
            fd = stack.enter_context(
                load.prog_load("xdp", code, name="counted", btf=object, func_info=[(0, function)])
            )
            id = str(load.object_id(fd))
            before = objects()
            result = run("prog", "profile", "id", id, "duration", "0", "task-clock")
            if result.status and "no BPF trampolines" in result.errors:
                pytest.skip(result.errors)
            assert objects_after(before) == before
            yield fd, id

    def test_runs_are_counted_until_interrupted(self, prog: tuple[load.Fd, str]) -> None:
        fd, id = prog
        before = objects()
        ours = threading.Event()

        def go() -> None:
            # Runs are counted only once both programs are attached.
            while len(load.all_ids("link")) < len(before[2]) + 2 and not ours.wait(0.02):
                pass
            load.prog_test_run(fd, bytes(64), repeat=1000)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=go, daemon=True)
        thread.start()
        try:
            result = run("-j", "prog", "profile", "id", id, "context", "task")
        finally:
            ours.set()
            thread.join()
        assert (result.status, result.errors) == (0, "")
        clock, switches = result.json
        assert (clock["metric"], switches["metric"]) == ("task-clock", "context-switches")
        assert clock["run_cnt"] == switches["run_cnt"] == 1000
        assert clock["value"] > 0
        # Both are counted all the time, as one group.
        assert clock["running"] == clock["enabled"] > 0
        assert switches["running"] == switches["enabled"] > 0
        assert objects_after(before) == before

    def test_a_counter_that_is_not_there(
        self, prog: tuple[load.Fd, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = objects()
        monkeypatch.setattr(control, "perf_event_open", lambda *words: -errno.ENOENT)
        result = run("prog", "profile", "id", prog[1], "duration", "0", "cycles")
        assert_one_sentence(result, "this machine has no such hardware counter")
        assert objects_after(before) == before

    def test_a_processor_that_is_off(
        self, prog: tuple[load.Fd, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(control, "perf_event_open", lambda *words: -errno.ENODEV)
        result = run("prog", "profile", "id", prog[1], "duration", "0", "cycles")
        assert result.errors.startswith("CPU 0 may be offline; cycles is not counted there\n")
        assert result.text.startswith("\n                 0 run_cnt")
