"""Owners out of ``/proc/PID/cgroup``, as systemd and container tools write it."""

from __future__ import annotations

import errno

import pytest

from pybpftool.errors import KernelError
from pybpftool.inspect.owner import Owners, owner_in
from tests.support.fakekernel import FakeKernel

ID = "9599a65037b27a55b7ac1746277e37b49599a65037b27a55b7ac1746277e37b4"
SHORT = ID[:12]


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("0::/system.slice/calico-node.service\n", "unit:calico-node.service"),
        ("0::/system.slice/agent.service/workers\n", "unit:agent.service"),
        ("0::/user.slice/user-0.slice/session-3.scope\n", "unit:session-3.scope"),
        (
            "0::/user.slice/user-0.slice/user@0.service/app.slice/x.service\n",
            "unit:x.service",
        ),
        ("0::/init.scope\n", "systemd"),
        (f"0::/system.slice/docker-{ID}.scope\n", f"container:{SHORT}"),
        (f"0::/docker/{ID}\n", f"container:{SHORT}"),
        (f"0::/machine.slice/libpod-{ID}.scope/container\n", f"container:{SHORT}"),
        (
            f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope\n",
            f"container:{SHORT}",
        ),
        (f"0::/kubepods/besteffort/pod1/{ID}\n", f"container:{SHORT}"),
        (f"0::/kubepods/x.slice:cri-containerd:{ID}\n", f"container:{SHORT}"),
        # The first version of cgroups: several hierarchies.
        (f"9:name=systemd:/\n4:memory:/docker/{ID}\n0::/\n", f"container:{SHORT}"),
        ("4:memory:/other.service\n1:name=systemd:/system.slice/a.service\n", "unit:a.service"),
        # Names of cgroups may have any end of a line but the one of Unix.
        ("0::/x\u2028\x1c\x85\ry.service\n", "unit:x\u2028\x1c\x85\ry.service"),
        ("0::/\n", ""),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_owner_in(text: str, owner: str) -> None:
    assert owner_in(text) == owner


def test_processes() -> None:
    kernel = FakeKernel()
    kernel.files["/proc/5/cgroup"] = b"0::/system.slice/a.service\n"
    kernel.files["/proc/6/cgroup"] = KernelError.of("gone", errno.ESRCH)
    owners = Owners(kernel)
    assert owners.of([(5, "x"), (5, "x"), (6, "sh")]) == ("comm:sh", "unit:a.service")
    assert owners.of_process(1, "systemd") == "systemd"
    assert owners.of_process(1, "init") == "comm:init"
