"""What the pages show of the fleet, read from the state tables: devices, assets, and the ledger's account of them.

1. Pure functions of a connection and `now_ns`: the same rows and the same time give the same view.
2. A view never holds `now_ns` nor an age: it changes only when something happened, so a page is refreshed only then.
3. A fixed number of statements for each view, whatever the number of devices; lists are cut in SQL, most urgent first.
4. An asset on a device that has not been heard for a while is `silent`, whatever it said last: except an alarm, which
   stays an alarm until the device itself takes it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Row, String, and_, case, cast, func, select, tuple_
from sqlalchemy.sql.elements import ColumnElement

from hub.devices.not_judged import NOT_JUDGED
from hub.ledger.ranges import Seen, size
from hub.state.json_values import whole_number
from hub.state.schema import alerts, assets, bundles, device_slots, devices, ledger, sensor_faults
from hub.web.alert_rows import Share, top_channels
from hub.web.words import count

STATES: Final = ("alarm", "silent", "commissioning", NOT_JUDGED, "normal")  # in order of urgency
MAX_TILES: Final = 120  # a screenful is for a glance: beyond this the most urgent are shown and the rest is counted


@dataclass(frozen=True, slots=True)
class Fleet:
    """The state of everything in a few counts; `states` has every one of STATES as a key."""

    n_devices: int
    n_silent_devices: int
    states: Mapping[str, int]
    n_alerts: int
    n_critical: int
    n_faults: int

    @property
    def n_assets(self) -> int:
        return sum(self.states.values())

    @property
    def headline(self) -> str:
        """The fleet in one sentence, the most urgent thing first."""
        n = self.states
        learning_only = not n["normal"] and not n[NOT_JUDGED]
        told = (
            (n["alarm"], f"{count(n['alarm'], 'asset needs', 'assets need')} attention"),
            (self.n_alerts, f"{count(self.n_alerts, 'alert is', 'alerts are')} open"),  # told sooner than by a check-in
            (self.n_silent_devices, f"{count(self.n_silent_devices, 'device has', 'devices have')} gone silent"),
            (n["silent"], f"{count(n['silent'], 'asset sends', 'assets send')} no readings"),
            (self.n_faults, f"The machines are well; {count(self.n_faults, 'sensor is', 'sensors are')} at fault"),
            (n["commissioning"] and learning_only, "Learning what normal looks like"),
            (
                n[NOT_JUDGED],
                f"All is well where it is judged; {count(n[NOT_JUDGED], 'asset is', 'assets are')} not, at the moment",
            ),
            (self.n_assets, "All is well"),
        )
        return next((sentence for holds, sentence in told if holds), "Devices are here; what they watch is not said yet")


@dataclass(frozen=True, slots=True)
class Tile:
    """One asset. `state` as of now (see 4.), `said`: what its device said last, or the hub took that for
    (`hub/devices/not_judged.py`). `version` None with `bundle_id` None = the baseline detector decides. `backlog_items` None =
    the device has not checked in yet."""

    device_id: str
    asset: str
    profile: str
    site: str
    state: str
    said: str
    p_value: float | None
    since_ns: int | None
    last_seen_ns: int
    backlog_items: int | None
    backlog_bytes: int | None
    bundle_id: str | None
    version: int | None
    top: Share | None


@dataclass(frozen=True, slots=True)
class Tiles:
    """`shown` are the most urgent of `n_all`; `state` is the filter, "" for none."""

    shown: tuple[Tile, ...]
    n_all: int
    state: str


@dataclass(frozen=True, slots=True)
class LaneAccount:
    """What the ledger says of one lane over all devices. `n_missing`: known to exist, and not here, evicted or merged."""

    lane: str
    n_received: int
    n_missing: int
    n_evicted: int
    n_merged: int
    n_redelivered: int
    n_rejected: int

    @property
    def n_produced(self) -> int:
        """Every sequence number that the hub knows to have existed."""
        return self.n_received + self.n_missing + self.n_evicted + self.n_merged


def state_now(heard_since_ns: int) -> ColumnElement[str]:
    """The column of invariant 4: devices last seen before `heard_since_ns` are silent."""
    silent = and_(devices.c.last_seen_ns < heard_since_ns, assets.c.state != "alarm")
    return case((silent, "silent"), else_=assets.c.state)


def read_fleet(connection: Connection, heard_since_ns: int) -> Fleet:
    heard = func.sum(case((devices.c.last_seen_ns < heard_since_ns, 1), else_=0))
    n_devices, n_silent = connection.execute(select(func.count(), heard).select_from(devices)).one()
    counted = _by_state(connection, heard_since_ns)
    severities = select(alerts.c.severity, func.count()).where(alerts.c.closed_ns.is_(None)).group_by(alerts.c.severity)
    open_by_severity: dict[str, int] = dict(connection.execute(severities).tuples().all())
    n_faults = connection.execute(select(func.count()).where(sensor_faults.c.closed_ns.is_(None))).scalar_one()
    return Fleet(
        n_devices=n_devices,
        n_silent_devices=n_silent or 0,
        states={name: counted.get(name, 0) for name in STATES},
        n_alerts=sum(open_by_severity.values()),
        n_critical=open_by_severity.get("critical", 0),
        n_faults=n_faults,
    )


def _by_state(connection: Connection, heard_since_ns: int) -> dict[str, int]:
    """How many are in each state now. What was said is counted, then what hangs on the few silent devices is moved: a join of
    the whole fleet would read each device's row of kilobytes, every second."""
    said = select(assets.c.state, func.count()).group_by(assets.c.state)
    known = select(devices.c.device_id)
    of_silent = assets.c.device_id.in_(known.where(devices.c.last_seen_ns < heard_since_ns))
    counted: dict[str, int] = dict(connection.execute(said.where(assets.c.device_id.in_(known))).tuples().all())
    for state, n in connection.execute(said.where(of_silent, assets.c.state.not_in(("alarm", "silent")))).tuples():
        counted[state] -= n
        counted["silent"] = counted.get("silent", 0) + n
    return counted


