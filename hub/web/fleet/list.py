"""The fleet as a list of assets, a page at a time, by whichever column.

Two statements: the first sorts keys only, the second reads what is shown of these few rows. Pages are cut by the key of their
last row, so rows that come and go shift nothing.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, case, func, literal, select, tuple_
from sqlalchemy.sql.elements import ColumnElement

from hub.state.schema import assets, bundles, device_slots, devices
from hub.web.fleet.filter import FleetFilter, conditions, joined
from hub.web.fleet.map import fleet_digest
from hub.web.live import digest
from hub.web.queries import STATES, state_now

ROWS: Final = 100
_FRESH_FOR_NS: Final = 15_000_000_000  # how long the list leaves "heard" as it is while nothing else happens
_LONG_DAYS: Final = 1e9  # a device that has not said how long it lasts comes after those that have


@dataclass(frozen=True, slots=True)
class Column:
    """`first`: the direction that a first click sorts in: the most urgent first."""

    name: str
    title: str
    first: str  # asc, desc


COLUMNS: Final = (
    Column("state", "State", "asc"),
    Column("asset", "Asset", "asc"),
    Column("device", "Device", "asc"),
    Column("site", "Site", "asc"),
    Column("profile", "Profile", "asc"),
    Column("heard", "Heard", "asc"),
    Column("backlog", "Waiting", "desc"),
    Column("survival", "Lasts alone", "asc"),
    Column("model", "Model", "asc"),
    Column("standing", "Standing", "asc"),
)
_BY_NAME: Final = {column.name: column for column in COLUMNS}
_NUMBERS: Final = ("state", "heard", "backlog", "survival", "model", "standing")


@dataclass(frozen=True, slots=True)
class FleetRow:
    """`standing`: active, suspended, revoked, or cloned. `bundle_id` None = the baseline decides."""

    device_id: str
    asset: str
    profile: str
    site: str
    state: str
    last_seen_ns: int
    backlog_items: int | None
    survival_days: float | None
    bundle_id: str | None
    version: int | None
    standing: str


@dataclass(frozen=True, slots=True)
class FleetList:
    """`next_after`: where the next page begins, "" on the last one."""

    wanted: FleetFilter
    rows: tuple[FleetRow, ...]
    n_all: int
    n_fleet: int
    next_after: str

    def link(self, column: Column) -> str:
        """Where a click on a column's head leads: sorted by it, the other way round where it is already."""
        again = self.wanted.sort == column.name
        descending = not self.wanted.descending if again else column.first == "desc"
        return "/fleet" + self.wanted.query(sort=column.name, descending=descending)

    @property
    def columns(self) -> tuple[Column, ...]:
        return COLUMNS


def read_list(connection: Connection, heard_since_ns: int, wanted: FleetFilter, n_rows: int = ROWS) -> FleetList:
    wanted = wanted if wanted.sort in _BY_NAME else replace(wanted, sort="state", descending=False)
    by = _expression(wanted.sort, heard_since_ns)
    key = (by, assets.c.device_id, assets.c.asset)
    among = joined(with_models=True)
    where = conditions(wanted, heard_since_ns)
    chosen = select(*key).select_from(among).where(*where)
    if (after := decoded(wanted)) is not None:
        here = tuple_(*map(literal, after))
        chosen = chosen.where(tuple_(*key) < here if wanted.descending else tuple_(*key) > here)
    order = [column.desc() if wanted.descending else column.asc() for column in key]
    found = connection.execute(chosen.order_by(*order).limit(n_rows + 1)).all()
    shown = [tuple(row) for row in found[:n_rows]]
    count = select(func.count()).select_from(joined(with_models=bool(wanted.model))).where(*where)
    n_all = connection.execute(count).scalar_one()
    n_fleet = connection.execute(select(func.count()).select_from(assets)).scalar_one() if wanted.narrows else n_all
    rows = _rows(connection, heard_since_ns, [(device, asset) for _, device, asset in shown])
    return FleetList(wanted, rows, n_all, n_fleet, encoded(shown[-1]) if len(found) > n_rows else "")


