"""With -d a kernel tells what it refuses, once each; without, nothing is said or changed."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pybpftool.errors import KernelError
from pybpftool.kernel.telling import tell_refusals
from tests.support.cli import run
from tests.support.fakekernel import FakeKernel
from tests.support.fakeprogs import add_described
from tests.support.saved import save


def made() -> FakeKernel:
    kernel = FakeKernel()
    add_described(kernel, 1)
    kernel.map(7, type=1, key_size=4, value_size=4, max_entries=4, btf_id=9)
    kernel.elems[7] = {bytes(4): bytes(4)}
    kernel.files["/proc/kallsyms"] = KernelError.of("cannot open /proc/kallsyms", errno.EACCES)
    del kernel.fdinfos["prog", 1]
    return kernel


def test_refusals_are_told_once_and_still_raised() -> None:
    kernel = made()
    lines: list[str] = []
    tell_refusals(kernel, lines.append)
    for _ in range(2):
        with pytest.raises(KernelError, match="kallsyms"):
            kernel.file("/proc/kallsyms")
        with pytest.raises(KernelError, match="no map with id 99"):
            kernel.open("map", 99)
    assert lines == [
        "refused: cannot open /proc/kallsyms: Permission denied (EACCES)\n",
        "refused: there is no map with id 99 (ENOENT)\n",
    ]
    map = kernel.open("map", 7)
    with pytest.raises(KernelError):
        kernel.lookup(map, b"none")  # a key that is not there is an answer
    assert [obj.id for obj in kernel.objects("prog")] == [1] and len(lines) == 2


def test_a_listing_that_ends_in_a_refusal() -> None:
    kernel = made()
    lines: list[str] = []

    def refuse(kind: str) -> object:
        yield from ()
        raise KernelError.of("cannot list programs", errno.EPERM)

    kernel.objects = refuse  # type: ignore[assignment, method-assign]
    tell_refusals(kernel, lines.append)
    with pytest.raises(KernelError):
        list(kernel.objects("prog"))
    assert lines == ["refused: cannot list programs: Operation not permitted (EPERM)\n"]


@pytest.mark.parametrize("form", [[], ["-j"]])
def test_what_a_listing_left_out(form: list[str]) -> None:
    """The memory of a program, which a listing leaves out where its fdinfo is refused."""
    plain = run(*form, "prog", "show", kernel=made())
    told = run("-d", *form, "prog", "show", kernel=made())
    assert (plain.status, plain.err) == (0, b"")
    assert (told.status, told.out) == (plain.status, plain.out)
    assert "refused: cannot read fdinfo: No such file or directory (ENOENT)\n" in told.errors
    assert all(line.startswith("refused: ") for line in told.errors.splitlines())


def test_a_recording(tmp_path: Path) -> None:
    path = save(made(), tmp_path / "s.zip")
    plain = run("--snapshot", path, "prog", "show")
    told = run("-d", "--snapshot", path, "prog", "show")
    assert plain.err == b"" and told.out == plain.out
    assert b"refused: cannot read fdinfo" in told.err
