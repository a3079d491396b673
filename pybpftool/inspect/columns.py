"""The columns of listings as tables, and the rows that a filter and an order choose.

A row is a JSON object of ``-j``; columns are its keys, by the kinds of their values.
"""

from __future__ import annotations

from pybpftool.errors import UsageError
from pybpftool.inspect.wording import glob, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Get = Callable[[str], Any]

BYTES, NUMBER, AGE, TIME, NS, TEXT = "bytes", "number", "age", "time", "ns", "text"


def _kinds(text: str = "", number: str = "", **others: str) -> dict[str, str]:
    kinds = dict.fromkeys(text.split(), TEXT)
    kinds.update(dict.fromkeys(number.split(), NUMBER))
    for kind, names in others.items():
        kinds.update(dict.fromkeys(names.split(), kind))
    return kinds


COLUMNS: dict[str, dict[str, str]] = {
    "prog": _kinds(
        "type name tag gpl_compatible dev orphaned jited map_ids pinned pids metadata"
        " attach_to attached maps owner calls",
        "id run_cnt recursion_misses uid btf_id verified_insns subprograms",
        bytes="bytes_xlated bytes_jited bytes_memlock",
        age="age",
        time="loaded_at",
        ns="run_time_ns",
    ),
    "map": _kinds(
        "type name dev owner_prog_type owner_jited pinned pids value_type hash used_by owner",
        "id flags max_entries frozen btf_id map_extra elements",
        bytes="bytes_key bytes_value bytes_memlock",
    ),
    "link": _kinds(
        "type prog_name pinned pids prog attached owner attach_type prog_type devname retprobe"
        " funcs path func file tracepoint event_type event_config tp_name target_name order module"
        " map_name",
        "id prog_id bpf_cookie cookie cgroup_id netns_ino ifindex map_id pf hook prio flags missed"
        " func_cnt pid tid addr offset ref_ctr_offset target_obj_id target_btf_id",
    ),
    "btf": _kinds("name prog_ids map_ids pids kernel", "id", bytes="size"),
    "net": _kinds(
        "section netns devname mode kind name prog_name prog_flags link_flags act",
        "ifindex prog_id link_id pf hook prio flags",
    ),
    "cgroup": _kinds(
        "cgroup attach_type attach_flags name attach_btf_name",
        "id attach_btf_obj_id attach_btf_id",
    ),
    "perf": _kinds(
        "prog_name fd_type tracepoint func filename symbol usdt",
        "pid fd prog_id offset addr symbol_offset",
    ),
    "iter": _kinds(
        "target_name prog_name pinned pids order", "id map_id tid pid cgroup_id prog_id"
    ),
    "struct_ops": _kinds("name kernel_struct_ops", "id"),
    "attachments": _kinds(
        "hook target netns dev cgroup function tracepoint file map prog symbol prog_name detail"
        " detached descriptors owner",
        "position prog_id link_id map_id",
    ),
    "owners": _kinds(
        "owner pids pods",
        "progs maps links run_cnt",
        bytes="bytes_memlock bytes_progs bytes_maps",
        ns="run_time_ns",
    ),
    "token": _kinds("token_info allowed_cmds allowed_maps allowed_progs allowed_attachs"),
    "top": _kinds(
        "type name owner",
        "id calls calls_per_second cpu_percent run_cnt",
        ns="time_ns ns_per_call run_time_ns",
    ),
    "top owner": _kinds(
        "owner",
        "programs calls calls_per_second cpu_percent run_cnt",
        ns="time_ns ns_per_call run_time_ns",
    ),
}
"""Word -> column -> kind of its values."""

DEFAULT: dict[str, str] = {
    "prog": "id type name attached bytes_memlock age owner",
    "map": "id type name bytes_key bytes_value max_entries bytes_memlock used_by owner",
    "link": "id type prog attached owner",
    "btf": "id name size prog_ids map_ids pids",
    "net": "section netns devname kind mode name prog_id link_id",
    "cgroup": "cgroup id attach_type attach_flags name",
    "perf": "pid fd prog_id fd_type tracepoint func filename offset",
    "iter": "id target_name prog_id prog_name pinned pids",
    "struct_ops": "id name kernel_struct_ops",
    "attachments": "hook target position prog_id prog_name link_id detail owner",
    "owners": "owner progs maps links bytes_memlock run_time_ns run_cnt",
    "token": "token_info allowed_cmds allowed_maps allowed_progs allowed_attachs",
}
"""Word -> the columns that a table has unless others are named."""

_PREFIX = "bytes_"


def column(word: str, columns: Mapping[str, str]) -> str:
    """The column that a word names; ``memlock`` stands for ``bytes_memlock``."""
    if word in columns:
        return word
    if _PREFIX + word in columns:
        return _PREFIX + word
    raise UsageError(f"there is no column '{word}'" + _hint(word, columns))


def _hint(word: str, columns: Mapping[str, str]) -> str:
    return nearest(word, columns) or "; there are " + ", ".join(sorted(columns))


