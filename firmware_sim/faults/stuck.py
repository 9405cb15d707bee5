"""Stuck: the sensor repeats its last reading, as a frozen register or a jammed transmitter does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault
from firmware_sim.faults.sensor import Line


def stuck(values: NDArray[np.float64], t_s: NDArray[np.float64], fault: Fault, line: Line) -> NDArray[np.float64]:
    """Holds the reading of the moment it began. Severity makes no difference."""
    active = fault.active(t_s)
    return np.where(active, line.reading_at(fault.start_s), values) if active.any() else values
