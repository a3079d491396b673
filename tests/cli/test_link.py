"""`link show` of constructed kernel answers: every type, every attribute, every mishap.

The expected texts follow the format of upstream's listing; types that the kernels at hand offer are
compared with upstream itself (`tests/tools/suites/link.py`, `tests/golden`).
"""

from __future__ import annotations

import errno
import gzip
import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pybpftool.errors import KernelError, VanishedError
from pybpftool.kernel.interface import BpfObject
from tests.support.btfbuild import BtfBuilder
from tests.support.cli import assert_one_sentence, run
from tests.support.fakeattached import AttachedKernel

RAW_TP, TRACING, CGROUP, ITER, NETNS, XDP, PERF, KPROBE_MULTI = range(1, 9)
STRUCT_OPS, NETFILTER, TCX, UPROBE_MULTI, NETKIT, SOCKMAP, TRACING_MULTI = range(9, 16)
UPROBE, URETPROBE, KPROBE, KRETPROBE, TRACEPOINT, EVENT = range(1, 7)


def shown(kernel: AttachedKernel, *options: str) -> str:
    result = run(*options, "link", "show", kernel=kernel)
    assert result.status == 0, result.errors
    return result.text


def record(kernel: AttachedKernel, *options: str) -> dict[str, Any]:
    (only,) = run(*options, "-j", "link", kernel=kernel).json
    assert isinstance(only, dict)
    return only


def one(type: int, codes: str, *values: Any, **detail: bytes) -> AttachedKernel:
    """A kernel with link 1 of this type, program 7; `detail` is what its pointers lead to."""
    kernel = AttachedKernel()
    kernel.prog(7, type=26)
    kernel.link(1, type, struct.pack("<" + codes, *values))
    if detail:
        kernel.detail(1, **detail)
    return kernel


