"""How complete each device's account is, day by day: the worst devices first.

The ledger knows which numbers are missing, evicted or merged, and no times. `device_days` knows between which numbers the
windows of a day lie. So a gap is exact in its size, and is placed on the days of its neighbours: spread evenly where they are
apart. Only the lane of the windows is placed; the whole account of a device is what `tocsin hub ledger` tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, String, cast, func, select

from hub.lake.days import DAY_NS
from hub.ledger.ranges import Range, Seen, size
from hub.state.schema import assets, device_days, devices, ledger, losses

DAYS: Final = 21
MAX_DEVICES: Final = 24
MAX_GAPPED: Final = 5000  # lanes with gaps that are looked at
MAX_LOSSES: Final = 3000
LANE: Final = "aggregates"
Span = tuple[int, int, int]  # day, first and last number


@dataclass(frozen=True, slots=True)
class DayCell:
    """`share`: received of what there was, in 0..1; None = nothing is known of that day."""

    day: int
    n_received: int
    n_merged: int
    n_lost: int
    n_late: int
    share: float | None


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device's totals in all, and its days. `asset`: one of its assets, "" = none is known."""

    device_id: str
    site: str
    asset: str
    n_missing: int
    n_evicted: int
    n_merged: int
    days: tuple[DayCell, ...]


@dataclass(frozen=True, slots=True)
class Completeness:
    """`rows`: the worst of `n_devices`; `n_whole`: those to whose windows nothing ever happened."""

    first_day: int
    last_day: int
    rows: tuple[DeviceRow, ...]
    n_devices: int
    n_whole: int


def read_completeness(connection: Connection, today: int) -> Completeness:
    account = _accounts(connection)
    missing = _missing(connection)
    bad = {device: (sum(size(gaps) for _, gaps in missing.get(device, [])), *rest) for device, rest in account.items()}
    order = sorted(bad, key=lambda device: (-sum(bad[device]), device))
    shown = order[:MAX_DEVICES]
    first = today - DAYS + 1
    counted = _counted(connection, shown, first, today)
    lost = _lost_days(connection, shown, missing, first, today)
    places = select(devices.c.device_id, devices.c.site).where(devices.c.device_id.in_(shown))
    sites = dict(connection.execute(places).tuples().all())
    firsts = select(assets.c.device_id, func.min(assets.c.asset)).where(assets.c.device_id.in_(shown))
    one_asset = dict(connection.execute(firsts.group_by(assets.c.device_id)).tuples().all())
    rows = tuple(
        DeviceRow(
            device,
            sites.get(device, ""),
            one_asset.get(device, ""),
            *bad[device],
            tuple(_cell(day, counted[device].get(day), lost[device].get(day, 0.0)) for day in range(first, today + 1)),
        )
        for device in shown
    )
    return Completeness(first, today, rows, len(bad), sum(not any(counts) for counts in bad.values()))


def _accounts(connection: Connection) -> dict[str, tuple[int, int]]:
    """Evicted and merged numbers of each device's windows."""
    sums = func.sum(ledger.c.n_evicted), func.sum(ledger.c.n_merged)
    query = select(ledger.c.device_id, *sums).where(ledger.c.lane == LANE).group_by(ledger.c.device_id)
    return {device: (int(evicted), int(merged)) for device, evicted, merged in connection.execute(query).all()}


def _missing(connection: Connection) -> dict[str, list[tuple[str, list[Range]]]]:
    """By device: (epoch, gaps). Lanes without a gap have an empty list in `ahead`, and are not decoded."""
    gapped = (ledger.c.lane == LANE) & (cast(ledger.c.ahead, String) != "[]")
    query = select(ledger.c.device_id, ledger.c.epoch, ledger.c.cursor, ledger.c.ahead).where(gapped).limit(MAX_GAPPED)
    found: defaultdict[str, list[tuple[str, list[Range]]]] = defaultdict(list)
    for device, epoch, cursor, ahead in connection.execute(query).all():
        gaps = Seen(cursor, tuple((first, last) for first, last in ahead)).missing
        found[device].append((epoch, gaps))
    return found


@dataclass(slots=True)
class _Counted:
    n_windows: int = 0
    n_merged: int = 0
    n_late: int = 0


def _counted(connection: Connection, shown: Sequence[str], first: int, last: int) -> defaultdict[str, dict[int, _Counted]]:
    table = device_days.c
    query = select(device_days).where(table.device_id.in_(shown), table.day >= first, table.day <= last)
    found: defaultdict[str, dict[int, _Counted]] = defaultdict(dict)
    for row in connection.execute(query).all():
        day = found[row.device_id].setdefault(row.day, _Counted())
        day.n_windows += row.n_windows
        day.n_merged += row.n_merged
        day.n_late += row.n_late
    return found


def _lost_days(
    connection: Connection, shown: Sequence[str], missing: Any, first: int, last: int
) -> defaultdict[str, dict[int, float]]:
    """Missing and evicted items by device and day."""
    lost: defaultdict[str, dict[int, float]] = defaultdict(dict)
    spans = _spans(connection, shown)
    for device in shown:
        for epoch, gaps in missing.get(device, ()):
            for gap in gaps:
                _spread(lost[device], place_gap(gap, spans[device, epoch]), gap[1] - gap[0] + 1)
    table = losses.c
    query = select(table.device_id, table.start_ns, table.end_ns, table.n_items).where(
        table.device_id.in_(shown), table.lane == LANE, table.kind == "eviction", table.end_ns >= first * DAY_NS
    )
    for device, start_ns, end_ns, n in connection.execute(query.limit(MAX_LOSSES)).all():
        _spread(lost[device], range(start_ns // DAY_NS, min(end_ns // DAY_NS, last) + 1), n)
    return lost


def _spans(connection: Connection, shown: Sequence[str]) -> defaultdict[tuple[str, str], list[Span]]:
    table = device_days.c
    query = select(table.device_id, table.epoch, table.day, table.first_seq, table.last_seq)
    found: defaultdict[tuple[str, str], list[Span]] = defaultdict(list)
    for device, epoch, *span in connection.execute(query.where(table.device_id.in_(shown)).order_by(table.day)).all():
        found[device, epoch].append((span[0], span[1], span[2]))
    return found


def place_gap(gap: Range, spans: Iterable[Span]) -> range:
    """The days from that of the number before the gap to that of the one after it; empty where neither is known."""
    spans = list(spans)
    before = max((day for day, first, _ in spans if first < gap[0]), default=None)
    after = min((day for day, _, last in spans if last > gap[1]), default=None)
    if before is None and after is None:
        return range(0)
    start = before if before is not None else after
    end = after if after is not None else before
    assert start is not None
    assert end is not None
    return range(min(start, end), max(start, end) + 1)


def _spread(days: dict[int, float], over: range, n: int) -> None:
    for day in over[:400]:
        days[day] = days.get(day, 0.0) + n / len(over)


def _cell(day: int, counted: _Counted | None, lost: float) -> DayCell:
    found = counted or _Counted()
    there = found.n_windows + found.n_merged + lost
    share = found.n_windows / there if there else None
    return DayCell(day, found.n_windows, found.n_merged, round(lost), found.n_late, share)
