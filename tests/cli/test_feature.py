"""`feature` on constructed answers, and what it knows by name."""

from __future__ import annotations

import gzip
from errno import ENODEV, EPERM
from pathlib import Path
from typing import Any

import pytest

from pybpftool.errors import KernelError
from pybpftool.inspect.recorder import record_features
from pybpftool.kernel.recording import RecordingKernel
from pybpftool.objects.feature import OPTIONS
from pybpftool.uapi import bpf as uapi
from tests.support.btfbuild import BtfBuilder
from tests.support.cli import assert_one_sentence, run
from tests.support.fakekernel import FakeKernel
from tests.support.golden import FIXTURES

CONFIG = b"""\
#
# Automatically generated file; DO NOT EDIT.
# Linux/x86 0.0 Kernel Configuration
CONFIG_BPF=y
# CONFIG_TEST_BPF is not set
CONFIG_HZ=250
CONFIG_HZ=1
CONFIG_EMPTY=
"""


class FeatureKernel(FakeKernel):
    """A kernel that can do what `answers` says; `asked_for` are the arguments of questions."""

    def __init__(self) -> None:
        super().__init__()
        self.files["/boot/config-0.0-fake"] = CONFIG
        self.asked_for: list[tuple[bool, bool, int]] = []
        self.refusal: KernelError | None = None
        self.answers: dict[str, Any] = {
            "sysctls": {
                "unprivileged_bpf_disabled": 2,
                "bpf_jit_enable": 1,
                "bpf_jit_harden": -1,
                "bpf_jit_kallsyms": 7,
                "bpf_jit_limit": 1000,
            },
            "syscall": True,
            "prog_types": {"xdp": True, "tracing": True, "lsm": False},
            "map_types": {"hash": True, "arena": False},
            "helpers": {"xdp": ["bpf_map_lookup_elem", "bpf_redirect"], "tracing": [], "lsm": []},
            "misc": {"large_insn_limit": True, "v4_isa_extension": False},
            "refused": 0,
        }

    def features(self, full: bool, unprivileged: bool, ifindex: int) -> dict[str, Any]:
        self.asked_for.append((full, unprivileged, ifindex))
        if self.refusal is not None:
            raise self.refusal
        return self.answers

    def btf_name(self, id: int) -> str:
        return self.names.get(id, "")

    def device_index(self, name: str, netns: str) -> int:
        if name != "eth0":
            raise KernelError("no such device", ENODEV)
        return 4


@pytest.fixture
def kernel() -> FeatureKernel:
    return FeatureKernel()