@pytest.mark.parametrize(
    ("kernel", "text", "fields"),
    [
        pytest.param(
            one(RAW_TP, "QQQ", 0, 0, 0, name=b"sys_enter"),
            "1: raw_tracepoint  prog 7  \n\ttp 'sys_enter'  \n",
            {"tp_name": "sys_enter", "cookie": 0},
            id="raw tracepoint",
        ),
        pytest.param(
            one(RAW_TP, "QQQ", 0, 0, 9, name=b"sys_enter"),
            "1: raw_tracepoint  prog 7  \n\ttp 'sys_enter'  cookie 9  \n",
            {"tp_name": "sys_enter", "cookie": 9},
            id="raw tracepoint with a cookie",
        ),
        pytest.param(
            one(TRACING, "IIIxxxxQ", 24, 0, 0, 0),
            "1: tracing  prog 7  \n\tprog_type tracing  attach_type trace_fentry  \n",
            {
                "prog_type": "tracing",
                "attach_type": "trace_fentry",
                "target_obj_id": 0,
                "target_btf_id": 0,
                "cookie": 0,
            },
            id="tracing without a target",
        ),
        pytest.param(
            one(TRACING, "IIIxxxxQ", 999, 1, 2345, 5),
            "1: tracing  prog 7  \n\tprog_type tracing  attach_type 999  "
            "\n\ttarget_obj_id 1  target_btf_id 2345  \n\tcookie 5  \n",
            {
                "prog_type": "tracing",
                "attach_type": 999,
                "target_obj_id": 1,
                "target_btf_id": 2345,
                "cookie": 5,
            },
            id="tracing of an unknown attach type",
        ),
        pytest.param(
            one(CGROUP, "QI", 1 << 40, 1),
            "1: cgroup  prog 7  \n\tcgroup_id 1099511627776  attach_type cgroup_inet_egress  \n",
            {"cgroup_id": 1 << 40, "attach_type": "cgroup_inet_egress"},
            id="cgroup",
        ),
        pytest.param(
            one(ITER, "QIIQI", 0, 0, 0, 0, 0, name=b"bpf_prog"),
            "1: iter  prog 7  target_name bpf_prog  \n",
            {"target_name": "bpf_prog"},
            id="iterator",
        ),
        pytest.param(
            one(ITER, "QII", 0, 0, 33, name=b"bpf_map_elem"),
            "1: iter  prog 7  target_name bpf_map_elem  map_id 33  \n",
            {"target_name": "bpf_map_elem", "map_id": 33},
            id="iterator over a map",
        ),
        pytest.param(
            one(ITER, "QIIII", 0, 0, 0, 12, 13, name=b"task"),
            "1: iter  prog 7  target_name task  tid 12 \n",
            {"target_name": "task", "tid": 12},
            id="iterator over a thread",
        ),
        pytest.param(
            one(ITER, "QIIII", 0, 0, 0, 0, 13, name=b"task_file"),
            "1: iter  prog 7  target_name task_file  pid 13 \n",
            {"target_name": "task_file", "pid": 13},
            id="iterator over a process",
        ),
        pytest.param(
            one(ITER, "QIIQI", 0, 0, 0, 77, 2, name=b"cgroup"),
            "1: iter  prog 7  target_name cgroup  cgroup_id 77  order descendants_pre  \n",
            {"target_name": "cgroup", "cgroup_id": 77, "order": "descendants_pre"},
            id="iterator over cgroups",
        ),
        pytest.param(
            one(ITER, "QIIQI", 0, 0, 0, 77, 9, name=b"cgroup"),
            "1: iter  prog 7  target_name cgroup  cgroup_id 77  order unknown  \n",
            {"target_name": "cgroup", "cgroup_id": 77, "order": "unknown"},
            id="iterator of an unknown order",
        ),
        pytest.param(
            one(NETNS, "II", 4026531840, 36),
            "1: netns  prog 7  \n\tnetns_ino 4026531840  attach_type sk_lookup  \n",
            {"netns_ino": 4026531840, "attach_type": "sk_lookup"},
            id="network namespace",
        ),
        pytest.param(
            one(XDP, "I", 3),
            "1: xdp  prog 7  \n\tifindex eth0(3)  \n",
            {"devname": "eth0", "ifindex": 3},
            id="XDP",
        ),
        pytest.param(
            one(TCX, "II", 4, 46),
            "1: tcx  prog 7  \n\tifindex (unknown)  attach_type tcx_ingress  \n",
            {"devname": "(unknown)", "ifindex": 4, "attach_type": "tcx_ingress"},
            id="tcx on a device of another namespace",
        ),
        pytest.param(
            one(NETKIT, "II", 0, 54),
            "1: netkit  prog 7  \n\tifindex (detached)  attach_type netkit_primary  \n",
            {"devname": "(detached)", "ifindex": 0, "attach_type": "netkit_primary"},
            id="netkit whose device is gone",
        ),
        pytest.param(
            one(STRUCT_OPS, "I", 12),
            "1: struct_ops  map 12  \n",
            {"map_id": 12},
            id="struct_ops",
        ),
        pytest.param(
            one(SOCKMAP, "II", 12, 7),
            "1: sockmap  prog 7  \n\tmap_id 12  attach_type sk_msg_verdict  \n",
            {"map_id": 12, "attach_type": "sk_msg_verdict"},
            id="sockmap",
        ),
        pytest.param(
            one(NETFILTER, "IIiI", 2, 0, -128, 1),
            "1: netfilter  prog 7  \n\tip prerouting prio -128 flags 0x1\n",
            {"pf": 2, "hook": 0, "prio": -128, "flags": 1},
            id="netfilter",
        ),
        pytest.param(
            one(NETFILTER, "IIiI", 3, 1, 0, 0),
            "1: netfilter  prog 7  \n\tarp output prio 0\n",
            {"pf": 3, "hook": 1, "prio": 0, "flags": 0},
            id="netfilter of ARP",
        ),
        pytest.param(
            one(NETFILTER, "IIiI", 5, 0, 7, 0),
            "1: netfilter  prog 7  \n\tnetdev, hook 0, prio 7\n",
            {"pf": 5, "hook": 0, "prio": 7, "flags": 0},
            id="netfilter of devices",
        ),
        pytest.param(
            one(NETFILTER, "IIiI", 99, 8, 7, 0),
            "1: netfilter  prog 7  \n\tpf: 99, hook 8, prio 7\n",
            {"pf": 99, "hook": 8, "prio": 7, "flags": 0},
            id="netfilter of an unknown family",
        ),
        pytest.param(
            one(PERF, "IxxxxQIIQQQ", KPROBE, 0, 0, 4, 0xFFFF81, 2, 3, name=b"vfs_read"),
            "1: perf_event  prog 7  \n\tkprobe ffff81 vfs_read+0x4  missed 2  cookie 3  \n",
            {
                "retprobe": False,
                "addr": 0xFFFF81,
                "func": "vfs_read",
                "offset": 4,
                "missed": 2,
                "cookie": 3,
            },
            id="kprobe",
        ),
        pytest.param(
            one(PERF, "IxxxxQIIQQQ", KRETPROBE, 0, 0, 0, 0, 0, 0, name=b"vfs_read"),
            "1: perf_event  prog 7  \n\tkretprobe vfs_read  \n",
            {
                "retprobe": True,
                "addr": 0,
                "func": "vfs_read",
                "offset": 0,
                "missed": 0,
                "cookie": 0,
            },
            id="kretprobe without an address",
        ),
        pytest.param(
            one(PERF, "IxxxxQIIQQQ", KPROBE, 0, 0, 0, 0, 0, 0, name=b""),
            "1: perf_event  prog 7  \n",
            {"retprobe": False, "addr": 0, "func": "", "offset": 0, "missed": 0, "cookie": 0},
            id="kprobe of which nothing is told",
        ),
        pytest.param(
            one(PERF, "IxxxxQIIQQ", UPROBE, 0, 0, 0x1234, 5, 0x40, name=b"/bin/x y"),
            "1: perf_event  prog 7  \n\tuprobe /bin/x y+0x1234  cookie 5  ref_ctr_offset 0x40  \n",
            {
                "retprobe": False,
                "file": "/bin/x y",
                "offset": 0x1234,
                "cookie": 5,
                "ref_ctr_offset": 0x40,
            },
            id="uprobe",
        ),
        pytest.param(
            one(PERF, "IxxxxQIIQQ", URETPROBE, 0, 0, 0, 0, 0, name=b"/bin/x"),
            "1: perf_event  prog 7  \n\turetprobe /bin/x+0  \n",
            {
                "retprobe": True,
                "file": "/bin/x",
                "offset": 0,
                "cookie": 0,
                "ref_ctr_offset": 0,
            },
            id="uretprobe at the beginning",
        ),
        pytest.param(
            one(PERF, "IxxxxQIIQ", TRACEPOINT, 0, 0, 0, 8, name=b"sched_switch"),
            "1: perf_event  prog 7  \n\ttracepoint sched_switch  cookie 8  \n",
            {"tracepoint": "sched_switch", "cookie": 8},
            id="tracepoint",
        ),
        pytest.param(
            one(PERF, "IxxxxQIIQ", TRACEPOINT, 0, 0, 0, 0, name=b""),
            "1: perf_event  prog 7  \n",
            {"tracepoint": "", "cookie": 0},
            id="tracepoint without a name",
        ),
        pytest.param(
            one(PERF, "I", 0), "1: perf_event  prog 7  \n", {}, id="perf event of an old kernel"
        ),
        pytest.param(
            one(PERF, "IxxxxQII", UPROBE, 0, 0, 0, name=b""),
            "1: perf_event  prog 7  \n",
            {"retprobe": False, "file": "", "offset": 0, "cookie": 0, "ref_ctr_offset": 0},
            id="uprobe without a file",
        ),
        pytest.param(
            one(TRACING_MULTI, ""), "1: tracing_multi  prog 7  \n", {}, id="type without details"
        ),
        pytest.param(one(200, ""), "1: type 200  prog 7  \n", {}, id="unknown type"),
    ],
)
def test_types(kernel: AttachedKernel, text: str, fields: dict[str, Any]) -> None:
    kernel.names[3] = "eth0"
    assert shown(kernel) == text
    found = record(kernel)
    assert list(found)[:3] == ["id", "type", "prog_id"]
    assert {k: v for k, v in found.items() if k not in ("id", "type", "prog_id")} == fields


