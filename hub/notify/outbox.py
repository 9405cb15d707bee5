"""Incidents and the outbox in the hub's state: noticed, decided, and what became of each message.

1. An alert is put to an incident once, while it is open; one that had closed before the hub heard of it is told to nobody.
2. What is decided is a row, in the transaction that decides it, under a unique key of incident, rule, step and target: a
   restart decides nothing twice.
3. Everything is bounded: so many at a look, and what is over is forgotten after KEEP_DAYS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, exists, func, insert, select, update

from hub.alerts.incidents import MAX_S, grouped
from hub.notify.plan import Member, Situation, StepKey, Told
from hub.state.schema import alert_acknowledgements, alerts, devices, incident_alerts, incidents, notifications

AT_ONCE: Final = 2000  # alerts that are put to incidents at a look
MAX_LIVE: Final = 2000  # incidents that are looked at; of more, the newest
MAX_MEMBERS: Final = 5000
KEEP_DAYS: Final = 90
_DAY_NS: Final = 86_400 * 1_000_000_000
_HOUR_NS: Final = 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Ringing:
    """An open alert, and the incident that it is in, "" = none yet."""

    device_id: str
    alert_id: str
    site: str
    profile: str
    opened_ns: int
    incident: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row of the outbox that is to be sent."""

    number: int
    incident: str
    rule: str
    step: str
    target: str
    decided_ns: int
    n_attempts: int