class TestProbe:
    def test_text(self, kernel: FeatureKernel) -> None:
        result = run("feature", kernel=kernel)
        assert (result.status, result.err) == (0, b"")
        sections = result.text.split("\n\n")
        settings = sections[0].split("\n")
        assert settings[:6] == [
            "Scanning system configuration...",
            "bpf() syscall restricted to privileged users (admin can change)",
            "JIT compiler is enabled",
            "Unable to retrieve JIT hardening status",
            "JIT kallsyms exports status has unknown value 7",
            "Global memory limit for JIT compiler for unprivileged users is 1000 bytes",
        ]
        assert settings[6] == "CONFIG_BPF is set to y"
        assert settings[-2:] == ["CONFIG_TEST_BPF is not set", "CONFIG_HZ is set to 250"]
        assert sections[2].endswith("eBPF program_type lsm is NOT available")
        assert sections[4] == (
            "Scanning eBPF helper functions...\n"
            "eBPF helpers supported for program type xdp:\n"
            "\t- bpf_map_lookup_elem\n"
            "\t- bpf_redirect\n"
            "eBPF helpers supported for program type tracing:\n"
            "\tCould not determine which helpers are available\n"
            "eBPF helpers supported for program type lsm:\n"
            "\tProgram type not supported"
        )
        assert sections[5].endswith("ISA extension v4 is NOT available")

    def test_json(self, kernel: FeatureKernel) -> None:
        found = run("-j", "feature", "probe", "macros", "prefix", "X", kernel=kernel).json
        assert found["system_config"]["bpf_jit_harden"] == -1
        assert found["system_config"]["CONFIG_HZ"] == "250"
        assert found["system_config"]["CONFIG_BPF_JIT"] is None
        assert found["syscall_config"] == {"have_bpf_syscall": True}
        assert found["program_types"]["have_lsm_prog_type"] is False
        assert found["map_types"] == {"have_hash_map_type": True, "have_arena_map_type": False}
        assert found["helpers"]["tracing_available_helpers"] == []
        assert found["misc"]["have_large_insn_limit"] is True

    def test_macros(self, kernel: FeatureKernel) -> None:
        lines = run("feature", "probe", "mac", "pre", "MY_", kernel=kernel).text.splitlines()
        assert lines[:3] == ["/*** Misc kernel config items ***/", "#define MY_CONFIG_HZ 250", ""]
        assert "#define MY_HAVE_XDP_PROG_TYPE" in lines
        assert "#define MY_NO_HAVE_LSM_PROG_TYPE" in lines
        assert "#define MY_BPF__PROG_TYPE_xdp__HELPER_bpf_redirect 1" in lines
        assert "#define MY_BPF__PROG_TYPE_xdp__HELPER_bpf_sk_assign 0" in lines
        assert not any("trace_printk" in line for line in lines)
        full = run("feature", "probe", "full", "macros", kernel=kernel).text
        assert "#define BPF__PROG_TYPE_xdp__HELPER_bpf_trace_printk 0\n" in full
        assert kernel.asked_for == [(False, False, 0), (True, False, 0)]

    def test_device(self, kernel: FeatureKernel) -> None:
        result = run("feature", "probe", "full", "dev", "eth0", kernel=kernel)
        assert result.text.startswith("Scanning system call availability...\n")
        assert "system_config" not in run("-j", "feature", "probe", "d", "eth0", kernel=kernel).json
        assert kernel.asked_for == [(True, False, 4), (False, False, 4)]

    def test_without_system_call(self, kernel: FeatureKernel) -> None:
        kernel.answers["syscall"] = False
        assert run("feature", kernel=kernel).text.endswith("bpf() syscall is NOT available\n\n")
        assert list(run("-j", "feature", kernel=kernel).json) == ["system_config", "syscall_config"]

    @pytest.mark.parametrize("damage", [b"", b"\x1f\x8bnothing", b"one\ntwo\nthree\n"])
    def test_configuration_that_is_none(self, kernel: FeatureKernel, damage: bytes) -> None:
        kernel.files["/boot/config-0.0-fake"] = damage
        result = run("feature", kernel=kernel)
        assert (result.status, "CONFIG_" in result.text) == (0, False)
        assert result.errors.startswith("the kernel's configuration is left out: ")
        assert run("-j", "feature", kernel=kernel).err == b""

    def test_compressed_configuration(self, kernel: FeatureKernel) -> None:
        del kernel.files["/boot/config-0.0-fake"]
        kernel.files["/proc/config.gz"] = gzip.compress(CONFIG)
        assert "CONFIG_HZ is set to 250\n" in run("feature", kernel=kernel).text

    def test_without_proc(self, kernel: FeatureKernel) -> None:
        kernel.answers["sysctls"] = None
        result = run("feature", kernel=kernel)
        assert result.text.startswith("Scanning system configuration...\nCONFIG_BPF is set")
        assert "/proc is not mounted" in result.errors

    def test_what_was_not_permitted_is_told(self, kernel: FeatureKernel) -> None:
        kernel.answers["refused"] = 12
        assert run("feature", "probe", "unpriv", kernel=kernel).errors.startswith("12 questions ")
        assert kernel.asked_for == [(False, True, 0)]

    def test_refusal(self, kernel: FeatureKernel) -> None:
        kernel.refusal = KernelError("probing needs CAP_BPF", EPERM)
        result = run("feature", "probe", kernel=kernel)
        assert_one_sentence(result, "probing needs CAP_BPF")
        assert result.out == b""

    @pytest.mark.parametrize(
        "words",
        [
            ("kernel", "kernel"),
            ("kernel", "dev", "eth0"),
            ("dev", "eth0", "kernel"),
            ("dev",),
            ("dev", "nothing"),
            ("prefix", "X"),
            ("macros", "prefix"),
            ("macros", "prefix", "X", "prefix", "Y"),
            ("macros", "macros"),
            ("nonsense",),
        ],
    )
    def test_wrong_words(self, kernel: FeatureKernel, words: tuple[str, ...]) -> None:
        result = run("feature", "probe", *words, kernel=kernel)
        assert_one_sentence(result)
        assert (result.out, kernel.asked_for) == (b"", [])


