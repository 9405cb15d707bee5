"""The project's sentence: readings become windows, windows features, features scores, scores alerts, all of it items.

Pure: takes readings and times, gives back what to store. It knows no thread, no socket and no database, so a recorded
file, a simulation in virtual time and a live gateway run the very same code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from agent.asset import AssetWatch, SavedState
from agent.judges import Serving
from models.contract.items import Aggregate, Body, ClockMark
from models.contract.reading import Block, Reading, Readings
from models.windows import Position

Needs = Mapping[str, Position]  # by asset: the position that its windows must have passed (`Windower.position`)


@dataclass(slots=True)
class Outcome:
    """What a burst led to: `bodies` go to the outbox, `states` beside them, in one transaction.

    `needs`: when the burst's own readings will have been used up; see `Pipeline.is_settled`.
    """

    bodies: list[Body] = field(default_factory=list)
    states: dict[str, SavedState] = field(default_factory=dict)
    needs: Needs = field(default_factory=dict)


@dataclass(slots=True)
class PipelineCounters:
    """Totals since the start. `scored`: windows by detector."""

    readings: int = 0
    windows: int = 0
    unknown: int = 0
    scored: Counter[str] = field(default_factory=Counter)


class Pipeline:
    """All assets of one device. Called from one thread only."""

    def __init__(self, assets: Iterable[AssetWatch]) -> None:
        self.assets: Mapping[str, AssetWatch] = {watch.asset: watch for watch in assets}
        self.counters = PipelineCounters()

    def handle(self, readings: Iterable[Readings], now_ns: int, again: bool = False) -> Outcome:
        """Take in one burst; what the windows that it closed lead to. `now_ns`: a clock that does not jump, as for `tick`.

        `again`: the source may have delivered these before, in an earlier life: what is in closed windows is passed over.
        """
        if again:
            readings = self._without_known(readings)
        touched = {}
        for reading in readings:
            watch = self.assets.get(reading.asset)
            channel = watch.channel_index.get(reading.channel) if watch else None
            if watch is None or channel is None:
                self.counters.unknown += 1
            elif isinstance(reading, Reading):
                watch.windower.add(channel, reading.captured_at_ns, reading.value, now_ns)
                self.counters.readings += 1
                touched[watch.asset] = watch
            else:
                watch.windower.add_block(channel, reading.captured_at_ns, reading.values, now_ns)
                self.counters.readings += len(reading.values)
                touched[watch.asset] = watch
        needs = {asset: watch.windower.position for asset, watch in touched.items()}
        outcome = self._close(touched.values(), None)
        outcome.needs = needs
        return outcome

    def _without_known(self, readings: Iterable[Readings]) -> Iterator[Readings]:
        for reading in readings:
            watch = self.assets.get(reading.asset)
            if watch is None:
                yield reading
                continue
            times = np.atleast_1d(np.asarray(reading.captured_at_ns, dtype=np.int64))
            unknown = watch.windower.leave_known(times)
            if unknown.all():
                yield reading
            elif not isinstance(reading, Reading) and unknown.any():
                yield Block(reading.asset, reading.channel, times[unknown], reading.values[unknown])

    def tick(self, now_ns: int) -> Outcome:
        """Let silence close windows; call it now and then."""
        return self._close(self.assets.values(), now_ns)

    def step(self, mark: ClockMark) -> None:
        """The device's clock was set; see `AssetWatch.step`."""
        for watch in self.assets.values():
            watch.step(mark)

    def is_settled(self, needs: Needs) -> bool:
        """Whether the windows have passed `needs`."""
        return all(self.assets[asset].windower.has_used_up(position) for asset, position in needs.items())

    def horizons(self) -> dict[str, int]:
        """By asset: up to where its windows have closed. What `resume` wants after a restart."""
        known = {asset: watch.windower.horizon_ns for asset, watch in self.assets.items()}
        return {asset: horizon_ns for asset, horizon_ns in known.items() if horizon_ns is not None}

    def resume(self, horizons: Mapping[str, int], now_ns: int) -> None:
        """Go on after `horizons`; before any reading."""
        for asset, horizon_ns in horizons.items():
            if asset in self.assets:
                self.assets[asset].windower.resume(horizon_ns, now_ns)

    def serve(self, profile: str, active: Serving | None, shadow: Serving | None) -> None:
        """Put models before all assets of `profile`; see `AssetWatch.serve`."""
        for watch in self.assets.values():
            if watch.profile.name == profile:
                watch.serve(active, shadow)

    def recommission(self, asset: str) -> Outcome:
        """Let `asset` learn its normal anew; see `AssetWatch.recommission`."""
        watch = self.assets[asset]
        return Outcome(watch.recommission(), {asset: watch.saved()})

    def _close(self, watches: Iterable[AssetWatch], now_ns: int | None) -> Outcome:
        outcome = Outcome()
        for watch in watches:
            for window in watch.windower.closed(now_ns):
                bodies = watch.judge(window)
                outcome.bodies += bodies
                self.counters.scored.update(s.detector for body in bodies if isinstance(body, Aggregate) for s in body.scores)
                self.counters.windows += 1
            if watch.dirty:
                outcome.states[watch.asset] = watch.saved()
        return outcome
