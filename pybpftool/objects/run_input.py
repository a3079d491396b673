"""What a program is run on, written in words: its context by BTF, its data by BTF or as hex."""

from __future__ import annotations

import struct

from pybpftool.btf.initializer import encode
from pybpftool.errors import BpfError
from pybpftool.kernel.interface import PROG_INFO
from pybpftool.uapi.bpf import PROG_TYPES
from pybpftool.uapi.btf import ARRAY, FUNC, FUNC_PROTO, INT, PTR, STRUCT, UNION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf
    from pybpftool.kernel.interface import BpfObject, Kernel

# Types of programs: the struct that their test run takes as a context (net/bpf/test_run.c,
# bpf_prog_test_run_nf() in net/netfilter).
_CONTEXTS = {
    "socket_filter": "__sk_buff",
    "sched_cls": "__sk_buff",
    "sched_act": "__sk_buff",
    "cgroup_skb": "__sk_buff",
    "lwt_in": "__sk_buff",
    "lwt_out": "__sk_buff",
    "lwt_xmit": "__sk_buff",
    "lwt_seg6local": "__sk_buff",
    "xdp": "xdp_md",
    "flow_dissector": "bpf_flow_keys",
    "sk_lookup": "bpf_sk_lookup",
    "netfilter": "nf_hook_state",
}
_ARGUMENTS = frozenset(("raw_tracepoint", "raw_tracepoint_writable"))
_MOST_ARGUMENTS = 12  # MAX_BPF_FUNC_ARGS, linux/bpf.h


def context(kernel: Kernel, prog: BpfObject, text: str) -> bytes:
    """The context of an open program as an initializer gives it; what it leaves out is zero.

    Its type is that of the kernel for the program's type, else what the program's own main
    function takes; arguments of raw tracepoints are 64-bit numbers. Raises BpfError.
    """
    (number,) = struct.unpack_from("=I", prog.info)
    type = PROG_TYPES[number] if number < len(PROG_TYPES) else str(number)
    if type in _ARGUMENTS:
        return encode(_arguments(), 2, text, _MOST_ARGUMENTS * 8)
    found = None
    if type in _CONTEXTS:
        found = _of_kernel(kernel, _CONTEXTS[type])
    if found is None:
        found = _of_main_function(kernel, prog)
    if found is None:
        raise BpfError(
            f"neither the kernel's BTF nor that of program {prog.id} tells what context programs of"
            f" type {type} have; give its bytes with 'ctx_in'"
        )
    return _encoded(*found, text)


def data(kernel: Kernel, prog: BpfObject, text: str) -> bytes:
    """Data that is written as pieces with commas between them, one after the other.

    A piece is pairs of hexadecimal digits, or a type and its initializer:
    ``struct ethhdr {.h_proto = 8}``. Types are looked up in the program's own BTF, then in the
    kernel's. Raises BpfError.
    """
    pieces = []
    for piece in _pieces(text):
        head, brace, _ = piece.partition("{")
        if not brace:
            try:
                pieces.append(bytes.fromhex(piece))
            except ValueError:
                raise BpfError(
                    f"'{piece}' is neither pairs of hexadecimal digits nor a type and its"
                    " initializer in braces"
                ) from None
            continue
        name = head.split()[-1] if head.split() else ""
        found = _of_program(kernel, prog, name) or _of_kernel(kernel, name)
        if found is None:
            raise BpfError(f"neither program {prog.id} nor the kernel has a type '{head.strip()}'")
        pieces.append(_encoded(*found, piece[len(head) :]))
    return b"".join(pieces)


def _pieces(text: str) -> list[str]:
    """A text cut at the commas that stand in no braces and no quotes."""
    pieces = []
    start = depth = 0
    quote = ""
    is_escaped = False
    for at, character in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif quote:
            is_escaped = character == "\\"
            if character == quote:
                quote = ""
        elif character in "\"'":
            quote = character
        elif character in "{}":
            depth += 1 if character == "{" else -1
        elif character == "," and not depth:
            pieces.append(text[start:at].strip())
            start = at + 1
    pieces.append(text[start:].strip())
    return pieces if len(pieces) > 1 or pieces[0] else []


def _encoded(btf: Btf, type_id: int, text: str) -> bytes:
    size = btf.size_of(type_id)
    if size is None:
        raise BpfError(f"the type '{btf.name(type_id)}' has no size")
    return encode(btf, type_id, text, size)


def _arguments() -> Btf:
    """BTF of one array of 64-bit numbers, type 2."""
    from pybpftool.btf.encode import encode as as_bytes
    from pybpftool.btf.table import Btf

    number = [1, INT << 24, 8, 64]
    array = [0, ARRAY << 24, 0, 1, 1, _MOST_ARGUMENTS]
    return Btf.from_bytes(as_bytes([number, array], b"\0__u64\0"))


def _of_kernel(kernel: Kernel, name: str) -> tuple[Btf, int] | None:
    from pybpftool.btf.load import vmlinux

    try:
        btf = vmlinux(kernel)
    except BpfError:
        return None  # a kernel without BTF; the program may have its own
    return _named(btf, name)


def _of_program(kernel: Kernel, prog: BpfObject, name: str) -> tuple[Btf, int] | None:
    btf_id = PROG_INFO.decode(prog.info, kernel.byteorder)["btf_id"]
    if not btf_id:
        return None
    from pybpftool.btf.load import from_id

    return _named(from_id(btf_id, kernel), name)


def _named(btf: Btf, name: str) -> tuple[Btf, int] | None:
    """A struct, a union or a name for one."""
    from pybpftool.btf.search import named

    for type_id in named(btf, name):
        target = btf.resolve(type_id)
        if target is not None and btf.kind(target) in (STRUCT, UNION, ARRAY):
            return btf, target
    return None


def _of_main_function(kernel: Kernel, prog: BpfObject) -> tuple[Btf, int] | None:
    """The struct that the first parameter of the program's main function points to."""
    btf_id = PROG_INFO.decode(prog.info, kernel.byteorder)["btf_id"]
    func_info = kernel.prog_arrays(prog, ("func_info",))["func_info"] if btf_id else None
    if not func_info:
        return None
    from pybpftool.btf.load import from_id

    btf = from_id(btf_id, kernel)
    _, function = struct.unpack_from("=2I", func_info)  # struct bpf_func_info: insn_off, type_id
    if btf.kind(function) != FUNC:
        return None
    proto = btf.type(function).size_or_type
    if btf.kind(proto) != FUNC_PROTO or not btf.params(proto):
        return None
    pointer = btf.resolve(btf.params(proto)[0][1])
    if pointer is None or btf.kind(pointer) != PTR:
        return None
    target = btf.resolve(btf.type(pointer).size_or_type)
    if target is None or btf.kind(target) not in (STRUCT, UNION):
        return None
    return btf, target
