"""Every module has a test file: at its place in the mirrored tree, or the one that stands here.

A module whose work shows best in what another one does is tested there: the file named here runs
most of its lines, which coverage's `dynamic_context = test_function` tells.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES, TESTS = ROOT / "pybpftool", ROOT / "tests"

# Test file -> the modules that it tests beside its own.
TESTED_IN: dict[str, str] = {
    "btf/core/test_resolve.py": "btf.core.spec",
    "btf/test_c_foreign.py": "btf.c.members",
    "btf/test_c_names.py": "btf.c.identifiers btf.c.numbers",
    "btf/test_c_layout.py": "btf.c.enums btf.c.exact btf.c.ordinary btf.c.wide",
    "btf/test_dumps.py": (
        "btf.c.declare btf.c.dump btf.c.order btf.c.sizes btf.c.text btf.rawdump btf.rawformats"
    ),
    "btf/test_fuzz.py": "adapters.elftools btf.c.sort",
    "btf/test_initializer.py": "btf.fitting",
    "btf/test_merge.py": "btf.encode btf.hashmap btf.relocate",
    "btf/test_python.py": "btf.declaration btf.search btf.types",
    "btf/test_table.py": "btf.section",
    "btf/test_values.py": "btf.builders btf.scalars",
    "cfg/test_dot.py": "adapters.graphviz",
    "cli/test_batch.py": "cli.kept_maps",
    "cli/test_cbpf.py": "adapters.libpcap kernel.seccomp",
    "cli/test_check.py": (
        "cli.recorded inspect.baseline inspect.bounds inspect.calls inspect.elements inspect.judge"
        " inspect.policy inspect.report inspect.unknown kernel.shapes objects.symbols"
    ),
    "cli/test_cgroup.py": "objects.cgroup",
    "cli/test_diff.py": "inspect.diff inspect.identity",
    "cli/test_doctor.py": "inspect.doctor inspect.tail_calls",
    "cli/test_attachments.py": (
        "cli.unseen inspect.attachment inspect.enumeration inspect.file_symbols"
    ),
    "cli/test_owners.py": "inspect.ownership",
    "cli/test_event_pipe.py": "kernel.rings",
    "cli/test_feature.py": "inspect.feature_diff objects.feature objects.kfunc",
    "cli/test_iter.py": "control.iterators",
    "cli/test_link.py": (
        "objects.links.functions objects.links.network objects.links.probes objects.links.source"
        " objects.links.tracing"
    ),
    "cli/test_main.py": "cli.help cli.options",
    "cli/test_map.py": "cli.listing cli.map_dump objects.map",
    "cli/test_map_elem.py": (
        "cli.map_create cli.pinning control.mounts control.pin objects.elements objects.unreadable"
    ),
    "cli/test_monitor.py": "control.assembly control.bpf_calls",
    "cli/test_net.py": "objects.net",
    "cli/test_obj.py": "gen.description objects.object_code",
    "cli/test_obj_verify.py": "control.verify",
    "cli/test_perf.py": "objects.perf",
    "cli/test_prog_attach.py": "control.sockets",
    "cli/test_prog_code.py": (
        "cfg.listing cfg.record cli.prog_form cli.prog_jited cli.prog_joined cli.prog_visual"
        " cli.prog_xlated objects.kernel_symbols"
    ),
    "cli/test_prog_load.py": "control.load",
    "cli/test_prog_run.py": "control.run",
    "cli/test_prog_tracelog.py": "cli.stopping control.tracelog",
    "cli/test_report.py": "page.document page.drawing page.sheets",
    "cli/test_struct_ops.py": "control.struct_ops objects.struct_ops",
    "cli/test_struct_ops_register.py": "control.register gen.for_libbpf",
    "cli/test_token.py": "objects.token",
    "cli/test_top.py": "cli.durations control.stats",
    "cli/test_why.py": "inspect.attachments inspect.edge inspect.owners inspect.tree inspect.why",
    "control/test_libbpf.py": "control.bpf_object",
    "control/test_run_loader.py": "control.signing",
    "gen/test_declarations.py": "btf.keywords",
    "gen/test_min_core_btf.py": "btf.core.compat",
    "gen/test_opening.py": (
        "gen.bpf_object gen.datasecs gen.map_defs gen.relocations gen.section_names"
    ),
    "gen/test_python_module.py": "gen.python_types skeleton.loaded skeleton.maps",
    "gen/test_skeleton.py": "gen.c_bytes",
    "gen/test_subskeleton.py": "btf.c.plain",
    "insn/test_disasm.py": "uapi.helpers",
    "insn/test_dump.py": "insn.program",
    "inspect/reports/test_reports.py": (
        "inspect.reports.github inspect.reports.json inspect.reports.junit inspect.reports.sarif"
        " inspect.reports.tap inspect.reports.text"
    ),
    "inspect/test_places.py": "inspect.all_places",
    "inspect/test_mutated.py": "inspect.fields inspect.inventory inspect.items inspect.wording",
    "inspect/test_recorder.py": "kernel.recording",
    "jit/test_dump.py": "jit.names jit.program",
    "joined/test_html.py": "output.htmltext",
    "joined/test_model.py": "joined.record joined.text",
    "kernel/test_attached.py": "kernel.cgroups kernel.net",
    "kernel/test_features.py": "kernel.map_probes",
    "kernel/test_mount_namespaces.py": "kernel.tasks",
    "kernel/test_snapshot.py": "kernel.archive",
    "kernel/test_task_iter.py": "kernel.own_programs kernel.perf",
    "live/test_attachments.py": "kernel.socket_maps",
    "objects/test_provenance.py": "inspect.provenance",
    "objects/test_seccomp.py": "uapi.syscalls",
    "test_pytest_plugin.py": "inspect.requirements",
}

# Module -> why no test runs it in its own process, and which test sees what it did.
ELSEWHERE: dict[str, tuple[str, str]] = {
    "__main__": ("it starts a process, and may start that again", "test_script.py"),
    "control.loader": ("it runs in a process of its own", "control/test_run_loader.py"),
    "uapi.netfilter": ("it is data", "uapi/test_bpf.py"),
    "uapi.perf": ("it is data", "uapi/test_bpf.py"),
    "uapi.prog_sections": ("it is data", "elf/test_prog_sections.py"),
}


def modules() -> set[str]:
    """The names of all modules but packages."""
    return {
        ".".join(path.relative_to(SOURCES).with_suffix("").parts)
        for path in SOURCES.rglob("*.py")
        if path.name != "__init__.py"
    }


def has_own_file(module: str) -> bool:
    """Whether the mirrored tree has its test file."""
    *packages, name = module.split(".")
    return TESTS.joinpath(*packages, f"test_{name}.py").exists()


def test_every_module_has_a_test_file() -> None:
    named = {name for names in TESTED_IN.values() for name in names.split()}
    missing = {name for name in modules() - named - ELSEWHERE.keys() if not has_own_file(name)}
    assert missing == set(), "add tests/…/test_NAME.py, or say above where it is tested"


def test_the_tables_are_true() -> None:
    rows = [(file, name) for file, names in TESTED_IN.items() for name in names.split()]
    rows += [(file, name) for name, (_, file) in ELSEWHERE.items()]
    assert len({name for _, name in rows}) == len(rows), "a module stands here twice"
    for file, name in rows:
        assert (TESTS / file).exists(), file
        assert name in modules(), f"{name} is gone"
        assert not has_own_file(name), f"{name} has a test file of its own by now"
