"""Judging a kernel by the rules of a policy.

What a kernel hides from this reader is never as wished: it is *unknown*. What it is too old to
tell is *skipped*, with the version that tells it.
"""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.inspect.inventory import Inventory
from pybpftool.inspect.items import Item
from pybpftool.inspect.policy import CHECKS, Patterns, Policy, Rule
from pybpftool.inspect.report import Finding, Outcome, Report
from pybpftool.inspect.unknown import Hidden, TooOld
from pybpftool.inspect.wording import nearest, shown, value_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.inspect.baseline import Baseline
    from pybpftool.inspect.bounds import Bound
    from pybpftool.inspect.places import Place
    from pybpftool.inspect.provenance import Provenance

VERIFIER_LIMIT = 1_000_000
"""BPF_COMPLEXITY_LIMIT_INSNS: how many instructions the verifier walks at most."""


class Judge:
    """Judges one kernel. ``before`` is what `new` objects are not in, ``baseline`` what grows."""

    def __init__(
        self,
        inventory: Inventory,
        before: Inventory | None = None,
        baseline: Baseline | None = None,
    ) -> None:
        self._inventory = inventory
        self._before = before
        self._baseline = baseline
        self._new: dict[str, set[int]] = {}
        self._functions: dict[str, bool] = {}
        self._provenance: Provenance | None = None

    def report(self, policy: Policy) -> Report:
        """The outcomes of all rules."""
        outcomes = [self.judge(rule) for rule in policy.rules]
        return Report(policy.path, self._inventory.kernel, outcomes)

    def judge(self, rule: Rule) -> Outcome:
        """The outcome of one rule."""
        outcome = Outcome(rule)
        try:
            items = self._selected(rule, outcome)
            outcome.objects = len(items)
            self._count(rule, items, outcome)
            self._whole(rule, items, outcome)
            for item in items:
                for key, wanted in rule.checks.items():
                    form = CHECKS[rule.kind][key]
                    check = getattr(self, f"_{form}", None)
                    if check is not None:
                        check(rule, item, key, wanted, outcome)
        except BpfError as error:
            outcome.unknown.append(str(error))
        return outcome

    # --- which objects ---

    def _selected(self, rule: Rule, outcome: Outcome) -> list[Item]:
        if rule.kind == "pin":
            return self._pinned_items(rule)
        items = []
        unsure: dict[str, int] = {}
        for item in self._inventory.items(rule.kind).values():
            fits = True
            for key, patterns in rule.selector.items():
                value = str(item.id) if key == "id" else item.get(key)
                if isinstance(value, Hidden):
                    reason = f"whether its {key} is {patterns}: {value}"
                    unsure[reason] = unsure.get(reason, 0) + 1
                    fits = False
                elif not _fits(patterns, value):
                    fits = False
                if not fits:
                    break
            if fits and self._counts(rule, item):
                items.append(item)
        for reason, number in unsure.items():
            outcome.unknown.append(f"of {number} {rule.kind}s, {reason}")
        return items

    def _pinned_items(self, rule: Rule) -> list[Item]:
        inventory = self._inventory
        path, kind = rule.selector.get("path"), rule.selector.get("kind")
        items = []
        for name in ("prog", "map", "link"):
            if kind is not None and not kind.fit(name):
                continue
            for id, paths in inventory.pins(name).items():
                item = inventory.items(name).get(id)
                if item is None or not self._counts(rule, item):
                    continue
                if path is None or any(path.fit(one) for one in paths):
                    items.append(item)
        return items

    def _counts(self, rule: Rule, item: Item) -> bool:
        """Whether an object is new, where that is asked, and not allowed by its name or owner."""
        if rule.is_new and item.id not in self._new_ids(item.kind):
            return False
        if not rule.allow.words:
            return True
        owner = item.get("owner")
        words = [item.name, *(owner if isinstance(owner, tuple) else ())]
        return not any(rule.allow.fit(word) for word in words if word)

    def _new_ids(self, kind: str) -> set[int]:
        found = self._new.get(kind)
        if found is None:
            if self._before is None:
                raise BpfError("which objects are new can only be told with --since SNAPSHOT")
            found = self._new[kind] = new_ids(self._before, self._inventory, kind)
        return found

    # --- the rule as a whole ---

    def _count(self, rule: Rule, items: list[Item], outcome: Outcome) -> None:
        if rule.count is None or rule.count.holds(len(items)):
            return
        if outcome.unknown:
            return  # those that could not be told may be what is missing
        limit = rule.count.limit()
        if len(items) > limit or rule.count.sign == "!=":
            what = "is there" if limit < 1 else "is one too many"
            if rule.is_new:
                what = "is left over"
            for item in items if limit < 1 else items[int(limit) :]:
                expected = "none" if limit < 1 else f"{rule.count} of them"
                self._found(rule, item, what, expected, self._presence(item), outcome)
            if not items or len(items) <= limit:
                self._missing(rule, f"{len(items)}", outcome)
            return
        found = str(len(items)) if items else "none"
        self._missing(rule, found + (self._similar(rule) if not items else ""), outcome)

    def _missing(self, rule: Rule, found: str, outcome: Outcome) -> None:
        selector = ", ".join(f"{key} {words}" for key, words in rule.selector.items())
        expected = f"{rule.count} {rule.kind}" + (f" with {selector}" if selector else "")
        command = "pybpftool -f link show" if rule.kind == "pin" else f"pybpftool {rule.kind} show"
        outcome.findings.append(
            Finding(
                rule.id, rule.level, f"number of {rule.kind}s", shown(expected), shown(found),
                "", 0, "", command, rule.line,
            )
        )  # fmt: skip

    def _similar(self, rule: Rule) -> str:
        names = rule.selector.get("name")
        if names is None or not names.words or rule.kind == "pin":
            return ""
        known = {item.name for item in self._inventory.items(rule.kind).values() if item.name}
        word = names.words[0].strip("*")
        return nearest(word, known).replace("; did you mean ", "; there is ").rstrip("?")

    def _presence(self, item: Item) -> str:
        """Where an object is and who keeps it."""
        parts = [f"id {item.id}"]
        holders = self._inventory.held(item.kind).get(item.id, ())
        if holders:
            some = ", ".join(f"{comm}({pid})" for pid, comm in holders)
            owner = ", ".join(word for word in item.get("owner") if not word.startswith("comm:"))
            parts.append(f"held by {some}" + (f" of {owner}" if owner else ""))
        elif isinstance(item.get("owner"), tuple) and item.get("owner"):
            parts.append(f"belongs to {', '.join(item.get('owner'))}")
        pinned = item.get("pinned")
        if isinstance(pinned, tuple) and pinned:
            parts.append(f"pinned at {', '.join(pinned)}")
        if (
            item.kind != "map"
            and item.get("attached")
            and not isinstance(item.get("attached"), Hidden)
        ):
            parts.append(f"attached at {value_text(item.get('attached'))}")
        return ", ".join(parts)

    def _whole(self, rule: Rule, items: list[Item], outcome: Outcome) -> None:
        """Sums and growth, which are not of single objects."""
        for key, bound in rule.checks.get("total", {}).items():
            values = [item.get(key) for item in items]
            hidden = [value for value in values if isinstance(value, (Hidden, TooOld))]
            if hidden:
                outcome.unknown.append(f"the total of {key}: {hidden[0]}")
            elif not bound.holds(sum(values)):
                found = f"{sum(values)} of {len(items)} {rule.kind}s"
                outcome.findings.append(
                    Finding(
                        rule.id, rule.level, f"total {key}", str(bound), found, "", 0, "",
                        f"pybpftool {rule.kind} show", rule.line,
                    )
                )  # fmt: skip
        if "grows" in rule.checks:
            from pybpftool.inspect.baseline import judge_growth

            judge_growth(self._baseline, self._inventory.kernel, rule, items, outcome)

    # --- single objects ---

    def _found(
        self, rule: Rule, item: Item, what: str, expected: str, found: str, outcome: Outcome,
        source: str = "",
    ) -> None:  # fmt: skip
        source = source or (self._source(item) if item.kind == "prog" else "")
        outcome.findings.append(
            Finding(
                rule.id, rule.level, what, shown(expected), shown(found), shown(item.label()),
                item.id, shown(source), item.command(), rule.line,
            )
        )  # fmt: skip

    def _source(self, item: Item) -> str:
        """Where the program begins in its source."""
        if not item.record.btf_id:
            return ""
        try:
            code = item.asked(self._inventory.code.instructions)
        except BpfError:
            return ""
        line = code[0].line if code else None
        return f"{line.file}:{line.number}" if line is not None and line.file else ""

    def _value(self, item: Item, key: str, outcome: Outcome) -> Any:
        """A field's value, None where it cannot be judged; says so."""
        value = item.get(key)
        if isinstance(value, Hidden):
            outcome.unknown.append(f"{key} of {shown(item.label())} is hidden: {value}")
            return None
        if isinstance(value, TooOld):
            release = self._inventory.kernel.release
            outcome.skipped.append(f"{key} of {shown(item.label())} is {value}, this is {release}")
            return None
        return value

    def _patterns(self, rule: Rule, item: Item, key: str, wanted: Any, outcome: Outcome) -> None:
        value = self._value(item, key, outcome) if key != "kind" else item.kind
        if value is None and item.get(key) is not None:
            return
        if not _fits(wanted, value):
            expected = str(wanted) or "none"
            self._found(rule, item, key, expected, value_text(value), outcome)

    def _bound(self, rule: Rule, item: Item, key: str, wanted: Any, outcome: Outcome) -> None:
        value = self._value(item, key, outcome)
        if value is None:
            return
        whole = VERIFIER_LIMIT if key == "verified_insns" else 0
        if key == "elements":
            whole = item.record.max_entries
        if not wanted.holds(value, whole):
            expected, found = str(wanted), str(value)
            if wanted.is_per_cent:
                expected += f" of {whole}"
                found += f" ({100 * value / whole:.1f}%)" if whole else ""
            self._found(rule, item, key, expected, found, outcome)

    def _flag(self, rule: Rule, item: Item, key: str, wanted: bool, outcome: Outcome) -> None:
        value = self._value(item, key, outcome)
        if value is not None and bool(value) != wanted:
            self._found(rule, item, key, value_text(wanted), value_text(bool(value)), outcome)

    def _exact(self, rule: Rule, item: Item, key: str, wanted: Any, outcome: Outcome) -> None:
        value = self._value(item, key, outcome)
        if value is None:
            return
        strangers = [one for one in value if not wanted or not Patterns(wanted).fit(one)]
        missing = [one for one in wanted if not one.startswith("!")
                   and not any(Patterns([one]).fit(name) for name in value)]  # fmt: skip
        if strangers or missing:
            expected = f"exactly {value_text(wanted)}"
            self._found(rule, item, key, expected, value_text(value), outcome)

    def _place(self, rule: Rule, item: Item, key: str, wanted: Any, outcome: Outcome) -> None:
        if item.kind == "link":
            found = self._inventory.places.of_link(item.id)
            places = [] if found is None else [found]
        else:
            places = item.get("places")
        unseen = self._inventory.places.unseen
        texts = value_text([place.full_text() for place in places])
        if isinstance(wanted, bool):
            if bool(places) != wanted:
                if not places and unseen:
                    outcome.unknown.append(f"attached of {shown(item.label())}: {unseen[0]}")
                else:
                    expected = "somewhere" if wanted else "nowhere"
                    self._found(rule, item, key, expected, texts, outcome)
            elif not wanted and unseen:
                outcome.unknown.append(f"attached of {shown(item.label())}: {unseen[0]}")
            return
        for place in wanted:
            if any(_is_place(place, one) for one in places):
                continue
            if unseen:
                outcome.unknown.append(f"attached of {shown(item.label())}: {unseen[0]}")
            else:
                expected = " ".join(f"{name} {word}" for name, word in place.items())
                self._found(rule, item, key, expected, texts, outcome)

    def _calls(self, rule: Rule, item: Item, key: str, wanted: Any, outcome: Outcome) -> None:
        from pybpftool.inspect.calls import names_of

        called = self._value(item, "calls", outcome)
        if called is None:
            return
        if "forbid" in wanted:
            self._no_such_functions(wanted["forbid"].words, outcome)
        names = {function: names_of(function) for function in called}
        for function, several in names.items():
            if "forbid" in wanted and any(wanted["forbid"].fit(name) for name in several):
                expected, source = f"no call of {wanted['forbid']}", self._call_at(item, function)
                self._found(rule, item, "calls", expected, several[-1], outcome, source)
            if "only" in wanted and not any(wanted["only"].fit(name) for name in several):
                expected, source = f"only {wanted['only']}", self._call_at(item, function)
                self._found(rule, item, "calls", expected, several[-1], outcome, source)
        for word in wanted["require"].words if "require" in wanted else ():
            if not any(
                Patterns([word]).fit(name) for several in names.values() for name in several
            ):
                found = value_text(called)
                self._found(rule, item, "calls", f"a call of {word}", found, outcome)

    def _no_such_functions(self, words: tuple[str, ...], outcome: Outcome) -> None:
        """Say which functions can be called nowhere here: they may be misspelt."""
        from pybpftool.inspect.calls import is_function
        from pybpftool.uapi.helpers import helper_names

        for word in words:
            if word not in self._functions:
                self._functions[word] = is_function(self._inventory.kernel, word)
            if not self._functions[word]:
                hint = nearest(word, helper_names())
                text = (
                    f"Linux {self._inventory.kernel.release} has no function '{shown(word)}'{hint}"
                )
                if text not in outcome.skipped:
                    outcome.skipped.append(text)

    def _call_at(self, item: Item, function: str) -> str:
        """The line of source of the first call of a function."""
        for insn in item.asked(self._inventory.code.instructions) or ():
            if insn.call_kind in ("helper", "kfunc") and insn.line is not None:
                name = insn.text.partition(" call ")[2].partition("#")[0].partition(".")[0]
                if name == function:
                    return f"{insn.line.file}:{insn.line.number}"
        return ""

    def _has(self, rule: Rule, item: Item, key: str, wanted: Any, outcome: Outcome) -> None:
        from pybpftool.inspect.elements import find_element

        for pair in wanted:
            value = pair.get("value")
            try:
                found = find_element(self._inventory.kernel, item, pair["key"], value)
            except BpfError as error:
                outcome.unknown.append(f"has of {shown(item.label())}: {error}")
                continue
            if found is not None:
                expected = f"[{pair['key']}]" + (f" = {value}" if value is not None else "")
                self._found(rule, item, key, expected, found, outcome)

    def _path(self, rule: Rule, item: Item, key: str, wanted: str, outcome: Outcome) -> None:
        if self._provenance is None:
            from pybpftool.inspect.provenance import Provenance

            self._provenance = Provenance(self._inventory)
        value = self._provenance.judge(item, wanted)
        if isinstance(value, Hidden):
            outcome.unknown.append(f"object of {shown(item.label())}: {value}")
        elif value:
            self._found(rule, item, key, f"the program of {wanted}", value, outcome)


