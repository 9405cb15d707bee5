"""Checking the devices' signatures (Ed25519, RFC 8032): the dearest step of taking an envelope in.

libsodium's check takes half as long as OpenSSL's and is used where PyNaCl is installed, as it is with the `hub` extra.
"""

from __future__ import annotations

from models.contract.signing import verified as verified_by_openssl

try:
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import CryptoError
except ImportError:
    crypto_sign_open = None


def verified(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` over `message` was made by the holder of `public_key`; False also for malformed keys."""
    if crypto_sign_open is None:
        return verified_by_openssl(public_key, signature, message)
    if len(public_key) != 32 or len(signature) != 64:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except CryptoError:
        return False
    return True
