"""The plugin for pytest: fixtures ``bpf`` and ``bpf_leaks``, marker ``bpf``, policies as tests.

Nothing else of the package is imported until a test uses it.
"""

from __future__ import annotations

import os

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pybpftool.inspect.fixture import Bpf
    from pybpftool.inspect.inventory import Inventory
    from pybpftool.kernel.interface import Kernel

_FREEING = 3.0  # seconds that the kernel may take to free what nobody holds any more
_PAUSE = 0.05


def pytest_addoption(parser: Any) -> None:
    """The options of the plugin."""
    group = parser.getgroup("bpf", "BPF objects (pybpftool)")
    group.addoption(
        "--bpf-snapshot",
        metavar="PATH",
        help="the fixture bpf answers from this recorded kernel",
    )
    group.addoption(
        "--bpf-snapshot-on-failure",
        metavar="DIR",
        help="record the kernel into this directory when a test fails",
    )
    parser.addini(
        "bpf_leaks_allow",
        "names and owners of BPF objects that bpf_leaks does not count",
        type="args",
        default=[],
    )
    parser.addini(
        "bpf_leaks_own",
        "bpf_leaks counts only what this process and its children hold",
        type="bool",
        default=False,
    )


def pytest_configure(config: Any) -> None:
    """Describe the marker."""
    config.addinivalue_line(
        "markers",
        'bpf(kernel=">=5.16", caps=["CAP_BPF"]): skip where the kernel is another or the '
        "capabilities are missing",
    )


def pytest_runtest_setup(item: Any) -> None:
    """Skip a test whose marker wants another kernel or more capabilities."""
    for marker in item.iter_markers("bpf"):
        from pybpftool.inspect.requirements import missing

        try:
            reason = missing(*marker.args, **marker.kwargs)
        except (TypeError, ValueError) as error:
            raise pytest.UsageError(f"{item.nodeid}: the marker bpf: {error}") from None
        if reason:
            pytest.skip(reason)


@pytest.fixture
def bpf(request: Any) -> Bpf:
    """The host: its programs, maps and links; see :class:`pybpftool.inspect.fixture.Bpf`."""
    from pybpftool.inspect.fixture import Bpf

    return Bpf(_kernel(request.config))


@pytest.fixture
def bpf_leaks(request: Any) -> Iterator[Leaks]:
    """Fails a test after which programs, maps or links are left, and names who holds them."""
    leaks = Leaks(_kernel(request.config), request.config)
    yield leaks
    sentences = leaks.found()
    if sentences:
        pytest.fail("BPF objects are left over:\n" + "\n".join(sentences), pytrace=False)


class Leaks:
    """What was there before a test; :attr:`allow` takes further names and owners."""

    def __init__(self, kernel: Kernel, config: Any) -> None:
        self._kernel = kernel
        self.allow: list[str] = list(config.getini("bpf_leaks_allow"))
        self.own: bool = config.getini("bpf_leaks_own")
        self._before = self._inventory()

    def _inventory(self) -> Inventory:
        from pybpftool.inspect.inventory import Inventory
        from pybpftool.inspect.items import KINDS

        inventory = Inventory(self._kernel)
        for kind in KINDS:
            inventory.items(kind)
        return inventory

    def found(self) -> list[str]:
        """A sentence for each object that is new and stays."""
        import gc
        import time

        gc.collect()  # descriptors of objects that nothing refers to
        end = time.monotonic() + (_FREEING if self._kernel.is_live else 0)
        while True:
            sentences = self._sentences()
            if not sentences or time.monotonic() >= end:
                return sentences
            time.sleep(_PAUSE)

    def _sentences(self) -> list[str]:
        from pybpftool.inspect.bounds import Bound
        from pybpftool.inspect.judge import Judge
        from pybpftool.inspect.policy import Patterns, leak_rules

        inventory = self._inventory()
        judge = Judge(inventory, self._before)
        sentences = []
        for rule in leak_rules():
            rule.allow = Patterns(self.allow)
            rule.count = Bound("==", 0)
            for finding in judge.judge(rule).findings:
                if not self.own or _is_ours(inventory, rule.kind, finding.id):
                    sentences.append(f"  {finding.object}: {finding.found}")
        return sentences


def _is_ours(inventory: Inventory, kind: str, id: int) -> bool:
    """Whether this process or one below it holds an object."""
    ours = os.getpid()
    for pid, _ in inventory.held(kind).get(id, ()):
        while pid > 1:
            if pid == ours:
                return True
            pid = _parent(inventory.kernel, pid)
    return False


def _parent(kernel: Kernel, pid: int) -> int:
    from pybpftool.errors import BpfError

    try:
        text = kernel.file(f"/proc/{pid}/stat")
    except BpfError:
        return 0
    # PID (COMM) STATE PPID: COMM may hold anything.
    fields = text.rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _kernel(config: Any) -> Kernel:
    path = config.getoption("--bpf-snapshot")
    if path:
        from pybpftool.kernel.snapshot import SnapshotKernel

        return SnapshotKernel.load(path)
    from pybpftool.kernel.live import LiveKernel

    return LiveKernel()


def bpf_policy(path: str) -> Callable[..., None]:
    """A test for each rule of a policy: ``test_policy = bpf_policy("bpf.toml")``.

    A relative path begins where pytest was started. A rule that could not be judged fails,
    one that the kernel is too old for is skipped.
    """
    from pybpftool.inspect.policy import load

    rules = {rule.id: rule for rule in load(path).rules}

    @pytest.mark.parametrize("bpf_rule", list(rules))
    def test(bpf_rule: str, request: Any) -> None:
        from pybpftool.inspect.inventory import Inventory
        from pybpftool.inspect.judge import Judge
        from pybpftool.inspect.report import Report
        from pybpftool.inspect.reports import text

        kernel = _kernel(request.config)
        outcome = Judge(Inventory(kernel), None, _baseline(path)).judge(rules[bpf_rule])
        report = Report(path, kernel, [outcome])
        if outcome.status in ("failed", "unknown") or (outcome.unknown and not outcome.findings):
            pytest.fail(text.render(report), pytrace=False)
        if outcome.status == "skipped":
            pytest.skip(outcome.skipped[0])

    made: Callable[..., None] = test
    return made


def _baseline(path: str) -> Any:
    from pybpftool.inspect import baseline

    lock = baseline.lock_path(path)
    return baseline.load(lock) if os.path.exists(lock) else None


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Iterator[None]:
    """Record the kernel when a test fails, where that is asked for."""
    outcome: Any = yield
    directory = item.config.getoption("--bpf-snapshot-on-failure")
    if not directory:
        return
    report = outcome.get_result()
    if report.failed:
        report.sections.append(("BPF snapshot", _save(item, directory, call.when)))


def _save(item: Any, directory: str, when: str) -> str:
    """Record the kernel into a file that is named for a test; where it is, or why it is not."""
    from pybpftool.errors import BpfError
    from pybpftool.inspect.recorder import record
    from pybpftool.kernel.recording import RecordingKernel
    from pybpftool.output.files import write_file

    plain = "".join([c if c.isalnum() or c in "-_." else "_" for c in item.nodeid])
    name = f"{plain[-180:]}-{when}.zip" if when != "call" else f"{plain[-180:]}.zip"
    path = os.path.join(directory, name)
    try:
        os.makedirs(directory, exist_ok=True)
        recording = RecordingKernel(_kernel(item.config))
        record(recording)
        write_file(path, recording.archive(), private=True)
    except (BpfError, OSError) as error:
        return f"the kernel was not recorded: {error}"
    return f"{path}\npybpftool --snapshot {path} prog show"