def _fits(patterns: Patterns, value: Any) -> bool:
    if isinstance(value, tuple):
        return patterns.fit_any(value)
    return patterns.fit("" if value is None else str(value))


def _is_place(wanted: dict[str, Any], place: Place) -> bool:
    for key, words in wanted.items():
        if key == "position":
            bound: Bound = words
            if place.position is None or not bound.holds(place.position):
                return False
        elif key == "hook":
            # tcx/ingress is also the kernel's tcx_ingress.
            if not words.fit(place.hook) and not words.fit(place.hook.replace("/", "_")):
                return False
        elif key == "netns":
            if not words.fit(place.netns):
                return False
        elif place.key != key or not words.fit(place.target):
            return False
    return True


def new_ids(before: Inventory, now: Inventory, kind: str) -> set[int]:
    """The ids of the objects that are now there and were not before.

    In one boot an id means one object for good; between two boots objects meet by identity.
    """
    from pybpftool.inspect.identity import match

    old, new = before.items(kind), now.items(kind)
    if _is_one_boot(before, now):
        return {
            id
            for id, item in new.items()
            if id not in old or (old[id].name, old[id].type) != (item.name, item.type)
        }
    return {item.id for item in match(kind, old.values(), new.values())[2]}


def _is_one_boot(before: Inventory, now: Inventory) -> bool:
    try:
        begins = [one.kernel.boot_time_ns() for one in (before, now)]
    except BpfError:
        return False
    # The wall clock may be set meanwhile, by a little.
    return abs(begins[0] - begins[1]) < 60 * 10**9
