"""Quantization: a converter that has lost its lower bits, or is scaled for a far wider range."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault
from firmware_sim.faults.sensor import Line

_SHARE_OF_RANGE: Final = 0.05


def quantization(values: NDArray[np.float64], t_s: NDArray[np.float64], fault: Fault, line: Line) -> NDArray[np.float64]:
    """Readings come in steps of 5 % of the channel's range at severity 1, counted from its lower end."""
    step = fault.level(t_s) * _SHARE_OF_RANGE * (line.high - line.low)
    steps = np.maximum(step, np.finfo(np.float64).tiny)
    return np.where(step > 0, line.low + np.round((values - line.low) / steps) * step, values)
