"""Signatures are judged alike, whichever library is installed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.devices import signatures
from models.contract.signing import SigningKey
from models.contract.signing import verified as verified_by_openssl

Verified = Callable[[bytes, bytes, bytes], bool]
# RFC 8032, 7.1, TEST 2
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


@pytest.fixture(params=["the hub's", "openssl"])
def verified(request: pytest.FixtureRequest) -> Verified:
    return signatures.verified if request.param == "the hub's" else verified_by_openssl


def test_what_the_specification_signs_is_verified(verified: Verified) -> None:
    assert verified(PUBLIC, SIGNATURE, b"\x72")


def test_a_changed_message_signature_or_key_is_not(verified: Verified) -> None:
    key = SigningKey(Ed25519PrivateKey.generate())
    message = b"a message" * 500
    signature = key.sign(message)
    assert verified(key.public_bytes, signature, message)
    assert not verified(key.public_bytes, signature, message + b"!")
    assert not verified(key.public_bytes, bytes([signature[0] ^ 1]) + signature[1:], message)
    assert not verified(PUBLIC, signature, message)


@pytest.mark.parametrize(
    ("key", "signature"), [(b"", SIGNATURE), (PUBLIC[:31], SIGNATURE), (PUBLIC, b""), (PUBLIC, SIGNATURE + b"!")]
)
def test_what_is_malformed_is_refused_and_raises_nothing(verified: Verified, key: bytes, signature: bytes) -> None:
    assert not verified(key, signature, b"\x72")
