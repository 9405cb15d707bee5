"""Offset: a sensor that was calibrated or mounted wrongly is off by a little, from one reading to the next."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault
from firmware_sim.faults.sensor import Line

_SHARE_OF_RANGE: Final = 0.05


def offset(values: NDArray[np.float64], t_s: NDArray[np.float64], fault: Fault, line: Line) -> NDArray[np.float64]:
    """5 % of the channel's range upwards at severity 1, up to the end of its range. A large one is a `step`."""
    away = fault.level(t_s) * _SHARE_OF_RANGE * (line.high - line.low)
    return np.where(away > 0, np.minimum(values + away, line.high), values)
