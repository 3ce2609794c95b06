"""Ed25519 signatures of files: who signs holds the private key, who checks needs only the public one.

A signature lies beside its file, as the same name with `.sig`, in base64. Used for what `exec` may run
(`actions.connectors.exec_manifest`) and for packages of evidence (`actions.forensics`). Keys are PEM, as OpenSSL writes
them: `openssl genpkey -algorithm ed25519` makes one, too.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from schemas.errors import PermanentError

SUFFIX = ".sig"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def signature_of(path: Path) -> Path:
    """Say where the signature of a file is."""
    return path.with_name(path.name + SUFFIX)


def new_key(path: Path) -> Path:
    """Write a private key that only its owner may read, and beside it its public key, whose path is returned.

    Raises:
        PermanentError: there is such a file already, or it cannot be written.

    """
    key, public = Ed25519PrivateKey.generate(), path.with_name(f"{path.name}.pub")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_new(path, private, 0o600)
    _write_new(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    return public


def private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        PermanentError: it cannot be read, others may read it, too, or it is no Ed25519 key.

    """
    content = _key(path, _OTHERS, "others than its owner may read it; chmod 600")
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise PermanentError(f"{path}: not an Ed25519 private key without a password, in PEM")
    return key


def sign(content: bytes, key: Ed25519PrivateKey) -> bytes:
    """Sign; gives what belongs into the file of the signature."""
    return base64.b64encode(key.sign(content)) + b"\n"


def is_signed(content: bytes, signature: bytes, public_key: Path) -> bool:
    """Tell whether a signature of these bytes was made with the private key that belongs to this public one.

    Raises:
        PermanentError: the key cannot be read, others may change it, or it is no Ed25519 key.

    """
    pem = _key(public_key, _OTHERS_WRITE, "others than its owner may change it")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise PermanentError(f"{public_key}: not an Ed25519 public key in PEM")
    try:
        key.verify(base64.b64decode(signature.strip(), validate=True), content)
    except (InvalidSignature, binascii.Error):
        return False
    return True


def _key(path: Path, forbidden: int, why: str) -> bytes:
    try:
        if path.stat().st_mode & forbidden:
            raise PermanentError(f"{path}: {why}")
        return path.read_bytes()
    except OSError as error:
        raise PermanentError(f"{path}: {error.strerror}") from None


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except OSError as error:
        raise PermanentError(f"{path}: {error.strerror}") from None
