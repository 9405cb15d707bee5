"""A change of a device's key: the old key says that the new one is its successor, and the new one shows that it is held.

Invariants:
1. The new key is pinned, and the old one put out of use, in one commit: at no moment do both count.
2. Asking again, as after a lost answer or a crash, changes nothing and is answered as the first time, for as long as the
   device has not changed its key once more. So a device may fall over at any step and still get through.
What was under way under the old key is refused with 401, and comes again, signed by the new one: nothing needs a grace.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from hub.audit.log import record
from hub.devices.keys import BadSignature, UnknownDevice, check_standing
from hub.state.schema import devices
from models.contract.checkin import Rotate, Rotated
from models.contract.envelope import Sealed, open_sealed, read_sealed
from models.contract.signing import rotation_message, verified

MAX_ROTATE_BYTES = 4096


def read_rotation(data: bytes) -> Sealed:
    """Raises EnvelopeError."""
    return read_sealed(data, "rotate")


def take_rotation(connection: Connection, sealed: Sealed, now_ns: int) -> Rotated:
    """Pin the new key. Raises EnvelopeError, BadSignature, UnknownDevice, DeviceSuspended, DeviceRevoked."""
    device_id = sealed.device_id
    row = connection.execute(select(devices).where(devices.c.device_id == device_id)).first()
    if row is None:
        raise UnknownDevice(f"device {device_id} is not enrolled at this hub")
    by: list[bytes] = []

    def signed_by(_device_id: str, signature: bytes, message: bytes) -> None:
        by[:] = [key for key in (row.public_key, row.previous_key) if key and verified(key, signature, message)]
        if not by:
            raise BadSignature(f"not signed by {device_id}")

    rotate = open_sealed(sealed, signed_by, Rotate)
    [old] = by
    if not verified(rotate.new_key, rotate.proof, rotation_message(device_id, old, rotate.new_key)):
        raise BadSignature(f"{device_id}: whoever asks for the new key does not have it")
    check_standing(device_id, row.state, row.state_reason, row.public_key)
    if old == row.previous_key:
        if rotate.new_key != row.public_key:
            raise BadSignature(f"{device_id}: signed by a key that was replaced")
    elif rotate.new_key != old:
        changed = {"public_key": rotate.new_key, "previous_key": old, "key_since_ns": now_ns}
        connection.execute(update(devices).where(devices.c.device_id == device_id).values(changed))
        told = {"old_key": old.hex(), "new_key": rotate.new_key.hex()}
        actor = f"device:{device_id}"
        record(connection, at_ns=now_ns, actor=actor, action="device.rotate_key", subject=device_id, details=told)
    return Rotated(public_key=rotate.new_key)
