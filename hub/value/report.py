"""The report, from what is counted by day, alerts, and what operators said of them; definitions in docs/value.md.

Fixed numbers of statements; the lake is read for at most MAX_DELAYS confirmed alerts of a profile, the newest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pyarrow.dataset as ds
from sqlalchemy import BigInteger, Connection, Float, case, cast, func, select

from hub.lake.days import DAY_NS
from hub.state.schema import alert_feedback, alerts, profile_days, received_days
from hub.value.delay import opening_delay_s
from hub.value.shapes import Change, Delay, ModelValue, ProfileValue, Rate, Traffic, ValueReport, WeekOfAlerts
from hub.value.statistics import median_interval, poisson_interval, rates_differ
from models.contract.config import load_profile
from models.contract.profile import Profile
from models.errors import ConfigError

MONTH_NS: Final = 30.4375 * DAY_NS
MIN_MONTHS: Final = 1.0
MIN_LABELLED_SHARE: Final = 0.5
DIFFERENT_P: Final = 0.05
MAX_DELAYS: Final = 30
N_WEEKS: Final = 26
MAX_DETECTORS: Final = 2000  # of all profiles
SAMPLE_BYTES: Final = 4  # a float32; times and framing are not counted
LABELS: Final = {"confirm": "confirmed", "false-alarm": "false", "maintenance": "maintenance", "": "unlabelled"}
_EPOCH: Final = date(1970, 1, 1)
AlertKey = tuple[str, str]


@dataclass(slots=True)
class _Served:
    """A detector of a profile while it decided."""

    first_day: int
    last_day: int
    watched_ns: float
    labels: Counter[str] = field(default_factory=Counter)
    delays_s: list[float] = field(default_factory=list)


class ValueFigures:
    """Works the report out; keeps the delays of alerts that it has read once, for they do not change."""

    def __init__(self, profiles_dir: Path | None) -> None:
        self._profiles_dir = profiles_dir
        self._delays: dict[AlertKey, float | None] = {}

    def report(self, connection: Connection, windows: ds.Dataset, now_ns: int) -> ValueReport:
        """`windows`: the lake's table `aggregates`."""
        today = now_ns // DAY_NS
        rows = _decided(connection, today)
        profiles = {name: self._profile(name) for name in sorted({row.profile for row in rows})}
        served = _served(rows, profiles)
        for row in connection.execute(_labels()):
            model = served.get(row.profile, {}).get(row.detector)
            if model is not None:
                model.labels[LABELS[row.label]] = row.n
        self._measure(connection, windows, served)
        found = [_of_profile(name, served[name]) for name in profiles if served[name]]
        months = sum(model.asset_months for profile in found for model in profile.models)
        return ValueReport(
            asset_months=round(months, 3),
            profiles=found,
            traffic=_traffic(connection, rows, profiles, today),
            weeks=_weeks(connection, today),
        )

    def _profile(self, name: str) -> Profile | None:
        try:
            return load_profile(name, self._profiles_dir)
        except ConfigError:
            return None

    def _measure(self, connection: Connection, windows: ds.Dataset, served: Mapping[str, dict[str, _Served]]) -> None:
        """The delays of the newest confirmed alerts."""
        for row in connection.execute(_confirmed()).all():
            model = served.get(row.profile, {}).get(row.detector)
            if model is not None and (delay_s := self._delay(windows, row)) is not None:
                model.delays_s.append(delay_s)

    def _delay(self, windows: ds.Dataset, row: Any) -> float | None:
        key = row.device_id, row.alert_id
        if key not in self._delays:
            self._delays[key] = opening_delay_s(windows, row.profile, row.device_id, row.asset, row.said_ns)
        return self._delays[key]


