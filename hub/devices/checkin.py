"""Check-in: what a device says of itself is stored, and it is told what to hold.

A check-in that is older than the one stored (resent, or replayed by somebody who listened) is answered and not stored, but for
what it says about who else speaks under the device's name (`heed.py`). Check-ins that arrive together share one
transaction and a handful of statements.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, Table, bindparam, delete, insert, select, tuple_, update

from hub.devices.cloned import record_cloned
from hub.devices.heed import COLUMNS, heed
from hub.devices.keys import DeviceKeptOut, UnknownDevice
from hub.devices.not_judged import Heard, mark_not_judged
from hub.state.schema import assets, bundle_failures, device_slots, devices
from hub.state.upsert import upsert
from models.contract.checkin import CheckIn, CheckInReply, DesiredSlots
from models.errors import EnvelopeError

MAX_CHECKIN_BYTES: Final = 256 * 1024
MAX_CHECKIN_UNPACKED: Final = 1024 * 1024  # some thousand assets; it is kept as rows, and read by every page of its device
_MAX_INT: Final = 2**63 - 1
SlotsOf = Callable[[str, Sequence[str]], list[DesiredSlots]]  # (device_id, profiles)
LoadDesired = Callable[[Connection, Collection[str]], SlotsOf]  # (connection, profiles)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """A verified check-in. `n_bytes`: of memory that it may take while it waits, roughly."""

    device_id: str
    checkin: CheckIn
    n_bytes: int


class CheckIns:
    """Commits groups of check-ins; called from one thread at a time."""

    def __init__(self, engine: Engine, load_desired: LoadDesired, next_checkin_s: float) -> None:
        self._engine = engine
        self._load_desired = load_desired
        self._next_checkin_s = next_checkin_s

    def commit(self, group: Sequence[Told], now_ns: int) -> list[CheckInReply | EnvelopeError]:
        with self._engine.begin() as connection:
            return take_checkins(connection, group, self._load_desired, self._next_checkin_s, now_ns)


def take_checkins(
    connection: Connection, group: Sequence[Told], load_desired: LoadDesired, next_checkin_s: float, now_ns: int
) -> list[CheckInReply | EnvelopeError]:
    """Store those that are not stale, and answer each with what its device should hold now.

    An error in place of an answer: EnvelopeError where figures are out of range; UnknownDevice, DeviceSuspended, DeviceRevoked
    where the device was forgotten or kept out a moment ago.
    """
    known = _Known(connection, {told.device_id for told in group}, now_ns)
    heard = [known.hear(told) for told in group]
    known.store()
    wanted = {profile for checkin in heard if isinstance(checkin, CheckIn) for profile in _profiles(checkin)}
    slots_of = load_desired(connection, wanted)

    def answer(device_id: str, checkin: CheckIn) -> CheckInReply:
        knows_tuf = checkin.root_version is not None  # an agent from before TUF could load nothing, and not read the reply
        slots = slots_of(device_id, _profiles(checkin)) if knows_tuf else []
        return CheckInReply(hub_time_ns=now_ns, next_checkin_s=next_checkin_s, slots=slots)

    return [
        answer(told.device_id, checkin) if isinstance(checkin, CheckIn) else checkin
        for told, checkin in zip(group, heard, strict=True)
    ]


class _Known:
    """What is stored of the devices of one group, and what changes of it as their check-ins are heard, one after the other."""

    def __init__(self, connection: Connection, device_ids: Collection[str], now_ns: int) -> None:
        query = select(devices.c.device_id, devices.c.checkin, *COLUMNS).where(devices.c.device_id.in_(device_ids))
        self._connection = connection
        self._now_ns = now_ns
        self._rows = {row.device_id: row for row in connection.execute(query)}
        self._newest: dict[str, Row | None] = {device_id: row.checkin for device_id, row in self._rows.items()}
        self._writers: dict[str, Any] = {device_id: row.writers for device_id, row in self._rows.items()}
        self._fresh: dict[str, tuple[CheckIn, Row]] = {}

    def hear(self, told: Told) -> CheckIn | EnvelopeError:
        """What counts of it, or why nothing does."""
        row = self._rows.get(told.device_id)
        fault = _fault(told)
        if fault is not None or row is None:
            return fault or _unknown(told)
        try:
            heard = heed(told.device_id, row, self._writers[told.device_id], told.checkin, self._now_ns)
        except DeviceKeptOut as refusal:
            return refusal
        self._writers[told.device_id] = heard.writers
        if heard.cloned is not None:
            record_cloned(self._connection, told.device_id, heard.cloned)
        if not is_stale(self._newest[told.device_id], heard.checkin):
            as_json = msgspec.json.decode(msgspec.json.encode(heard.checkin))  # NaN and infinity become null: JSON has neither
            self._fresh[told.device_id] = heard.checkin, as_json
            self._newest[told.device_id] = as_json
        return heard.checkin

    def store(self) -> None:
        changed = {of: writers for of, writers in self._writers.items() if writers != self._rows[of].writers}
        if changed:
            self._connection.execute(_WRITERS, [{"of": of, "writers": writers} for of, writers in changed.items()])
        heard = {of: _heard(self._rows[of].checkin, checkin, said) for of, (checkin, said) in self._fresh.items()}
        _store(self._connection, self._fresh, heard, self._now_ns)


def _profiles(checkin: CheckIn) -> list[str]:
    """Of its assets and slots."""
    return sorted({report.profile for report in checkin.assets} | {report.profile for report in checkin.slots})


def _unknown(told: Told) -> UnknownDevice:
    return UnknownDevice(f"device {told.device_id} is not enrolled at this hub")


def _fault(told: Told) -> EnvelopeError | None:
    """Where a whole number does not fit the tables."""
    checkin = told.checkin
    whole = [checkin.starts, checkin.at.mono_ns, *(slot.n_windows for slot in checkin.slots)]
    whole += [asset.since_ns for asset in checkin.assets if asset.since_ns is not None]
    if all(0 <= number <= _MAX_INT for number in whole):
        return None
    return EnvelopeError(f"check-in of {told.device_id}: times and counts must be in 0..2^63-1")


def is_stale(stored: dict[str, Any] | None, checkin: CheckIn) -> bool:
    """Whether `stored`, a CheckIn as JSON, was made after `checkin`: by start and boot, never by the wall clock."""
    if stored is None or stored["epoch"] != checkin.epoch:
        return False
    if stored["starts"] != checkin.starts:
        return bool(stored["starts"] > checkin.starts)
    same_boot = stored["at"]["boot_id"] == checkin.at.boot_id
    return bool(same_boot and stored["at"]["mono_ns"] > checkin.at.mono_ns)


_OF_DEVICE: Final = ("checkin", "last_seen_ns", "agent_version", "backlog_items", "survival_days")
_SAID: Final = (
    update(devices).where(devices.c.device_id == bindparam("of")).values({name: bindparam(name) for name in _OF_DEVICE})
)
_WRITERS: Final = update(devices).where(devices.c.device_id == bindparam("of")).values(writers=bindparam("writers"))


def _heard(stored: Row | None, checkin: CheckIn, as_json: Row) -> Heard:
    """`stored`: the check-in before. `as_json`: of this one, where a figure that is no number is None."""
    same = stored is not None and (stored["epoch"], stored["starts"]) == (checkin.epoch, checkin.starts)
    return Heard(checkin.at.wall_ns, as_json["uptime_s"] or 0.0, stored["assets"] if stored is not None and same else ())


def _store(connection: Connection, fresh: Mapping[str, tuple[CheckIn, Row]], heard: Mapping[str, Heard], now_ns: int) -> None:
    if not fresh:
        return
    said = [
        {
            "of": device_id,
            "checkin": as_json,
            "last_seen_ns": now_ns,
            "agent_version": checkin.agent_version[:64],
            "backlog_items": min(max(0, checkin.backlog_items), _MAX_INT),
            "survival_days": as_json["survival_days"],  # NaN and infinity are null there
        }
        for device_id, (checkin, as_json) in fresh.items()
    ]
    connection.execute(_SAID, said)
    asset_rows, slot_rows = [], []
    for device_id, (_, as_json) in fresh.items():
        of_assets = {report["asset"]: report for report in as_json["assets"]}
        of_slots = {(report["profile"], report["slot"]): report for report in as_json["slots"]}
        asset_rows += [{"device_id": device_id, **row} for row in of_assets.values()]
        slot_rows += [{"device_id": device_id, **row} for row in of_slots.values()]
    asset_rows = mark_not_judged(connection, asset_rows, heard, now_ns)
    _replace(connection, assets, fresh.keys(), asset_rows)
    _replace(connection, device_slots, fresh.keys(), slot_rows)
    _store_failures(connection, {device_id: checkin for device_id, (checkin, _) in fresh.items()}, now_ns)


def _replace(connection: Connection, table: Table, device_ids: Collection[str], rows: list[Row]) -> None:
    """These devices' rows are exactly these from now on."""
    connection.execute(delete(table).where(table.c.device_id.in_(device_ids)))
    if rows:
        connection.execute(insert(table), rows)


def _store_failures(connection: Connection, fresh: Mapping[str, CheckIn], now_ns: int) -> None:
    """A failure stands, with the time at which it was first told, until its device holds the bundle after all."""
    table = bundle_failures.c
    query = select(table.device_id, table.bundle_id, table.at_ns).where(table.device_id.in_(fresh))
    known = {(row.device_id, row.bundle_id): row.at_ns for row in connection.execute(query)}
    told = {
        (device_id, failure.bundle_id): failure.reason for device_id, checkin in fresh.items() for failure in checkin.failures
    }
    held = {(device_id, report.bundle_id) for device_id, checkin in fresh.items() for report in checkin.slots}
    recovered = (held & known.keys()) - told.keys()
    if recovered:
        connection.execute(delete(bundle_failures).where(tuple_(table.device_id, table.bundle_id).in_(recovered)))
    rows = [
        {"device_id": device_id, "bundle_id": bundle_id, "reason": reason, "at_ns": known.get((device_id, bundle_id), now_ns)}
        for (device_id, bundle_id), reason in told.items()
    ]
    upsert(connection, bundle_failures, rows)
