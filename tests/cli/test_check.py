"""``check``: every key of a rule passes and fails; hidden is never a pass; refusals have lines."""

from __future__ import annotations

import errno
import struct
from pathlib import Path
from typing import Any

import pytest

from pybpftool.errors import KernelError
from tests.support import asm
from tests.support.btfbuild import BtfBuilder
from tests.support.cli import Result, run
from tests.support.fakeprogs import add_prog
from tests.support.hosts import Host, add_tcx, host, twin
from tests.support.saved import save


def check(tmp_path: Path, rules: str, kernel: Host | None = None, *options: str) -> Result:
    """Judge a host by rules; a recording of it gives the same."""
    path = tmp_path / "bpf.toml"
    path.write_text("schema = 1\n" + rules, encoding="utf-8")
    kernel = kernel or host()
    result = run("check", str(path), *options, kernel=kernel)
    snapshot = save(kernel, tmp_path / "host.zip")
    again = run("--snapshot", snapshot, "check", str(path), *options)
    assert again.status == result.status, again
    assert again.text.replace(", recorded", "") == result.text
    assert result.text.splitlines()[-1].endswith("Linux 6.18.0-fake x86_64")
    return result


def rule(kind: str, selector: str, checks: str = "") -> str:
    return f'[[rule]]\nid = "r"\n{kind} = {selector}\n{checks}\n'


COUNTER = '{ name = "counter" }'
FLOWS = '{ name = "flows" }'

PASSING = [
    ("prog", COUNTER, ""),
    ("prog", '"count*"', "count = 1"),
    ("prog", '["none", "count?r"]', ""),
    ("prog", '{ name = "*", type = ["xdp", "sched_cls"] }', "count = 2"),
    ("prog", '{ name = "!counter" }', "count = 2"),
    ("prog", '{ owner = "unit:agent*" }', "count = 1"),
    ("prog", '{ owner = "comm:other" }', "count = 1"),
    ("prog", '{ owner = "!unit:*" }', "count = 2"),
    ("prog", '{ owner = "!unit:*" }', 'count = 0\nallow = ["comm:other", "first"]'),
    ("prog", '{ name = "nobody" }', "count = 0"),
    ("prog", COUNTER, 'verified_insns = "<= 90%"'),
    ("prog", COUNTER, "verified_insns = 40"),
    ("prog", COUNTER, 'bytes_xlated = "< 1 KiB"'),
    ("prog", COUNTER, "memlock = 4096"),
    ("prog", COUNTER, "gpl_compatible = true\nbtf = false"),
    ("prog", '{ name = "first" }', "btf = true\nsubprograms = 2"),
    ("prog", COUNTER, 'attached = { dev = "eth0", hook = "tcx/ingress" }'),
    ("prog", COUNTER, 'attached = { dev = ["eth0", "eth1"], hook = "tcx_ingress" }'),
    ("prog", COUNTER, 'attached = { hook = ["htb", "netfilter/ip/input", "tcx/*", "!xdp"] }'),
    ("prog", COUNTER, "attached = true"),
    ("prog", '{ name = "twin" }', "attached = false\npinned = false"),
    ("prog", COUNTER, 'calls = { forbid = ["bpf_probe_*"], require = "bpf_trace_printk" }'),
    ("prog", COUNTER, 'calls = { only = ["bpf_trace_*"] }'),
    ("prog", COUNTER, 'maps = ["flows"]'),
    ("prog", '{ type = "*" }', 'total = { memlock = "<= 12 KiB" }'),
    ("map", FLOWS, 'type = "hash"\nmax_entries = 16\nkey_size = 4\nbytes_value = 8'),
    ("map", FLOWS, 'used_by = ["count*"]\nowner = "unit:agent.service"'),
    ("map", FLOWS, 'elements = "<= 80%"'),
    ("map", FLOWS, 'has = { key = "1", value = "0" }'),
    ("map", FLOWS, 'has = [{ key = "01 00 00 00" }]'),
    ("map", '{ name = "config" }', "frozen = true\nflags = 0"),
    ("link", '"counter"', 'attached = { dev = "eth0" }\ntype = "tcx"'),
    ("link", '{ type = "tcx", owner = "unit:*" }', 'prog = "counter"'),
    ("pin", '"/sys/fs/bpf/*"', "count = 0"),
]  # fmt: skip

