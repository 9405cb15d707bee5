"""A fault as a value: what, from when to when, how bad, and how it sets in.

Times are seconds of the scenario. A fault is a pure function of time, so that physics that depends on faults gives the
same answer however time is cut into pieces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_INSTANT_S = 1e-6


@dataclass(frozen=True, slots=True)
class Fault:
    """`severity`: 0..1, reached `ramp_s` after `start_s`. `end_s`: inf = until cleared. `channel`: None = all,
    or the machine."""

    kind: str
    start_s: float
    end_s: float = math.inf
    severity: float = 1.0
    ramp_s: float = 0.0
    channel: str | None = None

    def touches(self, first_s: float, last_s: float) -> bool:
        """Whether it is on at any time in `first_s`..`last_s`."""
        return self.start_s <= last_s and first_s < self.end_s

    def active(self, t_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n,) whether it is on."""
        return (t_s >= self.start_s) & (t_s < self.end_s)

    def level(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) severity at each time: a ramp up, then level, then gone at once."""
        since_s = t_s - self.start_s
        risen = np.clip(since_s / self.ramp_s, 0.0, 1.0) if self.ramp_s > 0 else since_s >= 0
        return np.where(t_s < self.end_s, self.severity * risen, 0.0)

    def level_at(self, t_s: float) -> float:
        """The severity at one time."""
        return float(self.level(np.array([t_s]))[0])

    def lagged(self, t_s: NDArray[np.float64], tau_s: float) -> NDArray[np.float64]:
        """(n,) the level after a first-order lag of `tau_s`: how heat follows friction. It outlasts the fault's end."""
        here = self._lagged_unended(np.minimum(t_s, self.end_s), tau_s)
        return here * np.exp(-np.maximum(t_s - self.end_s, 0.0) / tau_s)

    def _lagged_unended(self, t_s: NDArray[np.float64], tau_s: float) -> NDArray[np.float64]:
        ramp_s = max(self.ramp_s, _INSTANT_S)
        rising = _lagged_ramp(t_s - self.start_s, tau_s) - _lagged_ramp(t_s - self.start_s - ramp_s, tau_s)
        return self.severity / ramp_s * rising


def _lagged_ramp(t_s: NDArray[np.float64], tau_s: float) -> NDArray[np.float64]:
    """The response of a first-order lag to a ramp of slope 1 that begins at 0."""
    t_s = np.maximum(t_s, 0.0)
    return t_s + tau_s * np.expm1(-t_s / tau_s)


def level_of(kind: str, faults: Iterable[Fault], t_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) severity of `kind` at each time; where several overlap, the worst counts."""
    level = np.zeros(len(t_s))
    for fault in faults:
        if fault.kind == kind:
            level = np.maximum(level, fault.level(t_s))
    return level


def lagged_level_of(kind: str, faults: Iterable[Fault], t_s: NDArray[np.float64], tau_s: float) -> NDArray[np.float64]:
    """(n,) as `level_of`, after a first-order lag."""
    level = np.zeros(len(t_s))
    for fault in faults:
        if fault.kind == kind:
            level = np.maximum(level, fault.lagged(t_s, tau_s))
    return level
