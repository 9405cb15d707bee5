"""The seam between a sensor's truth and what a broken sensor says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault


@dataclass(frozen=True, slots=True)
class Line:
    """What a fault may know of the sensor that it befalls.

    `low`, `high`: the channel's physical range. `rate_hz`: samples a second. `reading_at`: the healthy reading at a
    time. `chance`: (n,) uniform in [0, 1), one a sample, the same however time is cut. `unit`: the channel's.
    """

    low: float
    high: float
    rate_hz: float
    reading_at: Callable[[float], float]
    chance: NDArray[np.float64]
    unit: str = ""


class SensorFault(Protocol):
    """Changes (n,) readings of one channel at `t_s` where `fault` is on, and returns new ones; NaN = nothing said."""

    def __call__(
        self, values: NDArray[np.float64], t_s: NDArray[np.float64], fault: Fault, line: Line
    ) -> NDArray[np.float64]: ...
