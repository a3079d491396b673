"""What a check found: findings, what could not be judged, and the summary of it all."""

from __future__ import annotations

from pybpftool.inspect.wording import counted, shown
from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.inspect.policy import Rule
    from pybpftool.kernel.interface import Kernel

EXIT_PASSED = 0
EXIT_FINDINGS = 1
EXIT_UNKNOWN = 2


class Finding(Record):
    """One thing that is not as a rule wishes it.

    ``object`` is what a person calls the object, empty for one that is missing; ``source`` is
    ``file:line`` where BTF knows it.
    """

    rule: str
    level: str
    what: str
    expected: str
    found: str
    object: str = ""
    id: int = 0
    source: str = ""
    command: str = ""
    line: int = 0

    def sentence(self) -> str:
        """All of it but the object, on one line."""
        return f"{self.what}: expected {self.expected}, found {self.found}"

    def json(self) -> dict[str, Any]:
        """The JSON properties."""
        json: dict[str, Any] = {
            "rule": self.rule,
            "level": self.level,
            "what": self.what,
            "expected": self.expected,
            "found": self.found,
        }
        if self.object:
            json["object"] = self.object
        if self.id:
            json["id"] = self.id
        if self.source:
            json["source"] = self.source
        if self.command:
            json["command"] = self.command
        if self.line:
            json["line"] = self.line
        return json


class Outcome:
    """What became of one rule. ``unknown`` and ``skipped`` hold a reason each time."""

    __slots__ = ("findings", "notes", "objects", "rule", "skipped", "unknown")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.findings: list[Finding] = []
        self.unknown: list[str] = []
        self.skipped: list[str] = []
        self.notes: list[str] = []
        self.objects = 0
        """How many objects the rule was about."""

    @property
    def status(self) -> str:
        """``failed``, ``warned``, ``unknown``, ``skipped`` or ``passed``."""
        if self.findings:
            return "failed" if self.rule.level == "error" else "warned"
        if self.unknown:
            return "unknown"
        return "skipped" if self.skipped else "passed"


class Report:
    """The outcomes of all rules on one kernel."""

    __slots__ = ("kernel", "machine", "outcomes", "policy", "recorded_at", "release")

    def __init__(self, policy: str, kernel: Kernel, outcomes: list[Outcome]) -> None:
        self.policy = policy
        """The path of the policy."""
        self.release = kernel.release
        self.machine = kernel.machine
        self.recorded_at: int | None = getattr(kernel, "recorded_at", None)
        self.outcomes = outcomes

    @property
    def findings(self) -> list[Finding]:
        """Those of all rules."""
        return [finding for outcome in self.outcomes for finding in outcome.findings]

    @property
    def counts(self) -> dict[str, int]:
        """How many rules had which outcome."""
        found = [outcome.status for outcome in self.outcomes]
        names = ("passed", "failed", "warned", "unknown", "skipped")
        return {"rules": len(found), **{name: found.count(name) for name in names}}

    @property
    def exit_status(self) -> int:
        """0 where all is as wished, 1 with findings, 2 where something could not be judged."""
        counts = self.counts
        if counts["failed"]:
            return EXIT_FINDINGS
        if any(outcome.unknown for outcome in self.outcomes):
            return EXIT_UNKNOWN
        return EXIT_PASSED

    def kernel_text(self) -> str:
        """Which kernel it was."""
        recorded = ", recorded" if self.recorded_at is not None else ""
        return f"Linux {shown(self.release)} {shown(self.machine)}{recorded}"

    def summary(self) -> str:
        """The line that ends every report."""
        counts = self.counts
        parts = [f"{counts['passed']} passed", f"{counts['failed']} failed"]
        if counts["warned"]:
            parts.append(f"{counts['warned']} warned")
        if counts["unknown"]:
            parts.append(f"{counts['unknown']} could not be judged")
        parts.append(f"{counts['skipped']} skipped")
        return f"{counted(counts['rules'], 'rule')}: {', '.join(parts)}; {self.kernel_text()}"
