"""Whether memory stays flat: a million windows through the real pipeline, committer, MQTT session and outbox, in virtual time.

Eight machines of two channels, windows of 4 s: 46 days of one of them. Nothing goes well for long: readings come late,
twice, or with a wrong time; sensors stick and fall silent; machines leave their usual state and return; the device's clock
is set, and one machine's own clock jumps by hours; frames are torn; the broker loses the connection and sends everything
again; readings have to go into the journal; the hub is away for twenty minutes at a time. Everything is drawn from a seed.

Told are the resident set at the end beside that after a tenth of the run, the trend over the rest, and the largest number of
things that are kept. The other end of the outbox is a hub that checks each sequence and confirms it.

    python -m benchmarks soak
"""

from __future__ import annotations

import gc
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from agent.asset import AssetWatch
from agent.clock import SystemClock
from agent.link_faults import LinkMonitor
from agent.pipeline import Outcome, Pipeline
from agent.silence import SilenceMonitor
from agent.sources.mqtt_session import Session
from agent.sources.mqtt_wire import Message
from agent.sources.source import Burst
from agent.storage.committer import Committer
from agent.storage.database import Database
from agent.storage.holding import Holding
from agent.storage.outbox import Outbox
from agent.storage.tail import blocks_for
from benchmarks.figure import Figure
from models.contract.clock import NS_PER_S
from models.contract.items import LANES
from models.contract.profile import Profile
from models.contract.reading import Reading

_WINDOWS = 1_000_000
_SAMPLES = 50
_ASSETS = 8
_WINDOW_S = 4
_START_NS = 1_800_000_000 * NS_PER_S
_MAX_BYTES = 4_000_000
_PROFILE = {
    "name": "light",
    "channels": [
        {"name": "flow", "min": 0.0, "max": 100.0, "resolution": 0.01, "stuck_after_s": 20.0},
        {"name": "pressure", "min": 0.0, "max": 100.0},
    ],
    "windowing": {"rate_hz": 1.0, "window_s": float(_WINDOW_S), "lateness_s": 1.0, "max_gap_s": 2.0},
    "features": {"per_channel": ["mean", "std"]},
    "commissioning": {"windows": 30},
    "decision": {"false_alarms_per_month": 100.0},
}
_CHANNELS = ("flow", "pressure")


@dataclass
class Machine:
    """What one machine's sensors say, and what is wrong with it for the next steps."""

    name: str
    offset_ns: int = 0  # of a clock of its own
    shifted: int = 0
    stuck: int = 0
    silent: int = 0
    value: float = 50.0

    def readings(self, now_ns: int, rng: random.Random, noise: Iterator[float]) -> list[Reading]:
        """Of the last window's length, a reading of each channel a second."""
        self._befall(rng)
        if self.silent:
            return []
        found = []
        for second in range(_WINDOW_S):
            at_ns = now_ns + self.offset_ns - (_WINDOW_S - 1 - second) * NS_PER_S
            drift = 15.0 if self.shifted else 0.0
            if not self.stuck:
                self.value = 50.0 + drift + next(noise)
            found.append(Reading(self.name, "flow", at_ns, self.value))
            found.append(Reading(self.name, "pressure", at_ns, 20.0 + drift / 3 + next(noise)))
        return found + self._odd(found, rng)

    def _befall(self, rng: random.Random) -> None:
        self.shifted, self.stuck, self.silent = (max(0, left - 1) for left in (self.shifted, self.stuck, self.silent))
        chance = rng.random()
        if chance < 0.003:
            self.shifted = rng.randint(3, 10)
        elif chance < 0.004:
            self.stuck = rng.randint(8, 20)
        elif chance < 0.0045:
            self.silent = rng.randint(5, 30)

    @staticmethod
    def _odd(readings: list[Reading], rng: random.Random) -> list[Reading]:
        chance, reading = rng.random(), rng.choice(readings)
        if chance < 0.02:
            return [msgspec.structs.replace(reading, captured_at_ns=reading.captured_at_ns - 60 * NS_PER_S)]
        if chance < 0.04:
            return [reading]
        if chance < 0.045:
            return [msgspec.structs.replace(reading, captured_at_ns=reading.captured_at_ns + 1000 * NS_PER_S)]
        return []


