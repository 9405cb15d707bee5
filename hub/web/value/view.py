"""The value report as the page draws it: intervals on a common scale, sentences, bars of weeks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hub.value.shapes import ModelValue, ProfileValue, Rate, ValueReport

WIDTH: Final = 300
MAX_PROFILES: Final = 30
MAX_MODELS: Final = 12  # of a profile: the first, and the latest ones
_VERDICTS: Final = {
    "fewer": "fewer false alarms",
    "more": "more false alarms",
    "same": "no difference in false alarms can be told yet",
    "too few to say": "too few to say",
}
LABELS: Final = ("confirmed", "false", "maintenance", "unlabelled")


@dataclass(frozen=True, slots=True)
class Whisker:
    """An estimate with its interval, placed in 0..WIDTH; `open_end`: the interval goes on beyond the frame."""

    low: float
    at: float
    high: float
    open_end: bool
    words: str


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A detector while it decided."""

    model: ModelValue
    alarms: Whisker | None
    delay: Whisker | None


@dataclass(frozen=True, slots=True)
class ProfileRows:
    """`alarms_top`, `delay_top`: the scales' upper ends, per asset-month and in seconds; 0 = nothing is drawn.
    `changes`: (verdict, sentence)."""

    profile: str
    counted_since: str
    rows: tuple[ModelRow, ...]
    alarms_top: float
    delay_top: float
    changes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Week:
    """`parts`: (label, count), those that there are."""

    from_day: str
    parts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ValueView:
    """`totals`: alerts of the weeks that are shown, by label."""

    report: ValueReport
    profiles: tuple[ProfileRows, ...]
    weeks: tuple[Week, ...]
    most_in_a_week: int
    totals: tuple[tuple[str, int], ...]


def value_view(report: ValueReport) -> ValueView:
    weeks = tuple(
        Week(week.from_day, tuple((label, n) for label in LABELS if (n := getattr(week, label)))) for week in report.weeks
    )
    most = max((sum(n for _, n in week.parts) for week in weeks), default=0)
    totals = tuple((label, sum(getattr(week, label) for week in report.weeks)) for label in LABELS)
    profiles = tuple(_profile(profile) for profile in report.profiles[:MAX_PROFILES])
    return ValueView(report, profiles, weeks, max(1, most), totals)


def _profile(profile: ProfileValue) -> ProfileRows:
    alarms_top = _top([(model.false_alarms.per_asset_month, model.false_alarms.high) for model in profile.models])
    delay_top = _top([(model.delay.median_s, model.delay.high_s) for model in profile.models])
    shown = profile.models if len(profile.models) <= MAX_MODELS else [profile.models[0], *profile.models[1 - MAX_MODELS :]]
    rows = tuple(ModelRow(model, _alarms(model, alarms_top), _delay(model, delay_top)) for model in shown)
    changes = tuple(
        (change.verdict, f"{change.after} against {change.before}: {_VERDICTS[change.verdict]}")
        for change in profile.changes[-3:]
    )
    tops = alarms_top if any(row.alarms for row in rows) else 0.0, delay_top if any(row.delay for row in rows) else 0.0
    return ProfileRows(profile.profile, profile.counted_since, rows, *tops, changes)


def _top(told: Sequence[tuple[float | None, float | None]]) -> float:
    """So much that every estimate is well inside, and most intervals are; 1 where there is none."""
    estimates = [value for value, _ in told if value is not None]
    highs = [high for _, high in told if high is not None]
    return min(max(highs, default=1.0), 4 * max([*estimates, 0.25 * min(highs, default=1.0)])) * 1.05 or 1.0


def _alarms(model: ModelValue, top: float) -> Whisker | None:
    rate: Rate = model.false_alarms
    if model.too_few or rate.per_asset_month is None or rate.low is None or rate.high is None:
        return None
    words = f"{rate.per_asset_month:.2f} false alarms an asset and month, between {rate.low:.2f} and {rate.high:.2f}"
    return _whisker(rate.low, rate.per_asset_month, rate.high, top, words)


def _delay(model: ModelValue, top: float) -> Whisker | None:
    delay = model.delay
    if delay.median_s is None or delay.low_s is None or delay.high_s is None:
        return None
    words = (
        f"half of the confirmed alerts opened within {delay.median_s:.0f} s, between {delay.low_s:.0f} and {delay.high_s:.0f} s"
    )
    return _whisker(delay.low_s, delay.median_s, delay.high_s, top, words)


def _whisker(low: float, at: float, high: float, top: float, words: str) -> Whisker:
    at_low, at_middle, at_high = (round(min(value / top, 1.0) * WIDTH, 1) for value in (low, at, high))
    return Whisker(at_low, at_middle, at_high, open_end=high > top, words=words)
