"""The air around a machine: warmer by day and in summer, and the weather of some days.

Three parts that add up: a sine over the day, warmest at 15:00; one over the year, coldest at the end of January (in a
temperate climate of the northern half, air follows the sun by about a month); and weather: sinusoids of two to nine days
without a common multiple, which is roughly how long highs and lows last there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.operation.schedule import DAY_S

_WARMEST_S: Final = 15 * 3600.0
_YEAR_S: Final = 365.2425 * DAY_S
_COLDEST_S: Final = 27 * DAY_S  # since the new year
_WEATHER_DAYS: Final = ((1.9, 2.5), (2.8, 3.7), (4.2, 5.6), (6.7, 9.1))
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Climate:
    """Amplitudes in kelvin: of the day's sine, of the year's, and how far the weather goes at most."""

    day_k: float = 0.0
    year_k: float = 0.0
    weather_k: float = 0.0

    @property
    def steady(self) -> bool:
        return not (self.day_k or self.year_k or self.weather_k)

    def at(self, local_s: Floats, seed: int) -> Floats:
        """(n,) how far the air is from its mean, K, at local times in seconds since the epoch. `seed`: of the weather."""
        by_day = np.cos(2 * np.pi * (local_s - _WARMEST_S) / DAY_S)
        return np.asarray(self.day_k * by_day + self.season(local_s) + self.weather_k * weather(local_s, seed))

    def season(self, local_s: Floats) -> Floats:
        """(n,) the part of the year alone, K. Epochs begin with a year; leap years are spread over all."""
        return np.asarray(-self.year_k * np.cos(2 * np.pi * (local_s - _COLDEST_S) / _YEAR_S))


def weather(local_s: Floats, seed: int) -> Floats:
    """(n,) -1..1."""
    rng = np.random.default_rng([seed, 23])
    omega = 2 * np.pi / (np.array([rng.uniform(*span) for span in _WEATHER_DAYS]) * DAY_S)
    phase = rng.uniform(0, 2 * np.pi, len(omega))
    return np.asarray(np.sin(np.outer(omega, local_s) + phase[:, None]).mean(axis=0))
