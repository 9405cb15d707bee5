"""Ed25519 keys (RFC 8032): a device signs what it sends, the hub signs the TUF root that a device begins with."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from models.errors import StorageError
from models.files import write_durably


class SigningKey:
    """A private key; its bytes never appear in text form."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(message)

    @property
    def public_bytes(self) -> bytes:
        """32 bytes."""
        return self._key.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """The key of a 32-byte seed (RFC 8032, 5.1.5). Raises ValueError for another length."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def load_or_create(cls, path: Path) -> SigningKey:
        """The key in `path` (32 raw bytes, mode 0600), made and synced to disk if it is not there yet.

        Raises StorageError where the file is no key: a damaged identity is never silently replaced by a new one.
        """
        if not path.exists():
            key = Ed25519PrivateKey.generate()
            write_durably(path, key.private_bytes_raw(), mode=0o600)
            return cls(key)
        try:
            return cls.from_seed(path.read_bytes())
        except ValueError:
            raise StorageError(
                f"{path}: not a 32-byte Ed25519 key; restore it, or remove it to enrol as a new device"
            ) from None


def verified(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` over `message` was made by the holder of `public_key`; False also for malformed keys."""
    try:
        _loaded(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(16_384)
def _loaded(public_key: bytes) -> Ed25519PublicKey:
    """Kept, for a fleet's keys come again and again. Raises ValueError."""
    return Ed25519PublicKey.from_public_bytes(public_key)


def root_message(root: bytes) -> bytes:
    """What the hub's key signs of the TUF root that a device begins with; under a name of its own so that no other signature
    fits."""
    return b"tocsin-tuf-root\0" + root


def join_proof(token: str, device_id: str, public_key: bytes) -> bytes:
    """What shows that a device knows the join token, without sending it."""
    return hmac.digest(token.encode(), device_id.encode() + b"\0" + public_key, hashlib.sha256)


def rotation_message(device_id: str, old_key: bytes, new_key: bytes) -> bytes:
    """What the new key signs, to show that whoever asks for a change of keys has it."""
    return b"\0".join((b"tocsin rotate", device_id.encode(), old_key, new_key))
