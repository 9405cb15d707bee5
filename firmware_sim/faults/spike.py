"""Spike: single readings far off, as a loose contact or a burst of interference gives."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault
from firmware_sim.faults.sensor import Line

_SPIKES_PER_S: Final = 0.2
_SHARE_OF_RANGE: Final = 0.4


def spike(values: NDArray[np.float64], t_s: NDArray[np.float64], fault: Fault, line: Line) -> NDArray[np.float64]:
    """About one reading in five seconds, times the severity, is off by 40 % of the range, towards its middle."""
    struck = line.chance < fault.level(t_s) * _SPIKES_PER_S / line.rate_hz
    away = np.where(values < (line.low + line.high) / 2, 1.0, -1.0)
    return np.where(struck, values + away * _SHARE_OF_RANGE * (line.high - line.low), values)