@pytest.mark.parametrize(
    ("type", "config", "text", "event_type", "event_config"),
    [
        (0, 0, "hardware:cpu-cycles", "hardware", "cpu-cycles"),
        (0, 9, "hardware:ref-cycles", "hardware", "ref-cycles"),
        (0, 10, "hardware:10", "hardware", 10),
        (1, 11, "software:cgroup-switches", "software", "cgroup-switches"),
        (1, 12, "software:12", "software", 12),
        (2, 314, "tracepoint:314", "tracepoint", 314),
        (3, 0, "hw-cache:L1-dcache-load-refs", "hw-cache", "L1-dcache-load-refs"),
        (3, 0x10206, "hw-cache:node-prefetch-misses", "hw-cache", "node-prefetch-misses"),
        (3, 0x20307, "hw-cache:7-3-2", "hw-cache", "7-3-2"),
        (4, 1 << 40, "raw:1099511627776", "raw", 1 << 40),
        (5, 0, "breakpoint:0", "breakpoint", 0),
        (6, 3, "6 :3", 6, 3),
    ],
)
def test_counters(type: int, config: int, text: str, event_type: Any, event_config: Any) -> None:
    kernel = one(PERF, "IxxxxQIIQ", EVENT, config, type, 0, 0)
    assert shown(kernel) == f"1: perf_event  prog 7  \n\tevent {text}  \n"
    found = record(kernel)
    assert (found["event_type"], found["event_config"]) == (event_type, event_config)
    kernel = one(PERF, "IxxxxQIIQ", EVENT, config, type, 0, 6)
    assert shown(kernel).endswith(f"event {text}  cookie 6  \n")


