"""The exceptions."""

from __future__ import annotations

import errno

import pytest

import pybpftool
from pybpftool.errors import (
    BpfError,
    FormatError,
    KernelError,
    NotFoundError,
    UsageError,
    kind_of,
)


def test_all_are_one_family() -> None:
    assert issubclass(UsageError, BpfError)
    assert issubclass(FormatError, BpfError)
    assert issubclass(KernelError, BpfError)


def test_a_kernel_error_names_the_request_and_the_reason() -> None:
    error = KernelError.of("cannot open it", errno.EPERM)
    assert (str(error), error.errno) == ("cannot open it: Operation not permitted", 1)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UsageError("x"), "usage"),
        (FormatError("x"), "format"),
        (NotFoundError("x"), "not_found"),
        (KernelError("x", errno.ENOENT), "not_found"),
        (KernelError("x", errno.ENODEV), "not_found"),
        (KernelError("x", errno.EPERM), "permission"),
        (KernelError("x", errno.EACCES), "permission"),
        (KernelError("x", errno.EOPNOTSUPP), "unsupported"),
        (KernelError("x", errno.ENOSYS), "unsupported"),
        (KernelError("x", 524), "unsupported"),
        (KernelError("x", errno.EBUSY), "kernel"),
        (BpfError("x"), "other"),
        ("a sentence", "other"),
    ],
)
def test_kinds(error: BpfError | str, kind: str) -> None:
    assert kind_of(error) == kind


def test_the_package_gives_its_names_on_first_use() -> None:
    assert pybpftool.BpfError is BpfError
    for name in pybpftool.__all__:
        assert getattr(pybpftool, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = pybpftool.Nonsense
