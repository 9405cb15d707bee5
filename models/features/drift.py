"""An asset's normal that follows slow drift: where each feature lies now, and how far it may wander from there.

A room warms up and a tank fills; machines drift without being ill. A fixed normal rings for all of it, one that simply
follows swallows what it should tell. So each feature has a level that follows it slowly, and two things are learned of it
while commissioning:

    noise      how far windows scatter around one another, from the differences of successive windows
    scale(h)   how far the feature is from its level h windows later: what drift does to it, for five horizons

Invariants:
1. A level follows only what is normal: a feature farther out than `HELD`, or part of an open alert, is held where it was.
   While held, its scale grows with the time since, as it did while commissioning, so an old level is trusted less.
2. A feature that wanders by more than its noise has shown few independent values of itself, however many windows those
   were; its scale is widened by the root of `wander`, the variance in units of the noise's.
3. What one asset shows in a few minutes is a poor estimate. A bundle may bring the fleet's (`FleetDrift`): the two are
   averaged as logarithms, as equals.
4. What was normal before an alert stays normal after it: an alert may have closed too early, and to come back is no anomaly.
5. How far the level has gone since commissioning is told (`Drift.moved`), apart from any anomaly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.contract.profile import Profile
from models.features.normal import LocalNormal

HELD: Final = 4.0  # sigmas
_HORIZONS: Final = np.array([1, 2, 4, 8, 12])  # in half windows
N_HORIZONS: Final = len(_HORIZONS)
_WANDERS: Final = 3.0  # what white noise shows by chance, and a little more
_FLEET_SHARE: Final = 0.5
_FARTHEST: Final = 1e6  # sigmas
_MIN_FOR_HORIZON: Final = 30  # windows
Vectors = NDArray[np.float64]


class FleetDrift(msgspec.Struct, frozen=True, kw_only=True):
    """What the members of a fleet have in common: medians, as logarithms, one value a feature.

    `scale`: for each horizon, in units of the noise. `wander`: variance in units of the noise's.
    """

    scale: list[list[float]]
    wander: list[float]


@dataclass(frozen=True, slots=True)
class Pace:
    """How windows follow each other. `overlap`: windows that share a reading. `follow`: a level's time constant, in windows."""

    overlap: float
    follow: float

    @property
    def horizons(self) -> NDArray[np.int_]:
        """In windows, ascending."""
        return np.asarray(max(1, round(self.overlap / 2)) * _HORIZONS)

    @property
    def settle(self) -> int:
        """Windows after which nothing of an alert is left in the newest one."""
        return max(1, round(self.overlap))


def pace_of(profile: Profile) -> Pace | None:
    """How a profile's windows follow each other, where its normal follows drift."""
    if profile.features.follow_s is None:
        return None
    hop_s = profile.windowing.hop
    return Pace(overlap=max(1.0, profile.windowing.window_s / hop_s), follow=profile.features.follow_s / hop_s)