def chosen(text: str, of: str, more: Iterable[str] = ()) -> list[str]:
    """The columns that ``--columns`` names: ``all``, names, or ``+name`` beside the usual ones."""
    columns = COLUMNS[of]
    usual = [*DEFAULT[of].split(), *more]
    if not text:
        return usual
    if text == "all":
        return [*usual, *sorted(columns.keys() - usual)]
    words = text.split(",")
    found = usual if text[0] == "+" else []
    for word in words:
        name = column(word.removeprefix("+"), columns)
        if name not in found:
            found.append(name)
    return found


# --- filters ---

_OPERATORS = ("!=", ">=", "<=", "=", ">", "<")
_UNITS = {
    BYTES: {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40},
    AGE: {"s": 1, "m": 60, "h": 3600, "d": 86400},
    NS: {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000},
}


def number(text: str, kind: str = NUMBER) -> float | None:
    """A number, with a unit where the kind has some; None if it is none."""
    unit = 1
    for name, factor in sorted(_UNITS.get(kind, {}).items(), key=lambda pair: -len(pair[0])):
        if text.endswith(name):
            text, unit = text[: -len(name)], factor
            break
    if text.isascii() and text.replace(".", "", 1).isdigit():
        # The most digits that can matter; more are as good as without end.
        return float(text) * unit if "." in text or len(text) > 24 else int(text) * unit
    if text[:2] in ("0x", "0X"):
        try:
            return int(text, 16) * unit
        except ValueError:
            return None
    return None


class Filter:
    """The terms of ``--filter``, which all have to hold: ``type=xdp``, ``memlock>1M``."""

    def __init__(self, texts: Iterable[str], of: str) -> None:
        self._terms: list[tuple[str, str, str, float | None]] = []
        columns = COLUMNS[of]
        for text in texts:
            for term in text.split(","):
                self._terms.append(_term(term, columns))

    @property
    def columns(self) -> list[str]:
        """The columns that the terms ask for."""
        return [term[0] for term in self._terms]

    def passes(self, get: Get) -> bool:
        """Whether a row whose values ``get`` tells fulfils all terms."""
        return all(
            _holds(get(name), operator, wanted, limit)
            for name, operator, wanted, limit in self._terms
        )


def _term(text: str, columns: Mapping[str, str]) -> tuple[str, str, str, float | None]:
    for at in range(len(text)):
        for operator in _OPERATORS:
            if text.startswith(operator, at):
                name = column(text[:at], columns)
                wanted = text[at + len(operator) :]
                value = number(wanted, columns[name])
                if operator[0] in "<>" and value is None:
                    raise UsageError(f"'{text}' compares with '{wanted}', which is no number")
                return name, operator, wanted, value
    raise UsageError(f"cannot read '{text}' as a filter like 'type=xdp', 'memlock>1M'")


def _holds(value: Any, operator: str, wanted: str, limit: float | None) -> bool:
    if operator == "!=":
        return not _holds(value, "=", wanted, limit)
    if operator == "=":
        return _fits(value, wanted, limit)
    if limit is None or not isinstance(value, (int, float)):
        return False
    return {">": value > limit, "<": value < limit, ">=": value >= limit, "<=": value <= limit}[
        operator
    ]


def _fits(value: Any, wanted: str, limit: float | None) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_fits(one, wanted, limit) for one in value) or (not value and not wanted)
    if isinstance(value, bool):
        return wanted in (("true", "yes", "1") if value else ("false", "no", "0"))
    if isinstance(value, (int, float)):
        return value == limit if limit is not None else glob(wanted, str(value))
    if isinstance(value, dict):
        return any(_fits(one, wanted, limit) for one in value.values()) or glob(
            wanted, value_words(value)
        )
    if value is None:
        return not wanted
    return glob(wanted, str(value))


# --- order ---


def order(text: str, of: str) -> list[tuple[str, bool]]:
    """``--sort``: columns, each with whether the largest comes first (``-memlock``)."""
    columns = COLUMNS[of]
    found = []
    for word in text.split(",") if text else ():
        is_down = word.startswith("-")
        found.append((column(word.lstrip("+-"), columns), is_down))
    return found


def sort(rows: list[Get], by: Iterable[tuple[str, bool]]) -> None:
    """Put rows in order; those without a value come last whichever way it goes."""
    for name, is_down in reversed(list(by)):
        there = [row for row in rows if not _is_missing(row(name))]
        missing = [row for row in rows if _is_missing(row(name))]
        there.sort(key=lambda row: _rank(row(name)), reverse=is_down)
        rows[:] = there + missing


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or value in ([], ()) or hasattr(value, "reason")


def _rank(value: Any) -> tuple[int, Any]:
    if isinstance(value, (int, float)):
        return 0, value
    return 1, value_words(value)


def value_words(value: Any) -> str:
    """A value as words: lists with commas, processes as ``comm(pid)``, places in their order."""
    if isinstance(value, (list, tuple)):
        return ", ".join([value_words(one) for one in value])
    if isinstance(value, dict):
        if value.keys() == {"pid", "comm"}:
            return f"{value['comm']}({value['pid']})"
        if "hook" in value and not isinstance(value["hook"], int):
            bare = ("hook", "detail")
            return " ".join(
                [str(v) if k in bare else f"{k} {v}" for k, v in value.items() if k != "link_id"]
            )
        return " ".join([f"{k} {value_words(v)}" for k, v in value.items()])
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