def list_digest(connection: Connection, heard_since_ns: int) -> str:
    """Of the list, however it is filtered: also which models decide, and now and then how fresh all is."""
    active = select(device_slots.c.bundle_id, func.count()).where(device_slots.c.slot == "active")
    models = connection.execute(active.group_by(device_slots.c.bundle_id).order_by(device_slots.c.bundle_id)).all()
    newest = connection.execute(select(func.max(devices.c.last_seen_ns))).scalar() or 0
    standings = connection.execute(select(devices.c.state, func.count()).group_by(devices.c.state).order_by("state")).all()
    return digest((fleet_digest(connection, heard_since_ns), models, newest // _FRESH_FOR_NS, standings))


def _expression(sort: str, heard_since_ns: int) -> ColumnElement[Any]:
    """What the rows are sorted by; never NULL."""
    ranks = {name: rank for rank, name in enumerate(STATES)}
    cloned = devices.c.writers["cloned"]["epoch"].as_string().is_not(None)
    found: Mapping[str, ColumnElement[Any]] = {
        "state": case(ranks, value=state_now(heard_since_ns), else_=len(STATES)),
        "asset": assets.c.asset,
        "device": assets.c.device_id,
        "site": devices.c.site,
        "profile": assets.c.profile,
        "heard": devices.c.last_seen_ns,
        "backlog": func.coalesce(devices.c.backlog_items, -1),
        "survival": func.coalesce(devices.c.survival_days, _LONG_DAYS),
        "model": func.coalesce(bundles.c.version, 0),
        "standing": case((devices.c.state == "revoked", 0), (devices.c.state == "suspended", 1), (cloned, 2), else_=3),
    }
    return found[sort]


def _rows(connection: Connection, heard_since_ns: int, keys: list[tuple[Any, Any]]) -> tuple[FleetRow, ...]:
    if not keys:
        return ()
    cloned = devices.c.writers["cloned"]["epoch"].as_string().is_not(None)
    standing = case((devices.c.state != "active", devices.c.state), (cloned, "cloned"), else_="active")
    columns = {
        "device_id": assets.c.device_id,
        "asset": assets.c.asset,
        "profile": assets.c.profile,
        "site": devices.c.site,
        "state": state_now(heard_since_ns),
        "last_seen_ns": devices.c.last_seen_ns,
        "backlog_items": devices.c.backlog_items,
        "survival_days": devices.c.survival_days,
        "bundle_id": device_slots.c.bundle_id,
        "version": bundles.c.version,
        "standing": standing,
    }
    chosen = select(*(column.label(name) for name, column in columns.items())).select_from(joined(with_models=True))
    found: dict[tuple[Any, Any], Row[Any]] = {
        (row.device_id, row.asset): row
        for row in connection.execute(chosen.where(tuple_(assets.c.device_id, assets.c.asset).in_(keys)))
    }
    return tuple(FleetRow(**found[key]._mapping) for key in keys)


def encoded(key: tuple[Any, ...]) -> str:
    """The key of a page's last row, for an address."""
    return urlsafe_b64encode(msgspec.json.encode(key)).decode("ascii").rstrip("=")


def decoded(wanted: FleetFilter) -> tuple[Any, str, str] | None:
    """The key that the page begins after; None for the first page, and for what is no key of this column."""
    kind: Any = tuple[float | int, str, str] if wanted.sort in _NUMBERS else tuple[str, str, str]
    try:
        raw = urlsafe_b64decode(wanted.after.encode() + b"=" * (-len(wanted.after) % 4))
        found: tuple[Any, str, str] = msgspec.json.decode(raw, type=kind)
    except (ValueError, msgspec.MsgspecError):
        return None
    return found if not isinstance(found[0], int) or abs(found[0]) < 2**63 else None
