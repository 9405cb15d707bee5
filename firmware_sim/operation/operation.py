"""How one machine is run, as its physics see it: functions of scenario time alone.

The default is what a simulated machine always was: it runs without pause, in air that never changes; then nothing here adds
to a signal, not even a zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firmware_sim.operation.climate import Climate
from firmware_sim.operation.schedule import Pattern, Schedule, Span

_LOAD_OF_DEMAND: Final = 0.8  # of `Load`'s unit; nothing asked for is well within what a machine can do
Floats = NDArray[np.float64]


class Rest(NamedTuple):
    """What a channel reads while its machine stands still. `power`: of the speed that it follows (affinity laws: flow 1, head
    2). `tau_s`: the lag with which it goes there and back; 0 = with the speed. `follows_air`: `value` is the mean of an air
    temperature that the climate moves."""

    value: float
    power: float = 1.0
    tau_s: float = 0.0
    follows_air: bool = False


@dataclass(frozen=True)
class Operation:
    """`pattern`, `climate`: None = as is usual for the asset, or constant. `off`: spans of scenario time in which it stands
    still. `local_t0_s`: the local time of scenario second 0, seconds since the epoch. `seed`: of its days; `weather_seed`: of
    the air, the same for all of a site."""

    pattern: Pattern | None = None
    climate: Climate | None = None
    off: tuple[Span, ...] = ()
    local_t0_s: float = 0.0
    seed: int = 0
    weather_seed: int = 0

    def usually(self, pattern: Pattern, climate: Climate) -> Operation:
        """The same, with what is usual for an asset where the scenario says nothing."""
        return replace(self, pattern=self.pattern or pattern, climate=self.climate or climate)

    @property
    def never_rests(self) -> bool:
        return self.pattern in (None, "constant") and not self.off

    @property
    def schedule(self) -> Schedule:
        off = tuple((start + self.local_t0_s, end + self.local_t0_s) for start, end in self.off)
        return Schedule(self.pattern or "constant", self.seed, off)

    def local_s(self, t_s: Floats) -> Floats:
        """(n,) local time, seconds since the epoch."""
        return np.asarray(t_s + self.local_t0_s)

    def loaded(self, load: Floats, t_s: Floats, tau_s: float = 0.0) -> Floats:
        """(n,) a machine's load, in `Load`'s unit, with what the schedule asks for; after a lag of `tau_s`."""
        if self.never_rests:
            return load
        local_s = self.local_s(t_s)
        demand = self.schedule.lagged(local_s, tau_s, "demand") if tau_s else self.schedule.demand(local_s)
        return np.asarray(load + _LOAD_OF_DEMAND * (demand - 1))

    def rested(self, truth: Mapping[str, Floats], rest: Mapping[str, Rest], t_s: Floats) -> dict[str, Floats]:
        """What is true of the channels of a machine that would read `truth` if it ran, in the usual air."""
        told = dict(truth)
        if not self.never_rests:
            local_s, schedule = self.local_s(t_s), self.schedule
            running = schedule.running(local_s)
            for name, (value, power, tau_s, _) in rest.items():
                share = schedule.lagged(local_s, tau_s, "running") if tau_s else running**power
                told[name] = value + (told[name] - value) * share
        if self.climate is not None and not self.climate.steady:
            warmer = self.climate.at(self.local_s(t_s), self.weather_seed)
            for name in (name for name, each in rest.items() if each.follows_air):
                told[name] = told[name] + warmer
        return told


USUAL: Final = Operation()