class TestListBuiltins:
    @pytest.mark.parametrize(
        ("group", "name", "count"),
        [
            ("prog_types", "xdp", len(uapi.PROG_TYPES)),
            ("map_types", "hash", len(uapi.MAP_TYPES)),
            ("a", "cgroup_inet_ingress", len(uapi.ATTACH_TYPES)),
            ("l", "perf_event", len(uapi.LINK_TYPES)),
            ("h", "bpf_map_lookup_elem", 212),
            ("btf_kinds", "ENUM64", 20),
        ],
    )
    def test_names(self, group: str, name: str, count: int) -> None:
        lines = run("feature", "list_builtins", group).text.splitlines()
        assert name in lines
        assert len(lines) >= count
        assert run("-j", "feature", "list", group, "more").json == lines

    def test_kfuncs(self, kernel: FeatureKernel) -> None:
        btf = BtfBuilder()
        number = btf.add_int("int", 4)
        proto = btf.add_func_proto(number, [("a", number)])
        function = btf.add_func("bpf_two", proto)
        btf.add_decl_tag("bpf_kfunc", function)
        far = btf.add_ptr(btf.add_type_tag("address_space(1)", 0, kflag=True))
        btf.add_decl_tag("bpf_kfunc", btf.add_func("bpf_far", btf.add_func_proto(far)))
        btf.add_decl_tag("other", btf.add_func("hidden", proto))
        kernel.files["/sys/kernel/btf/vmlinux"] = btf.build()
        result = run("feature", "list_builtins", "kfuncs", kernel=kernel)
        far_text = "void __attribute__((address_space(1))) * bpf_far(void)"
        assert result.text == f"{far_text};\nint bpf_two(int a);\n"
        assert run("-j", "feature", "list_builtins", "k", kernel=kernel).json == [
            {"name": "bpf_far", "prototype": far_text},
            {"name": "bpf_two", "prototype": "int bpf_two(int a)"},
        ]

    def test_kfuncs_of_modules(self, kernel: FeatureKernel) -> None:
        base = BtfBuilder()
        number = base.add_int("int", 4)
        base.add_decl_tag("bpf_kfunc", base.add_func("bpf_z", base.add_func_proto(number)))
        kernel.files["/sys/kernel/btf/vmlinux"] = base.build()
        split = BtfBuilder(first_id=base.next_id, base_strings=len(base._strings))
        split.add_decl_tag("bpf_kfunc", split.add_func("bpf_a", split.add_func_proto(number)))
        for id, name in ((1, "vmlinux"), (2, "conntrack"), (3, "")):
            kernel.btf(id, kernel_btf=int(id < 3), name_len=len(name))
            kernel.names[id] = name
            kernel.btfs[id] = split.build()
        assert run("feature", "list_builtins", "kfuncs", kernel=kernel).text == (
            "int bpf_z(void);\nint bpf_a(void);  /* conntrack */\n"
        )
        found = run("-j", "feature", "list_builtins", "kfuncs", kernel=kernel).json
        assert [each.get("module") for each in found] == [None, "conntrack"]

    def test_kernel_that_marks_no_kfuncs(self, kernel: FeatureKernel) -> None:
        btf = BtfBuilder()
        btf.add_int("int", 4)
        kernel.files["/sys/kernel/btf/vmlinux"] = btf.build()
        assert_one_sentence(run("feature", "list_builtins", "kf", kernel=kernel), "6.10")

    def test_wrong_words(self) -> None:
        assert_one_sentence(run("feature", "list_builtins"), "'prog_types'")
        assert_one_sentence(run("feature", "list_builtins", "nonsense"), "got 'nonsense'")


