"""Dropout: readings that do not come, as a flaky bus or a sensor without supply gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault
from firmware_sim.faults.sensor import Line


def dropout(values: NDArray[np.float64], t_s: NDArray[np.float64], fault: Fault, line: Line) -> NDArray[np.float64]:
    """The severity is the share of readings that are lost: at 1 the channel is silent."""
    return np.where(line.chance < fault.level(t_s), np.nan, values)