KALLSYMS = b"""\
0000000000001000 A fixed_percpu
ffffffff81000000 T __bpf_call_base
ffffffff81000010 T first
ffffffff81000010 t first_alias
ffffffff81000020 T second
ffffffffc0000100 t third\t[module_a]
"""


def multi(*functions: tuple[int, int], flags: int = 0, missed: int = 0) -> AttachedKernel:
    kernel = AttachedKernel()
    kernel.link(1, KPROBE_MULTI, struct.pack("<QIIQ", 0, len(functions), flags, missed))
    addresses = kernel.numbers(*(address for address, _ in functions))
    kernel.detail(1, addrs=addresses, cookies=kernel.numbers(*(c for _, c in functions)))
    kernel.files["/proc/kallsyms"] = KALLSYMS
    return kernel


def test_kprobe_multi() -> None:
    kernel = multi((0xFFFFFFFFC0000100, 0xAB), (0xFFFFFFFF81000010, 0), (0xFFFFFFFF81000099, 1))
    assert shown(kernel) == (
        "1: kprobe_multi  prog 7  \n\tkprobe.multi  func_cnt 3  "
        "\n\taddr             cookie           func [module]"
        "\n\tffffffff81000010 0                first  "
        "\n\tffffffff81000099 1                (unknown)  "
        "\n\tffffffffc0000100 ab               third [module_a]  \n"
    )
    found = record(kernel)
    assert found["func_cnt"] == 3 and found["missed"] == 0 and found["retprobe"] is False
    assert found["funcs"] == [
        {"addr": 0xFFFFFFFF81000010, "func": "first", "module": None, "cookie": 0},
        {"addr": 0xFFFFFFFF81000099, "func": None, "module": None, "cookie": 1},
        {"addr": 0xFFFFFFFFC0000100, "func": "third", "module": "module_a", "cookie": 0xAB},
    ]


def test_kprobe_multi_with_many_functions() -> None:
    functions = [(0xFFFFFFFF81000020, n) for n in range(40)]
    kernel = multi(*functions, (0xFFFFFFFF81000010, 1), flags=1, missed=4)
    text = shown(kernel)
    assert text.startswith(
        "1: kprobe_multi  prog 7  \n\tkretprobe.multi  func_cnt 41  missed 4  \n"
    )
    assert text.count(" second  ") == 40 and text.count(" first  ") == 1


@pytest.mark.parametrize("path", ["/boot/config-6.12.0-fake", "/proc/config.gz"])
@pytest.mark.parametrize("has_ibt", [True, False])
def test_kprobe_multi_behind_endbr(path: str, has_ibt: bool) -> None:
    kernel = multi((0xFFFFFFFF81000014, 0), (0xFFFFFFFF81000020, 0))
    config = b"#\n# c\nCONFIG_X=y\n" + (b"CONFIG_X86_KERNEL_IBT=y\n" if has_ibt else b"")
    kernel.files[path] = gzip.compress(config) if path.endswith("gz") else config
    names = [function["func"] for function in record(kernel)["funcs"]]
    assert names == (["first", "second"] if has_ibt else [None, "second"])


@pytest.mark.parametrize("config", [None, b"\x1f\x8bnot gzip at all"])
def test_kprobe_multi_without_a_readable_configuration(config: bytes | None) -> None:
    kernel = multi((0xFFFFFFFF81000014, 0), (0xFFFFFFFF81000010, 0))
    if config is not None:
        kernel.files["/proc/config.gz"] = config
    assert [function["func"] for function in record(kernel)["funcs"]] == ["first", "first"]


