"""Policies: the rules of a ``bpf.toml``, read and checked before any kernel is asked.

An unknown key, a value of the wrong type or a word that means nothing is refused with the
file, the line and the nearest right word: a rule that is misspelt must never pass.
"""

from __future__ import annotations

from pybpftool.errors import FormatError
from pybpftool.inspect.bounds import Bound, bound_of
from pybpftool.inspect.places import KEYS as PLACE_KEYS
from pybpftool.inspect.toml import Table, parse_file
from pybpftool.inspect.wording import glob, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

SCHEMA = 1
"""The version of the policy's form that this version reads."""

KINDS = ("prog", "map", "link", "pin")
LEVELS = ("error", "warn", "note")

ALIASES = {
    "memlock": "bytes_memlock",
    "key_size": "bytes_key",
    "value_size": "bytes_value",
    "map_flags": "flags",
    "license_gpl": "gpl_compatible",
}
"""Words of other tools -> the key of ``-j show``."""

SELECTORS = {
    "prog": ("name", "type", "tag", "owner", "pinned", "attach_to", "id"),
    "map": ("name", "type", "owner", "pinned", "used_by", "id"),
    "link": ("type", "prog", "owner", "pinned", "attached", "id"),
    "pin": ("path", "kind"),
}

PATTERNS, BOUND, FLAG, PLACE = "patterns", "bound", "flag", "place"
CALLS, GROWS, HAS, TOTAL, PATH, EXACT = "calls", "grows", "has", "total", "path", "exact"

CHECKS: dict[str, dict[str, str]] = {
    "prog": {
        "type": PATTERNS,
        "tag": PATTERNS,
        "owner": PATTERNS,
        "pinned": PATTERNS,
        "attach_to": PATTERNS,
        "attached": PLACE,
        "verified_insns": BOUND,
        "subprograms": BOUND,
        "bytes_xlated": BOUND,
        "bytes_jited": BOUND,
        "bytes_memlock": BOUND,
        "uid": BOUND,
        "run_cnt": BOUND,
        "gpl_compatible": FLAG,
        "btf": FLAG,
        "maps": EXACT,
        "calls": CALLS,
        "grows": GROWS,
        "object": PATH,
        "total": TOTAL,
    },
    "map": {
        "type": PATTERNS,
        "owner": PATTERNS,
        "pinned": PATTERNS,
        "value_type": PATTERNS,
        "hash": PATTERNS,
        "max_entries": BOUND,
        "bytes_key": BOUND,
        "bytes_value": BOUND,
        "bytes_memlock": BOUND,
        "flags": BOUND,
        "map_extra": BOUND,
        "elements": BOUND,
        "frozen": FLAG,
        "btf": FLAG,
        "used_by": EXACT,
        "has": HAS,
        "total": TOTAL,
    },
    "link": {
        "type": PATTERNS,
        "prog": PATTERNS,
        "owner": PATTERNS,
        "pinned": PATTERNS,
        "attached": PLACE,
    },
    "pin": {"kind": PATTERNS},
}
"""What a rule can demand of the objects that it selects: kind -> key -> form of its value."""

GENERAL = ("id", "level", "count", "allow", "new", "why")
"""Keys that every rule can have, besides its selector."""

_PER_CENT = {"verified_insns": 1_000_000, "elements": 0}
_SUMMED = {"prog": ("bytes_memlock", "bytes_xlated", "bytes_jited", "verified_insns"),
           "map": ("bytes_memlock", "max_entries")}  # fmt: skip
GROWING = ("verified_insns", "bytes_xlated", "bytes_jited")


class Patterns:
    """Words of which one has to fit; those behind ``!`` must not."""

    __slots__ = ("_no", "_yes", "words")

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        self._yes = [word for word in self.words if not word.startswith("!")]
        self._no = [word[1:] for word in self.words if word.startswith("!")]

    def fit(self, text: str) -> bool:
        """Whether one word is as wished."""
        if any(glob(word, text) for word in self._no):
            return False
        return not self._yes or any(glob(word, text) for word in self._yes)

    def fit_any(self, texts: Iterable[str]) -> bool:
        """Whether one of several words is wanted and none forbidden."""
        texts = list(texts) or [""]
        if any(glob(word, text) for word in self._no for text in texts):
            return False
        return not self._yes or any(glob(word, text) for word in self._yes for text in texts)

    def __str__(self) -> str:
        return " or ".join(self.words)


