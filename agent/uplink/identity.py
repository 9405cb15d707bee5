"""Who this device is: its key, and the hub that it is enrolled with.

DIR/device.key        Ed25519, made on the device, never leaves it
DIR/device.key.next   its successor, from when a change of keys is asked for until the hub has it
DIR/ca.pem            the CA that the hub's certificate must lead to, pinned at enrolment; none = checked as a browser does
DIR/enrolment.json    the hub's name and public key, pinned at enrolment

A change of keys: the next key is on disk before the hub hears of it, and takes the old one's place by one rename after the hub
has said that it has it. Wherever that breaks off, `next_key` says that it is to be gone on with.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from models.contract.signing import SigningKey
from models.errors import StorageError
from models.files import write_durably


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of enrolment. `site`: where the hub has this device stand."""

    hub_id: str
    hub_public_key: bytes
    site: str = ""


class Identity:
    """Raises StorageError where the stored key or enrolment is damaged: an identity is never silently replaced."""

    def __init__(self, directory: Path, device_id: str) -> None:
        self.device_id = device_id
        self._directory = directory
        self._key = SigningKey.load_or_create(directory / "device.key")
        self._path = directory / "enrolment.json"
        self.enrolment = self._read()

    def _read(self) -> Enrolment | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Enrolment)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StorageError(f"{self._path}: {error}; remove it to enrol again") from None

    @property
    def hub_public_key(self) -> bytes | None:
        """Of the hub that this device is enrolled with; None before that."""
        return self.enrolment.hub_public_key if self.enrolment is not None else None

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return self._key.public_bytes

    # --- the hub ---------------------------------------------------------------------------------------------------

    @property
    def ca_file(self) -> Path | None:
        """The pinned CA, if there is one."""
        path = self._directory / "ca.pem"
        return path if path.is_file() else None

    def pin_ca(self, pem: bytes) -> None:
        """Believe this CA and no other from now on."""
        write_durably(self._directory / "ca.pem", pem)

    def unpin_ca(self) -> None:
        """A hub whose certificate is checked as a browser does, or that has none."""
        (self._directory / "ca.pem").unlink(missing_ok=True)

    def remember(self, enrolment: Enrolment) -> None:
        """Pin the hub, durably."""
        write_durably(self._path, msgspec.json.encode(enrolment))
        self.enrolment = enrolment

    # --- a change of keys ------------------------------------------------------------------------------------------

    @property
    def _next_path(self) -> Path:
        return self._directory / "device.key.next"

    @property
    def rotating(self) -> bool:
        """Whether a change of keys was asked for and is not over."""
        return self._next_path.exists()

    def next_key(self) -> SigningKey:
        """The key's successor, made and synced to disk if it is not there yet. Raises StorageError: damaged."""
        return SigningKey.load_or_create(self._next_path)

    def take_next(self, key: SigningKey) -> None:
        """The hub has pinned `key`, which is the next one: from now on it signs."""
        self._next_path.replace(self._directory / "device.key")
        self._key = key
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
