"""The rows of map types agree with each other and with what the kernel is known to do."""

from __future__ import annotations

import pytest

from pybpftool.uapi.bpf import MAP_TYPES
from pybpftool.uapi.map_traits import BY_BUCKET, BY_INDEX, BY_PREFIX, PLAIN, TRAITS, traits_of


def named(**wanted: object) -> set[str]:
    """The names of the types whose rows have these values."""
    return {
        MAP_TYPES[type]
        for type, row in TRAITS.items()
        if all(getattr(row, field) == value for field, value in wanted.items())
    }


def test_per_cpu_types_are_those_of_that_name() -> None:
    assert named(is_per_cpu=True) == {name for name in MAP_TYPES if "percpu" in name}


def test_types_that_hold_objects() -> None:
    assert named(holds="map") == {name for name in MAP_TYPES if name.endswith("_of_maps")}
    assert named(holds="prog") == {"prog_array"}
    # All of them have slots that can be empty, and nothing else has.
    assert named(skips_empty=True) == named(holds="map") | named(holds="prog")


def test_slots_are_those_of_indexes() -> None:
    assert named(lists_all_slots=True) == named(order=BY_INDEX) - {"stack_trace"}
    assert named(is_queue=True) == {"queue", "stack"}


def test_batches_need_a_known_order() -> None:
    assert {row.order for row in TRAITS.values() if row.has_batch} == {
        BY_BUCKET,
        BY_INDEX,
        BY_PREFIX,
    }
    assert named(order=BY_BUCKET) == named(order=BY_BUCKET, has_batch=True)


@pytest.mark.parametrize("type", [0, MAP_TYPES.index("ringbuf"), 4095])
def test_types_without_a_row(type: int) -> None:
    assert traits_of(type) is PLAIN
