"""Signatures of programs, made by ``openssl cms`` (Linux v6.18 checks them)."""

from __future__ import annotations

import os

from pybpftool.errors import BpfError, KernelError
from pybpftool.records import Record

KEY_SPEC_SESSION_KEYRING = -3
"""The session's keyring (include/uapi/linux/keyctl.h)."""

_MOST = 4096  # bytes that upstream has room for


class Signature(Record):
    """A signature of instructions.

    ``data`` is CMS as DER, without the content, certificates and attributes; ``digest`` the
    SHA-256 of the instructions; ``keyring`` the serial number of the kernel's ring of keys.
    """

    data: bytes
    digest: bytes
    keyring: int = KEY_SPEC_SESSION_KEYRING


def sign(insns: bytes, key: str, certificate: str) -> Signature:
    """Sign instructions.

    :param key: file with a private key (PEM).
    :param certificate: file with its X.509 certificate (PEM or DER).

    Raises BpfError.
    """
    from pybpftool.digest import sha256

    for path in (key, certificate):
        if not os.access(path, os.R_OK):
            raise BpfError(f"cannot read '{path}'")
    file = os.memfd_create("insns")
    try:
        with open(file, "wb", closefd=False) as out:
            out.write(insns)
        data = _openssl(
            f"cannot sign with the key '{key}'",
            ("cms", "-sign", "-binary", "-nosmimecap", "-noattr", "-nocerts", "-keyid",
             "-md", "sha256", "-outform", "DER", "-in", f"/proc/self/fd/{file}",
             "-inkey", key, "-signer", certificate),
            file,
        )  # fmt: skip
    finally:
        os.close(file)
    if len(data) > _MOST:
        raise BpfError(f"the signature has {len(data)} bytes, more than {_MOST}")
    return Signature(data, sha256(insns).digest())


def register(certificate: str) -> int:
    """Add a certificate to the session's keyring; the key's serial number. Raises BpfError."""
    from pybpftool.kernel.syscall import add_key

    form = ("x509", "-in", certificate, "-outform", "DER")
    der = _openssl(f"cannot read the certificate '{certificate}'", form)
    serial = add_key("asymmetric", certificate, der, KEY_SPEC_SESSION_KEYRING)
    if serial < 0:
        raise KernelError.of("cannot add the certificate to the session's keyring", -serial)
    return serial


def _openssl(what: str, words: tuple[str, ...], *keep: int) -> bytes:
    import subprocess

    try:
        result = subprocess.run(
            ("openssl", *words), stdin=subprocess.DEVNULL, capture_output=True, check=False,
            pass_fds=keep,
        )  # fmt: skip
    except FileNotFoundError:
        raise BpfError("signing needs the program openssl: install the package openssl") from None
    if result.returncode:
        said = result.stderr.decode("utf-8", "replace").split("\n")
        reason = next((line for line in said if line.strip()), "no reason given")
        raise BpfError(f"{what}: openssl says: {reason}")
    return result.stdout
