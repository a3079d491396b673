"""The options of a command line: upstream's letters and words, and ours."""

from __future__ import annotations

import posix

from pybpftool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Options:
    """The options of a command line, with upstream's letters."""

    __slots__ = (
        "base_btf",
        "bpffs",
        "certificate",
        "debug",
        "escape",
        "json",
        "key",
        "mapcompat",
        "no_iter",
        "nomount",
        "of_object",
        "pretty",
        "resolve",
        "sign",
        "snapshot",
        "use_loader",
    )

    def __init__(self) -> None:
        self.json = False  # -j
        self.pretty = False  # -p
        self.bpffs = False  # -f
        self.nomount = False  # -n
        self.debug = False  # -d
        self.mapcompat = False  # -m
        self.use_loader = False  # -L
        self.sign = False  # -S
        self.base_btf: list[str] = []  # -B, each on top of those before
        self.key: str | None = None  # -k
        self.certificate: str | None = None  # -i; with -k: sign
        self.snapshot: str | None = None
        self.resolve = False
        self.escape = False
        self.no_iter = False
        self.of_object: list[tuple[str, str]] = []
        """Options that one object alone takes, in their order; the value of a switch is empty."""

    @property
    def is_full(self) -> bool:
        """Whether listings show all that is known."""
        return _is_given(self, "full")

    @property
    def is_table(self) -> bool:
        """Whether a listing is wanted as a table or in the words of one."""
        return any(name in _OF_TABLES for name, _ in self.of_object)


_SHORT = "VhpjfLmndSi:k:B:"
_LONG = {
    "json": "j",
    "help": "h",
    "pretty": "p",
    "version": "V",
    "bpffs": "f",
    "mapcompat": "m",
    "nomount": "n",
    "debug": "d",
    "use-loader": "L",
    "sign": "S",
    "base-btf": "B",
}
_UPSTREAM = frozenset(_LONG)
_LONG.update((name, name) for name in ("snapshot", "resolve", "escape", "no-iter"))
_LISTED = ("prog", "map", "link", "cgroup", "perf", "net", "btf", "struct_ops", "iter", "token")
TABLES = ("attachments", "owners")
"""Our own words whose answer is a table without being asked for one."""
_TABLES = (*_LISTED, *TABLES)
OWN_TABLES = (*TABLES, "top", "monitor")
"""Words that do with the options of tables what is to be done."""
# Options of single objects: name -> whether it takes a value, and whose it is.
_OF_OBJECT = {
    "against": (True, ("obj",)),
    "compare": (True, ("obj",)),
    "by": (True, ("top",)),
    "calls": (False, ("monitor",)),
    "csv": (False, ("obj",)),
    "code": (False, ("diff",)),
    "color": (True, (*_TABLES, "top")),
    "columns": (True, _TABLES),
    "elements": (False, ("diff", "map")),
    "expect": (True, ("prog",)),
    "filter": (True, (*_TABLES, "top")),
    "for": (True, ("top", "monitor")),
    "full": (False, ("prog", "map", "link")),
    "ignore": (True, ("diff",)),
    "interval": (True, ("top", "monitor", "metrics")),
    "json-lines": (False, (*_TABLES, "top", "monitor")),
    "libbpf": (True, ("gen",)),
    "once": (False, ("top",)),
    "only": (True, ("diff",)),
    "owner": (True, ("diff",)),
    "report": (True, ("check",)),
    "since": (True, ("check",)),
    "sort": (True, (*_TABLES, "top")),
    "stats": (False, ("metrics",)),
    "table": (False, _TABLES),
    "wait": (True, ("check",)),
    "write": (False, ("check",)),
}
_OF_TABLES = ("table", "columns", "sort", "filter", "color", "json-lines")
_LONG.update((name, name) for name in _OF_OBJECT)
_WITH_VALUE = {"i", "k", "B", "snapshot"}
_WITH_VALUE.update(name for name, row in _OF_OBJECT.items() if row[0])
_SWITCHES = {
    "j": "json",
    "f": "bpffs",
    "n": "nomount",
    "d": "debug",
    "m": "mapcompat",
    "L": "use_loader",
    "resolve": "resolve",
    "escape": "escape",
    "no-iter": "no_iter",
}


class HelpWanted(Exception):
    """Options ask for something that ends the run at once (``-h``), about some words."""

    def __init__(self, words: Sequence[str] = ()) -> None:
        super().__init__()
        self.words = words


