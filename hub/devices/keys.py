"""The devices' public keys: pinned at enrolment, asked for with every message.

A key that was found is remembered for half a minute: long enough to cost nothing, short enough for a device that was
forgotten to be refused soon. A device that is not there is looked up each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import Engine, select

from hub.devices.signatures import verified
from hub.state.schema import devices
from models.errors import EnvelopeError

_REMEMBERED_S: Final = 30.0


class UnknownDevice(EnvelopeError):
    """The envelope names a device that has not enrolled here."""


class BadSignature(EnvelopeError):
    """The envelope was not signed by the device that it names, or was changed since."""


Verify = Callable[[str, bytes, bytes], None]


class DeviceKeys:
    """Looks up public keys; safe to call from several threads."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._known: dict[str, tuple[float, bytes]] = {}  # until when, and the key

    def remembered(self, device_id: str) -> bytes | None:
        """The key if it was looked up a moment ago: touches no database."""
        until_s, key = self._known.get(device_id, (0.0, b""))
        return key if self._clock() < until_s else None

    def find(self, device_id: str) -> bytes:
        """32 bytes, from the database. Raises UnknownDevice."""
        with self._engine.connect() as connection:
            key: bytes | None = connection.execute(
                select(devices.c.public_key).where(devices.c.device_id == device_id)
            ).scalar()
        if key is None:
            self._known.pop(device_id, None)
            raise UnknownDevice(f"device {device_id} is not enrolled at this hub")
        self.remember(device_id, key)
        return key

    def forget(self, device_id: str) -> None:
        """The next message of this device is looked up."""
        self._known.pop(device_id, None)

    def remember(self, device_id: str, key: bytes) -> None:
        """`key` has just been pinned for this device, or found."""
        self._known[device_id] = (self._clock() + _REMEMBERED_S, key)


def verifier(public_key: bytes) -> Verify:
    """What `open_sealed` asks for, for one key. It raises BadSignature."""

    def verify(device_id: str, signature: bytes, message: bytes) -> None:
        if not verified(public_key, signature, message):
            raise BadSignature(f"not signed by {device_id}")

    return verify
