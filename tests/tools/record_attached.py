"""Record links, perf events, cgroups and networks for the golden tests, beside upstream's answers.

    python -m tests.tools.record_attached --upstream PATH/TO/bpftool --kernel 6.12

Runs in a virtual machine with that kernel (tests/tools/vm.py), where nothing else is attached, and
makes there what tests/support/attachments.py and netdevs.py can.  Result, below fixtures/link:
debian-KERNEL/snapshot.zip and the cases as tests/support/golden.py describes them.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pybpftool.errors import BpfError
from pybpftool.inspect.recorder import (
    record_cgroups,
    record_links,
    record_networks,
    record_perf,
)
from pybpftool.kernel.live import LiveKernel
from pybpftool.kernel.recording import RecordingKernel
from tests.support import golden, load
from tests.support.attachments import Scene, add_cgroups, add_links, add_perf
from tests.support.btfbuild import BtfBuilder, BtfIndex
from tests.support.netdevs import add_net

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures" / "link"
MODULES = "netkit,sch_htb,sch_tbf,sch_prio,act_gact,act_bpf,cls_bpf,cls_matchall,dummy,veth"
FORMS: list[list[str]] = [[], ["-j"], ["-jp"]]
# Functions whose symbols the recording keeps, of the 200,000 in kallsyms.
PROBED = (b"vfs_fsync_range", b"vfs_mkdir", b"vfs_rmdir", b"__bpf_call_base")


class _Lean(LiveKernel):
    """The running kernel, with long files cut to what the commands look for."""

    def file(self, path: str) -> bytes:
        data = super().file(path)
        if path == "/proc/kallsyms":
            lines = data.split(b"\n")
            kept = {line[:16] for line in lines if line.split(b" ")[-1] in PROBED}
            return b"\n".join(line for line in lines if line[:16] in kept) + b"\n"
        if path.startswith("/boot/config"):
            lines = data.split(b"\n")
            return (
                b"\n".join(lines[:3] + [line for line in lines if b"X86_KERNEL_IBT" in line])
                + b"\n"
            )
        return data

    def btf_data(self, id: int) -> bytes:
        data = super().btf_data(id)
        if len(data) < 1 << 20:
            return data
        # Of the kernel's 100,000 types only the names of LSM hooks are asked for.
        index = BtfIndex(data)
        kept = {
            number: name
            for (kind, name), number in index.ids.items()
            if kind == 12 and name.startswith("bpf_lsm_socket_")
        }
        builder = BtfBuilder()
        builder.add_func_proto(0, [])
        for number in range(2, max(kept) + 1):
            if number in kept:
                builder.add_func(kept[number], 1, 1)
            else:
                builder.add_ptr(0)
        return builder.build()


def commands(root: str) -> list[list[str]]:
    """The command lines that are answered."""
    lines = [
        "link show",
        "-f link list",
        "perf show",
        "cgroup tree",
        f"cgroup tree {root} effective",
        "net show",
        "net show dev pybt0",
    ]
    found = [line.split() for line in lines]
    for folder, _, _ in os.walk(root):
        found.append(["cgroup", "show", folder])
        found.append(["cgroup", "show", folder, "effective"])
    return found


def record(upstream: str, name: str, output: Path, config: str) -> None:
    """Record the running kernel into `output`/NAME."""
    target = output / name
    target.mkdir(parents=True, exist_ok=True)
    # Upstream reads the kernel's configuration from there.
    os.makedirs("/boot", exist_ok=True)
    shutil.copy(config, f"/boot/config-{os.uname().release}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(load.temp_netns())
        scene = Scene(stack)
        add_links(scene)
        add_perf(scene)
        root = add_cgroups(scene)
        add_net(scene)
        place = stack.enter_context(load.temp_bpffs())
        for number, (label, fd) in enumerate(scene.links.items()):
            for copy in range(number % 3):
                load.obj_pin(fd, f"{place}/{label.replace(' ', '_')}_{copy}")
        for reason in scene.refused.items():
            print("refused: %s: %s" % reason, flush=True)
        recording = RecordingKernel(_Lean())
        for collect in (record_links, record_perf, record_cgroups, record_networks):
            with contextlib.suppress(BpfError):  # a refusal is kept as an answer
                collect(recording)
        (target / "snapshot.zip").write_bytes(recording.archive())
        answers: list[golden.Case] = []
        for words in commands(root):
            for form in FORMS:
                done = subprocess.run([upstream, *form, *words], capture_output=True, check=False)
                answers.append(golden.Case([*form, *words], not done.returncode, done.stdout))
                print(" ".join([*form, *words]), len(done.stdout), done.returncode, flush=True)
        version = subprocess.run([upstream, "version"], capture_output=True, text=True, check=True)
        series = name.partition("-")[2]
        facts = {
            "kernel": os.uname().release,
            "upstream": version.stdout.partition("\n")[0],
            "command": f"python -m tests.tools.record_attached --upstream PATH --kernel {series}",
            "tz": "UTC",
            "pids": "yes",
            "links": ", ".join(sorted(scene.ids)),
        }
        for refused, why in scene.refused.items():
            facts[f"refused {refused}"] = why.replace("\n", " ")
        golden.write(target, facts, answers)
    for file in sorted(target.iterdir()):
        print(f"{file}: {file.stat().st_size} bytes")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.record_attached")
    parser.add_argument("--upstream", required=True, help="the bpftool whose answers are recorded")
    parser.add_argument("--kernel", required=True, help="kernel series, as vm.py knows them")
    parser.add_argument("--cache", default=os.path.expanduser("~/.cache/pybpftool-vm"))
    parser.add_argument("--output", type=Path, default=FIXTURES)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    upstream, output = os.path.realpath(args.upstream), args.output.resolve()
    if args.inside:
        (config,) = glob.glob(f"{args.cache}/{args.kernel}/boot/config-*")
        record(upstream, f"debian-{args.kernel}", output, config)
        return
    output.mkdir(parents=True, exist_ok=True)
    machine = [sys.executable, "tests/tools/vm.py", "--kernel", args.kernel, "--modules", MODULES]
    machine += ["--cwd", str(ROOT), "--share", str(output), "--timeout", "3000", "--"]
    inside = ["-m", "tests.tools.record_attached", "--inside", "--upstream", upstream]
    inside += ["--kernel", args.kernel, "--cache", args.cache, "--output", str(output)]
    started = time.monotonic()
    done = subprocess.run([*machine, sys.executable, *inside], check=False, cwd=ROOT)
    print("%.0f s" % (time.monotonic() - started))
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
