"""A deep-groove ball bearing under a shaft at nearly constant speed, heard by an accelerometer on its housing.

Kinematics (Harris, Rolling Bearing Analysis): with n balls of diameter d on a pitch circle D, contact angle 0 and shaft rate f,

    outer race   n/2 f (1 - d/D)        a ball passes a point of the outer race
    inner race   n/2 f (1 + d/D)        a ball passes a point of the inner race
    ball         D/(2d) f (1 - (d/D)²)  a ball spins once; it strikes both races
    cage         f/2 (1 - d/D)          the balls go round

A pit gives a short blow at each pass, at which the housing rings and dies away (McFadden and Smith, 1984). On the outer race
the pit stays in the load zone, so the blows are alike; on the inner race it turns through the zone, so they grow and fade with
each turn of the shaft; a ball's pit with each turn of the cage. Slip makes the passes uneven by about a percent, and not once
for all: each blow is off by itself (Antoni and Randall, 2003). The healthy bearing: broadband rolling noise, some imbalance and
its second harmonic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.assets.signals import Load, Sensors, sample_index
from firmware_sim.faults.fault import Fault, level_of
from firmware_sim.noise import NoiseField
from firmware_sim.operation.operation import USUAL, Operation, Rest
from models.contract.config import load_profile

_N_BALLS: Final = 9
_BALL_TO_PITCH: Final = 0.2
_NOISE_STD: Final = {"acceleration": 0.004}
_REST: Final = {"acceleration": Rest(0.0, power=2)}
_N_BLOWS: Final = 3  # that still ring
_SLIP: Final = 0.01  # standard deviation of a blow's time, in passes
_BLOW_G: Final = 3.0  # the first swing at severity 1


class Bearing:
    """Faults, all of which show in the acceleration; at severity 1 the blows stand high above the rolling noise:

    outer_race  alike blows at the outer race's rate
    inner_race  blows at the inner race's rate that grow and fade with each turn of the shaft
    ball        blows at twice the ball's rate that grow and fade with each turn of the cage
    dry         no lubricant: four times the rolling noise, no rhythm
    """

    fault_channels: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(
        ("outer_race", "inner_race", "ball", "dry"), ("acceleration",)
    )
    wear_per_year: ClassVar[Mapping[str, float]] = {"dry": 0.1}

    def __init__(self, seed: int, rate_hz: float, operation: Operation = USUAL) -> None:
        self.profile = load_profile("bearing")
        rng = np.random.default_rng([seed, 5])
        self._rate_hz = rate_hz
        self._load = Load(rng, operation)
        self.shaft_hz = 24.5 * rng.normal(1, 0.01)
        self._ringing_hz = 0.31 * rate_hz * rng.normal(1, 0.03)
        self._damping = 180.0 * rng.normal(1, 0.1)
        self._rolling_g = 0.10 * rng.normal(1, 0.08)
        self._imbalance_g = 0.06 * rng.normal(1, 0.1)
        self._phase = rng.uniform(0, 1, 4)
        self._rolling = NoiseField(seed * 7 + 41, 1)
        self._slip = NoiseField(seed * 7 + 42, 1)
        self._sensors = Sensors(self.profile.channels, _NOISE_STD, rate_hz, seed * 7 + 43, operation, _REST)

    def rate_of(self, kind: str) -> float:
        """Blows a second of a pit on the outer race, the inner race or a ball."""
        races = {"outer_race": _N_BALLS / 2 * (1 - _BALL_TO_PITCH), "inner_race": _N_BALLS / 2 * (1 + _BALL_TO_PITCH)}
        return self.shaft_hz * (races | {"ball": (1 - _BALL_TO_PITCH**2) / _BALL_TO_PITCH})[kind]

    def simulate(self, t_s: NDArray[np.float64], faults: Sequence[Fault] = ()) -> dict[str, NDArray[np.float64]]:
        """See `Asset.simulate`."""
        k = sample_index(t_s, self._rate_hz)
        turn = 2 * np.pi * self.shaft_hz * t_s
        rolling = self._rolling_g * (1 + 0.15 * self._load.at(t_s)) * (1 + 3 * level_of("dry", faults, t_s))
        shaft = np.sin(turn + self._phase[0]) + 0.4 * np.sin(2 * turn + self._phase[1])
        total = rolling * self._rolling.at(k)[0] + self._imbalance_g * shaft

        cage = np.pi * self.shaft_hz * (1 - _BALL_TO_PITCH) * t_s
        zones = {"outer_race": np.ones(len(t_s)), "inner_race": (1 + np.cos(turn)) / 2, "ball": (1 + np.cos(cage)) / 2}
        for kind, zone in zones.items():
            level = level_of(kind, faults, t_s)
            if level.any():
                total = total + _BLOW_G * level * zone * self._ring(kind, t_s)
        return self._sensors.measure(t_s, {"acceleration": total})

    def _ring(self, kind: str, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) what the housing makes of unit blows."""
        per_s = self.rate_of(kind)
        passes = t_s * per_s
        newest = np.floor(passes).astype(np.int64)
        total = np.zeros(len(t_s))
        for back in range(_N_BLOWS):
            blow = np.maximum(newest - back, 0)
            since_s = (passes - blow - np.abs(_SLIP * self._slip.at(blow)[0])) / per_s
            ringing = np.exp(-self._damping * since_s) * np.sin(2 * np.pi * self._ringing_hz * since_s)
            total += np.where((since_s >= 0) & (newest >= back), ringing, 0.0)
        return total
