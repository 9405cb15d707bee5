"""Step: the zero point is off from one reading to the next, as after a knock, a wrong plug or a lost calibration."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault
from firmware_sim.faults.sensor import Line

_SHARE_OF_RANGE: Final = 0.2


def step(values: NDArray[np.float64], t_s: NDArray[np.float64], fault: Fault, line: Line) -> NDArray[np.float64]:
    """An offset of 20 % of the channel's range at severity 1, towards its middle from where it was; it stays in range."""
    active = fault.active(t_s)
    if not active.any():
        return values
    away = 1.0 if line.reading_at(fault.start_s) < (line.low + line.high) / 2 else -1.0
    offset = away * _SHARE_OF_RANGE * (line.high - line.low)
    return np.where(active, np.clip(values + fault.level(t_s) * offset, line.low, line.high), values)