def _long_option(word: str) -> tuple[str, str | None]:
    name, equals, value = word[2:].partition("=")
    matches = [name] if name in _LONG else [long for long in _LONG if long.startswith(name)]
    # What upstream takes for one of its own stays that, whatever is added.
    matches = [long for long in matches if long in _UPSTREAM] or matches
    if not matches:
        from pybpftool.cli.grammar import nearest

        hint = nearest(name, list(_LONG)).replace("'", "'--", 1)
        raise UsageError(f"unknown option '{word}'{hint}")
    if len(matches) > 1:
        raise UsageError(f"option '--{name}' is short for several: --" + ", --".join(matches))
    letter = _LONG[matches[0]]
    if equals and letter not in _WITH_VALUE:
        raise UsageError(f"option '--{matches[0]}' takes no value")
    return letter, value if equals else None


def scan(argv: Sequence[str]) -> tuple[list[tuple[str, str]], list[str], UsageError | None]:
    """Options as (letter, value) in their order, words, and the error that ended the scan.

    Options may stand anywhere before ``--``, as getopt_long(3) permutes them.
    """
    found: list[tuple[str, str]] = []
    words: list[str] = []
    rest = list(argv)
    rest.reverse()
    is_posix = b"POSIXLY_CORRECT" in posix.environ
    while rest:
        word = rest.pop()
        if word == "--":
            words += reversed(rest)
            break
        if word.startswith("--"):
            try:
                letter, value = _long_option(word)
            except UsageError as error:
                return found, words, error
            if letter in _WITH_VALUE and value is None:
                if not rest:
                    return found, words, UsageError(f"option '{word}' needs a value")
                value = rest.pop()
            found.append((letter, value or ""))
        elif word.startswith("-") and len(word) > 1:
            at = 1
            while at < len(word):
                letter = word[at]
                at += 1
                if letter == ":" or letter not in _SHORT:
                    return found, words, UsageError(f"unknown option '-{letter}' in '{word}'")
                if letter in _WITH_VALUE:
                    value = word[at:]
                    if not value:
                        if not rest:
                            return found, words, UsageError(f"option '-{letter}' needs a value")
                        value = rest.pop()
                    found.append((letter, value))
                    break
                found.append((letter, ""))
        else:
            words.append(word)
            if is_posix:
                words += reversed(rest)
                break
    return found, words, None


def refuse_foreign(options: Options, meant: str) -> None:
    """Refuse options of other objects than the one that the words mean."""
    for name, _ in options.of_object:
        owners = _OF_OBJECT[name][1]
        if meant not in owners:
            shown = ", ".join(f"'{owner}'" for owner in owners[:3])
            rest = " and others" if len(owners) > 3 else ""
            raise UsageError(f"option '--{name}' belongs to {shown}{rest}")


def parse(argv: Sequence[str], options: Options) -> list[str]:
    """Fill ``options`` from ``argv`` and return the words of the command."""
    found, words, error = scan(argv)
    version = False
    for letter, value in found:
        if letter == "h":
            raise HelpWanted(words)
        if letter in _SWITCHES:
            setattr(options, _SWITCHES[letter], True)
        elif letter in _OF_OBJECT:
            options.of_object.append((letter, value))
        elif letter == "V":
            version = True
        elif letter == "p":
            options.json = options.pretty = True
        elif letter == "S":
            options.sign = options.use_loader = True
        elif letter == "i":
            options.certificate = value
        elif letter == "k":
            options.key = value
        elif letter == "B":
            options.base_btf.append(value)
        elif letter == "snapshot":
            options.snapshot = value
    if error is not None:
        raise error
    if options.is_full and len(words) > 1 and words[1] != "list":
        takers = ("show", "load", "loadall") if "prog".startswith(words[0]) else ("show",)
        if not any(verb.startswith(words[1]) for verb in takers):
            raise UsageError(f"option '--full' belongs to '{takers[0]}', not to '{words[1]}'")
    elif _is_given(options, "elements") and not options.is_full and "map".startswith(words[0]):
        raise UsageError("option '--elements' of 'map' goes with '--full'")
    if _is_given(options, "expect") and len(words) > 1 and not "run".startswith(words[1]):
        raise UsageError(f"option '--expect' belongs to 'run', not to '{words[1]}'")
    if {options.sign} != {options.key is not None, options.certificate is not None}:
        raise UsageError("-S (sign) and the keys -k and -i have to be given together")
    return ["version"] if version else words


def _is_given(options: Options, wanted: str) -> bool:
    return any(name == wanted for name, _ in options.of_object)