def saved(kernel: FeatureKernel, path: Path) -> str:
    recording = RecordingKernel(kernel)
    record_features(recording)
    path.write_bytes(recording.archive())
    return str(path)


class TestDiff:
    def test_between_snapshots(self, kernel: FeatureKernel, tmp_path: Path) -> None:
        old = saved(kernel, tmp_path / "old.zip")
        kernel.answers["map_types"] = {"hash": False, "arena": True}
        kernel.answers["helpers"]["xdp"] = ["bpf_redirect", "bpf_loop"]
        kernel.answers["sysctls"]["bpf_jit_limit"] = 2000
        new = saved(kernel, tmp_path / "new.zip")
        result = run("feature", "diff", old, new)
        assert (result.status, result.err) == (1, b"")
        assert result.text.splitlines() == [
            "~ system_config bpf_jit_limit: 1000 -> 2000",
            "- map_types have_hash_map_type",
            "+ map_types have_arena_map_type",
            "- xdp_available_helpers bpf_map_lookup_elem",
            "+ xdp_available_helpers bpf_loop",
        ]
        result = run("-j", "feature", "diff", old, new)
        assert (result.status, len(result.json)) == (1, 5)
        assert result.json[3:] == [
            {
                "section": "xdp_available_helpers",
                "name": "bpf_map_lookup_elem",
                "old": True,
                "new": None,
            },
            {"section": "xdp_available_helpers", "name": "bpf_loop", "old": None, "new": True},
        ]
        assert run("feature", "diff", old, kernel=kernel).status == 1

    def test_none(self, kernel: FeatureKernel, tmp_path: Path) -> None:
        path = saved(kernel, tmp_path / "a.zip")
        result = run("feature", "diff", path, kernel=kernel)
        assert (result.status, result.out, result.err) == (0, b"", b"")
        assert run("-j", "feature", "diff", path, path).json == []

    @pytest.mark.parametrize(
        "damage",
        [{"helpers": 1}, {"prog_types": []}, {"sysctls": {"x": 1}}, {"misc": {"odd": True}}],
    )
    def test_damaged_answers(
        self, kernel: FeatureKernel, tmp_path: Path, damage: dict[str, Any]
    ) -> None:
        whole = saved(kernel, tmp_path / "a.zip")
        kernel.answers.update(damage)
        path = saved(kernel, tmp_path / "b.zip")
        result = run("feature", "diff", path, whole)
        assert "Traceback" not in result.errors
        assert result.status in (1, 2)
        result = run("--snapshot", path, "feature")
        assert_one_sentence(result, "the snapshot is damaged")

    def test_failures(self, kernel: FeatureKernel, tmp_path: Path) -> None:
        kernel.refusal = KernelError("probing needs CAP_BPF", EPERM)
        path = saved(kernel, tmp_path / "a.zip")
        for words in ((), ("/nonexistent",), (path, path), (path, path, path)):
            result = run("feature", "diff", *words)
            assert (result.status, result.out) == (2, b"")
            assert len(result.errors.splitlines()) == 1


def test_replay(kernel: FeatureKernel, tmp_path: Path) -> None:
    path = saved(kernel, tmp_path / "a.zip")
    for words in (("feature",), ("-j", "feature", "probe"), ("feature", "probe", "macros")):
        assert run("--snapshot", path, *words) == run(*words, kernel=kernel)
    for word in ("full", "unprivileged"):
        result = run("--snapshot", path, "feature", "probe", word)
        assert_one_sentence(result, "a snapshot has what 'feature probe' finds, not")


def test_a_snapshot_without_probes() -> None:
    old = str(FIXTURES / "check" / "6.12.zip")
    for words in (("--snapshot", old, "feature"), ("feature", "diff", old, old)):
        result = run(*words)
        assert result.status in (2, 255)
        assert result.errors == (
            "Error: this snapshot was recorded without what 'feature probe' finds\n"
        )


def test_options_are_named_once() -> None:
    assert len(set(OPTIONS)) == len(OPTIONS) == 33
