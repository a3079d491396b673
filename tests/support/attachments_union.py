"""Whether the table of attachments is the union of what the listings tell, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

Ask = Callable[..., Any]

# What `attachments` calls a namespace is for people; rows meet by what is in it.


def compare(ask: Ask, attachments: list[dict[str, Any]], namespaces: list[str]) -> list[str]:
    """What is missing, doubled or from nowhere; `ask` runs a command and gives its JSON."""
    wrong: list[str] = []
    links = ask("link", "show")
    links = links if isinstance(links, list) else [links]
    known = {link["id"]: link for link in links if "error" not in link}
    told = Counter(row["link_id"] for row in attachments
                   if "link_id" in row and row["hook"] != "struct_ops")  # fmt: skip
    wrong += [f"link {id} stands {told[id]} times" for id, link in known.items()
              if told[id] != 1 and link["type"] != "struct_ops"]  # fmt: skip
    wrong += [f"link {id} is no link" for id in told if id not in known]
    expected: Counter[tuple[Any, ...]] = Counter()
    for netns in namespaces:
        answer = ask("net", "show", *(["netns", netns] if netns else []))
        if isinstance(answer, dict):  # its last process has ended
            wrong.append(f"network namespace {netns}: {answer.get('error')}")
            continue
        expected += network(answer)
    found = Counter(
        (row["hook"], row["dev"], row["prog_id"])
        for row in attachments
        if "dev" in row and not row.get("detached")
    )
    wrong += _difference("device", expected, found)
    cgroups: Counter[tuple[Any, ...]] = Counter()
    for cgroup in ask("cgroup", "tree") or []:
        for prog in cgroup.get("programs", ()):
            cgroups[prog["attach_type"], _name(cgroup["cgroup"]), prog["id"]] += 1
    found = Counter(
        (row["hook"], _name(row["cgroup"]), row["prog_id"])
        for row in attachments
        if "cgroup" in row and not row.get("detached")
    )
    wrong += _difference("cgroup", cgroups, found)
    return wrong + _events(ask, attachments)


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def network(found: Any) -> Counter[tuple[Any, ...]]:
    """(hook, device, program) of each row of `net show`, without the echoes of a qdisc."""
    rows: Counter[tuple[Any, ...]] = Counter()
    for netns in found:
        for device in netns["xdp"]:
            for one in device.get("multi_attachments", [device]):
                rows["xdp", device["devname"], one["id"]] += 1
        echoing = {row["devname"] for row in netns["tc"] if row["kind"] == "ingress"}
        for row in netns["tc"]:
            kind, name = row["kind"], row["devname"]
            if name in echoing and kind in ("root", "clsact/ingress", "clsact/egress"):
                continue
            for id in [
                row.get("prog_id", row.get("id")),
                *(a.get("id") for a in row.get("act", ())),
            ]:
                if id is not None:
                    rows[kind, name, id] += 1
    return rows


def _difference(what: str, expected: Counter[Any], found: Counter[Any]) -> list[str]:
    return [f"{what} {row} is missing" for row in (expected - found)] + [
        f"{what} {row} is too much" for row in (found - expected)
    ]


def _events(ask: Ask, attachments: list[dict[str, Any]]) -> list[str]:
    wrong = []
    known = set()
    for event in ask("perf", "show") or []:
        target = event.get("tracepoint", event.get("func"))
        if "filename" in event:
            target = "%s+%#x" % (event["filename"], event["offset"])
        elif event.get("offset"):
            target = "%s+%#x" % (target, event["offset"])
        known.add((event["prog_id"], event["fd_type"], target, event["pid"], event["fd"]))
    for prog_id, kind, target, pid, fd in known:
        rows = [
            row
            for row in attachments
            if row.get("prog_id") == prog_id and row["hook"] == kind
            and target in (row.get("tracepoint"), row.get("function"), row.get("file"), None)
        ]  # fmt: skip
        held = [row for row in rows if {"pid": pid, "fd": fd} in row.get("descriptors", ())]
        if not rows or (len(held) != 1 and not any("link_id" in row for row in rows)):
            wrong.append(f"event {prog_id} {kind} {target} of {pid}: {rows}")
    for row in attachments:
        for each in row.get("descriptors", ()):
            if not any(key[3:] == (each["pid"], each["fd"]) for key in known):
                wrong.append(f"descriptor {each} is no event")
    return wrong
