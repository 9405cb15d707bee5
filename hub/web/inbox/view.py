"""The alert inbox: alerts by incident, with what people did about them.

1. A fixed number of statements; a page holds ROWS alerts at most, the newest first, cut by the key of its last one.
2. Incidents (hub/alerts/incidents.py) are made of what a page holds: one that goes over the end of a page goes on on the next.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, and_, case, func, literal, or_, select, tuple_
from sqlalchemy.sql.elements import ColumnElement

from hub.alerts.handling import handled
from hub.alerts.incidents import Incident, grouped
from hub.state.schema import alert_acknowledgements, alert_feedback, alert_notes, alerts, assets, devices
from hub.web.alert_rows import Share, shares_of
from hub.web.inbox.filter import InboxFilter
from hub.web.live import digest

ROWS: Final = 300
MANY: Final = 1000  # closed alerts are counted up to here
WHOLE: Final = 3  # alerts of an incident that are shown with all that is known and can be done; the others as a line each
MAX_CHOICES: Final = 500
_ACKNOWLEDGED: Final = alert_acknowledgements.c.at_ns
_EVIDENCE_NS: Final = 600_000_000_000  # on either side of an alert


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody said: a label of feedback, or a note."""

    at_ns: int
    actor: str
    label: str
    note: str


@dataclass(frozen=True, slots=True)
class InboxAlert:
    """`words`: of feedback and notes, in order; `label`: the latest word of feedback, "" = none."""

    device_id: str
    alert_id: str
    asset: str
    profile: str
    site: str
    severity: str
    opened_ns: int
    closed_ns: int | None
    p_value: float
    top: tuple[Share, ...]
    time_quality: str
    acknowledged_ns: int | None
    acknowledged_by: str | None
    label: str
    words: tuple[Word, ...]

    @property
    def around_s(self) -> tuple[int, int]:
        """From when to when its evidence is looked at, Unix s."""
        end_ns = self.opened_ns if self.closed_ns is None else self.closed_ns
        return (self.opened_ns - _EVIDENCE_NS) // 10**9, (end_ns + _EVIDENCE_NS) // 10**9


@dataclass(frozen=True, slots=True)
class Inbox:
    """`counts`: how many in each tab; of closed ones at most MANY are counted. `before`: where the next page begins."""

    wanted: InboxFilter
    incidents: tuple[Incident[InboxAlert], ...]
    counts: dict[str, int]
    before: str

    @property
    def n_shown(self) -> int:
        return sum(len(incident.alerts) for incident in self.incidents)


def read_inbox(connection: Connection, wanted: InboxFilter, n_rows: int = ROWS) -> Inbox:
    where = [*_narrowed(wanted), _in_tab(wanted.tab)]
    key = (alerts.c.opened_ns, alerts.c.device_id, alerts.c.alert_id)
    if (after := decoded(wanted.before)) is not None:
        where.append(tuple_(*key) < tuple_(*map(literal, after)))
    columns = [alerts.c[name] for name in InboxAlert.__dataclass_fields__ if name in alerts.c]
    site = func.coalesce(devices.c.site, "").label("site")
    acknowledged = (_ACKNOWLEDGED.label("acknowledged_ns"), alert_acknowledgements.c.actor.label("acknowledged_by"))
    chosen = select(*columns, site, *acknowledged).select_from(_joined()).where(*where)
    rows = connection.execute(chosen.order_by(*(column.desc() for column in key)).limit(n_rows + 1)).mappings().all()
    shown = _with_words(connection, [dict(row) for row in rows[:n_rows]])
    incidents = grouped(shown)
    if wanted.tab != "closed":
        incidents.sort(
            key=lambda incident: (not any(alert.severity == "critical" for alert in incident.alerts), -_newest(incident))
        )
    else:
        incidents.sort(key=lambda incident: -_newest(incident))
    last = rows[n_rows - 1] if len(rows) > n_rows else None
    before = encoded((last["opened_ns"], last["device_id"], last["alert_id"])) if last else ""
    return Inbox(wanted, tuple(incidents), _counts(connection, wanted), before)


def inbox_digest(connection: Connection) -> str:
    """Changes when an alert comes, closes or gets worse, and when somebody does something about one."""
    is_open = alerts.c.closed_ns.is_(None)
    known = (
        select(func.count(), func.sum(alerts.c.p_value), func.max(alerts.c.received_ns)).where(is_open),
        select(func.max(alerts.c.closed_ns), func.max(alerts.c.opened_ns)),
        select(func.count(), func.max(_ACKNOWLEDGED)),
        select(func.count(), func.max(alert_feedback.c.at_ns)),
        select(func.count(), func.max(alert_notes.c.at_ns)),
    )
    return digest([tuple(connection.execute(query).one()) for query in known])