@pytest.mark.parametrize("kallsyms", [None, KALLSYMS.replace(b"ffffffff81000000", b"0" * 16)])
def test_kprobe_multi_with_hidden_addresses(kallsyms: bytes | None) -> None:
    kernel = multi((0, 0), (0, 0))
    kernel.machine = "aarch64"
    if kallsyms is None:
        del kernel.files["/proc/kallsyms"]
    else:
        kernel.files["/proc/kallsyms"] = kallsyms
    assert shown(kernel) == "1: kprobe_multi  prog 7  \n\tkprobe.multi  func_cnt 2  \n"
    assert record(kernel)["funcs"] == []


def test_the_missing_right_to_addresses_is_named_once() -> None:
    """A live kernel without CAP_SYSLOG; in text alone, as all remarks."""
    kernel = multi((0, 0), (0, 0))
    kernel.link(2, PERF, struct.pack("<IxxxxQIIQQQ", KPROBE, 0, 0, 4, 0, 0, 0))
    kernel.detail(2, name=b"vfs_read")
    kernel.files["/proc/kallsyms"] = KALLSYMS.replace(b"ffffffff81000000", b"0" * 16)
    kernel.files["/proc/sys/kernel/kptr_restrict"] = b"1\n"
    kernel.files["/proc/self/status"] = b"x\nCapEff:\t0000000000200000\n"
    assert run("link", "show", kernel=kernel).err == b""  # a recording
    kernel.is_live = True
    status = run("link", "show", kernel=kernel)
    assert status.status == 0 and status.text.count("kprobe") >= 2
    start = "Probes are shown without their addresses: "
    assert status.errors == f"{start}this needs the capability CAP_SYSLOG (try as root)\n"
    assert run("-j", "link", "show", kernel=kernel).err == b""
    assert run("link", "show", "id", "1", kernel=kernel).errors == status.errors
    kernel.files["/proc/self/status"] = b"x\nCapEff:\t000001ffffffffff\n"
    kernel.files["/proc/sys/kernel/kptr_restrict"] = b"2\n"
    errors = run("link", "show", kernel=kernel).errors
    assert errors.startswith(start) and "kernel.kptr_restrict (2)" in errors


def test_kprobe_multi_without_functions() -> None:
    assert shown(multi()) == "1: kprobe_multi  prog 7  \n"


def tracing_multi(*functions: tuple[int, int, int]) -> AttachedKernel:
    """A link to functions (address, cookie, type id) of the BTF object 1."""
    kernel = AttachedKernel()
    count = len(functions)
    kernel.link(1, TRACING_MULTI, struct.pack("<IIIIQQQ", 60, count, 1, 0, 0, 0, 0))
    columns = [[row[at] for row in functions] for at in range(3)]
    kernel.detail(
        1,
        addrs=kernel.numbers(*columns[0]),
        cookies=kernel.numbers(*columns[1]),
        ids=struct.pack(f"<{count}I", *columns[2]),
    )
    kernel.files["/proc/kallsyms"] = KALLSYMS
    builder = BtfBuilder()
    proto = builder.add_func_proto(0)
    for name in ("first", "second", "hidden"):
        builder.add_func(name, proto)
    kernel.btfs[1] = builder.build()
    kernel.btf(1, kernel_btf=1)
    return kernel


def test_tracing_multi() -> None:
    kernel = tracing_multi((0xFFFFFFFF81000020, 0xAB, 3), (0xFFFFFFFF81000010, 0, 2), (0, 5, 9))
    assert shown(kernel) == (
        "1: tracing_multi  prog 7  \n\tattach_type trace_fexit_multi  func_cnt 3  btf_obj_id 1  "
        "\n\taddr             cookie           btf_id   func [module]"
        "\n\t0000000000000000 5                9        (unknown)  "
        "\n\tffffffff81000010 0                2        first  "
        "\n\tffffffff81000020 ab               3        second  \n"
    )
    found = record(kernel)
    assert (found["attach_type"], found["func_cnt"]) == ("trace_fexit_multi", 3)
    assert found["btf_obj_id"] == 1
    assert found["funcs"][1:] == [
        {"addr": 0xFFFFFFFF81000010, "btf_id": 2, "func": "first", "module": None, "cookie": 0},
        {"addr": 0xFFFFFFFF81000020, "btf_id": 3, "func": "second", "module": None, "cookie": 0xAB},
    ]
    assert found["funcs"][0]["func"] is None


