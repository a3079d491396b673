"""The differences from upstream that are wanted, each with its reason; the README lists them too.

`differential.py` applies these to the outputs before it compares them, and SILENT_FAILURE, lets
load times be a second apart (two clocks are read one after the other), and nothing else.  Each
entry says on which side it applies: `both` replaces the same text on both sides (wording that is
our own), `ours` takes out what only we print.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Difference:
    """One wanted difference: a regular expression over the bytes of the standard output."""

    name: str
    reason: str
    side: Literal["both", "ours", "upstream"]
    pattern: bytes
    replacement: bytes
    # Only when upstream printed no holders at all, although this process holds programs.
    only_without_pids: bool = False

    def apply(self, data: bytes) -> bytes:
        """`data` with the pattern replaced."""
        return re.sub(self.pattern, self.replacement, data, flags=re.MULTILINE)


# Where upstream fails without a word (a name that no program has), ours must say something.
SILENT_FAILURE = "upstream fails without a message; ours always has one"

_STRING = rb'"(?:[^"\\]|\\.)*"'

DIFFERENCES = [
    Difference(
        "error wording",
        "the text of an error is our own",
        "both",
        rb'("error":\s*)' + _STRING,
        rb'\1"*"',
    ),
    Difference(
        "how long a run took (text)",
        "no run takes as long as another",
        "both",
        rb"(Return value: \d+, duration(?: \(average\))?: )\d+ns",
        rb"\1*ns",
    ),
    Difference(
        "how long a run took (JSON)",
        "as above",
        "both",
        rb'("retval":\s*\d+,\s*"duration":\s*)\d+',
        rb"\1*",
    ),
    Difference(
        "holders (text)",
        "upstream finds no holders on kernels without CONFIG_KALLSYMS_ALL, and says nothing",
        "ours",
        rb"\n\tpids [^\n]*",
        b"",
        only_without_pids=True,
    ),
    Difference(
        "holders (JSON)",
        "as above",
        "ours",
        rb',\s*"pids":\s*\[(?:\s*\{\s*"pid":\s*\d+,\s*"comm":\s*' + _STRING + rb"\s*\},?)*\s*\]",
        b"",
        only_without_pids=True,
    ),
    Difference(
        "cookies of held perf event links (text)",
        "upstream prints them only together with the holders that it finds",
        "ours",
        rb"\n\tbpf_cookie \d+$",
        b"",
        only_without_pids=True,
    ),
    Difference(
        "cookies of held perf event links (JSON)",
        "as above",
        "ours",
        rb',\s*"bpf_cookie":\s*\d+',
        b"",
        only_without_pids=True,
    ),
    Difference(
        "flow dissector as an object",
        "upstream writes a property into an array, which is not JSON",
        "both",
        rb'("flow_dissector":\s*)\[\s*\{?\s*("id":\s*\d+)\s*\}?\s*\]',
        rb"\1[\2]",
    ),
    Difference(
        "names of targets (text)",
        "upstream shows addresses only; in text the name follows in angle brackets",
        "ours",
        rb"^( *[0-9a-f]+:\t\w+\t0x[0-9a-f]+) <[^<>\n]+>$",
        rb"\1",
    ),
    Difference(
        "names of targets (JSON)",
        "as above; in JSON the name is a property",
        "ours",
        rb',\s*"target":\s*' + _STRING,
        b"",
    ),
    Difference(
        "a cgroup without programs",
        "upstream prints an empty line with -j, which is not JSON",
        "both",
        rb"\A(\[\])?\n\Z",
        b"\n",
    ),
]

# `link show id N` prints the link and fails; ours succeeds.
PRINTED_YET_FAILED = "upstream fails although it printed what was asked for"
