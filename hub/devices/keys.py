"""The devices' public keys: pinned at enrolment, asked for with every message.

A key that was found is remembered for half a minute: long enough to cost nothing, short enough for a device that another
process has suspended, revoked or forgotten to be refused soon; who does that in this process says so (`forget`). A device that
is not there, or not let in, is looked up each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Engine, Row, select

from hub.devices.signatures import verified
from hub.state.schema import devices
from models.errors import EnvelopeError

_REMEMBERED_S: Final = 30.0
_AT_ONCE: Final = 500  # devices in one query


class UnknownDevice(EnvelopeError):
    """The envelope names a device that has not enrolled here."""


class BadSignature(EnvelopeError):
    """The envelope was not signed by the device that it names, or was changed since."""


class DeviceKeptOut(EnvelopeError):
    """An operator does not let this device in. `public_key`: of the one whom the text may be told; it names the reason."""

    retry_after_s = 300.0

    def __init__(self, message: str, public_key: bytes) -> None:
        super().__init__(message)
        self.public_key = public_key


class DeviceSuspended(DeviceKeptOut):
    """For now. It keeps what it has, and asks again after `retry_after_s`."""


class DeviceRevoked(DeviceKeptOut):
    """For good: its key is out of use."""

    retry_after_s = 3600.0


Verify = Callable[[str, bytes, bytes], None]


class DeviceKeys:
    """Looks up public keys; safe to call from several threads."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._known: dict[str, tuple[float, bytes]] = {}  # until when, and the key
        self._n_forgotten = 0

    def remembered(self, device_id: str) -> bytes | None:
        """The key if it was looked up a moment ago: touches no database."""
        until_s, key = self._known.get(device_id, (0.0, b""))
        return key if self._clock() < until_s else None

    def find(self, device_id: str) -> bytes:
        """32 bytes, from the database. Raises UnknownDevice, DeviceSuspended, DeviceRevoked."""
        found = self.find_all([device_id])[device_id]
        if isinstance(found, EnvelopeError):
            raise found
        return found

    def find_all(self, device_ids: Sequence[str]) -> dict[str, bytes | EnvelopeError]:
        """For each of these the key, or the error that `find` raises."""
        n_forgotten = self._n_forgotten
        rows: dict[str, Row[Any]] = {}
        columns = select(devices.c.device_id, devices.c.public_key, devices.c.state, devices.c.state_reason)
        with self._engine.connect() as connection:
            for start in range(0, len(device_ids), _AT_ONCE):
                some = device_ids[start : start + _AT_ONCE]
                rows |= {row.device_id: row for row in connection.execute(columns.where(devices.c.device_id.in_(some)))}
        found: dict[str, bytes | EnvelopeError] = {}
        for device_id in device_ids:
            row = rows.get(device_id)
            if row is None or row.state != "active":
                self._known.pop(device_id, None)
            if row is None:
                found[device_id] = UnknownDevice(f"device {device_id} is not enrolled at this hub")
                continue
            try:
                check_standing(device_id, row.state, row.state_reason, row.public_key)
            except DeviceKeptOut as refusal:
                found[device_id] = refusal
                continue
            found[device_id] = row.public_key
            if n_forgotten == self._n_forgotten:  # else it may have been read just before somebody changed it
                self.remember(device_id, row.public_key)
        return found

    def remember(self, device_id: str, key: bytes) -> None:
        """`key` has just been pinned for this device, or found."""
        self._known[device_id] = (self._clock() + _REMEMBERED_S, key)

    def forget(self, device_id: str) -> None:
        """Something about this device has just changed: look it up anew."""
        self._n_forgotten += 1
        self._known.pop(device_id, None)


def check_standing(device_id: str, state: str, reason: str, public_key: bytes) -> None:
    """Raises DeviceSuspended or DeviceRevoked, with the operator's reason, unless the device is active."""
    because = f": {reason}" if reason else ""
    if state == "suspended":
        raise DeviceSuspended(f"device {device_id} is suspended{because}", public_key)
    if state == "revoked":
        raise DeviceRevoked(f"device {device_id} is revoked{because}", public_key)


def verifier(public_key: bytes) -> Verify:
    """What `open_sealed` asks for, for one key. It raises BadSignature."""

    def verify(device_id: str, signature: bytes, message: bytes) -> None:
        if not verified(public_key, signature, message):
            raise BadSignature(f"not signed by {device_id}")

    return verify
