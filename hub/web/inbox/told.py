"""Who is told of incidents, and whether messages arrive. What is secret of an address is not shown: names and kinds only."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, case, func, select

from hub.notify.config import Notify, kind_of
from hub.state.schema import notifications


@dataclass(frozen=True, slots=True)
class ToldTarget:
    """`last_ns`: when a message arrived. `failing`: why the latest of those that wait has not arrived yet; "" = none was tried
    in vain. `given_up`: why the latest that was given up was, with `given_up_ns`."""

    name: str
    kind: str
    n_sent: int
    last_ns: int | None
    n_waiting: int
    failing: str
    given_up_ns: int | None
    given_up: str


def read_told(connection: Connection, notify: Notify) -> tuple[ToldTarget, ...]:
    """One for each target of hub.toml, in its order."""
    of = notifications.c
    counted = select(
        of.target,
        func.sum(case((of.state == "sent", 1), else_=0)).label("n_sent"),
        func.max(case((of.state == "sent", of.ended_ns))).label("last_ns"),
        func.sum(case((of.state == "waiting", 1), else_=0)).label("n_waiting"),
        func.max(case(((of.state == "waiting") & (of.reason != ""), of.number))).label("failing"),
        func.max(case((of.state == "failed", of.number))).label("given_up"),
    ).group_by(of.target)
    rows = {row.target: row for row in connection.execute(counted)}
    told = [number for row in rows.values() for number in (row.failing, row.given_up) if number is not None]
    reasons = {
        row.number: row for row in connection.execute(select(of.number, of.reason, of.ended_ns).where(of.number.in_(told)))
    }
    found = []
    for target in notify.targets.values():
        row = rows.get(target.name)
        if row is None:
            found.append(ToldTarget(target.name, kind_of(target), 0, None, 0, "", None, ""))
            continue
        failing, given_up = reasons.get(row.failing), reasons.get(row.given_up)
        found.append(
            ToldTarget(
                target.name,
                kind_of(target),
                row.n_sent,
                row.last_ns,
                row.n_waiting,
                failing.reason if failing else "",
                given_up.ended_ns if given_up else None,
                given_up.reason if given_up else "",
            )
        )
    return tuple(found)