def _decided(connection: Connection, today: int) -> Sequence[Any]:
    """Sums over all days by profile and detector, the most frequent MAX_DETECTORS of them."""
    table = profile_days.c
    day = case((table.watched_ns > 0, table.day))
    sums = [func.sum(cast(table[name], Float)).label(name) for name in ("watched_ns", "n_windows")]  # ns beyond 64 bits
    query = select(table.profile, table.detector, func.min(day).label("first_day"), func.max(day).label("last_day"), *sums)
    query = query.where(table.day <= today).group_by(table.profile, table.detector)
    return connection.execute(query.order_by(func.sum(table.n_windows).desc()).limit(MAX_DETECTORS)).all()


def _served(rows: Sequence[Any], profiles: Mapping[str, Profile | None]) -> dict[str, dict[str, _Served]]:
    """By profile and detector. Where windows overlap, the time that each adds is its hop."""
    found: dict[str, dict[str, _Served]] = {name: {} for name in profiles}
    for row in rows:
        if row.detector and row.watched_ns:
            profile = profiles[row.profile]
            overlap = profile.windowing.hop / profile.windowing.window_s if profile else 1.0
            watched_ns = row.watched_ns * min(1.0, overlap)
            found[row.profile][row.detector] = _Served(row.first_day, row.last_day, watched_ns)
    return found


def _latest_words() -> Any:
    """What was said last of each alert that something was said of."""
    word = alert_feedback.c
    newest = select(word.device_id, word.alert_id, func.max(word.at_ns).label("at_ns")).group_by(word.device_id, word.alert_id)
    last = newest.subquery()
    same = (word.device_id == last.c.device_id) & (word.alert_id == last.c.alert_id) & (word.at_ns == last.c.at_ns)
    return select(word.device_id, word.alert_id, word.label).join(last, same).subquery()


def _counted_alerts(words: Any, *, outer: bool) -> Any:
    """Alerts since their profile is counted, joined with what was said of them last."""
    table = profile_days.c
    first = select(table.profile, (cast(func.min(table.day), BigInteger) * DAY_NS).label("first_ns")).where(
        table.watched_ns > 0
    )
    firsts = first.group_by(table.profile).subquery()
    since = (firsts.c.profile == alerts.c.profile) & (alerts.c.opened_ns >= firsts.c.first_ns)
    said = (words.c.device_id == alerts.c.device_id) & (words.c.alert_id == alerts.c.alert_id)
    return alerts.join(firsts, since).join(words, said, isouter=outer)


def _labels() -> Any:
    words = _latest_words()
    label = func.coalesce(words.c.label, "")
    chosen = select(alerts.c.profile, alerts.c.detector, label.label("label"), func.count().label("n"))
    joined = chosen.select_from(_counted_alerts(words, outer=True))
    return joined.group_by(alerts.c.profile, alerts.c.detector, label)


def _confirmed() -> Any:
    """The newest MAX_DELAYS confirmed alerts of each profile."""
    words = _latest_words()
    said = func.coalesce(alerts.c.said_opened_ns, alerts.c.opened_ns).label("said_ns")
    place = func.row_number().over(partition_by=alerts.c.profile, order_by=alerts.c.opened_ns.desc()).label("place")
    names = ("device_id", "alert_id", "asset", "profile", "detector")
    chosen = select(*(alerts.c[name] for name in names), said, place).select_from(_counted_alerts(words, outer=False))
    ranked = chosen.where(words.c.label == "confirm").subquery()
    return select(ranked).where(ranked.c.place <= MAX_DELAYS)


def _of_profile(name: str, served: Mapping[str, _Served]) -> ProfileValue:
    order = sorted(served.items(), key=lambda item: (item[1].first_day, item[1].last_day, item[0]))
    models = [_model(detector, one) for detector, one in order]
    changes = [_change(before, after) for before, after in pairwise(models)]
    if len(models) > 2:
        changes.append(_change(models[0], models[-1]))
    return ProfileValue(profile=name, counted_since=_iso(order[0][1].first_day), models=models, changes=changes)


