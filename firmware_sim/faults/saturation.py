"""Saturation: the amplifier or transmitter ends below the signal, and its tops are flat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault
from firmware_sim.faults.sensor import Line


def saturation(values: NDArray[np.float64], t_s: NDArray[np.float64], fault: Fault, line: Line) -> NDArray[np.float64]:
    """Nothing above a limit is read: at severity 1 what the sensor read when it began, at 0 the end of its range."""
    if not fault.active(t_s).any():
        return values
    level = fault.level(t_s)
    limit = (1 - level) * line.high + level * line.reading_at(fault.start_s)
    return np.where(fault.active(t_s), np.minimum(values, limit), values)
