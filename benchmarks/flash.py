"""What storing costs the flash: bytes that reach the block device, per aggregate and per day, with a hub and without.

The workload: 10 assets of 8 channels at 10 Hz, windows of 10 s, computed by the real pipeline from seeded noise; a commit every
10 s of event time, a health item every 5 minutes, six hours in one go. With a hub, each commit is confirmed before the next.
Compared with a row of SQLite for each item, deleted when it is confirmed, as the outbox first had it.

Block level is `write_bytes` of /proc/self/io: pages made dirty on behalf of this process. What the file system adds for its own
journal is not in it, and the WAL's shared index is in it once per run only (a kernel writes it back every half minute). On a
file system in memory these figures are 0.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from agent.asset import AssetWatch
from agent.pipeline import Pipeline
from agent.storage.database import Database
from agent.storage.outbox import Outbox
from agent.storage.tail import blocks_for
from benchmarks.figure import Figure
from models.contract.clock import Stamp
from models.contract.items import KIND_OF, LANE_OF, Aggregate, Body, Health, encode_body
from models.contract.profile import Profile
from models.contract.reading import Block

_ASSETS = 10
_CHANNELS = 8
_WINDOW_S = 10
_START_NS = 1_800_000_000_000_000_000
_COMMITS = 6 * 3600 // _WINDOW_S
_DISTINCT = 240
_COMMITS_A_DAY = 86_400 // _WINDOW_S
_BUDGET = 256_000_000
_GOAL_MB_A_DAY = 60.0


@dataclass(frozen=True)
class Written:
    """`device`: pages made dirty; `passed`: to write(). Bytes."""

    device: int
    passed: int


def commits() -> list[list[Body]]:
    """What closed together, `_DISTINCT` times, once commissioning is over."""
    settings = {"windowing": {"rate_hz": 10.0, "window_s": float(_WINDOW_S)}, "commissioning": {"windows": 30}}
    channels = [{"name": f"channel-{i}"} for i in range(_CHANNELS)]
    features = {"cross": ["correlation"]}
    profile = msgspec.convert({"name": "eight", "channels": channels, "features": features, **settings}, Profile)
    pipeline = Pipeline([AssetWatch(f"pump-{i}", profile) for i in range(_ASSETS)])
    rng = np.random.default_rng(7)
    level = rng.uniform(1, 100, (_ASSETS, _CHANNELS, 1))
    found: list[list[Body]] = []
    window = 0
    while len(found) < _DISTINCT:
        times = _START_NS + (window * 100 + np.arange(1, 101, dtype=np.int64)) * 100_000_000
        values = level * (1 + 0.02 * rng.standard_normal((_ASSETS, _CHANNELS, 100)))
        blocks = [
            Block(asset, name, times, values[a, c])
            for a, asset in enumerate(pipeline.assets)
            for c, name in enumerate(profile.channel_names)
        ]
        bodies = pipeline.handle(blocks, 0).bodies
        window += 1
        if len(bodies) == _ASSETS and all(isinstance(body, Aggregate) and not body.commissioning for body in bodies):
            found.append(bodies)
    return found


def _health() -> Health:
    return Health(uptime_s=1.5, rss_bytes=40_000_000, peak_rss_bytes=41_000_000, backlog_items=10, backlog_bytes=3000,
                  readings=10**7, windows=10**5, raw_bytes=10**9, sent_bytes=10**7, frame_errors=0)  # fmt: skip


@contextmanager
def _counted() -> Iterator[list[Written]]:
    def now() -> Written:
        lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return Written(int(lines["write_bytes"]), int(lines["wchar"]))

    result: list[Written] = []
    before = now()
    yield result
    after = now()
    result.append(Written(after.device - before.device, after.passed - before.passed))


Store = Callable[[list[Body], Stamp], None]


def _play(store: Store, confirm: Callable[[], None], made: list[list[Body]]) -> Written:
    with _counted() as written:
        for n in range(_COMMITS):
            bodies = [*made[n % _DISTINCT], *([_health()] if n % 30 == 0 else [])]
            store(bodies, Stamp(_START_NS + n * 10**10, n * 10**10, "boot", synced=True))
            confirm()
    return written[0]


def outbox(directory: Path, made: list[list[Body]], *, hub: bool) -> Written:
    """The agent's own. A commit is confirmed after the next was made: that is what a sync every ten seconds comes to."""
    box = Outbox(Database(directory / "outbox.db", blocks_for(_BUDGET)), _BUDGET)
    late = {"aggregates": 0}

    def confirm() -> None:
        if hub:
            box.acknowledge(box.epoch, late)
            late.update({item.lane: item.seq for item in box.pending(500, 512 * 1024)})

    def store(bodies: list[Body], at: Stamp) -> None:
        box.append(bodies, at, None, {f"pump-{i}": at.wall_ns for i in range(_ASSETS)})

    written = _play(store, confirm, made)
    box.database.close()
    return written


def rows(directory: Path, made: list[list[Body]], *, hub: bool) -> Written:
    """A row for each item, in one transaction for what closed together."""
    db = sqlite3.connect(directory / "rows.db", isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=500"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("CREATE TABLE lanes (lane TEXT PRIMARY KEY, next_seq INTEGER)")
    db.execute("CREATE TABLE items (lane TEXT, seq INTEGER, kind TEXT, at BLOB, body BLOB, PRIMARY KEY (lane, seq))")
    next_seq = 1

    def store(bodies: list[Body], at: Stamp) -> None:
        nonlocal next_seq
        stamp = msgspec.msgpack.encode(at)
        kinds = [KIND_OF[type(body)] for body in bodies]
        values = [
            (LANE_OF[k], next_seq + i, k, stamp, encode_body(b)) for i, (k, b) in enumerate(zip(kinds, bodies, strict=True))
        ]
        next_seq += len(bodies)
        db.execute("BEGIN")
        db.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", values)
        db.execute("INSERT OR REPLACE INTO lanes VALUES ('aggregates', ?)", (next_seq,))
        db.execute("COMMIT")

    def confirm() -> None:
        if hub:
            db.execute("DELETE FROM items WHERE lane='aggregates' AND seq<?", (next_seq - _ASSETS,))

    written = _play(store, confirm, made)
    db.close()
    return written


def run() -> Iterable[Figure]:
    made = commits()
    n_items = _COMMITS * _ASSETS
    yield Figure(name="features of an aggregate", value=len(made[0][0].features) / 4, unit="float32")  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        for scheme, play in (("outbox", outbox), ("compare: a row for each item", rows)):
            for hub in (True, False):
                path = Path(directory) / f"{play.__name__}-{hub}"
                path.mkdir()
                written = play(path, made, hub=hub)
                name = f"{scheme}, {'hub connected' if hub else 'without a hub'}"
                goal = _GOAL_MB_A_DAY if scheme == "outbox" and hub else None
                a_day = _COMMITS_A_DAY / _COMMITS / 1e6
                yield Figure(
                    name=f"{name}: to the device", value=written.device * a_day, unit="MB/day", goal=goal, better="lower"
                )
                yield Figure(name=f"{name}: passed to write()", value=written.passed * a_day, unit="MB/day")
                yield Figure(name=f"{name}: to the device, each aggregate", value=written.device / n_items, unit="bytes")
