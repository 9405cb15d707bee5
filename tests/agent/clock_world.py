"""A device whose system clock is set by the test, in virtual time: the real clock, windows and pipeline, fed once a second.

Each reading's value is its number, so that a test can tell what became of every single one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.asset import AssetWatch
from agent.clock import SystemClock
from agent.pipeline import Pipeline
from hub.clocks.placing import Boot, Mark, Placed, place_window, spans_of
from models.contract.clock import NS_PER_S
from models.contract.items import Aggregate, Body, ClockMark
from models.contract.profile import Profile
from models.contract.reading import Reading
from models.raw_window import RawWindow
from tests.builders import T0_NS, plain

DAY_S = 86_400.0
PROFILE = plain(lateness_s=1.0)


class RecordingWatch(AssetWatch):
    """Keeps the windows before they are judged."""

    def __init__(self, profile: Profile, boot_id: str) -> None:
        super().__init__("rig-1", profile, boot_id)
        self.raws: list[RawWindow] = []

    def judge(self, raw: RawWindow) -> list[Body]:
        self.raws.append(raw)
        return super().judge(raw)


@dataclass
class ClockWorld:
    """One boot. `wall_s`: what the system's clock says when the agent starts, by default the truth; the truth is `T0_S` plus
    the time that passes. `up_s`: since the boot, by then. `synced`: what the kernel says of NTP."""

    wall_s: float | None = None
    up_s: float = 40.0
    synced: bool = False
    boot_id: str = "boot-1"
    profile: Profile = PROFILE
    now_ns: int = T0_NS
    marks: list[ClockMark] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    times_ns: list[int] = field(default_factory=list)  # true, of each reading

    def __post_init__(self) -> None:
        self._began_ns = self.now_ns - round(self.up_s * NS_PER_S)
        self._ahead_ns = 0 if self.wall_s is None else round(self.wall_s * NS_PER_S) - self.now_ns
        self.clock = SystemClock(
            lambda: self.now_ns + self._ahead_ns, lambda: self.now_ns - self._began_ns, lambda: self.synced, self.boot_id
        )
        self.watch = RecordingWatch(self.profile, self.boot_id)
        self.pipeline = Pipeline([self.watch])

    def pass_time(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS_PER_S)

    def set_system_clock(self, ahead_s: float, synced: bool = False) -> None:
        """Set it to so much ahead of the truth; the kernel forgets that it was synchronized, unless NTP sets it."""
        self._ahead_ns = round(ahead_s * NS_PER_S)
        self.synced = synced

    def heed_clock(self) -> None:
        """As `App` does before each burst and tick."""
        marks = self.clock.take_marks()
        self.marks += marks
        for mark in marks:
            self.pipeline.step(mark)

    def run(self, seconds: int, sensor_ahead_s: float | None = None) -> None:
        """A reading a second, dated by its arrival, or by a sensor's clock that is ahead of the truth."""
        for _ in range(seconds):
            self.pass_time(1.0)
            now = self.clock.now()
            self.heed_clock()
            at_ns = now.wall_ns if sensor_ahead_s is None else self.now_ns + round(sensor_ahead_s * NS_PER_S)
            self.bodies += self.pipeline.handle([Reading("rig-1", "x", at_ns, float(len(self.times_ns)))], now.mono_ns).bodies
            self.times_ns.append(self.now_ns)

    def be_silent(self, seconds: float) -> None:
        self.pass_time(seconds)
        self.bodies += self.pipeline.tick(self.clock.now().mono_ns).bodies
        self.heed_clock()

    # --- what came of it -----------------------------------------------------------------------------------------

    @property
    def raws(self) -> list[RawWindow]:
        return self.watch.raws

    @property
    def aggregates(self) -> list[Aggregate]:
        return [body for body in self.bodies if isinstance(body, Aggregate)]

    @property
    def numbers(self) -> list[int]:
        """Of the readings in the windows, in the order in which those were told."""
        return [int(value) for raw in self.raws for value in raw.values[0]]

    @property
    def n_counted(self) -> int:
        """Readings that are in no window, and counted by name."""
        windower = self.watch.windower
        return windower.n_left_out + windower.n_overflow + windower._n_late + sum(raw.n_late for raw in self.raws)

    @property
    def n_waiting(self) -> int:
        windower = self.watch.windower
        return len(windower._channels[0].times) + len(windower._suspects.readings)

    @property
    def boot(self) -> Boot:
        """As the hub has it, once everything has been told."""
        marks = tuple(Mark(m.mono_ns, m.after_ns - m.mono_ns, m.source, m.error_ns) for m in self.marks)
        return Boot(self.boot_id, marks, self.now_ns - self._began_ns, self._began_ns + NS_PER_S)

    def placed(self) -> list[Placed]:
        """The windows' ends as the hub places them."""
        spans = spans_of([self.boot])
        return [place_window(a.end_ns, a.end_mono_ns, self.boot_id, False, spans) for a in self.aggregates]
