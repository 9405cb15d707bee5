"""The figures as JSON. Days are ISO dates, UTC; an asset-month is 30.4375 days of one asset being watched."""

from __future__ import annotations

from pydantic import BaseModel


class Rate(BaseModel):
    """Events per asset-month, with its exact 95 % interval; null where nothing was watched."""

    count: int
    per_asset_month: float | None
    low: float | None
    high: float | None


class Delay(BaseModel):
    """From the first unusual window to the alert, of confirmed ones: median with its 95 % interval, in seconds; null for fewer
    than six."""

    count: int
    median_s: float | None
    low_s: float | None
    high_s: float | None


class ModelValue(BaseModel):
    """A detector while it decided: `baseline` or a bundle. `too_few`: why its false alarms cannot be judged; empty where they
    can."""

    detector: str
    since: str
    until: str
    asset_months: float
    alerts: Rate
    false_alarms: Rate
    confirmed: int
    maintenance: int
    unlabelled: int
    delay: Delay
    too_few: str


class Change(BaseModel):
    """A detector against one before it. `verdict`: fewer, more, same (cannot be told apart), or too few."""

    before: str
    after: str
    verdict: str
    p_value: float | None


class ProfileValue(BaseModel):
    """`counted_since`: alerts from before that day are left out. `changes`: each against the one before, the last against the
    first."""

    profile: str
    counted_since: str
    models: list[ModelValue]
    changes: list[Change]


class Traffic(BaseModel):
    """`raw_bytes`: of the samples that the windows were made of, four bytes each; `received_bytes`: bodies of all items.
    `not_sent_share`: 1 - received / raw, null while nothing is counted. `left_out`: profiles that only devices know."""

    since: str | None
    raw_bytes: int
    received_bytes: int
    not_sent_share: float | None
    left_out: list[str]


class WeekOfAlerts(BaseModel):
    """Alerts that opened in the week from `from_day` on, by what operators last said of them."""

    from_day: str
    confirmed: int
    false: int
    maintenance: int
    unlabelled: int


class ValueReport(BaseModel):
    """What the fleet's learning brought."""

    asset_months: float
    profiles: list[ProfileValue]
    traffic: Traffic
    weeks: list[WeekOfAlerts]
