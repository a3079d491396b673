"""The joined view: nothing is lost, nothing stands twice, lines are the right ones."""

from __future__ import annotations

import json
import re
from functools import partial

import pytest

from pybpftool.joined.model import Joined
from pybpftool.joined.record import write_json
from pybpftool.joined.text import write_text
from pybpftool.output.jsontext import JsonStream
from pybpftool.output.stream import Output
from tests.support.jited import plain, written
from tests.support.recorded import programs


def joined(name: str, **jited: object) -> Joined:
    prog = programs()[name]
    return Joined(prog.xlated(), prog.jited(**jited))


def text_of(view: Joined, opcodes: bool = False, linum: bool = False) -> str:
    return written(lambda out: write_text(out, view, opcodes, linum))


def check_whole(view: Joined) -> None:
    image = view.listing.cfg.image
    slots = [slot for f in view.functions for group in f.groups for slot in group.slots]
    assert slots == list(image.starts())
    for function in view.functions:
        machine = [index for group in function.groups for index in group.machine]
        assert machine == list(range(len(function.instructions)))


@pytest.mark.parametrize("name", programs())
def test_every_instruction_once(name: str) -> None:
    check_whole(joined(name))
    check_whole(joined(name, ksyms=()))
    check_whole(Joined(programs()[name].xlated(), None))
    check_whole(Joined(programs()[name].xlated(btf=None), programs()[name].jited(btf=None)))


@pytest.mark.parametrize("name", programs())
def test_machine_code_stands_below_its_line(name: str) -> None:
    """As in the dump of machine code: the source line that precedes an instruction."""
    prog = programs()[name]
    view = joined(name)
    expected: list[tuple[str, str]] = []
    source = ""
    for line in plain(prog.jited(), linum=True).splitlines():
        if line.startswith("; "):
            source = line
        elif re.match(r" *[0-9a-f]+:\t", line):
            expected.append((source, line.split(":", 1)[0].strip()))
        elif not line:
            source = ""
    found = []
    for function in view.functions:
        for group in function.groups:
            source = ""
            if group.record is not None:
                number, column = view.listing.lines.number(group.record)
                source = (
                    f"; {view.listing.source(group.record)} [file:"
                    f"{view.listing.file(group.record)} line_num:{number} line_col:{column}]"
                )
            for index in group.machine:
                found.append((source, f"{function.instructions.pcs[index]:x}"))
    assert found == expected


def test_text() -> None:
    text = text_of(joined("count_ports"))
    assert re.match(
        r"int count_ports\(struct xdp_md \* ctx\):  \| bpf_prog_[0-9a-f]{16}_count_ports\n; ", text
    )
    assert "; if (!seen)\n" in text
    assert re.search(r"^ *\d+: \(95\) exit +\| +[0-9a-f]+: popq    %rbx$", text, re.M)
    assert re.search(r"^ +\| +[0-9a-f]+: retq$", text, re.M)
    rows = [line for line in text.split("\n\n")[0].splitlines()[1:] if line[0] != ";"]
    columns = {match.start() for match in map(re.compile(r" \|( |$)").search, rows) if match}
    assert len(columns) == 1
    assert " line_num:" not in text
    assert "[file:/src/ports.bpf.c line_num:" in text_of(joined("count_ports"), linum=True)


def test_text_with_opcodes() -> None:
    text = text_of(joined("count_ports"), opcodes=True)
    assert re.search(r"95 00 00 00 00 00 00 00  \(95\) exit +\| +[0-9a-f]+: 5b  ", text)
    assert re.search(r": 18 11 00 00( [0-9a-f]{2}){12}  \(18\) r1 = map", text)


def test_text_without_machine_code() -> None:
    text = text_of(Joined(programs()["pt_alu64"].xlated(), None))
    assert text.startswith("func_0:\n")
    assert all(line.endswith("|") for line in text.splitlines()[1:])


def _write_json(pretty: bool, out: Output) -> None:
    write_json(JsonStream(out, pretty), joined("count_ports"), True)


def test_json() -> None:
    for pretty in (False, True):
        raw = written(partial(_write_json, pretty))
        functions = json.loads(raw)
        assert [f["name"] for f in functions] == ["count_ports", "count"]
        assert functions[1]["proto"] == "int count(__u16 port)"
        line = next(x for x in functions[1]["lines"] if x["src"].startswith("return bpf_map"))
        assert line["file"] == "/src/ports.bpf.c"
        assert line["line_num"] > 0
        assert any(i["disasm"].startswith("(85) call") for i in line["xlated"])
        assert any(i["operation"] == "callq" and "target" in i for i in line["jited"])
        assert all(i["opcodes"] for i in line["xlated"] + line["jited"])


def test_functions_without_a_partner() -> None:
    prog = programs()["count_ports"]
    # Machine code of one function only, and of one more than there are.
    lens = prog.record["func_lens"]
    ksyms = prog.record["ksyms"]
    fewer = Joined(prog.xlated(), prog.jited(func_lens=lens[:1], ksyms=ksyms[:1]))
    assert [f.native is not None for f in fewer.functions] == [True, False]
    image = prog.bytes("image") + b"\x90\xc3"
    more = Joined(prog.xlated(), prog.jited(image=image, func_lens=[*lens, 2], ksyms=[*ksyms, 1]))
    assert more.functions[2].flow is None
    assert more.functions[2].instructions.texts == ["nop", "retq"]
    check_whole(more)
    assert ": retq" in text_of(more)


def test_records_that_stand_in_no_order() -> None:
    prog = programs()["count_ports"]
    raw = prog.bytes("line_info")
    records = [raw[at : at + 16] for at in range(0, len(raw), 16)]
    check_whole(Joined(prog.xlated(line_info=b"".join(reversed(records))), prog.jited()))
    # A record in the middle of a load counts for nothing.
    loads = programs()["count_ports"].xlated().image().loads
    extra = (loads[0] + 1).to_bytes(4, "little") + records[0][4:]
    check_whole(Joined(prog.xlated(line_info=extra + raw), prog.jited()))
