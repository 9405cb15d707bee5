"""Noise: readings scatter, as with a broken shield or a failing supply."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault
from firmware_sim.faults.sensor import Line

_SHARE_OF_RANGE: Final = 0.05
_UNIT: Final = 12**0.5  # the width of a uniform law of standard deviation 1


def noise(values: NDArray[np.float64], t_s: NDArray[np.float64], fault: Fault, line: Line) -> NDArray[np.float64]:
    """White noise with a standard deviation of 5 % of the channel's range at severity 1; the transmitter ends at its range."""
    std = fault.level(t_s) * _SHARE_OF_RANGE * (line.high - line.low)
    noisy = np.clip(values + std * _UNIT * (line.chance - 0.5), line.low, line.high)
    return np.where(std > 0, noisy, values)
