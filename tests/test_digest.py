"""Digests are those of hashlib, without it; a Python that cannot load its own says so."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from pybpftool import digest
from pybpftool.errors import BpfError


@pytest.mark.parametrize("data", [b"", b"abc", bytes(range(256)) * 1000])
def test_digests(data: bytes) -> None:
    assert digest.sha256(data).hexdigest() == hashlib.sha256(data).hexdigest()
    assert digest.sha1(bytearray(data)).digest() == hashlib.sha1(data).digest()


def test_openssl_is_not_loaded() -> None:
    code = (
        "import sys; from pybpftool.digest import sha1, sha256; sha1(b''); sha256(b'');"
        " print('_hashlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_module_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def find_spec(self, name: str, *_: object) -> None:
            if name in ("_sha2", "_sha256"):
                raise ImportError("failed to map segment from shared object")

    for name in ("_sha2", "_sha256"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    with pytest.raises(BpfError, match="failed to map segment"):
        digest.sha256(b"")