FAILING = [
    ("prog", '{ name = "countr" }', "", "1 prog with name countr", "none; there is 'counter'"),
    ("prog", COUNTER, "count = 2", "2 prog with name counter", "1"),
    ("prog", COUNTER, "count = 0", "none", "id 2, held by agent(50) of unit:agent.service"),
    ("prog", COUNTER, 'verified_insns = "<= 0.001%"', "<= 0.001% of 1000000", "40 (0.0%)"),
    ("prog", COUNTER, "verified_insns = 39", "39", "40"),
    ("prog", COUNTER, "gpl_compatible = false", "no", "yes"),
    ("prog", COUNTER, 'attached = { dev = "eth9" }', "dev eth9", "tcx/ingress dev eth0"),
    ("prog", COUNTER, "attached = false", "nowhere", "tcx/ingress dev eth0"),
    ("prog", '{ name = "twin" }', "attached = true", "somewhere", "none"),
    ("prog", COUNTER, 'attached = { dev = "eth0", position = 1 }', "position 1", "eth0"),
    ("prog", COUNTER, 'calls = { forbid = "*printk" }', "no call of *printk", "bpf_trace_printk"),
    ("prog", COUNTER, 'calls = { require = "bpf_redirect" }', "a call of bpf_redirect", "printk"),
    ("prog", COUNTER, 'calls = { only = ["bpf_redirect"] }', "only bpf_redirect", "printk"),
    ("prog", COUNTER, 'maps = ["flows", "config"]', "exactly flows, config", "flows"),
    ("prog", COUNTER, "maps = []", "exactly none", "flows"),
    ("prog", COUNTER, 'pinned = "/sys/fs/bpf/counter"', "/sys/fs/bpf/counter", "none"),
    ("prog", '{ type = "*" }', 'total = { memlock = "<= 8 KiB" }', "<= 8 KiB", "12288 of 3 progs"),
    ("map", FLOWS, 'type = "lru_hash"', "lru_hash", "hash"),
    ("map", FLOWS, 'max_entries = ">= 65536"', ">= 65536", "16"),
    ("map", FLOWS, 'used_by = ["other*"]', "exactly other*", "counter"),
    ("map", FLOWS, 'used_by = []', "exactly none", "counter"),
    ("map", FLOWS, "frozen = true", "yes", "no"),
    ("map", FLOWS, 'elements = ">= 50%"', ">= 50% of 16", "1 (6.2%)"),
    ("map", FLOWS, 'has = { key = "9" }', "[9]", "no such element"),
    ("map", FLOWS, 'has = { key = "1", value = "5" }', "[1] = 5", "00 00 00 00 00 00 00 00"),
    ("map", FLOWS, 'memlock = "< 4 KiB"', "< 4 KiB", "4096"),
    ("link", '"counter"', 'attached = { hook = "xdp" }', "hook xdp", "tcx/ingress dev eth0"),
    ("pin", '"/sys/fs/bpf/x"', "", ">= 1 pin with path /sys/fs/bpf/x", "none"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "selector", "checks"), PASSING)
def test_passes(tmp_path: Path, kind: str, selector: str, checks: str) -> None:
    result = check(tmp_path, rule(kind, selector, checks))
    assert result.status == 0, result.text
    assert result.text.startswith("ok       r\n1 rule: 1 passed, 0 failed, 0 skipped; ")


@pytest.mark.parametrize(("kind", "selector", "checks", "expected", "found"), FAILING)
def test_fails(
    tmp_path: Path, kind: str, selector: str, checks: str, expected: str, found: str
) -> None:
    result = check(tmp_path, rule(kind, selector, checks))
    assert result.status == 1, result.text
    lines = result.text.splitlines()
    assert lines[0] == "FAILED   r"
    assert expected in next(line for line in lines if "  expected  " in line)
    assert found in next(line for line in lines if "  found     " in line)
    assert any(line.startswith("        see       pybpftool ") for line in lines)


def test_a_warning_is_no_failure(tmp_path: Path) -> None:
    result = check(tmp_path, rule("prog", COUNTER, 'count = 0\nlevel = "warn"\nwhy = "old"'))
    assert result.status == 0
    assert result.text.startswith("warning  r  (old)\n")
    assert "0 passed, 0 failed, 1 warned, 0 skipped" in result.text


