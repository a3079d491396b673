"""``help``: what there is, and where it is explained."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool [OPTIONS] OBJECT { COMMAND | help }
       pybpftool [OPTIONS] batch file FILE
       pybpftool version

Objects that this version handles:
       prog  map  link  cgroup  perf  net  feature  btf  gen  struct_ops  iter
       token  snapshot  diff  check  obj  why  attachments  owners  doctor
       report  cbpf  top  monitor  metrics
       (each word may be shortened; 'pybpftool OBJECT help' lists an object's commands)

Options:
       -j, --json        print JSON
       -p, --pretty      print JSON over several lines
       -f, --bpffs       show the paths that objects are pinned at
       -n, --nomount     never mount a bpf file system
       -B, --base-btf FILE   the BTF that split BTF refers to
       -d, --debug       what libbpf and the verifier say, each thing that the kernel refuses
                         to commands that read, where a mistake happened
       --snapshot PATH   answer from a recorded kernel instead of the running one
       --resolve         name what other commands show as numbers (link, perf, net)
       --escape          show control characters in names as \\x1b, in files and pipes as well
       --no-iter         load no BPF program to find the holders and names of functions
       --table           listings as tables; with --columns NAMES, --sort [-]NAME,
                         --filter 'NAME=PATTERN,…', --json-lines, --color WHEN
       -V, --version     same as the command version
       -h, --help        this text
"""


def run(ctx: Context, args: Args) -> None:
    """Print the help of the whole; surplus words are ignored, as upstream does."""
    ctx.show_help(HELP)


def show_usage(ctx: Context, word: str, text: str, commands: Sequence[str]) -> None:
    """Print the part of an object's help about the first of ``commands``, on stdout.

    All of it goes where upstream prints help, on stderr; that of a word that is a command
    itself is such a part.
    """
    if ctx.json is not None:
        ctx.json.value(None)
        return
    from pybpftool.cli import examples

    part = _only(text, commands[0]) if commands else text
    if part is text:
        alone = examples.text(word)
        if not alone:
            ctx.show_help(text)
            return
        part += alone
    else:
        lines = part.partition("\n\n")[0].removeprefix("Usage:").splitlines()
        verbs = [verb for line in lines for verb in _verbs(line.split())]
        part += examples.text(word, next(v for v in verbs if v.startswith(commands[0])))
    ctx.out.write(part)


def _only(text: str, word: str) -> str:
    """Of an object's help, the usage of one command and what its words in capitals stand for.

    All of it if there is no such command.
    """
    first, *rest = text.split("\n\n")
    lines = first.removeprefix("Usage:").replace("\\\n", " ").splitlines()
    usages = [line.split() for line in lines]
    meant = next((v for usage in usages for v in _verbs(usage) if v.startswith(word)), None)
    kept = [" ".join(usage) for usage in usages if meant in _verbs(usage)]
    if meant is None:
        return text
    definitions: dict[str, str] = {}
    name = ""
    for line in "\n".join(rest).splitlines():
        start, is_one, _ = line.partition(":=")
        if is_one:
            name = start.strip()
        elif not line.startswith(" " * 8) or line.lstrip().startswith("Options:"):
            name = ""
        if name:
            definitions[name] = definitions.get(name, "") + line + "\n"
    wanted: list[str] = []
    known = list(kept)
    while known:
        words = _capitals(known.pop())
        for each, definition in definitions.items():
            if each in words and each not in wanted:
                wanted.append(each)
                known.append(definition)
    told = "".join([definitions[each] for each in definitions if each in wanted])
    usage = "\n       ".join(kept)
    return f"Usage: {usage}\n" + (f"\n{told}" if told else "")


def _verbs(usage: Sequence[str]) -> list[str]:
    """The commands that a line of usage is about: ``pybpftool map { show | list } …``."""
    words = list(usage[2:])
    if not words or words[0] != "{":
        return words[:1]
    end = words.index("}") if "}" in words else len(words)
    return [word for word in words[1:end] if word != "|"]


def _capitals(text: str) -> set[str]:
    """The words in capitals of a text."""
    for mark in "[]{}|.,=()":
        text = text.replace(mark, " ")
    return {word for word in text.split() if word.isupper()}
