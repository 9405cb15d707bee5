"""Drift: the zero point wanders off, as a fouled or ageing transducer's does."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault
from firmware_sim.faults.sensor import Line

_SHARE_OF_RANGE: Final = 0.2


def drift(values: NDArray[np.float64], t_s: NDArray[np.float64], fault: Fault, line: Line) -> NDArray[np.float64]:
    """An offset that grows over the fault's ramp to 20 % of the channel's range at severity 1, and stays there."""
    return values + fault.level(t_s) * _SHARE_OF_RANGE * (line.high - line.low)
