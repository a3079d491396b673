"""Answers of the words about owners, kept as text: a command after ``$``, then what it printed.

They are ours alone, so there is no upstream to compare with; after a change that is meant to be
one, `python -m tests.support.owners_golden` writes them again.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.cli import run

FIXTURES = Path(__file__).parents[2] / "fixtures"
FOLDER = FIXTURES / "owners"
KERNELS = {
    "host": FIXTURES / "host" / "snapshot.zip",
    "debian-6.12": FIXTURES / "link" / "debian-6.12" / "snapshot.zip",
    "debian-6.1": FIXTURES / "link" / "debian-6.1" / "snapshot.zip",
}


def cases() -> list[tuple[str, str, str]]:
    """(kernel, command, what it printed on standard output and then on standard error)."""
    found = []
    for path in sorted(FOLDER.glob("*.txt")):
        for part in path.read_text(encoding="utf-8").split("\n$ ")[1:]:
            command, _, text = part.partition("\n")
            found.append((path.stem, command, text))
    return found


def answer(kernel: str, command: str) -> str:
    """What a command prints now, with its status where it is not 0."""
    result = run("--snapshot", str(KERNELS[kernel]), *command.split())
    status = f"status {result.status}\n" if result.status else ""
    return result.text + result.errors + status


def main() -> None:
    for path in FOLDER.glob("*.txt"):
        parts = [f"\n$ {command}\n" + answer(kernel, command)
                 for kernel, command, _ in cases() if kernel == path.stem]  # fmt: skip
        path.write_text("".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