def test_a_finding_names_the_source(tmp_path: Path) -> None:
    kernel = host()
    kernel.arrays[1]["line_info"] = struct.pack("=I", 0) + kernel.arrays[1]["line_info"][4:]  # type: ignore[index]
    result = check(tmp_path, rule("prog", '"first"', "gpl_compatible = true"), kernel)
    assert "prog socket_filter first: gpl_compatible  [dir/a.c:12]\n" in result.text
    assert "see       pybpftool prog show id 1\n" in result.text


def hide_code(kernel: Host) -> None:
    kernel.arrays[2]["xlated"] = None


def hide_size(kernel: Host) -> None:
    add_prog(kernel, 2, b"", name=b"counter", type=3)


def hide_symbols(kernel: Host) -> None:
    kernel.files["/proc/kallsyms"] = b"0000000000000000 T __bpf_call_base\n"


def hide_fdinfo(kernel: Host) -> None:
    del kernel.fdinfos["prog", 2]


def refuse(question: str) -> Any:
    def hide(kernel: Host) -> None:
        def ask(*args: object) -> None:
            raise KernelError.of(f"{question} is not permitted", errno.EPERM)

        setattr(kernel, question, ask)

    return hide


def hide_functions(kernel: Host) -> None:
    """As a kernel does for a reader without CAP_BPF."""
    add_prog(kernel, 2, b"", name=b"counter", type=3, nr_jited_ksyms=0, verified_insns=40)


def take_device(kernel: Host) -> None:
    """The device that a program was offloaded to is gone: the kernel tells its id alone."""
    obj = kernel.all["prog"][2]
    blank = struct.pack("<II", 0, 2).ljust(len(obj.info), b"\0")
    kernel.all["prog"][2] = obj.__class__("prog", 2, -1, blank, True)


HIDDEN = [
    (hide_functions, "prog", COUNTER, 'subprograms = "<= 5"'),
    (take_device, "prog", '{ id = "2" }', 'verified_insns = "<= 90%"'),
    (take_device, "prog", '{ id = "2" }', 'subprograms = "<= 5"'),
    (take_device, "prog", '{ id = "2" }', "gpl_compatible = false"),
    (take_device, "prog", '{ id = "2" }', 'calls = { forbid = "bpf_probe_write_user" }'),
    (take_device, "prog", '{ id = "2" }', 'total = { verified_insns = "<= 90" }'),
    (take_device, "prog", '{ tag = "0101*" }', "count = 0"),
    (hide_code, "prog", COUNTER, 'calls = { forbid = "bpf_probe_write_user" }'),
    (hide_symbols, "prog", COUNTER, 'calls = { forbid = "bpf_probe_write_user" }'),
    (hide_size, "prog", COUNTER, 'bytes_xlated = "<= 1 KiB"'),
    (hide_fdinfo, "prog", COUNTER, 'memlock = "<= 1 MiB"'),
    (hide_fdinfo, "prog", COUNTER, 'total = { memlock = "<= 1 MiB" }'),
    (refuse("holders"), "prog", '{ owner = "unit:nobody" }', "count = 0"),
    (refuse("pinned"), "prog", '{ pinned = "/x" }', "count = 0"),
    (refuse("pinned"), "prog", COUNTER, "pinned = false"),
    (refuse("elements"), "map", FLOWS, 'elements = "<= 80%"'),
    (refuse("flow_dissector"), "prog", '"twin"', "attached = false"),
    (refuse("objects"), "prog", '"nobody"', "count = 0"),
]  # fmt: skip


@pytest.mark.parametrize(("hide", "kind", "selector", "checks"), HIDDEN)
def test_hidden_is_never_a_pass(
    tmp_path: Path, hide: Any, kind: str, selector: str, checks: str
) -> None:
    kernel = host()
    hide(kernel)
    path = tmp_path / "bpf.toml"
    path.write_text("schema = 1\n" + rule(kind, selector, checks))
    result = run("check", str(path), kernel=kernel)
    assert result.status == 2, result
    assert result.text.startswith("UNKNOWN  r\n    cannot be judged: ")
    assert "1 could not be judged" in result.text


