"""The plugin for pytest, in runs of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pybpftool.inspect.requirements import CAPABILITIES, missing
from tests.support.hosts import host
from tests.support.plugin import missing as missing_plugin
from tests.support.saved import save


@pytest.fixture
def snapshot(tmp_path: Path) -> str:
    return save(host(), tmp_path / "host.zip")


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    """A run in a process of its own, with the plugin."""
    options = [word for module in missing_plugin() for word in ("-p", module)]
    return pytester.runpytest_subprocess(*options, *words)


def test_nothing_is_imported_until_used() -> None:
    code = (
        "import sys, pytest\n"
        "import pybpftool.pytest_plugin\n"
        "print([name for name in sys.modules if name.startswith('pybpftool.')])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout == "['pybpftool.pytest_plugin']\n"


def test_objects(pytester: pytest.Pytester, snapshot: str) -> None:
    pytester.makepyfile(
        """
        import pytest
        from pybpftool.errors import BpfError, NotFoundError

        def test_it(bpf):
            prog = bpf.prog("counter")
            assert (prog.id, prog.type, prog.verified_insns) == (2, "sched_cls", 40)
            assert prog.attached_to(dev="eth0", hook="tcx/ingress")
            assert prog.attached_to(hook="tcx_*") and prog.attached_to()
            assert not prog.attached_to(dev="eth1") and not bpf.prog("twin").attached_to()
            assert prog.calls("bpf_trace_printk") and not prog.calls("bpf_redirect*")
            assert prog.maps == ("flows",) and prog.owner == ("unit:agent.service",)
            assert [one.name for one in bpf.progs(owner="comm:*")] == ["twin"]
            assert bpf.map("flows").max_entries == 16
            assert [link.type for link in bpf.links(prog="counter")] == ["tcx"]
            assert bpf.links()[0].attached_to(dev="eth0")
            assert repr(prog) == "<prog sched_cls counter 2 at tcx/ingress dev eth0>"
            with bpf.counting("flows", 1) as count:
                assert count.delta == 0
            assert count.delta == 0
            with pytest.raises(NotFoundError, match="did you mean 'counter'"):
                bpf.prog("countr")
            with pytest.raises(NotFoundError, match="3 progs are"):
                bpf.prog("*")
            with pytest.raises(AttributeError, match="did you mean 'verified_insns'"):
                prog.verified_insn
            with pytest.raises(TypeError, match="did you mean 'dev'"):
                prog.attached_to(devv="eth0")
        """
    )
    run(pytester, "--bpf-snapshot", snapshot).assert_outcomes(passed=1)


def test_marker(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.bpf(kernel=">=2.6")
        def test_runs():
            pass

        @pytest.mark.bpf(kernel=">=99.0, <100")
        def test_too_old():
            raise AssertionError

        @pytest.mark.bpf(caps=["CAP_WAKE_ALARM"])
        def test_caps():
            pass
        """
    )
    result = run(pytester, "-rs", "--strict-markers")
    counts = result.parseoutcomes()
    assert counts["passed"] + counts["skipped"] == 3
    result.stdout.fnmatch_lines(["*this needs Linux >=99.0, here runs *"])


def test_wrong_marker(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.bpf(caps=["CAP_BFP"])
        def test_it():
            pass
        """
    )
    result = run(pytester)
    result.stdout.fnmatch_lines(["*there is no capability 'CAP_BFP'; did you mean 'CAP_BPF'?*"])
    assert result.ret != 0


@pytest.mark.parametrize(
    ("kernel", "fits"),
    [
        (">=2.6", True), (">=99", False), ("<99, >2", True), ("!=99.1", True), ("==99.1", False),
        ("<=99.0.1", True), ("", True),
    ],
)  # fmt: skip
def test_versions(kernel: str, fits: bool) -> None:
    assert (missing(kernel) == "") == fits


def test_own_version() -> None:
    release = os.uname().release
    major, minor = release.split(".")[:2]
    assert missing(f"=={major}.{minor}") == ""
    assert release in missing(f">{major}.{minor}")
    for wrong in ("5.16", ">=", ">=x", "~5"):
        with pytest.raises(ValueError, match="not a comparison"):
            missing(wrong)


def test_capabilities_are_those_of_the_kernel() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert last <= CAPABILITIES.index("CAP_CHECKPOINT_RESTORE") == 40
    assert CAPABILITIES.index("CAP_SYS_ADMIN") == 21
    assert CAPABILITIES.index("CAP_BPF") == 39
    nobody = ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", sys.executable]
    code = "from pybpftool.inspect.requirements import missing; print(missing('', ['CAP_BPF']))"
    if os.geteuid() == 0:
        found = subprocess.run([*nobody, "-c", code], capture_output=True, text=True, check=False)
        if not found.returncode:  # else nobody may not read the sources
            assert found.stdout == "this needs the capability CAP_BPF\n"


def test_policy(pytester: pytest.Pytester, snapshot: str) -> None:
    pytester.makefile(
        ".toml",
        bpf="""
        schema = 1
        [[rule]]
        id = "there"
        prog = "counter"
        [[rule]]
        id = "absent"
        prog = { name = "counter" }
        count = 0
        [[rule]]
        id = "grown"
        prog = "counter"
        grows = "1%"
        """,
    )
    pytester.makepyfile(
        """
        from pybpftool.pytest_plugin import bpf_policy

        test_policy = bpf_policy("bpf.toml")
        """
    )
    result = run(pytester, "--bpf-snapshot", snapshot, "-v")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*::test_policy?there? PASSED*",
            "*::test_policy?absent? FAILED*",
            "*found     id 2, held by agent(50) of unit:agent.service*",
            "*cannot be judged: growth: no baseline for Linux 6.18.0-fake x86_64*",
        ]
    )


def test_snapshot_on_failure(pytester: pytest.Pytester, snapshot: str) -> None:
    pytester.makepyfile(
        """
        def test_good(bpf):
            pass

        def test_bad(bpf):
            assert bpf.progs("counter") == []
        """
    )
    words = ["--bpf-snapshot", snapshot, "--bpf-snapshot-on-failure", "kept/here"]
    result = run(pytester, *words)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*BPF snapshot*", "kept/here/*test_bad.zip"])
    (saved,) = (pytester.path / "kept" / "here").iterdir()
    assert saved.read_bytes() == Path(snapshot).read_bytes()
    refused = run(pytester, "--bpf-snapshot", "/none.zip", "--bpf-snapshot-on-failure", "kept")
    refused.stdout.fnmatch_lines(["*the kernel was not recorded: cannot open*"])


@pytest.mark.live
def test_leaks(pytester: pytest.Pytester) -> None:
    root = Path(__file__).parents[1]
    pytester.makeini("[pytest]\nbpf_leaks_own = true\n")
    pytester.makepyfile(
        f"""
        import sys
        sys.path.insert(0, {str(root)!r})
        from tests.support import asm, load

        kept = []

        def test_closes(bpf, bpf_leaks):
            with load.prog_load("xdp", asm.mov64(0, 2) + asm.exit_(), name="closes_it"):
                assert bpf.prog("closes_it").type == "xdp"

        def test_leaks(bpf_leaks):
            kept.append(load.prog_load("xdp", asm.mov64(0, 2) + asm.exit_(), name="leaks_it"))

        def test_allows(bpf_leaks):
            bpf_leaks.allow.append("leaks_*")
            kept.append(load.prog_load("xdp", asm.mov64(0, 2) + asm.exit_(), name="leaks_more"))
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(
        ["BPF objects are left over:", "*prog xdp leaks_it: id *, held by *(*)*"]
    )