@dataclass(frozen=True, slots=True)
class Live:
    """An incident that is not done with. `over_ns`: as it was noted last. `situation` None = its devices were erased."""

    incident: str
    over_ns: int | None
    situation: Situation | None


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be noted of an incident. `steps`: rule, step and target of each."""

    incident: str
    over_ns: int | None
    critical: bool = False
    steps: tuple[tuple[str, str, str], ...] = ()
    ends: bool = False


def notice(connection: Connection, now_ns: int) -> int:
    """Put open alerts that are in no incident yet to one; how many there were."""
    fresh = _ringing(connection, incident_alerts.c.incident.is_(None), AT_ONCE)
    if not fresh:
        return 0
    span = (min(a.opened_ns for a in fresh) - MAX_S * 10**9, max(a.opened_ns for a in fresh) + MAX_S * 10**9)
    of_live = and_(incidents.c.incident.is_not(None), incidents.c.ended_ns.is_(None), alerts.c.opened_ns.between(*span))
    known = _ringing(connection, of_live, MAX_MEMBERS)
    mine = incidents.c.incident.in_({alert.incident for alert in known})
    begun = dict(connection.execute(select(incidents.c.incident, incidents.c.noticed_ns).where(mine)).tuples().all())
    rows, made = [], []
    for group in grouped([*known, *fresh]):
        new = [alert for alert in group.alerts if not alert.incident]
        if not new:
            continue
        there = sorted({alert.incident for alert in group.alerts if alert.incident}, key=lambda name: (begun[name], name))
        home = there[0] if there else f"{group.first.device_id}/{group.first.alert_id}"
        if not there:
            made.append({"incident": home, "noticed_ns": now_ns})
        rows += [{"device_id": alert.device_id, "alert_id": alert.alert_id, "incident": home} for alert in new]
    if made:
        connection.execute(insert(incidents), made)
    connection.execute(insert(incident_alerts), rows)
    return len(fresh)


def live(connection: Connection) -> list[Live]:
    """The incidents of which something may still have to be told, the newest first; as many as MAX_MEMBERS allow."""
    columns = [incidents.c[name] for name in ("incident", "noticed_ns", "over_ns")]
    newest = (
        select(*columns).where(incidents.c.ended_ns.is_(None)).order_by(incidents.c.noticed_ns.desc(), incidents.c.incident)
    )
    known = connection.execute(newest.limit(MAX_LIVE)).all()
    known = known[: _n_readable(connection, [row.incident for row in known])]
    members = _members(connection, [row.incident for row in known])
    return [
        Live(
            row.incident,
            row.over_ns,
            Situation(row.incident, row.noticed_ns, members[row.incident]) if row.incident in members else None,
        )
        for row in known
    ]


def situation_of(connection: Connection, incident: str) -> Situation | None:
    """An incident as it stands; None where it is not known any more."""
    noticed_ns = connection.execute(select(incidents.c.noticed_ns).where(incidents.c.incident == incident)).scalar()
    members = _members(connection, [incident]).get(incident)
    return None if noticed_ns is None or members is None else Situation(incident, noticed_ns, members)


def told_of(connection: Connection, names: Sequence[str]) -> dict[tuple[str, str], dict[StepKey, Told]]:
    """By incident and rule: what was decided."""
    found: dict[tuple[str, str], dict[StepKey, Told]] = {}
    for row in connection.execute(select(notifications).where(notifications.c.incident.in_(names))):
        told = found.setdefault((row.incident, row.rule), {})
        told[row.step, row.target] = Told(row.decided_ns, row.critical, row.state)
    return found


def store(connection: Connection, changes: Sequence[Change], now_ns: int) -> None:
    """Write down what was decided."""
    fresh = {"decided_ns": now_ns, "state": "waiting", "next_ns": now_ns, "n_attempts": 0, "reason": ""}
    rows = [
        {**fresh, "incident": change.incident, "critical": change.critical, "rule": rule, "step": step, "target": target}
        for change in changes
        for rule, step, target in change.steps
    ]
    if rows:
        connection.execute(insert(notifications), rows)
    for change in changes:
        stands = {"over_ns": change.over_ns, "ended_ns": now_ns if change.ends else None}
        connection.execute(update(incidents).where(incidents.c.incident == change.incident).values(stands))


def waiting(connection: Connection, now_ns: int, limit: int) -> list[Waiting]:
    """What may be sent now, the oldest first, at most `limit` to each target: one that is down keeps no other waiting."""
    columns = [notifications.c[name] for name in Waiting.__dataclass_fields__]
    order = (notifications.c.next_ns, notifications.c.number)
    place = func.row_number().over(partition_by=notifications.c.target, order_by=order).label("place")
    ready = select(*columns, notifications.c.next_ns, place).where(
        notifications.c.state == "waiting", notifications.c.next_ns <= now_ns
    )
    ranked = ready.subquery()
    chosen = select(*(ranked.c[name] for name in Waiting.__dataclass_fields__)).where(ranked.c.place <= limit)
    return [Waiting(**row._mapping) for row in connection.execute(chosen.order_by(ranked.c.next_ns, ranked.c.number))]


def settle(connection: Connection, number: int, **values: Any) -> None:
    """What became of a row."""
    connection.execute(update(notifications).where(notifications.c.number == number).values(values))


def sent_lately(connection: Connection, target: str, now_ns: int) -> list[int]:
    """When it got messages in the last hour."""
    of = notifications.c
    mine = select(of.ended_ns).where(of.target == target, of.ended_ns > now_ns - _HOUR_NS, of.state == "sent")
    return list(connection.execute(mine).scalars())


def listed(connection: Connection, limit: int) -> list[Mapping[str, Any]]:
    """The outbox, newest first."""
    newest = select(notifications).order_by(notifications.c.number.desc()).limit(limit)
    return [dict(row) for row in connection.execute(newest).mappings()]


def forget(connection: Connection, now_ns: int) -> None:
    """What ended longer ago than KEEP_DAYS."""
    before_ns = now_ns - KEEP_DAYS * _DAY_NS
    old = select(incidents.c.incident).where(incidents.c.ended_ns < before_ns)
    for table in (notifications, incident_alerts):
        connection.execute(delete(table).where(table.c.incident.in_(old)))
    connection.execute(delete(incidents).where(incidents.c.ended_ns < before_ns))


def anything_new(connection: Connection) -> bool:
    """Whether an open alert is in no incident yet."""
    new = exists().where(alerts.c.closed_ns.is_(None)).where(~_known())
    return bool(connection.execute(select(new)).scalar())


def _known() -> Any:
    of = incident_alerts.c
    return exists().where(of.device_id == alerts.c.device_id, of.alert_id == alerts.c.alert_id)


def _with_incident() -> Any:
    same = and_(incident_alerts.c.device_id == alerts.c.device_id, incident_alerts.c.alert_id == alerts.c.alert_id)
    placed = alerts.outerjoin(devices, devices.c.device_id == alerts.c.device_id).outerjoin(incident_alerts, same)
    return placed.outerjoin(incidents, incidents.c.incident == incident_alerts.c.incident)


def _ringing(connection: Connection, where: Any, limit: int) -> list[_Ringing]:
    site = func.coalesce(devices.c.site, "")
    incident = func.coalesce(incident_alerts.c.incident, "")
    columns = (alerts.c.device_id, alerts.c.alert_id, site, alerts.c.profile, alerts.c.opened_ns, incident)
    open_ones = (
        select(*columns).select_from(_with_incident()).where(alerts.c.closed_ns.is_(None) | incidents.c.incident.is_not(None))
    )
    rows = connection.execute(open_ones.where(where).order_by(alerts.c.opened_ns).limit(limit))
    return [_Ringing(*row) for row in rows]


def _n_readable(connection: Connection, names: Sequence[str]) -> int:
    """How many of these incidents, from the first on, have no more than 2 * MAX_MEMBERS alerts together; at least one."""
    of = incident_alerts.c
    counts = select(of.incident, func.count()).where(of.incident.in_(names)).group_by(of.incident)
    n_alerts: dict[str, int] = dict(connection.execute(counts).tuples().all())
    together = accumulate(n_alerts.get(name, 0) for name in names)
    return max(1, sum(n <= 2 * MAX_MEMBERS for n in together))


def _members(connection: Connection, names: Sequence[str]) -> dict[str, tuple[Member, ...]]:
    """By incident: its alerts, by when they opened."""
    of, acknowledged = alerts.c, alert_acknowledgements
    mine = and_(acknowledged.c.device_id == of.device_id, acknowledged.c.alert_id == of.alert_id)
    columns = [of[name] for name in Member.__dataclass_fields__ if name in of]
    more = (func.coalesce(devices.c.site, "").label("site"), acknowledged.c.actor.label("acknowledged_by"))
    chosen = select(incident_alerts.c.incident, *columns, *more).select_from(_with_incident().outerjoin(acknowledged, mine))
    chosen = chosen.where(incident_alerts.c.incident.in_(names)).order_by(of.opened_ns, of.device_id, of.alert_id)
    found: dict[str, list[Member]] = {}
    for row in connection.execute(chosen).mappings() if names else ():
        values = dict(row)
        incident = values.pop("incident")
        values["top"] = tuple((str(channel), float(share)) for channel, share in row["top"] or ())
        found.setdefault(incident, []).append(Member(**values))
    return {incident: tuple(members) for incident, members in found.items()}