def read_tiles(connection: Connection, heard_since_ns: int, state: str = "", limit: int = MAX_TILES) -> Tiles:
    """The most urgent `limit` assets, only those in `state` where that is given."""
    now = state_now(heard_since_ns)
    return _most_urgent(connection, now, [now == state] if state else [], state, limit)


def read_device_tiles(connection: Connection, heard_since_ns: int, device_id: str, limit: int = MAX_TILES) -> Tiles:
    """The assets of one device, the most urgent first."""
    return _most_urgent(connection, state_now(heard_since_ns), [assets.c.device_id == device_id], "", limit)


def _most_urgent(
    connection: Connection, now: ColumnElement[str], wanted: Sequence[ColumnElement[bool]], state: str, limit: int
) -> Tiles:
    # Only keys are sorted: each row has a check-in of some kilobytes beside it, which is read for those that are shown.
    urgency = case({name: rank for rank, name in enumerate(STATES)}, value=now, else_=len(STATES))
    order = (urgency, devices.c.site, assets.c.device_id, assets.c.asset)
    keys = select(assets.c.device_id, assets.c.asset).select_from(_assets_on_devices()).where(*wanted)
    chosen = [tuple(row) for row in connection.execute(keys.order_by(*order).limit(limit))]
    n_all = len(chosen)
    if n_all == limit:
        n_all = connection.execute(select(func.count()).select_from(_assets_on_devices()).where(*wanted)).scalar_one()
    found = _tile_select(now).where(tuple_(assets.c.device_id, assets.c.asset).in_(chosen)).order_by(*order)
    rows = connection.execute(found).all() if chosen else []
    tops = top_channels(connection, [(row.device_id, row.asset) for row in rows if row.state == "alarm"])
    return Tiles(tuple(_tile(row, tops) for row in rows), n_all, state)


def read_tile(connection: Connection, heard_since_ns: int, device_id: str, asset: str) -> Tile | None:
    """One asset; None where the hub does not know it. Its alert is here before the check-in that says so."""
    wanted = and_(assets.c.device_id == device_id, assets.c.asset == asset)
    row = connection.execute(_tile_select(state_now(heard_since_ns)).where(wanted)).one_or_none()
    if row is None:
        return None
    tile = _tile(row, top_channels(connection, [(device_id, asset)]))
    mine = (alerts.c.device_id == device_id) & (alerts.c.asset == asset) & alerts.c.closed_ns.is_(None)
    rings_since_ns = connection.execute(select(func.min(alerts.c.opened_ns)).where(mine)).scalar()
    if tile.state == "normal" and rings_since_ns is not None:
        return replace(tile, state="alarm", since_ns=rings_since_ns)
    return tile


def read_ledger(connection: Connection) -> tuple[LaneAccount, ...]:
    """One account a lane, in the order of their names."""
    names = ("n_received", "n_evicted", "n_merged", "n_redelivered", "n_rejected")
    sums = [func.sum(ledger.c[name]).label(name) for name in names]
    rows = connection.execute(select(ledger.c.lane, *sums).group_by(ledger.c.lane).order_by(ledger.c.lane)).all()
    missing = _missing_by_lane(connection)
    counts = [(row.lane, {name: int(row._mapping[name]) for name in names}) for row in rows]
    return tuple(LaneAccount(lane, n_missing=missing.get(lane, 0), **found) for lane, found in counts)


def _missing_by_lane(connection: Connection) -> dict[str, int]:
    # Only the few rows with a gap are decoded: a lane without one has an empty list there.
    gaps = select(ledger.c.lane, ledger.c.cursor, ledger.c.ahead).where(cast(ledger.c.ahead, String) != "[]")
    missing: dict[str, int] = {}
    for lane, cursor, ahead in connection.execute(gaps):
        seen = Seen(cursor, tuple((first, last) for first, last in ahead))
        missing[lane] = missing.get(lane, 0) + size(seen.missing)
    return missing


def _assets_on_devices() -> Any:
    return assets.join(devices, assets.c.device_id == devices.c.device_id)


def _tile_select(state: ColumnElement[str]) -> Any:
    active = and_(
        device_slots.c.device_id == assets.c.device_id,
        device_slots.c.profile == assets.c.profile,
        device_slots.c.slot == "active",
    )
    return select(
        assets.c.device_id,
        assets.c.asset,
        assets.c.profile,
        devices.c.site,
        state.label("state"),
        assets.c.state.label("said"),
        assets.c.p_value,
        assets.c.since_ns,
        devices.c.last_seen_ns,
        whole_number(devices.c.checkin["backlog_items"]).label("backlog_items"),
        whole_number(devices.c.checkin["backlog_bytes"]).label("backlog_bytes"),
        device_slots.c.bundle_id,
        bundles.c.version,
    ).select_from(
        _assets_on_devices().outerjoin(device_slots, active).outerjoin(bundles, bundles.c.bundle_id == device_slots.c.bundle_id)
    )


def _tile(row: Row[Any], tops: Mapping[tuple[str, str], Share]) -> Tile:
    return Tile(**row._mapping, top=tops.get((row.device_id, row.asset)))