@dataclass
class Received:
    """The hub's side: every sequence whole, and how many of each kind."""

    last: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LANES, 0))
    kinds: Counter[str] = field(default_factory=Counter)

    def take(self, outbox: Outbox) -> None:
        """All that waits."""
        while items := outbox.pending(2000, 1_000_000):
            for item in items:
                assert item.first_seq == self.last[item.lane] + 1, f"lane {item.lane}: {item.first_seq} after {self.last}"
                self.last[item.lane] = item.seq
                self.kinds[item.kind] += item.seq - item.first_seq + 1
            outbox.acknowledge(outbox.epoch, self.last)


class Soak:
    """A gateway in virtual time. `run` some windows; `kept` tells how much there is of what could pile up."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self._rng = random.Random(seed)  # noqa: S311  # a simulation
        self._noise = _noise(seed)
        self._mono_ns, self._set_ns = 1000 * NS_PER_S, 0
        self._clock = SystemClock(
            lambda: self._mono_ns + _START_NS + self._set_ns, lambda: self._mono_ns, lambda: False, "boot"
        )
        self._database = Database(folder / "outbox.db", blocks_for(_MAX_BYTES))
        self.outbox = Outbox(self._database, _MAX_BYTES)
        profile = msgspec.convert(_PROFILE, Profile)
        self._machines = [Machine(f"pump-{n}") for n in range(_ASSETS)]
        self.pipeline = Pipeline([AssetWatch(machine.name, profile, "boot") for machine in self._machines])
        self._committer = Committer(Holding(self.outbox), self.pipeline, self._clock, lambda *_: None)
        self._session = Session(lambda: None, 65_535)
        self._links, self._silence = LinkMonitor(), SilenceMonitor()
        self._sent: dict[int, Message] = {}  # by the broker, not acknowledged
        self._mid = 0
        self._step = 0
        self.hub = Received()
        self._committer.resume()
        self._session.opened(False, 0.0)

    def run(self, n_windows: int) -> None:
        """Until so many more have closed."""
        until = self.pipeline.counters.windows + n_windows
        while self.pipeline.counters.windows < until:
            self._take_step()

    def finish(self) -> None:
        """Let silence close what is open, and everything reach the hub."""
        for _ in range(300):
            self._mono_ns += NS_PER_S
            self._tick()
        self.hub.take(self.outbox)

    def close(self) -> None:
        self._committer.close()
        self.outbox.close()
        self._database.close()

    def _take_step(self) -> None:
        self._step += 1
        self._mono_ns += _WINDOW_S * NS_PER_S
        if self._step % 2000 == 0:
            self._set_ns += self._rng.randint(-40, 60) * NS_PER_S
        if self._step % 3000 == 0:
            self._machines[-1].offset_ns += self._rng.choice([-7200, 7200, 10_800]) * NS_PER_S
        now_ns = self._clock.now().wall_ns
        readings = [r for machine in self._machines for r in machine.readings(now_ns, self._rng, self._noise)]
        if self._step % 500 == 0:
            self._reconnect()
        self._deliver(readings)
        self._tick()
        if self._step % 5000 >= 300:
            self.hub.take(self.outbox)

    def _deliver(self, readings: list[Reading]) -> None:
        """As eight messages of a broker, in one burst."""
        messages = []
        for _ in self._machines:
            self._mid = self._mid % 65_535 + 1
            messages.append(Message(b"plant", b"%d" % self._step, 8, self._mid, False, False))
        self._sent |= {message.mid: message for message in messages}
        fresh = self._session.fresh(messages, self._mono_ns / 1e9)
        torn = int(self._rng.random() < 0.003)
        can_wait = self._step % 50 != 0 and not self._session.crowded
        burst = Burst("plant", readings, 500, torn, "torn" * torn, self._session.hold(fresh), can_wait)
        self._heed_clock()
        self._committer.take(burst, self._links.heard(burst, self._clock.now()))

    def _reconnect(self) -> None:
        self._session.opened(True, self._mono_ns / 1e9)
        again = [msgspec.structs.replace(message, dup=True) for message in self._sent.values()]
        assert not self._session.fresh(again, self._mono_ns / 1e9), "nothing of it is new"

    def _heed_clock(self) -> None:
        marks = self._clock.take_marks()
        for mark in marks:
            for part in (self.pipeline, self._links, self._silence):
                part.step(mark)
        if marks:
            self._committer.add(Outcome(bodies=list(marks)))

    def _tick(self) -> None:
        now = self._clock.now()
        self._heed_clock()
        self._committer.tick([*self._links.tick(now), *self._silence.tick(self.pipeline.assets.values(), now)])
        for mid in self._session.due():
            del self._sent[mid]

    def kept(self) -> dict[str, int]:
        """How many of each there are."""
        watches = self.pipeline.assets.values()
        session, committer = self._session, self._committer
        journal = self._database.connection.execute("SELECT count(*) FROM journal").fetchone()[0]
        channels = [channel for watch in watches for channel in watch.windower._channels]
        return {
            "bursts held": len(committer._held),
            "rows of the journal": journal,
            "messages held": len(session._held),
            "messages remembered": len(session._told),
            "messages unacknowledged at the broker": len(self._sent),
            "readings in windows": sum(len(channel.times) for channel in channels),
            "readings set apart": sum(len(watch.windower._suspects.readings) for watch in watches),
            "open faults": sum(len(watch.open_faults) for watch in watches) + len(self._links.open) + len(self._silence.open),
            "commits in the tail": len(self.outbox._books.tail),
            "items that wait": self.outbox.backlog_items,
            "bytes of the outbox's files": self._database.file_bytes,
        }


def _noise(seed: int) -> Iterator[float]:
    values = np.random.default_rng(seed).standard_normal(65_537).round(2).tolist()
    while True:
        yield from values


def resident_bytes() -> int:
    """Of this process, now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Flatness:
    """What memory did from a tenth of the run to its end. `slope`: bytes for each million windows, by least squares."""

    growth: int
    slope: float
    most: dict[str, int]


