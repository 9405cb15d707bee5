"""What the page of the data shows of what came, is kept and was refused, read from the state.

1. Invariants 1 to 3 of `queries.py` hold here too. Everything is cut in SQL, by days or by a number of rows.
2. Days are UTC, as numbers from 1970-01-01; `words.day` writes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, case, func, select

from hub.lake.days import DAY_NS
from hub.state.schema import audit_entries, erasures, profile_days, quarantine, received_days, sensor_faults

FAULT_DAYS: Final = 30
MAX_PAIRS: Final = 14
MAX_REASONS: Final = 10
MAX_LATEST: Final = 8
_REASON: Final = 90  # characters that tell reasons apart


@dataclass(frozen=True, slots=True)
class FaultPair:
    """How often a channel had a kind of fault; `channel` "" = a whole source."""

    channel: str
    fault: str
    n_faults: int
    n_open: int
    n_devices: int


@dataclass(frozen=True, slots=True)
class DayBar:
    """A day's parts of a whole: (class, count)."""

    day: int
    parts: tuple[tuple[str, int], ...]

    @property
    def total(self) -> int:
        return sum(n for _, n in self.parts)


@dataclass(frozen=True, slots=True)
class Quality:
    """`pairs`: the most frequent of `n_pairs`. `faults`: opened, by day. `shares`: (profile, windows, those with a fault)."""

    first_day: int
    last_day: int
    pairs: tuple[FaultPair, ...]
    n_pairs: int
    faults: tuple[DayBar, ...]
    kinds: tuple[str, ...]
    shares: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """One item in quarantine."""

    device_id: str
    kind: str
    reason: str
    received_ns: int


@dataclass(frozen=True, slots=True)
class Keeping:
    """`reasons`: (kind, reason's beginning, count), the most frequent. `erasing`: asked for and not done: (device, when)."""

    n_quarantined: int
    reasons: tuple[tuple[str, str, int], ...]
    latest: tuple[Refused, ...]
    erasing: tuple[tuple[str, int], ...]
    n_erased: int
    last_erased_ns: int | None


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes and items by day of receipt; `kinds`: (kind, items, bytes) over these days, the largest first."""

    days: tuple[DayBar, ...]
    kinds: tuple[tuple[str, int, int], ...]


def read_quality(connection: Connection, today: int) -> Quality:
    first = today - FAULT_DAYS + 1
    table = sensor_faults.c
    recent = table.opened_ns >= first * DAY_NS
    still = func.sum(case((table.closed_ns.is_(None), 1), else_=0))
    n = func.count()
    grouped = select(table.channel, table.fault, n, still, func.count(table.device_id.distinct())).where(recent)
    pairs = connection.execute(grouped.group_by(table.channel, table.fault).order_by(n.desc(), table.channel)).all()
    day = table.opened_ns // DAY_NS
    by_day = connection.execute(select(day, table.fault, n).where(recent).group_by(day, table.fault)).all()
    kinds = Counter[str]()
    for _, fault, count in by_day:
        kinds[fault] += count
    named = tuple(sorted(kinds, key=lambda kind: (-kinds[kind], kind)))
    bars = _bars(first, today, [(at, fault, count) for at, fault, count in by_day], named)
    return Quality(
        first,
        today,
        tuple(FaultPair(*row) for row in pairs[:MAX_PAIRS]),
        len(pairs),
        bars,
        named,
        _shares(connection, first, today),
    )


def read_keeping(connection: Connection) -> Keeping:
    table = quarantine.c
    beginning = func.substr(table.reason, 1, _REASON)
    n = func.count()
    grouped = select(table.kind, beginning, n).group_by(table.kind, beginning).order_by(n.desc(), table.kind).limit(MAX_REASONS)
    latest = select(table.device_id, table.kind, table.reason, table.received_ns).order_by(table.received_ns.desc())
    done = audit_entries.c.action == "data.erase"
    erased = connection.execute(select(func.count(), func.max(audit_entries.c.at_ns)).where(done)).one()
    asked = select(erasures.c.device_id, erasures.c.asked_ns).order_by(erasures.c.asked_ns).limit(MAX_LATEST)
    return Keeping(
        n_quarantined=connection.execute(select(func.count()).select_from(quarantine)).scalar_one(),
        reasons=tuple((kind, reason, count) for kind, reason, count in connection.execute(grouped)),
        latest=tuple(Refused(*row) for row in connection.execute(latest.limit(MAX_LATEST))),
        erasing=tuple(connection.execute(asked).tuples().all()),
        n_erased=erased[0],
        last_erased_ns=erased[1],
    )


def read_received(connection: Connection, today: int) -> Received:
    first = today - FAULT_DAYS + 1
    table = received_days.c
    rows = connection.execute(select(received_days).where(table.day >= first, table.day <= today)).all()
    items, sizes = Counter[str](), Counter[str]()
    for row in rows:
        items[row.kind] += row.n_items
        sizes[row.kind] += row.n_bytes
    kinds = sorted(sizes, key=lambda kind: (-sizes[kind], kind))
    bars = _bars(first, today, [(row.day, row.kind, row.n_bytes) for row in rows], kinds)
    return Received(bars, tuple((kind, items[kind], sizes[kind]) for kind in kinds))


def _shares(connection: Connection, first: int, today: int) -> tuple[tuple[str, int, int], ...]:
    table = profile_days.c
    query = select(table.profile, func.sum(table.n_windows), func.sum(table.n_faulty))
    rows = connection.execute(
        query.where(table.day >= first, table.day <= today).group_by(table.profile).order_by(table.profile)
    )
    return tuple((profile, int(n), int(faulty)) for profile, n, faulty in rows)


def _bars(first: int, last: int, counted: Sequence[tuple[int, str, int]], names: Sequence[str]) -> tuple[DayBar, ...]:
    by_day: dict[int, dict[str, int]] = {}
    for day, name, n in counted:
        by_day.setdefault(day, {})[name] = n
    return tuple(
        DayBar(day, tuple((name, by_day[day][name]) for name in names if by_day.get(day, {}).get(name)))
        for day in range(first, last + 1)
    )