def test_tracing_multi_with_hidden_addresses() -> None:
    kernel = tracing_multi((0, 0, 4))
    assert record(kernel)["funcs"][0]["func"] == "hidden"
    assert shown(tracing_multi()).endswith("  func_cnt 0  btf_obj_id 1  \n")


def test_uprobe_multi() -> None:
    kernel = AttachedKernel()
    kernel.link(1, UPROBE_MULTI, struct.pack("<QQQQIIIi", 0, 0, 0, 0, 0, 2, 1, 77))
    kernel.detail(
        1,
        name=b"/bin/tool",
        offsets=kernel.numbers(0x10, 0x20),
        ref_ctr_offsets=kernel.numbers(0, 0x30),
        cookies=kernel.numbers(0xAA, 0),
    )
    assert shown(kernel) == (
        "1: uprobe_multi  prog 7  \n\turetprobe.multi  path /bin/tool  func_cnt 2  pid 77  "
        "\n\toffset             ref_ctr_offset     cookies         "
        "\n\t0x10               0x0                0xaa              "
        "\n\t0x20               0x30               0x0               \n"
    )
    assert record(kernel)["funcs"] == [
        {"offset": 0x10, "ref_ctr_offset": 0, "cookie": 0xAA},
        {"offset": 0x20, "ref_ctr_offset": 0x30, "cookie": 0},
    ]
    empty = AttachedKernel()
    empty.link(1, UPROBE_MULTI)
    assert shown(empty) == "1: uprobe_multi  prog 7  \n"


def test_resolve() -> None:
    kernel = one(PERF, "IxxxxQIIQQ", UPROBE, 0, 0, 0x30, 0, 0, name=b"/bin/x")
    kernel.prog(7, type=2, name=b"watch\0")
    kernel.places["/bin/x", 0x30] = {"symbol": "main", "symbol_offset": 4, "usdt": ["app:begin"]}
    kernel.places["/bin/x", 0x40] = {"usdt": ["app:end", "app:stop"]}
    kernel.link(2, UPROBE_MULTI, struct.pack("<QQQQIIIi", 0, 0, 0, 0, 0, 2, 0, 0), prog=8)
    numbers = kernel.numbers(0x40, 0x50)
    kernel.detail(2, name=b"/bin/x", offsets=numbers, ref_ctr_offsets=numbers, cookies=numbers)
    text = shown(kernel, "--resolve")
    assert "prog 7 (watch)  \n\tuprobe /bin/x+0x30  \n\tsymbol main+0x4  usdt app:begin  \n" in text
    assert "prog 8  \n" in text and " usdt app:end, app:stop  \n" in text
    first, second = run("-j", "--resolve", "link", kernel=kernel).json
    assert first["prog_name"] == "watch"
    assert (first["symbol"], first["symbol_offset"], first["usdt"]) == ("main", 4, ["app:begin"])
    assert "prog_name" not in second and second["funcs"][0]["usdt"] == ["app:end", "app:stop"]
    assert "symbol" not in shown(kernel)
    assert kernel.opened == 0


def test_pins_holders_and_cookies() -> None:
    kernel = one(PERF, "IxxxxQIIQ", TRACEPOINT, 0, 0, 0, 8, name=b"tp")
    kernel.held["link"] = {1: [(10, "first one"), (11, "b")]}
    kernel.pins["link"] = {1: ["/sys/fs/bpf/b", "/sys/fs/bpf/a"]}
    assert shown(kernel, "-f") == (
        "1: perf_event  prog 7  \n\ttracepoint tp  cookie 8  "
        "\n\tpinned /sys/fs/bpf/b\n\tpinned /sys/fs/bpf/a"
        "\n\tbpf_cookie 8\n\tpids first one(10), b(11)\n"
    )
    found = record(kernel, "-f")
    assert found["pinned"] == ["/sys/fs/bpf/b", "/sys/fs/bpf/a"]
    assert list(found)[-2:] == ["bpf_cookie", "pids"] and found["bpf_cookie"] == 8
    # A kernel before 6.9 leaves the place of the cookie as it was: its answer is cut there.
    kernel.detail(1, info=kernel.all["link"][1].info[:40], name=b"tp")
    assert "bpf_cookie" not in shown(kernel) and "bpf_cookie" not in record(kernel)


