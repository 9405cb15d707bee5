"""From decoded reading to stored aggregate, on one core: windows, quality, features, baseline detector, outbox on disk.

The workload: 10 pumps of 5 channels at 10 Hz, seeded noise; commissioning is over before the clock starts. Compared with
what the same readings cost when they are only counted, and when they are only stored row by row in SQLite.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from agent.asset import AssetWatch
from agent.clock import SystemClock
from agent.pipeline import Pipeline
from agent.storage.database import Database
from agent.storage.outbox import Outbox
from benchmarks.figure import Figure, median_of, rates
from models.contract.config import load_profile
from models.contract.profile import Profile
from models.contract.reading import Block, Reading, Readings

_ASSETS = 10
_RATE_HZ = 10.0
_START_NS = 1_800_000_000_000_000_000
_PERIOD_NS = round(1e9 / _RATE_HZ)
_SPAN_S = 120.0
_BURST = 500


class Workload:
    """Readings that go on in event time from one call to the next, so that each call closes new windows."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.assets = [f"pump-{i}" for i in range(_ASSETS)]
        self._rng = np.random.default_rng(7)
        self._next_ns = _START_NS

    def span(self, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """((n,) times, (n_assets, n_channels, n) values) of the next `seconds`."""
        n = round(seconds * _RATE_HZ)
        times = self._next_ns + np.arange(1, n + 1, dtype=np.int64) * _PERIOD_NS
        self._next_ns = int(times[-1])
        shape = (_ASSETS, len(self.profile.channels), n)
        return times, 5.0 + 0.2 * self._rng.standard_normal(shape).cumsum(axis=2) * 0.05 + 0.1 * self._rng.standard_normal(
            shape
        )

    def messages(self, seconds: float) -> list[Readings]:
        times, values = self.span(seconds)
        names = self.profile.channel_names
        return [
            Reading(asset, name, int(t), float(values[a, c, i]))
            for i, t in enumerate(times)
            for a, asset in enumerate(self.assets)
            for c, name in enumerate(names)
        ]

    def blocks(self, seconds: float, size: int) -> list[Readings]:
        times, values = self.span(seconds)
        return [
            Block(asset, name, times[i : i + size], values[a, c, i : i + size])
            for i in range(0, len(times), size)
            for a, asset in enumerate(self.assets)
            for c, name in enumerate(self.profile.channel_names)
        ]


class Device:
    """Pipeline and outbox as the agent has them, without sources and sync; the outbox is emptied as a hub would."""

    def __init__(self, directory: Path, workload: Workload) -> None:
        self.pipeline = Pipeline([AssetWatch(asset, workload.profile) for asset in workload.assets])
        self.outbox = Outbox(Database(directory / "outbox.db"), 10**9)
        self._clock = SystemClock()

    def take(self, readings: list[Readings], burst: int) -> int:
        """Handle and store `readings` burst by burst; how many readings that were."""
        before = self.pipeline.counters.readings
        for chunk in _chunks(readings, burst):
            now = self._clock.now()
            outcome = self.pipeline.handle(chunk, now.wall_ns)
            self.outbox.append(outcome.bodies, now, outcome.states)
        self.outbox.acknowledge(self.outbox.epoch, dict.fromkeys(("alerts", "aggregates", "evidence"), 2**62))
        return self.pipeline.counters.readings - before


def _chunks(readings: list[Readings], size: int) -> Iterator[list[Readings]]:
    for i in range(0, len(readings), size):
        yield readings[i : i + size]


def run() -> Iterable[Figure]:
    profile = load_profile("pump")
    windowing = msgspec.structs.replace(profile.windowing, rate_hz=_RATE_HZ)
    profile = msgspec.structs.replace(profile, windowing=windowing)
    with tempfile.TemporaryDirectory() as directory:
        workload = Workload(profile)
        device = Device(Path(directory), workload)
        device.take(workload.blocks((profile.commissioning.windows + 3) * windowing.window_s, 100), 50)
        assert all(watch.state != "commissioning" for watch in device.pipeline.assets.values())
        batches = [workload.messages(_SPAN_S) for _ in range(6)]
        counting = rates(lambda: sum(1 for _ in batches[0]), runs=5)
        storing = rates(lambda: _store_rows(Path(directory) / "rows.db", batches[0]), runs=3)
        feed = iter(batches)
        singly = rates(lambda: device.take(next(feed), _BURST))
        feed = iter([workload.blocks(_SPAN_S, 100) for _ in range(6)])
        blocks = rates(lambda: device.take(next(feed), 50))
    yield median_of("readings one by one, stored as aggregates", singly, "readings/s")
    yield median_of("readings in blocks of 100, stored as aggregates", blocks, "readings/s", goal=200_000)
    yield median_of("compare: the same readings, only counted", counting, "readings/s")
    yield median_of("compare: each reading a row in SQLite, no features", storing, "rows/s")


def _store_rows(path: Path, readings: list[Readings]) -> int:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE IF NOT EXISTS r (asset TEXT, channel TEXT, t INTEGER, v REAL)")
    for chunk in _chunks(readings, _BURST):
        rows = [(r.asset, r.channel, r.captured_at_ns, r.value) for r in chunk if isinstance(r, Reading)]
        db.execute("BEGIN")
        db.executemany("INSERT INTO r VALUES (?, ?, ?, ?)", rows)
        db.execute("COMMIT")
    db.close()
    return len(readings)
