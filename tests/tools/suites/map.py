"""`map` on maps of every type that the kernel creates: empty, partly and completely filled.

Commands that change a map leave it as it was, because both tools run on the same one.  Whole
listings are left out: upstream does not clear its buffer between two maps, and since Linux 6.18 the
kernel leaves in it what it does not set, so that upstream shows the BTF id of an earlier map.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.support import load
from tests.support.map_corpus import Maps, load_maps
from tests.tools.suites import Case, Live, case


def setup(stack: contextlib.ExitStack, live: Live) -> None:
    """All types, with and without BTF."""
    maps = load_maps(stack)
    live.extra["maps"] = maps
    place = stack.enter_context(load.temp_bpffs())
    live.extra["map place"] = place
    for item in maps.made[:: len(maps.made) // 8]:
        load.obj_pin(item.fd, f"{place}/{item.label}")
        load.obj_pin(item.fd, f"{place}/{item.label}_again")


def commands(live: Live) -> Iterator[Case]:
    """Every read command on every map, changes that change nothing, mistakes."""
    maps = live.extra["maps"]
    place = live.extra["map place"]
    assert isinstance(maps, Maps)
    for item in maps.made:
        which = f"id {item.id}"
        yield case(f"map show {which}")
        yield case(f"-f map show {which}")
        yield case(f"map dump {which}")
        key = item.keys[0] if item.keys else bytes(range(1, item.key_size + 1))
        decimal = " ".join(map(str, key))
        digits = "hex " + " ".join(f"{byte:x}" for byte in key)
        if item.key_size:
            yield case(f"map lookup {which} key {decimal}")
            yield case(f"map look {which} k {digits}")
            yield case(f"map lookup {which} key " + " ".join(map(str, key[1:])))
            yield case(f"map lookup {which} key {decimal} 1")
            yield case(f"map delete {which} key " + " ".join("250" for _ in key))
        if "storage" not in item.type:
            yield case(f"map getnext {which}")
            yield case(f"map getnext {which} key {decimal}".removesuffix(" key "))
        if item.type != "bloom_filter":  # upstream asks it for memory that nobody set
            yield case(f"map peek {which}")
        size = int.from_bytes(load.info(item.fd)[12:16], "little")
        value = " ".join(str(byte * 7 & 255) for byte in range(size))
        if "array" in item.type and not item.type.startswith(("prog", "array_of", "perf", "cgr")):
            yield case(f"map update {which} key {decimal} value {value}")
            yield case(f"map update {which} exist value {value} key {decimal}")
            yield case(f"map update {which} key {decimal} value {value} noexist")
        yield case(f"map update {which} key {decimal} value 1".replace(" key  ", " "))
        yield case(f"map update {which} bogus")
    for path in (
        f"{place}/{item.label}" for item in maps.made[:: len(maps.made) // 8] if item.key_size
    ):
        yield case(["map", "show", "pinned", path])
        yield case(["-f", "map", "show", "pinned", path])
        yield case(["map", "dump", "pinned", path])
    for line in (
        "map show name mc_inner",
        "map dump name mc_inner",
        "map dump name mc_queue_part",
        "map show name nothing_has_it",
        "map dump name nothing_has_it",
        "map show id 4294967295",
        "map show id x1",
        "map show pinned /etc/passwd",
        "map dump id 4294967295",
        "map create /sys/fs/bpf/never type hash key 4 value 4 entries 1",
        "map create /sys/fs/bpf/never type nonsense key 4 value 4 entries 1 name n",
        "map create /sys/fs/bpf/never type hash key 0 value 4 entries 1 name n",
        "map create /sys/fs/bpf/never type hash key x value 4 entries 1 name n",
        "map create /nowhere/at/all type hash key 4 value 4 entries 1 name n",
        "-n map create /tmp/never type hash key 4 value 4 entries 1 name n",
        "map freeze id 4294967295",
        "map pin id 4294967295 /sys/fs/bpf/never",
        "map event_pipe id 4294967295",
        "map help",
    ):
        yield case(line)
    # Too few words, or none that is a command: upstream prints its help, null in JSON.
    for line in ("map nonsense", "map dump", "map dump id", "map lookup", "map create"):
        yield case(line, modes=("",))