class Rule:
    """One rule: which objects, and what is demanded of them."""

    __slots__ = (
        "allow", "checks", "count", "id", "is_new", "kind", "level", "line", "selector", "why",
    )  # fmt: skip

    def __init__(self, id: str, kind: str, line: int) -> None:
        self.id = id
        self.kind = kind
        self.line = line
        self.selector: dict[str, Patterns] = {}
        self.checks: dict[str, Any] = {}
        self.count: Bound | None = None
        """How many there have to be; None where a sum or growth asks for no number."""
        self.level = "error"
        self.allow = Patterns(())
        self.is_new = False
        """Whether only objects count that are not in the snapshot of ``--since``."""
        self.why = ""


class Policy:
    """The rules of a file."""

    __slots__ = ("path", "rules")

    def __init__(self, path: str, rules: list[Rule]) -> None:
        self.path = path
        self.rules = rules


def load(path: str) -> Policy:
    """Read a policy; raises BpfError or FormatError with file and line."""
    return _Loader(path).policy(parse_file(path))


def leak_rules() -> list[Rule]:
    """The rules that ``--since`` implies: nothing may be left that was not there."""
    rules = []
    for kind in ("prog", "map", "link"):
        rule = Rule(f"leaked-{kind}", kind, 0)
        rule.is_new = True
        rule.count = Bound("==", 0)
        rules.append(rule)
    return rules


