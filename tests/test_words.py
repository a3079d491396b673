"""A command's words stand in four places, which agree: its table, help, manual and completion."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from pybpftool.cli.main import OBJECTS
from pybpftool.uapi.prog_sections import PROG_SECTIONS

ROOT = Path(__file__).parent.parent
COMPLETION = ROOT / "pybpftool" / "data" / "pybpftool"

MODULES: dict[str, ModuleType] = {word: import_module(f"pybpftool.cli.{word}") for word in OBJECTS}
WITH_VERBS = [word for word, module in MODULES.items() if hasattr(module, "VERBS")]

# Words of usage lines that completion leaves out, and why.
NOT_COMPLETED: dict[str, str] = {}


def verbs(word: str) -> set[str]:
    """The verbs that a word has and that do something."""
    return {name for name, run in MODULES[word].VERBS if run.__name__ != "_later"}


def usage(word: str) -> list[list[str]]:
    """The usage lines of a help text as tokens after the object's word."""
    lines: list[str] = []
    for line in MODULES[word].HELP.splitlines():
        text = line.strip().removeprefix("Usage:").strip()
        if text.startswith("pybpftool "):
            lines.append(text)
        elif not line.strip():
            break
        elif lines:
            lines[-1] += " " + text
    return [tokens[2:] for tokens in map(str.split, lines) if tokens[1] == word]


def first_words(tokens: list[str], opening: str = "{") -> list[str]:
    """``{ a | b } …`` or ``a …``: the words that may come first."""
    if tokens[:1] != [opening]:
        return tokens[:1]
    found = []
    for token in tokens[1:]:
        if token == "}":
            break
        if token != "|":
            found.append(token)
    return found


def synopsis(word: str) -> set[str]:
    """The verbs in the synopsis of a manual page."""
    text = (ROOT / "man" / f"pybpftool-{word}.8").read_text()
    section = text.partition(".Sh SYNOPSIS\n")[2].partition("\n.Sh ")[0]
    found: set[str] = set()
    for entry in section.split(".Nm pybpftool"):
        tokens = [token.lstrip(".") for token in entry.split()]
        if word not in tokens:
            continue
        rest = tokens[tokens.index(word) + 1 :]
        if rest[:1] == ["Brq"]:
            # Brq Cm a | b | c, up to the next macro
            names = [rest[2]]
            at = 3
            while rest[at : at + 1] == ["|"]:
                names.append(rest[at + 1])
                at += 2
            found.update(names)
        else:
            found.update([token for token in rest if token != "Cm"][:1])
    return found


def completed(*words: str, begun: str = "", path: str = "") -> set[str]:
    """What bash offers after these words, where the next is begun; ``path`` has the commands."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    script = (
        'source "$1"; begun=$2; shift 2; COMP_WORDS=("$@" "$begun"); COMP_CWORD=$#;'
        ' _pybpftool pybpftool; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        [bash, "-c", script, "bash", str(COMPLETION), begun, "pybpftool", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}"},
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize("word", WITH_VERBS)
class TestVerbs:
    def test_help(self, word: str) -> None:
        lines = usage(word)
        assert {name for line in lines for name in first_words(line)} == verbs(word)

    def test_manual(self, word: str) -> None:
        assert synopsis(word) | {"help"} == verbs(word) | {"help"}

    def test_completion(self, word: str) -> None:
        assert completed(word) == verbs(word)


def alternatives(text: str) -> str:
    """What stands in the outermost braces or brackets that a definition begins with."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter in "{[") - (letter in "}]")
        if depth == 0:
            return text[: at + 1]
    return text


@pytest.mark.parametrize("word", [word for word in MODULES if hasattr(MODULES[word], "HELP")])
def test_every_word_of_the_usage_is_completed_somewhere(word: str) -> None:
    text = COMPLETION.read_text()
    lines = [" ".join(tokens) for tokens in usage(word)]
    for definition in re.findall(r":= ([{[](?:.*\n)+?)(?=\s*\w+ *:=|\s*Options|\n|\Z)",
                                 MODULES[word].HELP):  # fmt: skip
        if not re.match(r"[{[] an? ", definition):  # else it explains
            lines.append(alternatives(definition))
    words = {
        name
        for line in lines
        for name in re.findall(r"(?<![\w'/.:-])[a-z][a-z_0-9]+(?![\w'/.-])", line)
    }
    missing = {name for name in words if not re.search(rf"\b{name}\b", text)}
    assert missing - NOT_COMPLETED.keys() == set()


def test_objects_are_completed() -> None:
    assert completed() == {*OBJECTS}


