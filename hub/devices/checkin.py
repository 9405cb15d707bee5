"""Check-in: what a device says of itself is stored, and it is told what to hold.

A check-in that is older than the one stored (resent, or replayed by somebody who listened) is answered and not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Table, delete, insert, select, update

from hub.devices.keys import UnknownDevice
from hub.state.schema import assets, bundle_failures, device_slots, devices
from hub.state.upsert import upsert
from models.contract.checkin import BundleFailure, CheckIn, CheckInReply, DesiredSlots
from models.errors import EnvelopeError

MAX_CHECKIN_BYTES: Final = 256 * 1024
_MAX_INT: Final = 2**63 - 1
DesiredSlotsOf = Callable[[Connection, str, Sequence[str]], list[DesiredSlots]]  # (connection, device_id, profiles)


def take_checkin(
    connection: Connection,
    device_id: str,
    checkin: CheckIn,
    desired_slots: DesiredSlotsOf,
    next_checkin_s: float,
    now_ns: int,
) -> CheckInReply:
    """Store the check-in unless it is stale, and answer with what the device should hold now.

    Raises EnvelopeError: figures out of range; UnknownDevice: it was forgotten a moment ago.
    """
    _check(device_id, checkin)
    row = connection.execute(select(devices.c.checkin).where(devices.c.device_id == device_id)).first()
    if row is None:
        raise UnknownDevice(f"device {device_id} is not enrolled at this hub")
    if not is_stale(row.checkin, checkin):
        _store(connection, device_id, checkin, now_ns)
    profiles = sorted({report.profile for report in checkin.assets} | {report.profile for report in checkin.slots})
    knows_tuf = checkin.root_version is not None  # an agent from before TUF could load nothing, and not read the reply
    slots = desired_slots(connection, device_id, profiles) if knows_tuf else []
    return CheckInReply(hub_time_ns=now_ns, next_checkin_s=next_checkin_s, slots=slots)


def _check(device_id: str, checkin: CheckIn) -> None:
    """Raises EnvelopeError where a whole number does not fit the tables."""
    whole = [checkin.starts, checkin.at.mono_ns, *(slot.n_windows for slot in checkin.slots)]
    whole += [asset.since_ns for asset in checkin.assets if asset.since_ns is not None]
    if not all(0 <= number <= _MAX_INT for number in whole):
        raise EnvelopeError(f"check-in of {device_id}: times and counts must be in 0..2^63-1")


def is_stale(stored: dict[str, Any] | None, checkin: CheckIn) -> bool:
    """Whether `stored`, a CheckIn as JSON, was made after `checkin`: by start and boot, never by the wall clock."""
    if stored is None or stored["epoch"] != checkin.epoch:
        return False
    if stored["starts"] != checkin.starts:
        return bool(stored["starts"] > checkin.starts)
    same_boot = stored["at"]["boot_id"] == checkin.at.boot_id
    return bool(same_boot and stored["at"]["mono_ns"] > checkin.at.mono_ns)


def _store(connection: Connection, device_id: str, checkin: CheckIn, now_ns: int) -> None:
    as_json = msgspec.json.decode(msgspec.json.encode(checkin))  # NaN and infinity become null: JSON has neither
    said = {"checkin": as_json, "last_seen_ns": now_ns, "agent_version": checkin.agent_version[:64]}
    connection.execute(update(devices).where(devices.c.device_id == device_id).values(said))
    asset_rows = {report["asset"]: report for report in as_json["assets"]}
    slot_rows = {(report["profile"], report["slot"]): report for report in as_json["slots"]}
    _replace(connection, assets, device_id, list(asset_rows.values()))
    _replace(connection, device_slots, device_id, list(slot_rows.values()))
    held = {report.bundle_id for report in checkin.slots}
    _store_failures(connection, device_id, {failure.bundle_id: failure for failure in checkin.failures}, held, now_ns)


def _replace(connection: Connection, table: Table, device_id: str, rows: list[dict[str, Any]]) -> None:
    """The device's rows are exactly these from now on."""
    connection.execute(delete(table).where(table.c.device_id == device_id))
    if rows:
        connection.execute(insert(table), [{"device_id": device_id, **row} for row in rows])


def _store_failures(
    connection: Connection, device_id: str, failures: dict[str, BundleFailure], held: set[str], now_ns: int
) -> None:
    """A failure stands, with the time at which it was first told, until the device holds the bundle after all."""
    mine = bundle_failures.c.device_id == device_id
    recovered = held - failures.keys()
    if recovered:
        connection.execute(delete(bundle_failures).where(mine, bundle_failures.c.bundle_id.in_(recovered)))
    known = dict(connection.execute(select(bundle_failures.c.bundle_id, bundle_failures.c.at_ns).where(mine)).tuples().all())
    rows = [
        {"device_id": device_id, "bundle_id": name, "reason": failure.reason, "at_ns": known.get(name, now_ns)}
        for name, failure in failures.items()
    ]
    upsert(connection, bundle_failures, rows)
