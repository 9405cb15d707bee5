"""What the page of the data tells of the lake, and of drift: read from files, so worked out beside the pages (`kept.py`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, select

from hub.lake.days import DAY_NS
from hub.lake.lake import Lake
from hub.lake.tables import TABLES
from hub.lake.upkeep import COMPACT_FROM, keep_days
from hub.settings import HubConfig
from hub.state.database import reading
from hub.state.schema import audit_entries, profile_days
from hub.training.drift import ChannelDrift, channel_drift, normals_of
from hub.training.watch import facts_of, profiles_of, settings_of
from hub.web.line_plot import LinePlot, line_plot
from hub.web.seams import LakeLook
from models.contract.config import load_profile
from models.errors import ConfigError

PLOT_DAYS: Final = 60
MAX_PROFILES: Final = 20


@dataclass(frozen=True, slots=True)
class TableLook:
    """One table of the lake. `growth`: its rows as they add up over the days that are plotted. `keep_days`: 0 = for ever.
    `compacted_ns`, `vacuumed_ns`: None = not among the newest commits."""

    name: str
    n_rows: int
    n_bytes: int
    n_files: int
    n_small: int
    version: int
    first_day: str
    last_day: str
    keep_days: int
    growth: LinePlot | None
    compacted_ns: int | None
    vacuumed_ns: int | None
    retained_ns: int | None


@dataclass(frozen=True, slots=True)
class LakeView:
    """`compact_from`: small files of a partition that are put together. `keep_versions_h`: how long older versions stay."""

    tables: tuple[TableLook, ...]
    compact_from: int
    keep_versions_h: int

    @property
    def n_rows(self) -> int:
        return sum(table.n_rows for table in self.tables)

    @property
    def n_bytes(self) -> int:
        return sum(table.n_bytes for table in self.tables)


@dataclass(frozen=True, slots=True)
class ProfileDrift:
    """`n_drifted` of `n_assets` have moved, as the trigger of training sees it; `limit`: the share that starts one, 0 = off.
    `unlikely`: share of clean windows with p <= 0.05 by day; 0.05 is what chance brings."""

    profile: str
    n_assets: int
    n_drifted: int
    limit: float
    drift_before: float
    unlikely: LinePlot | None
    latest_share: float | None
    channels: tuple[ChannelDrift, ...]


def read_lake(engine: Engine, lake: LakeLook, config: HubConfig) -> LakeView:
    """Raises StorageError where the lake cannot be read."""
    retained: dict[str, int] = {}
    with reading(engine).begin() as connection:
        query = select(audit_entries.c.subject, func.max(audit_entries.c.at_ns)).where(
            audit_entries.c.action == "lake.retention"
        )
        retained = dict(connection.execute(query.group_by(audit_entries.c.subject)).tuples().all())
    tables = []
    for name in TABLES:
        state, latest = lake.state(name), lake.latest(name)
        times = [latest.get(operation) for operation in ("OPTIMIZE", "VACUUM END")]
        compacted, vacuumed = (None if at is None else at * 1_000_000 for at in times)
        tables.append(
            TableLook(
                name=name,
                n_rows=state.n_rows,
                n_bytes=state.n_bytes,
                n_files=state.n_files,
                n_small=state.n_small,
                version=state.version,
                first_day=state.first_day,
                last_day=state.last_day,
                keep_days=keep_days(config, name),
                growth=_growth(lake, name),
                compacted_ns=compacted,
                vacuumed_ns=vacuumed,
                retained_ns=retained.get(name),
            )
        )
    return LakeView(tuple(tables), COMPACT_FROM, config.keep_versions_h)


def _growth(lake: LakeLook, name: Any) -> LinePlot | None:
    days = lake.days(name)
    if len(days) < 2:
        return None
    total, sums = 0, []
    for day in days:
        total += day.n_bytes
        sums.append(total)
    shown = sums[-PLOT_DAYS:]
    words = f"{name}: bytes as they add up from {days[-len(shown)].day} to {days[-1].day}"
    return line_plot(list(range(len(shown))), [("candidate", [float(value) for value in shown])], words=words)


def read_drift(
    engine: Engine, lake: Lake, config: HubConfig, profiles_dir: Path | None, clock: Callable[[], int] = time.time_ns
) -> tuple[ProfileDrift, ...]:
    """By profile. Raises QueryError, StorageError where the lake cannot be read."""
    now_ns, limit = clock(), settings_of(config).drift_share
    found = []
    for name in profiles_of(engine)[:MAX_PROFILES]:
        facts = facts_of(engine, lake, name, now_ns)
        with reading(engine).begin() as connection:
            shares = _unlikely(connection, name, now_ns // DAY_NS)
            channels = _channels(connection, lake, name, profiles_dir, now_ns)
        plot = None
        if shares:
            words = f"{name}: {shares[-1][1]:.1%} of clean windows with p ≤ 0.05 on the last day; chance brings 5 %"
            x, y = [day for day, _ in shares], [share for _, share in shares]
            plot = line_plot(x, [("limit", [0.05] * len(x)), ("candidate", y)], least_top=0.2, most_top=1.0, words=words)
        latest = shares[-1][1] if shares else None
        counts = facts.n_assets, facts.n_drifted
        found.append(ProfileDrift(name, *counts, limit, facts.drift_before, plot, latest, channels))
    return tuple(found)


def _channels(
    connection: Connection, lake: Lake, name: str, profiles_dir: Path | None, now_ns: int
) -> tuple[ChannelDrift, ...]:
    try:
        profile = load_profile(name, profiles_dir)
        return tuple(channel_drift(profile, normals_of(connection, profile), lake.dataset("aggregates"), now_ns))
    except ConfigError:  # a profile that only its devices know
        return ()


def _unlikely(connection: Connection, profile: str, today: int) -> list[tuple[int, float]]:
    table = profile_days.c
    sums = func.sum(table.n_clean), func.sum(table.n_unlikely)
    mine = table.profile == profile, table.day > today - PLOT_DAYS, table.day <= today
    rows = connection.execute(select(table.day, *sums).where(*mine).group_by(table.day).order_by(table.day))
    return [(day, unlikely / n) for day, n, unlikely in rows if n >= 20]
