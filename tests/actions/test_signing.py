"""Keys and signatures: what is signed is known by the public key alone, and keys that others could use are refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from actions import signing
from schemas.errors import PermanentError


@pytest.fixture
def key(tmp_path: Path) -> Path:
    signing.new_key(tmp_path / "key")
    return tmp_path / "key"


def test_only_what_was_signed_with_this_key_is_known_by_the_public_one(key: Path, tmp_path: Path) -> None:
    signature = signing.sign(b"content", signing.private_key(key))
    mine, other = key.with_name("key.pub"), signing.new_key(tmp_path / "other")
    assert signing.is_signed(b"content", signature, mine)
    assert not signing.is_signed(b"contents", signature, mine)
    assert not signing.is_signed(b"content", signature, other)
    for wrong in (b"", b"not base64!", signature[:-3], b"AAAA"):
        assert not signing.is_signed(b"content", wrong, mine)


def test_a_private_key_is_its_owners_and_is_never_overwritten(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    with pytest.raises(PermanentError, match="File exists"):
        signing.new_key(key)
    assert key.read_bytes() == before
    key.chmod(0o640)
    with pytest.raises(PermanentError, match="others than its owner may read it"):
        signing.private_key(key)


def test_a_public_key_that_others_may_change_is_not_believed(key: Path) -> None:
    public = key.with_name("key.pub")
    public.chmod(0o646)
    with pytest.raises(PermanentError, match="others than its owner may change it"):
        signing.is_signed(b"", b"", public)


def test_what_is_no_key_of_this_kind_is_said(key: Path, tmp_path: Path) -> None:
    other = tmp_path / "curve"
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (pem, b"", key.with_name("key.pub").read_bytes()):
        other.write_bytes(content)
        other.chmod(0o600)
        with pytest.raises(PermanentError, match="not an Ed25519 private key"):
            signing.private_key(other)
    other.write_bytes(key.read_bytes())
    with pytest.raises(PermanentError, match="not an Ed25519 public key"):
        signing.is_signed(b"", b"", other)
    with pytest.raises(PermanentError, match="No such file"):
        signing.private_key(tmp_path / "nowhere")
