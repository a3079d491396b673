"""Shows what this is good for, on one program: loaded for the purpose, or recorded.

.ci/demo [--recorded]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HERE = "fixtures/demo"
ROWS = 10  # of the dump: the whole is on the page

Done = subprocess.CompletedProcess[str]


def pybpftool(*words: str) -> Done:
    """Run the command, catching what it prints."""
    command = [sys.executable, "-m", "pybpftool", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def reason_of(done: Done) -> str:
    """Why it failed, in a few words."""
    lines = done.stderr.strip().splitlines() or ["for no reason that was given"]
    return lines[-1].removeprefix("Error: ")


def pages() -> str:
    """Where to write to."""
    if os.access(ROOT, os.W_OK):
        Path(ROOT, "build/demo").mkdir(parents=True, exist_ok=True)
        return "build/demo"
    return tempfile.mkdtemp(prefix="pybpftool-demo-")


def show(*words: str, begin: str = "") -> None:
    """Run the command for the person who watches; with ``begin``, some rows from there on."""
    print(f"$ pybpftool {' '.join(words)}", flush=True)
    done = pybpftool(*words)
    if done.returncode:
        raise SystemExit(reason_of(done))
    lines = done.stdout.splitlines()
    if begin:
        at = next(n for n, line in enumerate(lines) if begin in line)
        rest = len(lines) - at - ROWS
        lines = [lines[0], "  …", *lines[at : at + ROWS], f"  … and {rest} more rows"]
    if lines:
        print("\n".join(lines))


def show_all(prog: dict[str, Any], *options: str) -> None:
    """The listing, source beside code, a map by its types, a graph and a page."""
    which = ("id", str(prog["id"]))
    folder = pages()
    show(*options, "prog", "show", *which)
    print()
    show(*options, "prog", "dump", "joined", *which, begin="; if (!now)")
    print()
    show(*options, "map", "dump", "id", str(prog["map_ids"][0]))
    print()
    show(*options, "prog", "dump", "joined", *which, "html", f"{folder}/drop_short.html")
    drawing = f"{folder}/drop_short.svg"
    done = pybpftool(*options, "prog", "dump", "xlated", *which, "visual", "svg", drawing)
    if done.returncode:
        print(f"No drawing: {reason_of(done)}")
    else:
        words = " ".join([*options, "prog dump xlated", *which, "visual svg", drawing])
        print(f"$ pybpftool {words}")
    print(f"\nLook at {folder}/drop_short.html in a browser.")


def asked(*words: str) -> dict[str, Any]:
    """What the command says about one object."""
    answer: dict[str, Any] = json.loads(pybpftool("-j", *words).stdout)
    return answer


def in_a_mount_namespace(point: str) -> str:
    """Load the program, let it see packets, show it; returns why not, if it may not be loaded."""
    pins = ("pinmaps", f"{point}/maps")
    loaded = pybpftool("prog", "loadall", f"{HERE}/demo.bpf.o", f"{point}/progs", *pins)
    if loaded.returncode:
        return reason_of(loaded)
    with tempfile.NamedTemporaryFile() as packet:
        for size, repeat in ((60, 3), (1400, 2)):
            os.truncate(packet.name, size)
            words = ("data_in", packet.name, "repeat", str(repeat))
            pybpftool("prog", "run", "pinned", f"{point}/progs/drop_short", *words)
    print(f"The running kernel, Linux {os.uname().release}, with {HERE}/demo.bpf.c loaded:\n")
    show_all(asked("prog", "show", "pinned", f"{point}/progs/drop_short"))
    print("The program goes with the mount namespace that it is pinned in.")
    return ""


def live() -> str:
    """Show a program of the running kernel; returns why not, if that may not be done."""
    listing = pybpftool("prog", "show")
    if listing.returncode:
        return reason_of(listing)
    with tempfile.TemporaryDirectory() as point:
        # What is mounted and pinned in a mount namespace goes when its last process ends.
        script = 'mount -t bpf none "$1" && exec "$2" "$3" --mounted "$1"'
        words = ("unshare", "-m", "sh", "-c", script, "sh", point, sys.executable, __file__)
        try:
            done = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
    return reason_of(done) if done.returncode else ""


def main(argv: list[str]) -> int:
    """On the running kernel where that is allowed, else on a recorded one."""
    if argv[1:2] == ["--mounted"]:
        reason = in_a_mount_namespace(argv[2])
        print(reason, file=sys.stderr)
        return bool(reason)
    reason = "that was asked for" if "--recorded" in argv else live()
    if reason:
        print(f"A recorded kernel, not the running one: {reason}\n")
        options = ("--snapshot", f"{HERE}/snapshot.zip")
        show_all(asked(*options, "prog", "show", "name", "drop_short"), *options)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv))
    except BrokenPipeError:
        os._exit(141)  # who watched has seen enough
