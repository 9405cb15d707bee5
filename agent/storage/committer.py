"""From what bursts lead to, to what is on disk: few transactions, and an acknowledgement only after the right one.

    burst -> pipeline -> bodies, states ---- gathered ---> one transaction -> told, acknowledged
                    \\-> held until the windows that its readings belong to are closed and stored

Durability by kind:
    alerts, sensor faults, commissionings, actions    on disk before anybody is told of them
    aggregates, evidence, what assets have learned    on disk within COMMIT_S of their window's closing
    readings                                          not acknowledged before what they led to is on disk: the broker has
                                                      them as long; or, of a burst that can't wait, in the journal

Invariants:
1. What is acknowledged is on disk: as the aggregate of a closed window, or in the journal.
2. A window's items, and the note that its readings have been used up, are one commit: after a crash no reading is
   counted twice and none is missed, whatever the broker sends again.
3. Where the disk refuses, the pipeline runs on: what it led to is held in memory (`holding.py`), told as not stored, and
   nothing is acknowledged until all of it is on disk.

One commit for all windows that close together is also what a flash card wants: ten assets, one write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.asset import SavedState
from agent.pipeline import Needs, Outcome, Pipeline
from agent.sources.source import Burst
from agent.storage.holding import Holding
from agent.storage.journal import Journal
from models.contract.clock import NS_PER_S, Clock
from models.contract.items import KIND_OF, LANE_OF, Body
from models.contract.reading import Readings
from models.windows import Position

COMMIT_S: Final = 0.5
_MAX_BODIES: Final = 200  # gathered: bounds memory where a recording is replayed at any speed
_MAX_HELD_BYTES: Final = 4_000_000  # of a source's messages that wait for their windows; as readings they take five times that
Tell = Callable[[Sequence[Body], bool], None]


@dataclass(slots=True, eq=False)
class _Held:
    """A burst, or a row of the journal, that waits for its windows."""

    source: str
    needs: Needs
    readings: Sequence[Readings] = ()
    acknowledge: Callable[[], None] | None = None
    n_bytes: int = 0
    row: int | None = None
    settled: bool = False


@dataclass(slots=True)
class _Gathered:
    """What the next transaction will store."""

    bodies: list[Body] = field(default_factory=list)
    states: dict[str, SavedState] = field(default_factory=dict)
    closed: bool = False  # whether a window closed, so that progress is to be noted
    since_ns: int | None = None  # monotonic
    urgent: bool = False


class Committer:
    """Belongs to the pipeline's thread. `tell` hears of bodies in order, once they are on disk: `(bodies, True)`; or
    `(bodies, False)` where the disk refuses. All methods raise DamagedError."""

    def __init__(self, holding: Holding, pipeline: Pipeline, clock: Clock, tell: Tell) -> None:
        self._holding = holding
        self._journal = Journal(holding.outbox.database)
        self._pipeline = pipeline
        self._clock = clock
        self._tell = tell
        self._gathered = _Gathered()
        self._held: list[_Held] = []
        self._held_bytes: Counter[str] = Counter()  # by source

    def resume(self) -> None:
        """Go on where an earlier life was; before any burst."""
        now = self._clock.now()
        self._pipeline.resume(self._holding.outbox.progress, now.mono_ns)
        for row, source, readings in self._journal.rows():
            outcome = self._pipeline.handle(readings, now.mono_ns, again=True)
            self._held.append(_Held(source, outcome.needs, row=row))
            self._gather(outcome, ())

    def take(self, burst: Burst, faults: Sequence[Body]) -> None:
        """One burst of a source; `faults`: what its frames led to. Commits where something can't wait."""
        outcome = self._pipeline.handle(burst.readings, self._clock.now().mono_ns, burst.again)
        if burst.acknowledge is not None:
            self._held.append(_Held(burst.source, outcome.needs, burst.readings, burst.acknowledge, burst.n_bytes))
            self._held_bytes[burst.source] += burst.n_bytes
        self._gather(outcome, faults)
        gathered = self._gathered
        can_wait = burst.can_wait and self._held_bytes[burst.source] <= _MAX_HELD_BYTES
        if gathered.urgent or len(gathered.bodies) >= _MAX_BODIES or not can_wait:
            self.commit(None if can_wait else burst.source)

    def tick(self, faults: Sequence[Body]) -> None:
        """Let passing time close windows, and store what has waited for long enough."""
        now = self._clock.now()
        storing = self._holding.tick(now)
        self._gather(self._pipeline.tick(now.mono_ns), faults)
        since_ns = self._gathered.since_ns
        if since_ns is None:
            if storing:
                self._acknowledge([held for held in self._settled() if held.row is None])
        elif self._gathered.urgent or now.mono_ns - since_ns >= COMMIT_S * NS_PER_S:
            self.commit()

    def add(self, outcome: Outcome) -> None:
        """What happened apart from any burst, to be stored with the next commit."""
        self._gather(outcome, ())

    def commit(self, impatient: str | None = None) -> None:
        """Store what is gathered, and of the `impatient` source what its readings were; then tell and acknowledge."""
        gathered, self._gathered = self._gathered, _Gathered()
        settled = self._settled()
        dropped = [held.row for held in settled if held.row is not None]
        released = [held for held in self._held if held.source == impatient and held.row is None and not held.settled]
        journaled: list[_Held] = []

        def beside() -> None:
            self._journal.drop(dropped)
            journaled.extend([_journaled(self._journal, released)] if released else [])

        progress = self._pipeline.horizons() if gathered.closed else None
        needed = beside if dropped or released else None
        stored = self._holding.store(gathered.bodies, self._clock.now(), gathered.states, progress, needed)
        if gathered.bodies:
            self._tell(gathered.bodies, stored)
        if stored:
            self._held += journaled
            self._acknowledge([*settled, *released])

    def close(self) -> None:
        """Store what is gathered, and all that assets have learned."""
        self.commit()
        states = {watch.asset: watch.saved() for watch in self._pipeline.assets.values()}
        self._holding.store([], self._clock.now(), states)
        self._holding.close(self._clock.now())

    def _settled(self) -> list[_Held]:
        """Those whose readings are all in windows that have closed. They are on disk once everything gathered is."""
        for held in self._held:
            if not held.settled and self._pipeline.is_settled(held.needs):
                held.settled = True
                held.readings = ()  # where the disk refuses, many may wait for long
                self._held_bytes[held.source] -= held.n_bytes
                held.n_bytes = 0
        return [held for held in self._held if held.settled]

    def _acknowledge(self, done: Sequence[_Held]) -> None:
        """Let go of what is on disk. A row of the journal goes with the transaction that drops it."""
        for held in done:
            if held.acknowledge is not None:
                held.acknowledge()
            self._held_bytes[held.source] -= held.n_bytes
        gone = set(done)
        self._held = [held for held in self._held if held not in gone]

    def _gather(self, outcome: Outcome, faults: Sequence[Body]) -> None:
        bodies = [*faults, *outcome.bodies]
        if not bodies and not outcome.states:
            return
        gathered = self._gathered
        if gathered.since_ns is None:
            gathered.since_ns = self._clock.now().mono_ns
        gathered.bodies += bodies
        gathered.states |= outcome.states
        gathered.closed = gathered.closed or bool(outcome.bodies)
        gathered.urgent = gathered.urgent or any(LANE_OF[KIND_OF[type(body)]] == "alerts" for body in bodies)


def _journaled(journal: Journal, released: Sequence[_Held]) -> _Held:
    """One row for the readings of several bursts of one source; what holds its place among the waiting."""
    needs: dict[str, Position] = {}
    for held in released:
        for asset, position in held.needs.items():
            needs[asset] = position.joined(needs.get(asset, position))
    readings = [reading for held in released for reading in held.readings]
    return _Held(released[0].source, needs, row=journal.write(released[0].source, readings))
