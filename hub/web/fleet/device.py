"""What the page of one device shows. Invariants 1 to 3 of `queries.py` hold here too; lists are cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select

from hub.audit.log import Entry
from hub.ledger.ledger import load_device
from hub.ledger.ranges import size
from hub.state.schema import alerts, audit_entries, bundle_failures, device_slots, devices
from hub.web.alert_rows import FaultRow, read_device_faults
from hub.web.queries import LaneAccount, Tile, read_device_tiles
from hub.web.standing import standing_of

MAX_ASSETS: Final = 200
MAX_ROWS: Final = 100  # of slots, failures and epochs
AUDIT_ROWS: Final = 20


@dataclass(frozen=True, slots=True)
class Slot:
    profile: str
    slot: str
    bundle_id: str
    score_us_median: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A bundle that the device refused."""

    bundle_id: str
    reason: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class EpochAccount:
    """The ledger of one life of the device: another epoch began where it was wiped or restored."""

    epoch: str
    lanes: tuple[LaneAccount, ...]


@dataclass(frozen=True, slots=True)
class DeviceView:
    """`said`: the latest check-in, as the device sent it, {} before the first. `standing`: why it is kept out, or that it was
    cloned; empty = all is well. `claim_id`: the token that let it in. `profiles`: what that allows, None = any."""

    device_id: str
    site: str
    hardware: str
    agent_version: str
    enrolled_ns: int
    last_seen_ns: int
    heard: bool
    state: str
    standing: str
    claim_id: str | None
    profiles: tuple[str, ...] | None
    key_since_ns: int | None
    said: dict[str, Any]
    assets: tuple[Tile, ...]
    n_assets: int
    n_alerts: int
    slots: tuple[Slot, ...]
    failures: tuple[Failure, ...]
    faults: tuple[FaultRow, ...]
    epochs: tuple[EpochAccount, ...]

    @property
    def survival(self) -> dict[str, Any]:
        return self.said.get("survival") or {}

    @property
    def sources(self) -> list[tuple[str, str]]:
        return sorted((self.said.get("sources") or {}).items())

    @property
    def booted(self) -> int | None:
        """When the agent started, by the device's own clock; None where it has not said."""
        at, uptime_s = self.said.get("at") or {}, self.said.get("uptime_s")
        return None if uptime_s is None or "wall_ns" not in at else int(at["wall_ns"] - uptime_s * 1e9)


def read_device(connection: Connection, heard_since_ns: int, device_id: str) -> DeviceView | None:
    """None where the hub does not know the device."""
    row = connection.execute(select(devices).where(devices.c.device_id == device_id)).one_or_none()
    if row is None:
        return None
    mine = alerts.c.device_id == device_id
    n_alerts = connection.execute(select(func.count()).where(mine, alerts.c.closed_ns.is_(None))).scalar_one()
    tiles = read_device_tiles(connection, heard_since_ns, device_id, MAX_ASSETS)
    return DeviceView(
        device_id=device_id,
        site=row.site,
        hardware=row.hardware,
        agent_version=row.agent_version,
        enrolled_ns=row.enrolled_ns,
        last_seen_ns=row.last_seen_ns,
        heard=row.last_seen_ns >= heard_since_ns,
        state=row.state,
        standing=standing_of(row),
        claim_id=row.claim_id,
        profiles=None if row.profiles is None else tuple(row.profiles),
        key_since_ns=row.key_since_ns,
        said=row.checkin or {},
        assets=tiles.shown,
        n_assets=tiles.n_all,
        n_alerts=n_alerts,
        slots=tuple(Slot(*found) for found in _of_device(connection, device_slots, device_id, Slot, "profile", "slot")),
        failures=tuple(
            Failure(*found) for found in _of_device(connection, bundle_failures, device_id, Failure, "at_ns", "bundle_id")
        ),
        faults=read_device_faults(connection, device_id).shown,
        epochs=_epochs(connection, device_id),
    )


def read_device_audit(connection: Connection, device_id: str) -> tuple[Entry, ...]:
    """What was done to the device, the latest first."""
    query = select(audit_entries).where(audit_entries.c.subject == device_id).order_by(audit_entries.c.number.desc())
    return tuple(Entry(**row) for row in connection.execute(query.limit(AUDIT_ROWS)).mappings())


def _of_device(connection: Connection, table: Any, device_id: str, shape: Any, *order: str) -> Any:
    columns = [table.c[name] for name in shape.__dataclass_fields__]
    query = select(*columns).where(table.c.device_id == device_id).order_by(*(table.c[name] for name in order))
    return connection.execute(query.limit(MAX_ROWS)).all()


def _epochs(connection: Connection, device_id: str) -> tuple[EpochAccount, ...]:
    """The one that was active last first."""
    found: dict[str, list[LaneAccount]] = {}
    for (_, epoch, lane), account in load_device(connection, device_id).items():
        counts = (account.n_evicted, account.n_merged, account.n_redelivered, account.n_rejected)
        found.setdefault(epoch, []).append(LaneAccount(lane, account.n_received, size(account.missing), *counts))
    return tuple(EpochAccount(epoch, tuple(lanes)) for epoch, lanes in list(found.items())[:MAX_ROWS])
