"""Wrong rate: a sensor or logger that is set to another sampling rate than it should have.

`slow_rate` is a sensor fault like the others: only every second reading of its channel, or of all channels, comes. `fast_rate`
befalls the firmware: it takes another sample half a period after each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault
from firmware_sim.faults.sensor import Line


def slow_rate(values: NDArray[np.float64], t_s: NDArray[np.float64], fault: Fault, line: Line) -> NDArray[np.float64]:
    """Every second reading does not come. Severity makes no difference."""
    odd = np.rint(t_s * line.rate_hz).astype(np.int64) % 2 == 1
    return np.where(fault.active(t_s) & odd, np.nan, values)
