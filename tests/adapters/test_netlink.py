"""The netlink codec: a request byte for byte, how pyroute2 is imported."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest

from pybpftool.adapters import netlink
from tests.support.fakeattached import attribute, number


def test_request() -> None:
    inner = attribute(1, number(-1, "i")) + attribute(3, number(9))
    body = struct.pack("=BBHiII", 0, 0, 0, 5, 0, 0) + attribute(43 | 0x8000, inner)
    head = struct.pack("=IHHII", 16 + len(body), 19, 5, 1, 0)
    assert netlink.request_set_xdp(5, -1, 9) == head + body


@pytest.mark.parametrize("whole_first", [False, True])
def test_import(whole_first: bool) -> None:
    """The codec comes without the rest of pyroute2, which can be imported before and after."""
    script = """
import sys
{before}
from pybpftool.adapters import netlink
netlink.request_set_xdp(1, -1, 0)
assert ("pyroute2.iproute" in sys.modules) == {whole}
import pyroute2
assert pyroute2.IPRoute
""".format(before="import pyroute2" if whole_first else "", whole=whole_first)
    subprocess.run([sys.executable, "-c", script], check=True)


def test_found_by_any_finder() -> None:
    """The installed command has a finder of its own for packages that are not beside it."""
    script = """
import sys
from importlib.machinery import PathFinder
import importlib.util
from pybpftool.adapters import netlink
places = [place for place in sys.path if PathFinder.find_spec("pyroute2", [place])]
assert places
sys.path[:] = [place for place in sys.path if place not in places]
class Late:
    def find_spec(self, name, path=None, target=None):
        return PathFinder.find_spec(name, path or places)
sys.meta_path.append(Late())
netlink.request_set_xdp(1, -1, 0)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