@dataclass(frozen=True, slots=True, eq=False)
class DriftModel:
    """`level`: (F,), at the end of commissioning. `scale`: (5, F), by horizon. `wander`, `noise`: (F,). NaN = never seen."""

    pace: Pace
    level: Vectors
    scale: Vectors
    wander: Vectors
    noise: Vectors

    @classmethod
    def learn(cls, vectors: NDArray[np.floating], pace: Pace, fleet: FleetDrift | None = None) -> DriftModel:
        """From (n, F) vectors of normal running in the order of time, n >= 20, NaN = absent."""
        x = _filled(vectors)
        levels = _levels(x, pace)
        noise = np.maximum(_noise(x, pace.overlap), _floor(x))
        scale = np.maximum(_scales(x, levels, pace), _floor(x))
        wander = np.var(x, axis=0) / noise**2
        if fleet is not None and len(fleet.wander) == x.shape[1]:
            scale = _between(scale, np.exp(np.array(fleet.scale)) * noise)
            wander = _between(wander, np.exp(np.array(fleet.wander)))
        return cls(pace, levels[-1], scale, wander, noise)

    @property
    def widened(self) -> Vectors:
        """(5, F): what a sigma is at each horizon."""
        return np.asarray(self.scale * np.sqrt(np.maximum(self.wander / _WANDERS, 1.0)))

    def own_z(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """(n, F): the commissioning windows themselves, each as far out as it looked from the level of half a window before.

        The first windows, before which there is no level yet, are measured from the first that there is.
        """
        x = np.asarray(vectors, dtype=np.float64)
        before = np.arange(len(x)) - int(self.pace.horizons[0])
        levels = _levels(_filled(vectors), self.pace)[np.maximum(before, _warm_up(len(x), self.pace))]
        return np.asarray(np.clip((x - levels) / self.widened[0], -_FARTHEST, _FARTHEST), dtype=np.float32)


class Drift:
    """The levels of one asset while it is watched."""

    def __init__(self, model: DriftModel, level: NDArray[np.floating] | None = None) -> None:
        self._model = model
        self._sigma = model.widened
        self._horizons = model.pace.horizons
        self._gain = 1 / max(model.pace.follow, 1.0)
        self._settle_gain = 2 / (model.pace.settle + 1)
        self.level: Vectors = np.array(model.level if level is None else level, dtype=np.float64)
        self._before = np.full(len(self.level), np.nan)
        self._since = np.zeros(len(self.level))  # windows that each level has been held
        self._none_held = True
        self._alerted = False
        self._settling = 0

    def apply(self, vector: NDArray[np.floating]) -> NDArray[np.float32]:
        """(F,) in sigmas from where each feature lies now, or lay before the last alert, whichever is nearer; NaN where it is
        absent or was never seen."""
        x = np.asarray(vector, dtype=np.float64)
        away = x - self.level
        if self._alerted:
            from_before = x - self._before
            away = np.where(np.abs(from_before) < np.abs(away), from_before, away)
        z = away / self._sigma_now()
        return np.minimum(np.maximum(z, -_FARTHEST), _FARTHEST).astype(np.float32)  # np.clip costs thrice that

    def _sigma_now(self) -> Vectors:
        """By the time that each level has been held: interpolated between horizons, with the root of time beyond the last."""
        if self._none_held:  # nearly always
            return np.asarray(self._sigma[0])
        h = self._since + self._horizons[0]
        upper = np.clip(np.searchsorted(self._horizons, h), 1, len(self._horizons) - 1)
        low, high = self._horizons[upper - 1], self._horizons[upper]
        share = np.clip((h - low) / (high - low), 0.0, 1.0)
        columns = np.arange(len(h))
        sigma = self._sigma[upper - 1, columns] * (1 - share) + self._sigma[upper, columns] * share
        return np.asarray(sigma * np.sqrt(np.maximum(h / self._horizons[-1], 1.0)))

    def follow(self, vector: NDArray[np.floating], z: NDArray[np.float32], alerting: NDArray[np.bool_] | None) -> None:
        """Move on after a window. `alerting`: (F,) the features that an open alert rests on; None = no alert is open."""
        present = np.isfinite(vector)
        if self._settling:
            self._settling -= 1
            self._move(vector, present, self._settle_gain)
            self._since[present] = 0.0
            self._none_held = not self._since.any()
            return
        held = np.abs(z) > HELD
        if alerting is not None:
            held |= alerting
        self._move(vector, present & ~held, self._gain)
        if self._none_held and not held.any():
            return
        self._since = np.where(held, self._since + 1, np.maximum(self._since - 2, 0.0))
        self._none_held = not self._since.any()

    def _move(self, vector: NDArray[np.floating], which: NDArray[np.bool_], gain: float) -> None:
        np.copyto(self.level, self.level + gain * (vector - self.level), where=which)

    def settle(self) -> None:
        """An alert has closed: the asset may have come back to another level than it left. Find it before judging again."""
        self._settling = self._model.pace.settle
        self._before, self._alerted = self.level.copy(), True

    @property
    def settling(self) -> bool:
        return self._settling > 0

    def moved(self, normal: LocalNormal) -> NDArray[np.float32]:
        """(F,): how far each level has gone from what was learned while commissioning, in units of the spread then."""
        return normal.apply(self.level)


def fleet_drift(members: Sequence[DriftModel]) -> FleetDrift:
    """The median of what each member of a fleet learned for itself."""
    scale = np.median([np.log(m.scale / m.noise) for m in members], axis=0)
    wander = np.median([np.log(np.maximum(m.wander, 1e-9)) for m in members], axis=0)
    return FleetDrift(scale=scale.tolist(), wander=wander.tolist())


def _between(own: Vectors, fleet: Vectors) -> Vectors:
    return np.asarray(own ** (1 - _FLEET_SHARE) * fleet**_FLEET_SHARE)


def _filled(vectors: NDArray[np.floating]) -> Vectors:
    """Absent values as their feature's median, which is no news; a feature that was never seen stays NaN."""
    x = np.array(vectors, dtype=np.float64)
    seen = np.isfinite(x)
    for column in np.flatnonzero(~seen.all(axis=0) & seen.any(axis=0)):
        x[~seen[:, column], column] = np.median(x[seen[:, column], column])
    return x


def _floor(x: Vectors) -> Vectors:
    """As in `LocalNormal`: for a feature that never moved."""
    return np.asarray(np.maximum(np.abs(np.median(x, axis=0)) * 1e-4, 1e-6))


def _warm_up(n: int, pace: Pace) -> int:
    return int(min(2 * pace.horizons[0], n // 4))


def _levels(x: Vectors, pace: Pace) -> Vectors:
    """(n, F): the level after each window, exponentially weighted from a robust start."""
    level, gain = np.median(x[: max(8, 2 * pace.settle)], axis=0), 1 / max(pace.follow, 1.0)
    levels = np.empty_like(x)
    for i, row in enumerate(x):
        level = level + gain * (row - level)
        levels[i] = level
    return levels


def _noise(x: Vectors, overlap: float) -> Vectors:
    """(F,): the scatter of windows that share no reading. Successive ones differ by what came in and what went out only."""
    steps = np.abs(np.diff(x, axis=0))
    steps = np.minimum(steps, 4 * np.sqrt(np.mean(steps**2, axis=0)))  # a jump is not noise
    return np.asarray(np.sqrt(np.mean(steps**2, axis=0) * max(overlap, 1.0) / 2))


def _scales(x: Vectors, levels: Vectors, pace: Pace) -> Vectors:
    """(5, F): robust spread around the level of so many windows before, never falling with the horizon. Horizons for which
    there are too few windows grow with the root of time."""
    start = _warm_up(len(x), pace)
    scales: list[Any] = []
    horizons = pace.horizons
    for i, h in enumerate(horizons):
        if i and len(x) - start - h < _MIN_FOR_HORIZON:
            scales.append(scales[-1] * np.sqrt(h / horizons[i - 1]))
            continue
        away = np.abs(x[start + h :] - levels[start : len(x) - h])
        scales.append(np.maximum(1.4826 * np.median(away, axis=0), np.quantile(away, 0.9, axis=0) / 1.645))
    return np.asarray(np.maximum.accumulate(np.array(scales), axis=0))
