"""What the hub signs of a bundle: the digest of its archive, under a name of its own so that no other signature fits."""

from __future__ import annotations


def bundle_message(sha256: str) -> bytes:
    """The bytes that the hub's Ed25519 signature over an archive with this hexadecimal SHA-256 covers."""
    return b"tocsin-bundle\0" + sha256.encode()
