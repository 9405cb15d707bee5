"""A centrifugal pump on a fixed-speed motor, feeding a circuit whose valves open and close with demand.

Physics (Gülich, Centrifugal Pumps; Grundfos, The Centrifugal Pump):
- head of the pump H = H0 - k Q², head that the circuit asks H = Hs + R Q²; flow where the two meet
- shaft power P = rho g Q H / eta(Q), efficiency a parabola around the best point
- motor current: the active part from P, and a magnetizing part that is always there
- bearing housing: first-order lag towards ambient plus a rise that follows the load
- vibration (RMS velocity of the housing): a base, more away from the best point, with 1/f-like unrest
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.assets.signals import Load, Sensors, sample_index
from firmware_sim.faults.fault import Fault, lagged_level_of, level_of
from firmware_sim.noise import NoiseField, PinkNoise
from firmware_sim.operation.operation import USUAL, Operation, Rest
from models.contract.config import load_profile

_BAR_PER_M: Final = 0.0981
_W_PER_M3H_M: Final = 9810 / 3600  # rho g, with flow in m³/h
_SQRT3_V: Final = 3**0.5 * 400
_THERMAL_TAU_S: Final = 60.0
_NOISE_STD: Final = {"flow": 0.12, "pressure": 0.008, "current": 0.04, "temperature": 0.06, "vibration": 0.02}
_REST: Final = {
    "flow": Rest(0.0),
    "pressure": Rest(0.0, power=2),
    "current": Rest(0.0),
    "vibration": Rest(0.06, power=2),
}


class Pump:
    """Faults, and the channels they show in (severity 1):

    bearing_wear  vibration three times as high and far rougher; temperature up by 25 K within minutes; current up a little
    blockage      a clogged discharge: flow down by more than a third, pressure up, current down
    cavitation    flow and pressure unsteady and lower, vibration twice as high and rough
    imbalance     vibration nearly three times as high and steady; nothing else
    seal_leak     a third of what the pump moves is lost before the meter: flow and pressure down, current up a little
    """

    fault_channels: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "bearing_wear": ("vibration", "temperature"),
        "blockage": ("flow", "pressure", "current"),
        "cavitation": ("flow", "pressure", "vibration"),
        "imbalance": ("vibration",),
        "seal_leak": ("flow", "pressure"),
    }
    wear_per_year: ClassVar[Mapping[str, float]] = {"bearing_wear": 0.04, "seal_leak": 0.02}

    def __init__(self, seed: int, rate_hz: float, operation: Operation = USUAL) -> None:
        self.profile = load_profile("pump")
        rng = np.random.default_rng([seed, 1])
        self._rate_hz = rate_hz
        self._load = Load(rng, operation)
        self._head0_m = 42.0 * rng.normal(1, 0.03)
        self._k = 0.00333 * rng.normal(1, 0.04)
        self._static_m = 10.0 * rng.normal(1, 0.05)
        self._resistance = 0.0095 * rng.normal(1, 0.05)
        self._best_flow = 52.0 * rng.normal(1, 0.02)
        self._efficiency = 0.72 * rng.normal(1, 0.02)
        self._idle_a = 4.5 * rng.normal(1, 0.05)
        self._ambient_degc = rng.uniform(18, 26)
        self._rise_k = 28.0 * rng.normal(1, 0.05)
        self._vibration = 1.6 * rng.normal(1, 0.1)
        self._pink = PinkNoise(seed * 7 + 1)
        self._turbulence = NoiseField(seed * 7 + 2, 4)
        rest = _REST | {"temperature": Rest(self._ambient_degc, tau_s=_THERMAL_TAU_S, follows_air=True)}
        self._sensors = Sensors(self.profile.channels, _NOISE_STD, rate_hz, seed * 7 + 3, operation, rest)

    def simulate(self, t_s: NDArray[np.float64], faults: Sequence[Fault] = ()) -> dict[str, NDArray[np.float64]]:
        """See `Asset.simulate`."""
        k = sample_index(t_s, self._rate_hz)
        load, white = self._load.at(t_s), self._turbulence.at(k)
        wear, blockage = level_of("bearing_wear", faults, t_s), level_of("blockage", faults, t_s)
        cavitation, imbalance = level_of("cavitation", faults, t_s), level_of("imbalance", faults, t_s)

        lost = 0.33 * level_of("seal_leak", faults, t_s)  # share of the pump's flow

        resistance = self._resistance * (1 + 3 * blockage) / (1 + 0.2 * load) ** 2
        lift_m = self._head0_m * (1 - 0.12 * cavitation) - self._static_m
        flow = np.sqrt(lift_m / (self._k / (1 - lost) ** 2 + resistance)) * (
            1 + 0.002 * white[0] + 0.05 * cavitation * white[1]
        )
        moved = flow / (1 - lost)
        head_m = self._head0_m * (1 - 0.12 * cavitation) - self._k * moved**2
        head_m = head_m * (1 + 0.04 * cavitation * white[2])

        off_best = (moved - self._best_flow) / self._best_flow
        shaft_w = _W_PER_M3H_M * moved * head_m / (self._efficiency * (1 - off_best**2)) * (1 + 0.05 * wear)
        current = np.hypot(self._idle_a, shaft_w / (_SQRT3_V * 0.88))

        wear_heat = lagged_level_of("bearing_wear", faults, t_s, _THERMAL_TAU_S)
        heat = self._rise_k * (1 + 0.12 * self._load.lagged(t_s, _THERMAL_TAU_S)) + 25.0 * wear_heat
        unrest = 0.05 * self._pink.at(k) + (0.35 * wear + 0.3 * cavitation) * white[3]
        level = 1 + 1.5 * off_best**2 + 0.15 * load + 2.0 * wear + 1.2 * cavitation + 1.8 * imbalance
        return self._sensors.measure(
            t_s,
            {
                "flow": flow,
                "pressure": head_m * _BAR_PER_M,
                "current": current,
                "temperature": self._ambient_degc + heat,
                "vibration": self._vibration * level * np.maximum(1 + unrest, 0.1),
            },
        )