def _model(detector: str, one: _Served) -> ModelValue:
    months = one.watched_ns / MONTH_NS
    total = one.labels.total()
    unlabelled = one.labels["unlabelled"]
    if months < MIN_MONTHS:
        too_few = f"watched for {months:.2f} asset-months; it takes {MIN_MONTHS:g}"
    elif total and (total - unlabelled) / total < MIN_LABELLED_SHARE:
        too_few = f"{unlabelled} of {total} alerts were never judged"
    else:
        too_few = ""
    bracket = median_interval(one.delays_s)
    middle, low, high = bracket if bracket else (None, None, None)
    return ModelValue(
        detector=detector,
        since=_iso(one.first_day),
        until=_iso(one.last_day),
        asset_months=round(months, 3),
        alerts=_rate(total, months),
        false_alarms=_rate(one.labels["false"], months),
        confirmed=one.labels["confirmed"],
        maintenance=one.labels["maintenance"],
        unlabelled=unlabelled,
        delay=Delay(count=len(one.delays_s), median_s=middle, low_s=low, high_s=high),
        too_few=too_few,
    )


def _rate(count: int, months: float) -> Rate:
    if months <= 0:
        return Rate(count=count, per_asset_month=None, low=None, high=None)
    low, high = poisson_interval(count, months)
    return Rate(count=count, per_asset_month=count / months, low=low, high=high)


def _change(before: ModelValue, after: ModelValue) -> Change:
    names = {"before": before.detector, "after": after.detector}
    if before.too_few or after.too_few:
        return Change(**names, verdict="too few to say", p_value=None)
    counts = (before.false_alarms.count, before.asset_months), (after.false_alarms.count, after.asset_months)
    p_value = rates_differ(*counts)
    rates = [count / months for count, months in counts]
    verdict = "same" if p_value > DIFFERENT_P else "fewer" if rates[1] < rates[0] else "more"
    return Change(**names, verdict=verdict, p_value=p_value)


def _traffic(connection: Connection, rows: Sequence[Any], profiles: Mapping[str, Profile | None], today: int) -> Traffic:
    raw, left_out = 0.0, set()
    for row in rows:
        profile = profiles[row.profile]
        if profile is None:
            left_out.add(row.profile)
        else:
            raw += row.n_windows * window_bytes(profile)
    table = received_days.c
    first, n_bytes = connection.execute(select(func.min(table.day), func.sum(table.n_bytes)).where(table.day <= today)).one()
    received = int(n_bytes or 0)
    share = 1 - received / raw if raw else None
    since = None if first is None else _iso(first)
    return Traffic(since=since, raw_bytes=round(raw), received_bytes=received, not_sent_share=share, left_out=sorted(left_out))


def window_bytes(profile: Profile) -> float:
    """Bytes of the samples that one window adds: each channel at its own rate, over a hop."""
    rates = (channel.rate_hz or profile.windowing.rate_hz for channel in profile.channels)
    return sum(rates) * profile.windowing.hop * SAMPLE_BYTES


def _weeks(connection: Connection, today: int) -> list[WeekOfAlerts]:
    """The last N_WEEKS, up to today."""
    first = today - 7 * N_WEEKS + 1
    words = _latest_words()
    same = (words.c.device_id == alerts.c.device_id) & (words.c.alert_id == alerts.c.alert_id)
    week, label = (alerts.c.opened_ns // DAY_NS - first) // 7, func.coalesce(words.c.label, "")
    within = (alerts.c.opened_ns >= first * DAY_NS) & (alerts.c.opened_ns < (today + 1) * DAY_NS)
    query = select(week, label, func.count()).select_from(alerts.join(words, same, isouter=True)).where(within)
    counts: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for number, said, n in connection.execute(query.group_by(week, label)):
        counts[int(number)][LABELS[said]] = n
    names = tuple(LABELS.values())
    return [
        WeekOfAlerts(from_day=_iso(first + 7 * k), **{name: counts[k].get(name, 0) for name in names}) for k in range(N_WEEKS)
    ]


def _iso(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()
