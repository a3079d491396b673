"""What all tests share: a fixed clock zone, live tests that say why they are skipped."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import hypothesis
import pytest

from tests.support import load, plugin

# The plugin is there already where the package was installed with its entry points.
pytest_plugins = ["pytester", *plugin.missing()]

# How long an example takes says nothing on a machine that is busy with other things.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip live tests, with the kernel's own reason, where bpf(2) is not available."""
    live = [item for item in items if item.get_closest_marker("live")]
    if not live:
        return
    reason = load.why_no_bpf()
    if reason:
        for item in live:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def utc() -> Iterator[None]:
    """Local time is UTC for the time of the test."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.fixture(autouse=True)
def _no_bpf_leaks(request: pytest.FixtureRequest) -> None:
    """No live test leaves BPF objects in this process or those below it."""
    if request.node.get_closest_marker("live"):
        request.getfixturevalue("bpf_leaks")