class _Loader:
    def __init__(self, path: str) -> None:
        self._file = path

    def _fail(self, line: int, reason: str) -> NoReturn:
        raise FormatError(f"{self._file}:{line}: {reason}")

    def policy(self, document: Table) -> Policy:
        for key in document:
            if key not in ("schema", "rule"):
                hint = nearest(key, ("schema", "rule"))
                self._fail(document.lines[key], f"a policy has no '{key}'{hint}")
        schema = document.get("schema")
        if schema is None:
            self._fail(1, f"it does not say which form it has: 'schema = {SCHEMA}'")
        if type(schema) is not int or schema != SCHEMA:
            line = document.lines["schema"]
            self._fail(line, f"this version reads policies of schema {SCHEMA}")
        tables = document.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(one, Table) for one in tables):
            self._fail(document.lines["rule"], "rules begin with [[rule]]")
        if not tables:
            self._fail(1, "it has no [[rule]]")
        rules: list[Rule] = []
        for table in tables:
            rule = self._rule(table)
            twin = next((other for other in rules if other.id == rule.id), None)
            if twin is not None:
                self._fail(rule.line, f"the rule in line {twin.line} has the id '{rule.id}', too")
            rules.append(rule)
        return Policy(self._file, rules)

    def _rule(self, table: Table) -> Rule:
        id = table.get("id")
        if not isinstance(id, str) or not id:
            self._fail(table.line, "this rule has no id")
        kinds = [kind for kind in KINDS if kind in table]
        # `prog` and `map` are also what a rule on links or on the other can demand.
        kind = self._kind(table, kinds)
        rule = Rule(id, kind, table.line)
        self._selector(rule, table[kind], table.lines[kind])
        for key, value in table.items():
            line = table.lines[key]
            if key in ("id", kind):
                continue
            if key in GENERAL:
                self._general(rule, key, value, line)
                continue
            name = ALIASES.get(key, key)
            form = CHECKS[kind].get(name)
            if form is None:
                self._unknown(rule, key, line)
            if name in rule.checks:
                self._fail(line, f"'{key}' and '{name}' are the same")
            rule.checks[name] = getattr(self, f"_{form}")(rule, name, value, line)
        if "count" not in table and not {"grows", "total"}.intersection(rule.checks):
            rule.count = Bound("==", 0) if rule.is_new else Bound(">=", 1)
        return rule

    def _kind(self, table: Table, kinds: list[str]) -> str:
        if not kinds:
            words = [key for key in table if nearest(key, KINDS)]
            line = table.lines[words[0]] if words else table.line
            hint = f", not '{words[0]}'" if words else ""
            self._fail(line, f"a rule selects by one of {', '.join(KINDS)}{hint}")
        first = min(kinds, key=list(table).index)
        if len(kinds) > 1 and not (first == "link" and "prog" in kinds):
            self._fail(table.lines[kinds[1]], f"a rule selects by one of {', '.join(KINDS)} only")
        return first

    def _unknown(self, rule: Rule, key: str, line: int) -> NoReturn:
        known = [*CHECKS[rule.kind], *ALIASES, *GENERAL]
        others = [kind for kind in KINDS if key in CHECKS[kind]]
        if others:
            self._fail(line, f"'{key}' is a key of rules on a {others[0]}, this one is on a"
                             f" {rule.kind}")  # fmt: skip
        self._fail(line, f"rules have no key '{key}'{nearest(key, known)}")

    def _selector(self, rule: Rule, value: Any, line: int) -> None:
        main = {"link": "prog", "pin": "path"}.get(rule.kind, "name")
        if isinstance(value, (str, list)):
            rule.selector[main] = self._patterns(rule, main, value, line)
            return
        if not isinstance(value, Table):
            self._fail(line, f"'{rule.kind}' is a name or a table like {{ {main} = \"a*\" }}")
        for key, words in value.items():
            at = value.lines[key]
            if key not in SELECTORS[rule.kind]:
                hint = nearest(key, SELECTORS[rule.kind])
                self._fail(at, f"a {rule.kind} is not selected by '{key}'{hint}")
            if key == "id" and type(words) is int:
                words = str(words)
            rule.selector[key] = self._patterns(rule, key, words, at)

    def _general(self, rule: Rule, key: str, value: Any, line: int) -> None:
        if key == "level":
            if value not in LEVELS:
                hint = nearest(str(value), LEVELS) or f": {', '.join(LEVELS)}"
                self._fail(line, f"there is no level {value!r}{hint}")
            rule.level = value
        elif key == "count":
            rule.count = self._bound(rule, key, value, line)
        elif key == "allow":
            rule.allow = self._patterns(rule, key, value, line)
        elif key == "new":
            rule.is_new = self._flag(rule, key, value, line)
        else:
            if not isinstance(value, str):
                self._fail(line, f"'{key}' is text")
            rule.why = value

    # --- forms of values ---

    def _patterns(
        self, rule: Rule, key: str, value: Any, line: int, may_be_none: bool = False
    ) -> Patterns:
        if value is False and key == "pinned":
            value = ""
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            self._fail(line, f"'{key}' is text, or a list of texts")
        if not words and not may_be_none:  # it would fit everything
            self._fail(line, f"'{key}' names nothing")
        if key == "type" and rule.kind in ("prog", "map"):
            self._type_words(rule, words, line)
        return Patterns(words)

    def _type_words(self, rule: Rule, words: list[str], line: int) -> None:
        """Refuse the name of a type that there is not: it would fit nothing."""
        from pybpftool.uapi.bpf import MAP_TYPES, PROG_TYPES

        known = PROG_TYPES if rule.kind == "prog" else MAP_TYPES
        for word in words:
            pattern = word.removeprefix("!")
            if not any(glob(pattern, name) for name in known) and not pattern.startswith("type "):
                hint = nearest(pattern, known)
                self._fail(line, f"there is no {rule.kind} type '{pattern}'{hint}")

    def _exact(self, rule: Rule, key: str, value: Any, line: int) -> tuple[str, ...]:
        return self._patterns(rule, key, value, line, True).words

    def _bound(self, rule: Rule, key: str, value: Any, line: int) -> Bound:
        bound = bound_of(value)
        if isinstance(bound, str):
            self._fail(line, f"'{key}' {bound}")
        if bound.is_per_cent and key not in _PER_CENT:
            self._fail(line, f"'{key}' has no whole that a per cent could be of")
        return bound

    def _flag(self, rule: Rule, key: str, value: Any, line: int) -> bool:
        if not isinstance(value, bool):
            self._fail(line, f"'{key}' is true or false")
        return value

    def _path(self, rule: Rule, key: str, value: Any, line: int) -> str:
        """A path that begins where the policy is."""
        import os

        if not isinstance(value, str) or not value:
            self._fail(line, f"'{key}' is the path of an object file")
        return os.path.join(os.path.dirname(self._file), value)

    def _table(self, key: str, value: Any, line: int, known: Iterable[str]) -> Table:
        if not isinstance(value, Table) or not value:
            self._fail(line, f"'{key}' is a table like {{ {next(iter(known))} = … }}")
        for inner in value:
            if inner not in known:
                at = value.lines[inner]
                self._fail(at, f"'{key}' has no key '{inner}'{nearest(inner, known)}")
        return value

    def _place(self, rule: Rule, key: str, value: Any, line: int) -> Any:
        if isinstance(value, bool):
            return value
        tables = value if isinstance(value, list) else [value]
        known = ("hook", *PLACE_KEYS, "position")
        wanted = []
        for one in tables:
            table = self._table(key, one, line, known)
            place: dict[str, Any] = {}
            for inner, words in table.items():
                form: Callable[..., Any] = self._bound if inner == "position" else self._patterns
                place[inner] = form(rule, inner, words, table.lines[inner])
                if inner == "hook":
                    self._hook_words(place[inner].words, table.lines[inner])
            wanted.append(place)
        return wanted

    def _hook_words(self, words: Iterable[str], line: int) -> None:
        """Refuse what is a hook but for a letter; kernels have others than we know."""
        from pybpftool.inspect.places import hooks

        known = hooks()
        for word in words:
            pattern = word.removeprefix("!")
            hint = nearest(pattern, known, 0.85)
            if hint and not any(glob(pattern, hook) for hook in known):
                self._fail(line, f"there is no hook '{pattern}'{hint}")

    def _calls(self, rule: Rule, key: str, value: Any, line: int) -> dict[str, Patterns]:
        table = self._table(key, value, line, ("forbid", "require", "only"))
        found = {}
        for inner, words in table.items():
            found[inner] = self._patterns(rule, inner, words, table.lines[inner])
        return found

    def _grows(self, rule: Rule, key: str, value: Any, line: int) -> dict[str, Bound]:
        if not isinstance(value, Table):
            return {"verified_insns": self._growth(key, value, line)}
        table = self._table(key, value, line, GROWING)
        return {inner: self._growth(inner, one, table.lines[inner]) for inner, one in table.items()}

    def _growth(self, key: str, value: Any, line: int) -> Bound:
        text = value.strip() if isinstance(value, str) else value
        bound = bound_of(f"<= {text}" if isinstance(text, (str, int)) else text)
        if isinstance(bound, str):
            self._fail(line, f"'{key}' is how much it may grow, like \"5%\" or 100")
        return bound

    def _has(self, rule: Rule, key: str, value: Any, line: int) -> list[dict[str, str]]:
        wanted = []
        for one in value if isinstance(value, list) else [value]:
            table = self._table(key, one, line, ("key", "value"))
            if "key" not in table or not all(isinstance(text, str) for text in table.values()):
                self._fail(line, f'\'{key}\' is a table of texts: {{ key = "…", value = "…" }}')
            wanted.append(dict(table))
        return wanted

    def _total(self, rule: Rule, key: str, value: Any, line: int) -> dict[str, Bound]:
        known = (*_SUMMED[rule.kind], "memlock")
        table = self._table(key, value, line, known)
        return {
            ALIASES.get(inner, inner): self._bound(rule, inner, one, table.lines[inner])
            for inner, one in table.items()
        }