@pytest.mark.parametrize(
    ("words", "some"),
    [
        ("prog dump", "xlated jited joined"),
        ("prog dump joined id 5", "html opcodes linum syntax"),
        ("prog dump xlated id 5", "file visual opcodes linum"),
        ("prog dump xlated id 5 visual", "svg png pdf json func calls"),
        ("prog dump jited id 5 syntax", "att intel"),
        ("net show", "dev netns all"),
        ("net attach", "xdp xdpgeneric xdpdrv xdpoffload tcx_ingress tcx_egress"),
        ("net attach xdp id 5", "dev"),
        ("net attach xdp id 5 dev lo", "overwrite"),
        ("net attach tcx_egress id 5 dev lo", "prepend"),
        ("cgroup attach /sys/fs/cgroup", "cgroup_inet_egress cgroup_sysctl cgroup_unix_connect"),
        ("cgroup attach /sys/fs/cgroup cgroup_device id 5", "multi override"),
        ("map lookup id 5", "key"),
        ("map update id 5 key", "hex"),
        ("map create /sys/fs/bpf/m", "type key value entries name flags inner_map offload_dev"),
        ("btf dump id 5", "format root_id"),
        ("btf dump id 5 format", "raw c"),
        ("btf dump map id 5", "key value kv all format"),
        ("prog load a.o /sys/fs/bpf/p", "type map pinmaps autoattach kernel_btf"),
        ("prog load a.o /sys/fs/bpf/p map idx 0", "id name pinned"),
    ],
)
def test_words_in_their_places(words: str, some: str) -> None:
    assert set(some.split()) <= completed(*words.split())


@pytest.mark.parametrize(
    ("words", "others"),
    [
        ("prog load a.o /sys/fs/bpf/p", "id name pinned"),
        ("prog load a.o /sys/fs/bpf/p type xdp", "type"),
        ("map create /sys/fs/bpf/m type hash key 4", "type key"),
        ("map event_pipe id 5 cpu 0", "cpu"),
        ("prog profile id 5 cycles", "cycles duration"),
    ],
)
def test_words_that_have_no_place_any_more(words: str, others: str) -> None:
    assert not set(others.split()) & completed(*words.split())


def test_options_with_one_letter() -> None:
    assert {"-i", "-k", "--json"} <= completed(begun="-")


def test_types_of_programs_are_sections() -> None:
    offered = completed("prog", "load", "a.o", "/sys/fs/bpf/p", "type")
    sections = {name.rstrip("+") for name, *_ in PROG_SECTIONS}
    assert offered <= sections
    assert {name for name in sections if name.startswith("cgroup/")} <= offered


NAMES = {"prog": "one_prog", "map": "one.map", "struct_ops": "one_ops"}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with a ``pybpftool`` that lists one object of a kind, and one of a bad name."""
    path = tmp_path_factory.mktemp("commands") / "pybpftool"
    cases = "".join(
        f"""'-j {kind} show') echo '[{{"id":{len(kind)},"type":"x","name":"{name}","tag":"ab12",\
"map_ids":[7]}},{{"id":99,"name":"$(rm x)"}}]';;\n"""
        for kind, name in {**NAMES, "link": "no", "btf": "no"}.items()
    )
    path.write_text(
        f'#!/bin/sh\ncase "$*" in\n{cases}'
        "'feature list_builtins map_types') printf 'unspec\\nhash\\narray\\n';;\nesac\n"
    )
    path.chmod(0o755)
    return str(path.parent)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("prog show", "prog"),
        ("prog dump xlated", "prog"),
        ("prog load a.o /sys/fs/bpf/p map", "map"),
        ("prog load a.o /sys/fs/bpf/p map name m", "map"),
        ("prog attach", "prog"),
        ("prog attach id 5 sk_msg_verdict", "map"),
        ("map show", "map"),
        ("map update id 5", "map"),
        ("map create /sys/fs/bpf/m type hash_of_maps inner_map", "map"),
        ("iter pin a.o /sys/fs/bpf/i map", "map"),
        ("btf dump prog", "prog"),
        ("btf dump map", "map"),
        ("cgroup attach /sys/fs/cgroup cgroup_device", "prog"),
        ("net attach xdp", "prog"),
        ("struct_ops dump", "struct_ops"),
        ("why map", "map"),
    ],
)
def test_names_and_ids_of_objects(words: str, kind: str, commands: str) -> None:
    assert completed(*words.split(), "name", path=commands) == {NAMES[kind]}
    assert completed(*words.split(), "id", path=commands) == {str(len(kind)), "99"}


def test_what_a_name_is_of(commands: str) -> None:
    assert completed("prog", "show", "tag", path=commands) == {"ab12"}
    assert completed("link", "show", "id", path=commands) == {"4", "99"}
    assert completed("map", "create", "/m", "name", path=commands) == set()
    assert completed("map", "create", "/m", "type", path=commands) == {"hash", "array"}
    both = completed("map", "update", "id", "1", "value", "name", path=commands)
    assert both == {NAMES["prog"], NAMES["map"]}


@pytest.mark.parametrize("name", ["pybpftool", "bpftool"])
def test_a_link_completes_a_command_of_its_name(tmp_path: Path, name: str) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    (tmp_path / name).symlink_to(COMPLETION)
    script = 'source "$1" && complete -p'
    done = subprocess.run(
        [bash, "-c", script, "bash", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {line.split()[-1] for line in done.stdout.splitlines()}
    assert found == {"pybpftool", name}
