"""The firmware's own clock goes wrong: its readings carry times that go back and forth."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault

_PERIOD_S: Final = 20.0
_BACK_S: Final = 3.0


def set_back_s(t_s: NDArray[np.float64], fault: Fault) -> NDArray[np.float64]:
    """(n,) by how much the clock is behind: 3 s at severity 1 in the second half of every 20 s, as one that is corrected
    again and again."""
    late = (t_s - fault.start_s) % _PERIOD_S >= _PERIOD_S / 2
    return np.where(late, fault.level(t_s) * _BACK_S, 0.0)
