"""The keys that sign what devices may load: a file each, named by role and key, so that none is ever written over.

    DIR/keys/offline/     root, targets: name and replace every other key; to be moved off the hub
    DIR/keys/online/      snapshot, timestamp: say what is newest; used every day
    DIR/keys/profiles/    one a profile: signs its bundles; there to publish unattended, or moved off the hub as well

    ROLE.KEYID.key        32 bytes of an Ed25519 key, 0600; KEYID: the first 8 digits of its TUF key id

A key that is not found is no error: what it would sign waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from models.errors import StorageError
from models.files import write_durably

OFFLINE: Final = ("root", "targets")
ONLINE: Final = ("snapshot", "timestamp")
_PROFILE: Final = "profile-"  # a profile may be called `root`


def role_of(profile: str) -> str:
    """The TUF role that signs the bundles of `profile`."""
    return _PROFILE + profile


def profile_of(role: str) -> str:
    """The profile whose bundles `role` signs; "" for the four roles that every repository has."""
    return role.removeprefix(_PROFILE) if role.startswith(_PROFILE) else ""


class KeyRing:
    """The key files under `root`, and those in `elsewhere` (a mounted stick), which are looked for there first."""

    def __init__(self, root: Path, elsewhere: Path | None = None) -> None:
        self._root = root
        self._elsewhere = elsewhere

    def path(self, role: str, keyid: str) -> Path | None:
        """Where that key is; None = not at hand."""
        name = _file_name(role, keyid)
        return next((folder / name for folder in self._folders(role) if (folder / name).is_file()), None)

    def find(self, role: str, keyids: Sequence[str]) -> CryptoSigner | None:
        """The first of the role's keys that is at hand. Raises StorageError where a file is not the key it says."""
        for keyid in keyids:
            path = self.path(role, keyid)
            if path is None:
                continue
            signer = _load(path)
            if signer.public_key.keyid != keyid:
                raise StorageError(f"{path}: not the key {keyid[:8]} of {role}; restore it")
            return signer
        return None

    def create(self, role: str, beside: Path | None = None) -> CryptoSigner:
        """A new key for `role`, on disk when this returns; in the folder of `beside`, the key that it follows."""
        key = Ed25519PrivateKey.generate()
        signer = CryptoSigner(key)
        folder = beside.parent if beside else self._root / _home(role)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(folder / _file_name(role, signer.public_key.keyid), key.private_bytes_raw(), mode=0o600)
        return signer

    def forget(self, role: str, keyid: str) -> None:
        """Remove a key that nothing names any more."""
        path = self.path(role, keyid)
        if path is not None:
            path.unlink()

    def _folders(self, role: str) -> list[Path]:
        return [*([self._elsewhere] if self._elsewhere else []), self._root / _home(role)]


def _home(role: str) -> str:
    return "offline" if role in OFFLINE else "online" if role in ONLINE else "profiles"


def _file_name(role: str, keyid: str) -> str:
    return f"{role}.{keyid[:8]}.key"


def _load(path: Path) -> CryptoSigner:
    try:
        return CryptoSigner(Ed25519PrivateKey.from_private_bytes(path.read_bytes()))
    except (ValueError, OSError) as error:
        raise StorageError(f"{path}: not a 32-byte Ed25519 key that can be read: {error}") from None
