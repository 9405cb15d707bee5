"""An axial fan on a variable-speed drive, moving air through a filter and a duct.

Physics (the affinity laws): airflow follows speed, shaft power its cube; vibration from imbalance follows its square. A
clogged filter raises the duct's resistance: an axial fan then moves less air, takes more power and runs unsteadily,
for it comes near stall. The vibration is RMS velocity of the housing, with 1/f-like unrest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.assets.signals import Load, Sensors, sample_index
from firmware_sim.faults.fault import Fault, level_of
from firmware_sim.noise import NoiseField, PinkNoise
from firmware_sim.operation.operation import USUAL, Operation, Rest
from models.contract.config import load_profile

_NOISE_STD: Final = {"speed": 0.8, "current": 0.015, "airflow": 12.0, "vibration": 0.02}
_REST: Final = {
    "speed": Rest(0.0),
    "current": Rest(0.0),
    "airflow": Rest(0.0),
    "vibration": Rest(0.05, power=2),
}


class Fan:
    """Faults, and the channels they show in (severity 1):

    bearing_wear  vibration three times as high and far rougher; current up a little
    imbalance     dust on the blades: vibration more than twice as high, following the square of the speed
    blockage      a clogged filter: airflow down by a third, current up by a fifth, vibration up and rough
    belt_slip     speed and airflow down and unsteady, current down
    blade_damage  a blade is chipped: vibration nearly twice as high, with the square of the speed; airflow and current down
    """

    fault_channels: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "bearing_wear": ("vibration",),
        "imbalance": ("vibration",),
        "blockage": ("airflow", "current", "vibration"),
        "belt_slip": ("speed", "airflow", "current"),
        "blade_damage": ("vibration", "airflow"),
    }
    wear_per_year: ClassVar[Mapping[str, float]] = {"blockage": 0.5, "imbalance": 0.05}

    def __init__(self, seed: int, rate_hz: float, operation: Operation = USUAL) -> None:
        self.profile = load_profile("fan")
        rng = np.random.default_rng([seed, 3])
        self._rate_hz = rate_hz
        self._load = Load(rng, operation)
        self._rated_rpm = 1450.0 * rng.normal(1, 0.02)
        self._rated_m3h = 8200.0 * rng.normal(1, 0.03)
        self._idle_a = 1.8 * rng.normal(1, 0.05)
        self._active_a = 6.4 * rng.normal(1, 0.03)
        self._vibration = 1.4 * rng.normal(1, 0.1)
        self._pink = PinkNoise(seed * 7 + 21)
        self._white = NoiseField(seed * 7 + 22, 4)
        self._sensors = Sensors(self.profile.channels, _NOISE_STD, rate_hz, seed * 7 + 23, operation, _REST)

    def simulate(self, t_s: NDArray[np.float64], faults: Sequence[Fault] = ()) -> dict[str, NDArray[np.float64]]:
        """See `Asset.simulate`."""
        k = sample_index(t_s, self._rate_hz)
        white = self._white.at(k)
        wear, imbalance = level_of("bearing_wear", faults, t_s), level_of("imbalance", faults, t_s)
        blockage, slip = level_of("blockage", faults, t_s), level_of("belt_slip", faults, t_s)

        chipped = level_of("blade_damage", faults, t_s)

        drive = 0.85 * (1 + 0.12 * self._load.at(t_s))  # the share of rated speed that the drive asks for
        turning = drive * (1 - 0.15 * slip) * (1 + 0.0005 * white[0] + 0.02 * slip * white[1])
        airflow = (
            self._rated_m3h * turning * (1 - 0.35 * blockage - 0.15 * chipped) * (1 + (0.002 + 0.02 * blockage) * white[2])
        )
        power = turning**3 * (1 + 0.3 * blockage + 0.05 * wear - 0.08 * chipped) * (1 - 0.1 * slip)
        current = np.hypot(self._idle_a, self._active_a * power)

        unrest = 0.05 * self._pink.at(k) + (0.35 * wear + 0.15 * blockage) * white[3]
        level = 0.5 + turning**2 * (0.7 + 2.4 * imbalance + 1.3 * chipped) + 2.0 * wear + 0.5 * blockage
        return self._sensors.measure(
            t_s,
            {
                "speed": self._rated_rpm * turning,
                "current": current,
                "airflow": airflow,
                "vibration": self._vibration * level * np.maximum(1 + unrest, 0.1),
            },
        )