def test_the_cookie_of_an_event_that_its_kernel_hides() -> None:
    kernel = one(PERF, "I", 0, cookie=struct.pack("<Q", 8))
    assert shown(kernel) == "1: perf_event  prog 7  \n"
    kernel.held["link"] = {1: [(10, "a")]}
    assert shown(kernel) == "1: perf_event  prog 7  \n\tbpf_cookie 8\n\tpids a(10)\n"
    assert list(record(kernel)) == ["id", "type", "prog_id", "bpf_cookie", "pids"]
    kernel.details[1] = KernelError("not recorded", errno.ENODATA)  # by an older version
    assert "bpf_cookie" not in shown(kernel)


def test_short_info_of_an_old_kernel() -> None:
    kernel = AttachedKernel()
    kernel.prog(7, type=26)
    kernel.link(1, TRACING, struct.pack("<I", 24), size=20)
    assert shown(kernel) == (
        "1: tracing  prog 7  \n\tprog_type tracing  attach_type trace_fentry  \n"
    )


def test_big_endian() -> None:
    kernel = AttachedKernel(">")
    kernel.link(1, CGROUP, struct.pack(">QI", 3, 1))
    assert shown(kernel).endswith("cgroup_id 3  attach_type cgroup_inet_egress  \n")


def test_unknown_program_type() -> None:
    kernel = one(TRACING, "IIIxxxxQ", 24, 0, 0, 0)
    kernel.prog(7, type=250)
    assert "prog_type 250  " in shown(kernel) and record(kernel)["prog_type"] == 250


def test_one_refusal_does_not_end_the_listing() -> None:
    kernel = one(RAW_TP, "QQQ", 0, 0, 0, name=b"tp")
    kernel.link(2, RAW_TP)
    kernel.details[2] = KernelError.of("cannot get the details of link 2", errno.EACCES)
    kernel.link(3, TRACING, prog=99)
    kernel.link(4, XDP)
    result = run("link", kernel=kernel)
    assert result.status != 0
    assert result.text.count("\n\t") == 2 and "4: xdp" in result.text
    assert "link 2" in result.errors and "prog with id 99" in result.errors
    ids = [row.get("id", "error") for row in run("-j", "link", kernel=kernel).json]
    assert ids == [1, "error", "error", 4]
    assert kernel.opened == 0


@pytest.mark.parametrize("last", range(1, 12))
def test_a_listing_that_ends_in_the_middle_keeps_what_it_has(last: int) -> None:
    kernel = one(XDP, "I", 0)
    for id in range(2, 12):
        kernel.link(id, XDP)
    real = kernel.objects

    def objects(kind: str) -> Iterator[BpfObject]:
        for obj in real(kind):
            yield obj
            if kind == "link" and obj.id == last:
                raise KernelError("cannot list links", errno.EIO)

    kernel.objects = objects  # type: ignore[method-assign]
    result = run("link", kernel=kernel)
    assert (result.status, result.errors) == (255, "Error: cannot list links\n")
    lines = [line for line in result.text.splitlines() if line[0].isdigit()]
    assert [int(line.partition(":")[0]) for line in lines] == list(range(1, last + 1))
    rows = run("-j", "link", kernel=kernel).json
    assert [row.get("id", row.get("error")) for row in rows] == [
        *range(1, last + 1),
        "cannot list links",
    ]


def test_references() -> None:
    kernel = one(XDP, "I", 0)
    kernel.pins["link"] = {1: ["/sys/fs/bpf/l"]}
    kernel.pins["prog"] = {7: ["/sys/fs/bpf/p"]}
    text = "1: xdp  prog 7  \n\tifindex (detached)  \n"
    assert run("link", "show", "id", "1", kernel=kernel).text == text
    assert run("link", "list", "pinned", "/sys/fs/bpf/l", kernel=kernel).text == text
    assert run("-j", "link", "show", "id", "0x1", kernel=kernel).json["type"] == "xdp"
    for words in (
        ["show", "id", "2"],
        ["show", "id", "x"],
        ["show", "id"],
        ["show", "id", "1", "more"],
        ["show", "name", "x"],
        ["show", "pinned", "/sys/fs/bpf/p"],
        ["show", "pinned", "/nowhere"],
        ["detach"],
        ["detach", "id", "1", "more"],
        ["detach", "id", "1"],
        ["pin", "id", "1", "/x"],
        ["unknown"],
    ):
        result = run("link", *words, kernel=kernel)
        assert result.status != 0 and not result.out
        assert_one_sentence(result)
    assert kernel.opened == 0


