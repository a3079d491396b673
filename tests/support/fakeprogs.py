"""Programs of a fake kernel."""

from __future__ import annotations

import struct
from typing import Any

from tests.support import asm
from tests.support.btfbuild import GLOBAL, SIGNED, BtfBuilder
from tests.support.fakekernel import FakeKernel


def add_prog(kernel: FakeKernel, id: int, code: bytes, **fields: Any) -> None:
    """A program with its translated code."""
    fields.setdefault("nr_jited_ksyms", 1)
    kernel.prog(id, xlated_prog_len=len(code), **fields)
    kernel.arrays[id]["xlated"] = code


def add_described(kernel: FakeKernel, id: int) -> None:
    """A program with two functions, a source line and a call between them."""
    btf = BtfBuilder()
    number = btf.add_int("int", 4, SIGNED)
    proto = btf.add_func_proto(number, [("x", number)])
    first, second = btf.add_func("first", proto, GLOBAL), btf.add_func("second", proto, GLOBAL)
    file, text = btf.string("dir/a.c"), btf.string("\treturn x + 1;")
    code = asm.assemble(
        [asm.insn(0x85, src=1, off=1, imm=1), asm.exit_(), asm.mov64(asm.R0, 1), asm.exit_()]
    )
    add_prog(kernel, id, code, name=b"first", btf_id=9, nr_jited_ksyms=0, nr_func_info=2,
        func_info_rec_size=8, nr_line_info=1, line_info_rec_size=16)  # fmt: skip
    kernel.btfs[9] = btf.build()
    kernel.arrays[id]["func_info"] = struct.pack("=IIII", 0, first, 2, second)
    kernel.arrays[id]["line_info"] = struct.pack("=IIII", 2, file, text, 12 << 10 | 3)
