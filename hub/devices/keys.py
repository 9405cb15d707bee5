"""The devices' public keys: pinned at enrolment, asked for with every message.

A pinned key never changes, so one that was found once is remembered; a device that is not there is looked up each time.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine, select

from hub.state.schema import devices
from models.contract.signing import verified
from models.errors import EnvelopeError


class UnknownDevice(EnvelopeError):
    """The envelope names a device that has not enrolled here."""


class BadSignature(EnvelopeError):
    """The envelope was not signed by the device that it names, or was changed since."""


Verify = Callable[[str, bytes, bytes], None]


class DeviceKeys:
    """Looks up public keys; safe to call from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, bytes] = {}

    def remembered(self, device_id: str) -> bytes | None:
        """The key if it was looked up before: touches no database."""
        return self._known.get(device_id)

    def find(self, device_id: str) -> bytes:
        """32 bytes. Raises UnknownDevice."""
        key = self._known.get(device_id)
        if key is None:
            with self._engine.connect() as connection:
                key = connection.execute(select(devices.c.public_key).where(devices.c.device_id == device_id)).scalar()
            if key is None:
                raise UnknownDevice(f"device {device_id} is not enrolled at this hub")
            self._known[device_id] = key
        return key


def verifier(public_key: bytes) -> Verify:
    """What `open_sealed` asks for, for one key. It raises BadSignature."""

    def verify(device_id: str, signature: bytes, message: bytes) -> None:
        if not verified(public_key, signature, message):
            raise BadSignature(f"not signed by {device_id}")

    return verify