def test_help() -> None:
    result = run("link", "help", kernel=AttachedKernel())
    assert result.status == 0 and not result.out and "link pin LINK FILE" in result.errors
    assert run("-j", "link", "help", kernel=AttachedKernel()).out == b"null\n"


@pytest.mark.parametrize("option", ["-f", "-j"])
def test_a_link_that_vanishes_is_left_out(option: str) -> None:
    kernel = AttachedKernel()
    for id in (1, 2, 3):
        kernel.link(id, RAW_TP, struct.pack("<QQQ", 0, 0, 0))
        kernel.detail(id, name=b"sys_enter")
    kernel.details[2] = VanishedError("there is no link with id 2", errno.ENOENT)
    result = run(option, "link", "show", kernel=kernel)
    assert (result.status, result.errors) == (0, "")
    if option == "-j":
        assert [row["id"] for row in result.json] == [1, 3]
    else:
        assert "2: " not in result.text and "3: " in result.text


def test_malformed_details() -> None:
    kernel = one(RAW_TP, "QQQ", 0, 0, 0)
    kernel.details[1] = {"name": b"x"}
    result = run("link", kernel=kernel)
    assert result.status != 0
    assert_one_sentence(result, "link 1")


def test_fewer_numbers_than_claimed() -> None:
    kernel = multi((1, 2), (3, 4))
    kernel.link(1, KPROBE_MULTI, struct.pack("<QIIQ", 0, 0xFFFFFFFF, 0, 0))
    addresses = kernel.numbers(1, 2)
    kernel.detail(1, addrs=addresses, cookies=addresses)
    result = run("link", "show", "id", "1", kernel=kernel)
    assert result.status != 0
    assert_one_sentence(result, "fewer addrs")


def test_damaged_snapshots(tmp_path: Path) -> None:
    """Whatever stands in the place of an answer: one sentence."""
    recorded = Path(__file__).parents[2] / "fixtures" / "link" / "debian-6.12" / "snapshot.zip"
    with zipfile.ZipFile(recorded) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    content = json.loads(members["answers.json"])
    commands = (["link"], ["-f", "link"], ["perf"], ["cgroup", "tree"], ["net"])
    path = tmp_path / "damaged.zip"
    wrongs: list[Any] = [None, 7, "word", [], [[]], [7, 8], {"map": [[1, 2]]}, {"hex": "00"}]
    for wrong in wrongs:
        damaged = {**content, "answers": dict.fromkeys(content["answers"], wrong)}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, json.dumps(damaged) if name == "answers.json" else data)
        for words in commands:
            for form in ([], ["-j"]):
                result = run("--snapshot", str(path), *form, *words)
                assert b"Traceback" not in result.err
                assert result.status == 0 or b"Error: " in result.err or b'"error"' in result.out
                if form:
                    assert result.json is not False


def test_a_program_that_may_not_be_opened_costs_its_type_alone() -> None:
    """As with CAP_BPF and CAP_PERFMON, but without CAP_SYS_ADMIN."""

    class Restricted(AttachedKernel):
        def open(self, kind: str, id: int) -> BpfObject:
            if kind == "prog":
                raise KernelError.of(f"cannot open program {id}", errno.EPERM)
            return super().open(kind, id)

    kernel = Restricted()
    kernel.link(1, TRACING, struct.pack("<IIIxxxxQ", 24, 1, 55, 0))
    kernel.pins["link"] = {1: ["/sys/fs/bpf/fentry"]}
    result = run("link", "show", "pinned", "/sys/fs/bpf/fentry", kernel=kernel)
    assert (result.status, result.err) == (0, b"")
    assert result.text == (
        "1: tracing  prog 7  \n\tattach_type trace_fentry  "
        "\n\ttarget_obj_id 1  target_btf_id 55  \n"
    )
    shown = run("-j", "link", "show", "pinned", "/sys/fs/bpf/fentry", kernel=kernel).json
    assert "prog_type" not in shown and shown["attach_type"] == "trace_fentry"
