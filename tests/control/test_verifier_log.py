"""What is read out of the verifier's log."""

from __future__ import annotations

import pytest

from pybpftool.control import verifier_log
from pybpftool.control.verifier_log import Refusal, Statistics

# Of Linux 6.18, shortened.
LOG = """\
0: R1=ctx() R10=fp0
; int p1(struct xdp_md *c) { @ t2.c:4
0: (bf) r6 = r1                       ; R1=ctx() R6=ctx()
; return *(int *)(long)c->data; @ t2.c:5
13: (61) r1 = *(u32 *)(r6 +0)         ; R1=pkt(r=0) R6=ctx()
14: (61) r0 = *(u32 *)(r1 +0)
invalid access to packet, off=0 size=4, R1(id=0,off=0,r=0)
R1 offset is outside of the packet
verification time 68 usec
stack depth 4+0
processed 13 insns (limit 1000000) max_states_per_insn 1 total_states 2 peak_states 3 mark_read 0
"""
# Of Linux 6.1: no place behind the source.
OLD = """\
; return *p;
5: (71) r0 = *(u8 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""
# Of Linux 7.3, which explains, shortened.
EXPLAINED = """\
0: R1=ctx() R10=fp0
; return *(int *)(long)ctx->data; @ three.c:11
0: (61) r1 = *(u32 *)(r1 +0)          ; R1=pkt(r=0)
1: (61) r0 = *(u32 *)(r1 +0)
invalid access to packet, off=0 size=4, R1(id=0,off=0,r=0)
R1 min value is outside of the allowed memory range

Verification failed: Memory Safety: Access outside bounds

Reason:
  The verifier cannot prove offset + access_size <= object_size.

At:
  wrong @ three.c:11:5
  Source context:
       9 | ...
  >>> 11 |     return *(int *)(long)ctx->data;
         |     ^-- error: access may be outside object bounds
  Instruction context:
  >>> 1 | (61) r0 = *(u32 *)(r1 +0)
      2 | (95) exit

Suggestion:
  Add or adjust a bounds check that proves offset + access_size stays within the object.

verification time 488 usec
stack depth max 16
subprog 0 (wrong) main insns_self 2 insns_total 9 stack 8
subprog 1 (other) static insns_self 7 insns_total 7 stack 4
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 0
"""


def test_reasons_that_are_explained() -> None:
    assert verifier_log.refusal(EXPLAINED) == Refusal(
        "invalid access to packet, off=0 size=4, R1(id=0,off=0,r=0);"
        " R1 min value is outside of the allowed memory range",
        "three.c:11",
        "return *(int *)(long)ctx->data;",
    )
    # Where nothing else says it.
    lines = EXPLAINED.splitlines(keepends=True)
    alone = "".join(lines[:4] + lines[6:])
    assert verifier_log.refusal(alone).reason == "Memory Safety: Access outside bounds"
    # All of the explanation is worth showing.
    shown = verifier_log.tail(EXPLAINED).splitlines()
    assert shown[0].startswith("; return *(int *)")
    assert "Suggestion:" in shown
    assert verifier_log.statistics(EXPLAINED) == Statistics(2, 1, 1, 488, (8, 4))


def test_statistics_of_many_functions() -> None:
    begin, end = EXPLAINED.split("subprog 0", maxsplit=1)[0], EXPLAINED.splitlines()[-1]
    functions = [
        f"subprog {number} (f{number}) static insns_self 1 insns_total 1 stack {number}"
        for number in range(256)
    ]
    log = "\n".join([begin.rstrip("\n"), *functions, end, ""])
    assert verifier_log.statistics(log) == Statistics(2, 1, 1, 488, tuple(range(256)))
    assert "invalid access" in verifier_log.refusal(log).reason


def test_reason_place_and_source() -> None:
    assert verifier_log.refusal(LOG) == Refusal(
        "invalid access to packet, off=0 size=4, R1(id=0,off=0,r=0);"
        " R1 offset is outside of the packet",
        "t2.c:5",
        "return *(int *)(long)c->data;",
    )
    assert verifier_log.refusal(OLD) == Refusal(
        "R0 invalid mem access 'map_value_or_null'", "", "return *p;"
    )


def test_an_at_sign_in_the_source() -> None:
    log = '; f("a @ b"); @ d.c:3\n0: (95) exit\nR0 !read_ok\n'
    assert verifier_log.refusal(log) == Refusal("R0 !read_ok", "d.c:3", 'f("a @ b");')


@pytest.mark.parametrize("log", ["", "\n", "processed 0 insns\n"])
def test_an_empty_log(log: str) -> None:
    assert verifier_log.refusal(log) == Refusal("", "", "")


def test_what_the_verifier_tells_of_its_work_is_no_reason() -> None:
    log = "0: (95) exit\nmark_precise: frame0: last_idx 0 first_idx 0\nR0 !read_ok\n"
    assert verifier_log.refusal(log).reason == "R0 !read_ok"


def test_a_relocation_that_failed() -> None:
    log = "; x @ a.c:1\n2: <invalid CO-RE relocation>\nfailed to resolve CO-RE relocation [7] a\n"
    assert verifier_log.refusal(log).reason == "failed to resolve CO-RE relocation [7] a"


def test_tail_begins_at_the_line_of_source() -> None:
    assert verifier_log.tail(LOG).splitlines()[0] == "; return *(int *)(long)c->data; @ t2.c:5"
    long = "".join(f"{at}: (bf) r6 = r1\n" for at in range(100))
    assert verifier_log.tail(long).splitlines()[0] == "84: (bf) r6 = r1"
    assert verifier_log.tail("") == ""


def test_statistics() -> None:
    assert verifier_log.statistics(LOG) == Statistics(13, 2, 3, 68, (4, 0))
    assert verifier_log.statistics(OLD) == Statistics(6, 0, 0, None, ())
    assert verifier_log.statistics("stack depth x\nprocessed\n") == Statistics()
