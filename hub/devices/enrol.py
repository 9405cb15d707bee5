"""First contact: a device shows that it knows the join token and pins its key here.

Invariants:
1. The same key again changes nothing but what the device says of itself; another key for a known device is refused.
2. The join token is compared as a proof over device and key, in constant time, before anything is stored.
"""

from __future__ import annotations

import hmac
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from hub.devices.keys import verifier
from hub.state.schema import assets, bundle_failures, device_slots, devices
from models.contract.checkin import Enrol
from models.contract.envelope import Sealed, open_sealed, read_sealed, signed_message
from models.contract.signing import join_proof
from models.errors import EnvelopeError

MAX_ENROL_BYTES: Final = 16 * 1024


class JoinRefused(EnvelopeError):
    """The device does not know this hub's join token."""


class KeyConflict(EnvelopeError):
    """Another key is pinned for this device."""


def read_enrol(data: bytes, join_token: str) -> tuple[str, Enrol]:
    """Who asks, and with what. Raises EnvelopeError, BadSignature, JoinRefused.

    The key that signs is inside, so here the payload is read, within bounds, before the signature is checked.
    """
    sealed = read_sealed(data, "enrol")
    enrol = open_sealed(sealed, _anyone, Enrol)
    _check(sealed, enrol)
    if not hmac.compare_digest(enrol.join_proof, join_proof(join_token, sealed.device_id, enrol.public_key)):
        raise JoinRefused(f"device {sealed.device_id}: the join token is not this hub's")
    return sealed.device_id, enrol


def store_enrol(connection: Connection, device_id: str, enrol: Enrol, now_ns: int) -> None:
    """Pin the key, or update what the device says of itself. Raises KeyConflict."""
    said = {"site": enrol.site, "hardware": enrol.hardware, "agent_version": enrol.agent_version[:64], "last_seen_ns": now_ns}
    pinned = connection.execute(select(devices.c.public_key).where(devices.c.device_id == device_id)).scalar()
    if pinned is None:
        row = {"device_id": device_id, "public_key": enrol.public_key, "enrolled_ns": now_ns, **said}
        connection.execute(insert(devices), row)
    elif hmac.compare_digest(pinned, enrol.public_key):
        connection.execute(update(devices).where(devices.c.device_id == device_id).values(said))
    else:
        raise KeyConflict(
            f"device {device_id} is enrolled with another key; if it was replaced, `tocsin hub forget {device_id}` lets it in"
        )


def forget_device(connection: Connection, device_id: str) -> bool:
    """Unpin the key and drop what the device said of itself, so that it may enrol anew; whether it was known.

    What it delivered stays: its ledger, its alerts, its rows in the lake.
    """
    for table in (assets, device_slots, bundle_failures):
        connection.execute(delete(table).where(table.c.device_id == device_id))
    return connection.execute(delete(devices).where(devices.c.device_id == device_id)).rowcount > 0


def _anyone(_device_id: str, _signature: bytes, _message: bytes) -> None:
    """Accepts: the real check follows once the key is known."""


def _check(sealed: Sealed, enrol: Enrol) -> None:
    if len(enrol.public_key) != 32:
        raise EnvelopeError(f"public key of {len(enrol.public_key)} bytes; Ed25519 has 32")
    message = signed_message(sealed.purpose, sealed.device_id, sealed.payload)
    verifier(enrol.public_key)(sealed.device_id, sealed.signature, message)