def test_too_old_is_skipped_with_the_version(tmp_path: Path) -> None:
    kernel = host()
    obj = kernel.all["prog"][2]
    obj.info = obj.info[:216]
    result = check(tmp_path, rule("prog", COUNTER, 'verified_insns = "<= 90%"'), kernel)
    assert result.status == 0
    assert (
        "skipped: verified_insns of prog sched_cls counter is told since Linux 5.16" in result.text
    )
    assert "0 passed, 0 failed, 1 skipped" in result.text


def test_a_function_that_there_is_not_is_no_pass(tmp_path: Path) -> None:
    """A misspelt name would never be called."""
    forbid = 'calls = { forbid = ["bpf_trace_prink", "bpf_probe_*", "bpf_probe_write_user"] }'
    result = check(tmp_path, rule("prog", COUNTER, forbid))
    assert result.status == 0
    assert (
        "skipped: Linux 6.18.0-fake has no function 'bpf_trace_prink'; did you mean"
        " 'bpf_trace_printk'?" in result.text
    )
    assert "0 passed, 0 failed, 1 skipped" in result.text
    kernel = host()
    symbols = kernel.files["/proc/kallsyms"]
    assert isinstance(symbols, bytes)
    kernel.files["/proc/kallsyms"] = symbols + b"ffffffff81009000 T bpf_trace_prink\t[some_mod]\n"
    assert "1 passed" in check(tmp_path, rule("prog", COUNTER, forbid), kernel).text


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("prog = []", "'name' names nothing"),
        ("prog = { type = [] }", "'type' names nothing"),
        ("map = { used_by = [] }", "'used_by' names nothing"),
        ('prog = "x"\npinned = []', "'pinned' names nothing"),
        ('prog = "x"\ncalls = { only = [] }', "'only' names nothing"),
        ('prog = "x"\ncount = 1.5', "'count' is a number"),
        ('prog = "x"\nverified_insns = "<= 2.5"', "'verified_insns' is a number"),
    ],
)
def test_what_would_fit_everything_or_nothing(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "bpf.toml"
    path.write_text(f'schema = 1\n[[rule]]\nid = "r"\n{line}\n')
    result = run("check", str(path), kernel=host())
    assert (result.status, result.out) == (2, b"")
    assert f"bpf.toml:{3 + len(line.splitlines())}: {sentence}" in result.errors


def test_contents_by_type(tmp_path: Path) -> None:
    """Members that are not named may have any value."""
    btf = BtfBuilder()
    number = btf.add_int("u32", 4)
    pair = btf.add_struct("pair", 8, [("a", number, 0), ("b", number, 32)])
    kernel = host()
    kernel.btfs[5] = btf.build()
    kernel.map(7, type=1, key_size=4, value_size=8, max_entries=16, name=b"flows", btf_id=5,
               btf_key_type_id=number, btf_value_type_id=pair)  # fmt: skip
    kernel.elems[7] = {struct.pack("<I", 1): struct.pack("<II", 3, 4)}
    good = 'has = [{ key = "1", value = "{.b = 4}" }, { key = "1", value = "{.a = 3}" }]'
    assert check(tmp_path, rule("map", FLOWS, good), kernel).status == 0
    result = check(tmp_path, rule("map", FLOWS, 'has = { key = "1", value = "{.b = 0}" }'), kernel)
    assert result.status == 1
    assert 'found     {"a":3,"b":4}' in result.text
    unfit = check(tmp_path, rule("map", FLOWS, 'has = { key = "1", value = "{.c = 0}" }'), kernel)
    assert unfit.status == 2


LOCK = """\
schema = 1
[[kernel]]
release = "6.18.0-fake"
machine = "x86_64"
[[kernel.prog]]
name = "counter"
type = "sched_cls"
verified_insns = {}
[[kernel.prog]]
name = "twin"
type = "xdp"
"""


@pytest.mark.parametrize(
    ("before", "grows", "status"),
    [(40, "0%", 0), (39, '"5%"', 0), (38, '"5%"', 1), (35, "5", 0), (34, "5", 1)],
)
def test_growth(tmp_path: Path, before: int, grows: str, status: int) -> None:
    grows = f'"{grows}"' if grows == "0%" else grows
    (tmp_path / "bpf.lock").write_text(LOCK.format(before))
    result = check(tmp_path, rule("prog", COUNTER, f"grows = {grows}"))
    assert result.status == status, result.text
    if status:
        assert "growth of verified_insns" in result.text
        assert f"{before} before" in result.text


def test_growth_of_what_came_and_went(tmp_path: Path) -> None:
    (tmp_path / "bpf.lock").write_text(
        LOCK.format(40) + '[[kernel.prog]]\nname = "gone"\ntype = "xdp"\n'
    )
    result = check(tmp_path, rule("prog", '"*"', 'grows = { verified_insns = "5%" }'))
    assert result.status == 1
    assert "prog xdp gone: program of the baseline" in result.text
    assert "note: prog socket_filter first is not in the baseline" in result.text


def test_growth_without_a_baseline_is_unknown(tmp_path: Path) -> None:
    rules = rule("prog", COUNTER, 'grows = "5%"')
    assert check(tmp_path, rules).status == 2
    (tmp_path / "bpf.lock").write_text(LOCK.format(40).replace("6.18", "6.12"))
    result = check(tmp_path, rules)
    assert result.status == 2
    assert "has no section for Linux 6.18.0-fake x86_64" in result.text


class TestSince:
    def since(self, tmp_path: Path, kernel: Host, rules: str = "") -> Result:
        before = save(host(), tmp_path / "before.zip")
        if rules:
            return check(tmp_path, rules, kernel, "--since", before)
        result = run("check", "--since", before, kernel=kernel)
        assert result.err == b""
        return result

    def test_a_leak_and_its_holder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        kernel = host()
        twin(kernel, 30)
        kernel.pins["prog"] = {30: ["/sys/fs/bpf/twin"]}
        result = self.since(tmp_path, kernel)
        assert result.status == 1
        assert "prog xdp twin: is left over" in result.text
        assert "found     id 30, held by leaky(60), pinned at /sys/fs/bpf/twin" in result.text
        assert "3 rules: 2 passed, 1 failed" in result.text
        assert self.since(tmp_path, host()).status == 0

    def test_allowed(self, tmp_path: Path) -> None:
        kernel = host()
        twin(kernel, 30)
        rules = rule("prog", '"*"', 'new = true\nallow = ["comm:leaky"]')
        assert self.since(tmp_path, kernel, rules).status == 0
        rules = rule("prog", '"*"', 'new = true\nallow = ["comm:l"]')
        assert self.since(tmp_path, kernel, rules).status == 1

    def test_another_boot_compares_identities(self, tmp_path: Path) -> None:
        kernel = host(shift=50)
        kernel.boot += 10**15
        rules = rule("prog", '"*"', "new = true")
        assert self.since(tmp_path, kernel, rules).status == 0
        twin(kernel, 90)
        assert self.since(tmp_path, kernel, rules).status == 1

    def test_new_without_since(self, tmp_path: Path) -> None:
        result = check(tmp_path, rule("prog", '"*"', "new = true"))
        assert result.status == 2
        assert "--since" in result.text


def test_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks again until all is as wished, or the time is over."""
    pauses: list[float] = []
    kernel = host()
    kernel.__class__.is_live = True
    try:

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                add_prog(kernel, 77, asm.exit_(), name=b"late")

        monkeypatch.setattr("time.sleep", sleep)
        path = tmp_path / "bpf.toml"
        path.write_text("schema = 1\n" + rule("prog", '"late"'))
        result = run("check", str(path), "--wait", "20s", kernel=kernel)
        assert (result.status, len(pauses)) == (0, 3)
    finally:
        kernel.__class__.is_live = False
    assert run("check", str(path), "--wait", "1s", kernel=host()).status == 2


REFUSED = [
    ("", "bpf.toml:1: it does not say which form it has: 'schema = 1'"),
    ("schema = 2", "bpf.toml:1: this version reads policies of schema 1"),
    ("schema = true", "bpf.toml:1: this version reads policies of schema 1"),
    ("schema = 1", "bpf.toml:1: it has no [[rule]]"),
    ("schema = 1\nrules = 3", "bpf.toml:2: a policy has no 'rules'; did you mean 'rule'?"),
    ("schema = 1\nrule = 3", "bpf.toml:2: rules begin with [[rule]]"),
    ("schema = 1\n[[rule]]\nprog = 'x'", "bpf.toml:2: this rule has no id"),
    ("schema = 1\n[[rule]]\nid = 'a'\nporg = 'x'", "bpf.toml:4: a rule selects by one of prog,"),
    ("schema = 1\n[[rule]]\nid = 'a'\nprog = 3", "bpf.toml:4: 'prog' is a name or a table"),
    ("schema = 1\n[[rule]]\nid = 'a'\nprog = 'x'\nmap = 'y'", "bpf.toml:5: a rule selects by one"),
    ("R\ncoutn = 1", "bpf.toml:5: rules have no key 'coutn'; did you mean 'count'?"),
    ("R\nverified_insn = 1", "bpf.toml:5: rules have no key 'verified_insn'; did you mean 'verif"),
    ("R\nmax_entries = 1", "bpf.toml:5: 'max_entries' is a key of rules on a map, this one is on"),
    ("R\ncount = 'many'", "bpf.toml:5: 'count' is a number, or text like"),
    ("R\ncount = -1", "bpf.toml:5: 'count' is a number, or text like"),
    ("R\nlevel = 'warning'", "bpf.toml:5: there is no level 'warning'; did you mean 'warn'?"),
    ("R\nbtf = 1", "bpf.toml:5: 'btf' is true or false"),
    ("R\ncalls = 'x'", "bpf.toml:5: 'calls' is a table"),
    ("R\ncalls = { forbidden = 'x' }", "bpf.toml:5: 'calls' has no key 'forbidden'; did you mean"),
    ("R\nattached = { device = 'x' }", "bpf.toml:5: 'attached' has no key 'device'; did you mean"),
    ("R\nattached = { hook = 'tcx/ingres' }", "bpf.toml:5: there is no hook 'tcx/ingres'; did you"),
    ("R\ntype = 'xpd'", "bpf.toml:5: there is no prog type 'xpd'; did you mean 'xdp'?"),
    ("R\nbytes_xlated = '<= 5%'", "bpf.toml:5: 'bytes_xlated' has no whole"),
    ("R\nmemlock = 1\nbytes_memlock = 1", "bpf.toml:6: 'bytes_memlock' and 'bytes_memlock' are"),
    ("R\ngrows = 'x'", "bpf.toml:5: 'grows' is how much it may grow"),
    ("R\nwhy = 1", "bpf.toml:5: 'why' is text"),
    ("schema = 1\n[[rule]]\nid = 'a'\nprog = { nam = 'x' }", "bpf.toml:4: a prog is not selected"),
    ("R\n[[rule]]\nid = 'a'\nprog = 'y'", "bpf.toml:5: the rule in line 2 has the id 'a', too"),
    ("R\nx = [", "bpf.toml:5: expected a value, found the end"),
    ("schema = 1\n[[rule]]\nid = 'a'\nmap = 'x'\nhas = { value = '1' }", "bpf.toml:5: 'has' is a"),
    ("schema = 1\n[[rule]]\nid = 'a'\nmap = 'x'\ntotal = { x = 1 }", "'total' has no key 'x'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), REFUSED)
def test_refusals_have_lines(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "bpf.toml"
    path.write_text(text.replace("R\n", "schema = 1\n[[rule]]\nid = 'a'\nprog = 'x'\n"))
    result = run("check", str(path), kernel=host())
    assert (result.status, result.out) == (2, b"")
    assert len(result.errors.splitlines()) == 1
    assert sentence in result.errors


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["check", "/none.toml"], "cannot read '/none.toml': No such file"),
        (["check", "a", "b"], "unexpected argument 'b'"),
        (["check", "a", "--wait", "soon"], "cannot read 'soon' as a time"),
        (["check", "a", "--wait", "99h"], "longer than a day"),
        (["check", "--since", "/none.zip", "/none.toml"], "cannot read '/none.toml'"),
    ],
)
def test_refused_words(words: list[str], sentence: str) -> None:
    result = run(*words, kernel=host())
    assert (result.status, result.out) == (2, b"")
    assert sentence in result.errors
    assert len(result.errors.splitlines()) == 1


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "bpf.toml"
    path.write_text("schema = 1\n" + rule("prog", COUNTER, "count = 0"))
    answer = run("-j", "check", str(path), kernel=host()).json
    assert list(answer)[-1] == "summary"
    assert answer["summary"]["failed"] == 1
    finding = answer["rules"][0]["findings"][0]
    assert finding["object"] == "prog sched_cls counter"
    assert finding["command"] == "pybpftool prog show id 2"
    refused = run("-j", "check", "/none.toml", kernel=host())
    assert refused.status == 2
    assert "cannot read" in refused.json["error"]


def test_positions(tmp_path: Path) -> None:
    kernel = host()
    kernel.devices[2, 46] = [(9, 0, 0, 0), (2, 0, 20, 0)]
    add_tcx(kernel, 20, 2, "eth0", 2)
    add_prog(kernel, 9, asm.exit_(), name=b"before", type=3)
    kernel.dumps[""] = {}
    kernel.netlink_dump = lambda request, netns: (  # type: ignore[method-assign]
        [_device(2, b"eth0")] if request[4] == 18 else []
    )
    at = 'attached = {{ dev = "eth0", hook = "tcx/ingress", position = {} }}'
    assert check(tmp_path, rule("prog", COUNTER, at.format(2)), kernel).status == 0
    assert check(tmp_path, rule("prog", COUNTER, at.format(1)), kernel).status == 1


def _device(ifindex: int, name: bytes) -> bytes:
    """A message of RTM_NEWLINK with a name (IFLA_IFNAME)."""
    attribute = struct.pack("=HH", 4 + len(name) + 1, 3) + name + b"\0"
    attribute = attribute.ljust((len(attribute) + 3) // 4 * 4, b"\0")
    body = struct.pack("=BxHiII", 0, 1, ifindex, 0, 0) + attribute
    return struct.pack("=IHHII", 16 + len(body), 16, 0, 1, 0) + body


class TestReports:
    RULES = 'schema = 1\n[[rule]]\nid = "r"\nprog = { name = "counter" }\ncount = 0\n'

    @pytest.fixture(autouse=True)
    def _here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
        monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        (tmp_path / "bpf.toml").write_text(self.RULES)

    @pytest.mark.parametrize("name", ["text", "github", "junit", "json", "tap", "sarif"])
    def test_to_output_and_file(self, tmp_path: Path, name: str) -> None:
        result = run("check", "--report", name, kernel=host())
        assert result.status == 1
        also = run("check", "--report", f"{name}=x/report", kernel=host())
        assert also.status == 2  # there is no such directory
        other = run("check", "--report", f"{name}=report", kernel=host())
        assert other.status == 1
        assert (tmp_path / "report").read_bytes() == result.out
        assert other.text.startswith("FAILED   r\n")

    def test_several(self, tmp_path: Path) -> None:
        words = ["--report", "junit=a.xml", "--report", "sarif=b.sarif", "--report", "tap"]
        result = run("check", *words, kernel=host())
        assert result.text.startswith("TAP version 14\n1..1\nnot ok 1 - r\n")
        assert (tmp_path / "a.xml").exists() and (tmp_path / "b.sarif").exists()

    def test_github_by_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
        (tmp_path / "summary.md").write_text("before\n")
        result = run("check", kernel=host())
        assert result.status == 1
        assert result.text.startswith(
            "::error file=bpf.toml,line=2,title=r::prog sched_cls counter"
        )
        text = (tmp_path / "summary.md").read_text()
        assert text.startswith("before\n### BPF policy\n")
        assert run("check", "--report", "text", kernel=host()).text.startswith("FAILED")

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["--report", "xunit"], "there is no report 'xunit'; did you mean 'junit'?"),
            (["--report", "tap="], "expected a path behind 'tap='"),
            (["--report", "tap", "--report", "text"], "only one report fits standard output"),
            (["--report", "tap=a", "--report", "text=a"], "two reports are to be written to 'a'"),
        ],
    )
    def test_refusals(self, words: list[str], sentence: str) -> None:
        result = run("check", *words, kernel=host())
        assert (result.status, result.out) == (2, b"")
        assert sentence in result.errors

    def test_json_twice(self) -> None:
        result = run("-j", "check", "--report", "tap", kernel=host())
        assert result.status == 2
        assert "-j prints JSON" in result.json["error"]
        assert run("-j", "check", "--report", "json", kernel=host()).json["summary"]["failed"] == 1
