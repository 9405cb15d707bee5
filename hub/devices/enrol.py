"""First contact: a device shows a claim token, or that it knows the join token, and pins its key here.

Invariants:
1. The same key again changes nothing but what the device says of itself, and costs no use of its token; another key for a
   known device is refused.
2. Proofs cover device and key, and are checked before anything is stored.
3. A claim token decides where the device stands and what it may watch, whatever the device says.
4. A revoked key stays out. Its device's name is free for another key only by a claim token that was made after that.
"""

from __future__ import annotations

import hmac
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from hub.audit.log import record
from hub.devices.claims import check_allowed, find_token, use_token
from hub.devices.keys import check_standing, verifier
from hub.state.schema import assets, bundle_failures, device_slots, devices
from models.contract.checkin import Enrol
from models.contract.envelope import Sealed, open_sealed, read_sealed, signed_message
from models.contract.signing import join_proof
from models.errors import EnvelopeError

MAX_ENROL_BYTES: Final = 16 * 1024
MAX_ENROL_UNPACKED: Final = 64 * 1024  # what a stranger may make the hub unpack


class JoinRefused(EnvelopeError):
    """The device does not know this hub's join token."""


class KeyConflict(EnvelopeError):
    """Another key is pinned for this device."""


def read_enrol(data: bytes, join_token: str) -> tuple[str, Enrol]:
    """Who asks, and with what. Raises EnvelopeError, BadSignature, JoinRefused.

    The key that signs is inside, so here the payload is read, within bounds, before the signature is checked. A claim token
    is looked at by `store_enrol`. `join_token`: empty = this hub has none.
    """
    sealed = read_sealed(data, "enrol")
    enrol = open_sealed(sealed, _anyone, Enrol, MAX_ENROL_UNPACKED)
    _check(sealed, enrol)
    if not enrol.claim_id:
        if not join_token:
            raise JoinRefused(f"device {sealed.device_id}: this hub has no join token; enrol with a claim token")
        if not hmac.compare_digest(enrol.join_proof, join_proof(join_token, sealed.device_id, enrol.public_key)):
            raise JoinRefused(f"device {sealed.device_id}: the join token is not this hub's")
    return sealed.device_id, enrol


def store_enrol(connection: Connection, device_id: str, enrol: Enrol, now_ns: int) -> str:
    """Pin the key, or update what the device says of itself; the site where the hub has it stand.

    Raises ClaimRefused, KeyConflict, DeviceSuspended, DeviceRevoked.
    """
    token = find_token(connection, device_id, enrol) if enrol.claim_id else None
    if token is not None:
        check_allowed(token, device_id, enrol)
    site = token["site"] if token else enrol.site
    said = {"site": site, "hardware": enrol.hardware, "agent_version": enrol.agent_version[:64], "last_seen_ns": now_ns}
    row = connection.execute(select(devices).where(devices.c.device_id == device_id)).mappings().first()
    if row is not None and not _takes_over(row, enrol, token):
        return _again(connection, row, enrol, said)
    if token is not None:
        use_token(connection, token, device_id, now_ns)
    allowed = (token["profiles"] or None) if token else None
    new = {"public_key": enrol.public_key, "enrolled_ns": now_ns, "claim_id": token and token["token_id"], "profiles": allowed}
    if row is not None:
        forget_device(connection, device_id)
    connection.execute(insert(devices), {"device_id": device_id, **new, **said})
    told = {"site": site, "claim_id": new["claim_id"], "public_key": enrol.public_key.hex()}
    record(connection, at_ns=now_ns, actor=f"device:{device_id}", action="device.enrol", subject=device_id, details=told)
    return site


def forget_device(connection: Connection, device_id: str) -> bool:
    """Unpin the key and drop what the device said of itself, so that it may enrol anew; whether it was known.

    What it delivered stays: its ledger, its alerts, its rows in the lake.
    """
    for table in (assets, device_slots, bundle_failures):
        connection.execute(delete(table).where(table.c.device_id == device_id))
    return connection.execute(delete(devices).where(devices.c.device_id == device_id)).rowcount > 0


def _takes_over(row: Any, enrol: Enrol, token: dict[str, Any] | None) -> bool:
    """Whether a new key comes in for a revoked one (invariant 4)."""
    if row["state"] != "revoked" or token is None or enrol.public_key in (row["public_key"], row["previous_key"]):
        return False
    return bool(token["created_ns"] > row["state_ns"])


def _again(connection: Connection, row: Any, enrol: Enrol, said: dict[str, Any]) -> str:
    """A device that is known; where it stands is what was decided when it came."""
    device_id: str = row["device_id"]
    reason = row["state_reason"] if enrol.public_key == row["public_key"] else ""  # nobody else's business
    check_standing(device_id, row["state"], reason, row["public_key"])
    if not hmac.compare_digest(row["public_key"], enrol.public_key):
        raise KeyConflict(
            f"device {device_id} is enrolled with another key; if it was replaced, `tocsin hub forget {device_id}` lets it in"
        )
    if row["claim_id"] is not None:
        said = said | {"site": row["site"]}
    connection.execute(update(devices).where(devices.c.device_id == device_id).values(said))
    site: str = said["site"]
    return site


def _anyone(_device_id: str, _signature: bytes, _message: bytes) -> None:
    """Accepts: the real check follows once the key is known."""


def _check(sealed: Sealed, enrol: Enrol) -> None:
    if len(enrol.public_key) != 32:
        raise EnvelopeError(f"public key of {len(enrol.public_key)} bytes; Ed25519 has 32")
    message = signed_message(sealed.purpose, sealed.device_id, sealed.payload)
    verifier(enrol.public_key)(sealed.device_id, sealed.signature, message)