def incident_of(connection: Connection, device_id: str, alert_id: str) -> list[tuple[str, str]]:
    """The open alerts of the incident that this alert is in, as keys; empty where it is not open."""
    shown = read_inbox(connection, InboxFilter(tab="open"), MANY).incidents
    for incident in shown:
        keys = [(alert.device_id, alert.alert_id) for alert in incident.alerts]
        if (device_id, alert_id) in keys:
            return keys
    return []


def choices(connection: Connection) -> dict[str, Sequence[str]]:
    """What the filters offer."""
    sites = select(devices.c.site).distinct().order_by(devices.c.site).limit(MAX_CHOICES)
    profiles = select(assets.c.profile).distinct().order_by(assets.c.profile).limit(MAX_CHOICES)
    return {"sites": connection.execute(sites).scalars().all(), "profiles": connection.execute(profiles).scalars().all()}


def _joined() -> Any:
    mine = and_(
        alert_acknowledgements.c.device_id == alerts.c.device_id, alert_acknowledgements.c.alert_id == alerts.c.alert_id
    )
    return alerts.outerjoin(devices, devices.c.device_id == alerts.c.device_id).outerjoin(alert_acknowledgements, mine)


def _in_tab(tab: str) -> ColumnElement[bool]:
    if tab == "closed":
        return alerts.c.closed_ns.is_not(None)
    return and_(alerts.c.closed_ns.is_(None), _ACKNOWLEDGED.is_(None) if tab == "open" else _ACKNOWLEDGED.is_not(None))


def _narrowed(wanted: InboxFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.severity:
        found.append(alerts.c.severity == wanted.severity)
    if wanted.site:
        found.append(devices.c.site == wanted.site)
    if wanted.profile:
        found.append(alerts.c.profile == wanted.profile)
    if wanted.q:
        part = wanted.q.lower()
        columns = (alerts.c.asset, alerts.c.device_id, devices.c.site)
        found.append(or_(*(func.lower(column).contains(part, autoescape=True) for column in columns)))
    return found


def _counts(connection: Connection, wanted: InboxFilter) -> dict[str, int]:
    narrowed = _narrowed(wanted)
    taken = func.sum(case((_ACKNOWLEDGED.is_not(None), 1), else_=0))
    still = select(func.count(), taken).select_from(_joined()).where(alerts.c.closed_ns.is_(None), *narrowed)
    n_open, n_taken = connection.execute(still).one()
    over = select(alerts.c.alert_id).select_from(_joined()).where(alerts.c.closed_ns.is_not(None), *narrowed).limit(MANY)
    n_closed = connection.execute(select(func.count()).select_from(over.subquery())).scalar_one()
    return {"open": n_open - (n_taken or 0), "acknowledged": n_taken or 0, "closed": n_closed}


def _with_words(connection: Connection, rows: list[dict[str, Any]]) -> list[InboxAlert]:
    keys = [(row["device_id"], row["alert_id"]) for row in rows]
    said = handled(connection, alert_feedback, keys)
    labels = {(word["device_id"], word["alert_id"]): word["label"] for word in said}
    words: dict[tuple[str, str], list[Word]] = {}
    for word in sorted([*said, *handled(connection, alert_notes, keys)], key=lambda word: word["at_ns"]):
        told = Word(word["at_ns"], word["actor"], word.get("label", ""), word["note"])
        words.setdefault((word["device_id"], word["alert_id"]), []).append(told)
    return [
        InboxAlert(**{**row, "top": shares_of(row["top"])}, label=labels.get(key, ""), words=tuple(words.get(key, ())))
        for row, key in zip(rows, keys, strict=True)
    ]


def _newest(incident: Incident[InboxAlert]) -> int:
    return incident.alerts[-1].opened_ns


def encoded(key: tuple[int, str, str]) -> str:
    """The key of a page's last alert, for an address."""
    return urlsafe_b64encode(msgspec.json.encode(key)).decode("ascii").rstrip("=")


def decoded(before: str) -> tuple[int, str, str] | None:
    """The key that a page begins after; None for the first page, and for what is no key."""
    try:
        raw = urlsafe_b64decode(before.encode() + b"=" * (-len(before) % 4))
        found = msgspec.json.decode(raw, type=tuple[int, str, str])
    except (ValueError, msgspec.MsgspecError):
        return None
    return found if abs(found[0]) < 2**63 else None