def soaked(soak: Soak, n_windows: int) -> Flatness:
    """Run so many windows, and look at memory `_SAMPLES` times on the way; the first tenth is warming up."""
    sizes: list[int] = []
    most: dict[str, int] = {}
    for _ in range(_SAMPLES):
        soak.run(n_windows // _SAMPLES)
        sizes.append(resident_bytes())
        most = {name: max(n, most.get(name, 0)) for name, n in soak.kept().items()}
    warm = np.array(sizes[_SAMPLES // 10 :], dtype=np.float64)
    step = n_windows / _SAMPLES / 1e6
    return Flatness(int(warm[-1] - warm[0]), float(np.polyfit(np.arange(len(warm)) * step, warm, 1)[0]), most)


def run() -> Iterable[Figure]:
    started_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder))
        flat = soaked(soak, _WINDOWS)
        soak.finish()
        yield Figure(name="windows", value=soak.pipeline.counters.windows, unit="")
        yield Figure(name="grown since a tenth of them", value=flat.growth / 1e6, unit="MB", goal=2.0, better="lower")
        yield Figure(name="trend over the rest", value=flat.slope / 1e6, unit="MB/million", goal=2.0, better="lower")
        for name, most in flat.most.items():
            yield Figure(name=f"at most: {name}", value=most, unit="")
        for kind, n in sorted(soak.hub.kinds.items()):
            yield Figure(name=f"at the hub: {kind}", value=n, unit="")
        soak.close()
    yield Figure(name="took", value=time.perf_counter() - started_s, unit="s")
