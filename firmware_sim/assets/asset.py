"""The seam between a machine's physics and everything that plays it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from firmware_sim.faults.fault import Fault
from models.contract.profile import Profile


class Asset(Protocol):
    """One machine with its sensors, sampled at a fixed rate.

    `fault_channels`: each machine fault that this asset knows, with the channels it shows in. `wear_per_year`: the level that
    some of them reach in a year without maintenance (`operation.ageing`).
    """

    profile: Profile
    fault_channels: ClassVar[Mapping[str, tuple[str, ...]]]
    wear_per_year: ClassVar[Mapping[str, float]]

    def simulate(self, t_s: NDArray[np.float64], faults: Sequence[Fault] = ()) -> dict[str, NDArray[np.float64]]:
        """What each channel reads at `t_s`, in the profile's order and units.

        `t_s`: (n,) seconds of the scenario, ascending, >= 0, on the grid of the sampling rate. A pure function of the
        seed, `t_s` and `faults`: however time is cut into pieces, the readings are the same. Faults of kinds that are
        not in `fault_channels` are passed over.
        """
        ...
