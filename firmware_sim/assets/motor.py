"""A three-phase squirrel-cage induction motor on the mains, driving a load whose torque varies.

Physics (Fitzgerald, Electric Machinery): near its rating, slip and the active part of the current are proportional to
torque; the magnetizing part stays; losses, and with them the winding's temperature, follow the square of the current
through a first-order lag. Vibration (RMS velocity): a base, more with torque, with 1/f-like unrest.
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

_SYNCHRONOUS_RPM: Final = 1500.0  # four poles on 50 Hz
_THERMAL_TAU_S: Final = 90.0
_NOISE_STD: Final = {"current": 0.05, "speed": 0.3, "temperature": 0.05, "vibration": 0.02}
_REST: Final = {"current": Rest(0.0), "speed": Rest(0.0), "vibration": Rest(0.05, power=2)}


class Motor:
    """Faults, and the channels they show in (severity 1):

    bearing_wear    vibration three times as high and far rougher; temperature up by 20 K within minutes
    imbalance       vibration nearly three times as high and steady; nothing else
    overload        the driven machine binds: current up by half, speed down, temperature up
    broken_rotor_bar  current and speed swing with the slip, vibration up by half and rough
    phase_loss      one of three phases is gone: the others carry the load, 1.7 times their current; slip up by half, the torque
                    pulsates at twice the mains' frequency: vibration half as high again and rough; temperature up by 40 K
    misalignment    of the coupling: vibration twice as high, and following the torque; nothing else
    """

    fault_channels: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "bearing_wear": ("vibration", "temperature"),
        "imbalance": ("vibration",),
        "overload": ("current", "speed", "temperature"),
        "broken_rotor_bar": ("current", "speed", "vibration"),
        "phase_loss": ("current", "speed", "temperature", "vibration"),
        "misalignment": ("vibration",),
    }
    wear_per_year: ClassVar[Mapping[str, float]] = {"bearing_wear": 0.04}

    def __init__(self, seed: int, rate_hz: float, operation: Operation = USUAL) -> None:
        self.profile = load_profile("motor")
        rng = np.random.default_rng([seed, 2])
        self._rate_hz = rate_hz
        self._load = Load(rng, operation)
        self._slip = 0.025 * rng.normal(1, 0.05)
        self._active_a = 24.0 * rng.normal(1, 0.03)
        self._idle_a = 10.0 * rng.normal(1, 0.05)
        self._ambient_degc = rng.uniform(18, 26)
        self._rise_k = 45.0 * rng.normal(1, 0.05)
        self._vibration = 1.2 * rng.normal(1, 0.1)
        self._pink = PinkNoise(seed * 7 + 11)
        self._white = NoiseField(seed * 7 + 12, 4)
        rest = _REST | {"temperature": Rest(self._ambient_degc, tau_s=_THERMAL_TAU_S, follows_air=True)}
        self._sensors = Sensors(self.profile.channels, _NOISE_STD, rate_hz, seed * 7 + 13, operation, rest)

    def simulate(self, t_s: NDArray[np.float64], faults: Sequence[Fault] = ()) -> dict[str, NDArray[np.float64]]:
        """See `Asset.simulate`."""
        k = sample_index(t_s, self._rate_hz)
        load, white = self._load.at(t_s), self._white.at(k)
        wear, imbalance = level_of("bearing_wear", faults, t_s), level_of("imbalance", faults, t_s)
        overload, broken = level_of("overload", faults, t_s), level_of("broken_rotor_bar", faults, t_s)

        lost, crooked = level_of("phase_loss", faults, t_s), level_of("misalignment", faults, t_s)

        # A broken bar modulates torque at twice the slip frequency, about 2.5 Hz: at these rates it looks like noise.
        torque = (1 + 0.2 * load) * (1 + 0.6 * overload) * (1 + 0.004 * white[0] + 0.06 * broken * white[1])
        current = np.hypot(self._idle_a, self._active_a * torque) * (1 + 0.7 * lost)
        speed = _SYNCHRONOUS_RPM * (1 - self._slip * torque * (1 + 0.5 * lost))

        heat = self._rise_k * (1 + 0.25 * self._load.lagged(t_s, _THERMAL_TAU_S))
        heat = heat + 20.0 * lagged_level_of("bearing_wear", faults, t_s, _THERMAL_TAU_S)
        heat = heat + 50.0 * lagged_level_of("overload", faults, t_s, _THERMAL_TAU_S)
        heat = heat + 40.0 * lagged_level_of("phase_loss", faults, t_s, _THERMAL_TAU_S)
        unrest = 0.05 * self._pink.at(k) + 0.35 * wear * white[2] + 0.25 * (broken + lost) * white[3]
        level = 1 + 0.25 * load + 2.0 * wear + 1.8 * imbalance + 0.5 * (broken + lost) + (1 + 0.8 * load) * crooked
        return self._sensors.measure(
            t_s,
            {
                "current": current,
                "speed": speed,
                "temperature": self._ambient_degc + heat,
                "vibration": self._vibration * level * np.maximum(1 + unrest, 0.1),
            },
        )
