"""Wrong unit: a replaced sensor or a changed setting speaks another unit than the channel is in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault
from firmware_sim.faults.sensor import Line

# unit: (factor, offset) to the one that it is taken for
MISTAKEN: Final[Mapping[str, tuple[float, float]]] = {
    "degC": (1.8, 32.0),  # degrees Fahrenheit
    "bar": (14.503774, 0.0),  # psi
    "m3/h": (1 / 3.6, 0.0),  # litres a second
    "mm/s": (1 / 25.4, 0.0),  # inches a second
    "rpm": (1 / 60, 0.0),  # revolutions a second
    "A": (1000.0, 0.0),  # milliamperes
    "%": (0.01, 0.0),  # a share
}
_OTHER: Final = (10.0, 0.0)  # a decimal point that is one place off


def wrong_unit(values: NDArray[np.float64], t_s: NDArray[np.float64], fault: Fault, line: Line) -> NDArray[np.float64]:
    """The reading in the unit of `MISTAKEN`. Severity makes no difference; the result may lie outside the channel's range."""
    factor, offset = MISTAKEN.get(line.unit, _OTHER)
    return np.where(fault.active(t_s), values * factor + offset, values)
