"""Damaged input for every command that reads some; another seed by ``FUZZ_SEED``, longer by
``FUZZ_SECONDS``."""

from __future__ import annotations

import os

import pytest

from tests.tools import fuzz


def test_a_fault_is_one() -> None:
    """What the slices below look for is seen: the check itself can fail."""
    assert fuzz.fault(["version"], None) == ""
    assert fuzz.fault(["version"], _Odd()) == ""  # type: ignore[arg-type]
    assert "ZeroDivisionError" in fuzz.fault(["prog", "show"], _Odd())  # type: ignore[arg-type]


class _Odd:
    is_live = False

    def __getattr__(self, name: str) -> object:
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_some(kind: str) -> None:
    tried, found = fuzz.fuzz([kind], seed=1, seconds=60, inputs=6, size=6)
    assert tried == 6
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_slice() -> None:
    seed = int(os.environ.get("FUZZ_SEED", "100000"))
    seconds = float(os.environ.get("FUZZ_SECONDS", "60"))
    tried, found = fuzz.fuzz(list(fuzz.KINDS), seed, seconds, 1 << 40)
    assert tried
    assert not found, "\n".join(found)
