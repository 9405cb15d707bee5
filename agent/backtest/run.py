"""A table of readings through the pipeline, row by row, in event time only.

Causality: the verdict of a row comes from the newest window that ends at or before it, so it has seen that row and
earlier ones, never later ones. Commissioning uses the first rows alone, and no row after them changes what was learned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from agent.asset import AssetWatch
from agent.judges import Serving
from agent.pipeline import Pipeline
from models.contract.clock import NS_PER_S
from models.contract.items import STREAMING, Aggregate, Alert, Body
from models.contract.profile import (
    MAX_STREAMING_HZ,
    Channel,
    CommissioningPlan,
    DecisionPlan,
    Features,
    Profile,
    StreamingPlan,
    Windowing,
)
from models.contract.reading import Reading
from models.contract.table import Table, channel_names
from models.errors import ConfigError

ASSET = "backtest"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the device says as of one row. `score`, `p_value`: of its newest window, None before the first one after
    commissioning. `n_opened`: alerts that opened with it."""

    score: float | None = None
    p_value: float | None = None
    alert: bool = False
    sensor_fault: str = ""
    top_channel: str = ""
    n_opened: int = 0


def profile_of(
    table: Table,
    commissioning_rows: int,
    window_s: float | None,
    hop_s: float | None,
    false_alarms_per_month: float,
    streaming: bool = False,
) -> Profile:
    """A profile for a table that comes without one: each column a channel (`channel_names`), the grid the median rate of
    the commissioning rows.

    Windows default to 20 rows, hops to one row. `streaming`: each column is watched reading by reading, too. Raises ConfigError
    where the times of those rows give no rate, or one that is too high for that.
    """
    times = table.time_ns[:commissioning_rows]
    steps = np.diff(times)
    if not len(steps) or not np.median(steps) > 0:
        raise ConfigError("time column", f"{len(times)} rows whose times mostly go forward, to tell the sampling rate")
    period_s = float(np.median(steps)) / NS_PER_S
    window_s = window_s or 20 * period_s
    if streaming and 1 / period_s > MAX_STREAMING_HZ:
        raise ConfigError("--streaming", f"at most {MAX_STREAMING_HZ:g} rows a second, not {1 / period_s:g}")
    names = tuple(channel_names(table.columns))
    return Profile(
        name=ASSET,
        channels=tuple(Channel(name=name) for name in names),
        windowing=Windowing(
            rate_hz=1 / period_s,
            window_s=window_s,
            hop_s=hop_s or period_s,
            lateness_s=0.0,
            max_gap_s=max(5 * period_s, window_s / 4),
        ),
        features=Features(per_channel=("mean", "std", "range", "slope", "roughness"), cross=("correlation",)),
        commissioning=CommissioningPlan(windows=5000),
        decision=DecisionPlan(false_alarms_per_month=false_alarms_per_month),
        streaming=StreamingPlan(channels=names if streaming else ()),
    )


def at_its_own_pace(profile: Profile) -> Profile:
    """A fleet's profile for a table: rows arrive in order, so no window waits for stragglers."""
    windowing = msgspec.structs.replace(profile.windowing, lateness_s=0.0)
    return msgspec.structs.replace(profile, windowing=windowing)


def run(table: Table, profile: Profile, commissioning_rows: int, serving: Serving | None = None) -> Iterator[Verdict]:
    """One verdict a row. Raises ConfigError where the commissioning rows are all, or give too few windows to learn from."""
    if commissioning_rows >= len(table.time_ns):
        raise ConfigError(f"--commissioning {commissioning_rows}", f"fewer than the file's {len(table.time_ns)} rows")
    watch = AssetWatch(ASSET, profile)
    watch.serve(serving, None)
    pipeline = Pipeline([watch])
    channels = [(i, name) for i, name in enumerate(channel_names(table.columns)) if name in watch.channel_index]
    if not channels:
        raise ConfigError(f"columns {', '.join(table.columns)}", f"some of the profile's {', '.join(profile.channel_names)}")
    verdict = Verdict()
    for row, t_ns in enumerate(table.time_ns.tolist()):
        if row == commissioning_rows and watch.commissioning and profile.learns_windows:
            _finish_commissioning(watch, t_ns, commissioning_rows)
        values = table.values[row]
        readings = [Reading(ASSET, name, t_ns, float(values[i])) for i, name in channels]
        verdict = _after(verdict, pipeline.handle(readings, t_ns).bodies, watch)
        yield verdict


def _finish_commissioning(watch: AssetWatch, t_ns: int, rows: int) -> None:
    try:
        watch.commission_now(t_ns)
    except ValueError as error:
        raise ConfigError(f"--commissioning {rows}", f"more rows or shorter windows: {error}") from None


def _after(verdict: Verdict, bodies: list[Body], watch: AssetWatch) -> Verdict:
    aggregates = [body for body in bodies if isinstance(body, Aggregate)]
    if not aggregates:
        return dataclasses.replace(verdict, n_opened=0)
    newest = aggregates[-1]
    deciding = newest.scores[0] if newest.scores else None
    opened = [body for body in bodies if isinstance(body, Alert) and body.closed_ns is None]
    single = [alert for alert in [*opened, *watch.alerts] if alert.detector == STREAMING]
    top = single[0].top[0][0] if single and watch.alert is None else newest.top[0] if newest.top else ""
    return Verdict(
        score=deciding.score if deciding else None,
        p_value=deciding.p_value if deciding else None,
        alert=bool(watch.alerts or opened),
        sensor_fault=" ".join(newest.faulty),
        top_channel=top,
        n_opened=len(opened),
    )
