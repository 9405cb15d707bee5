"""An oil-injected screw compressor that fills a receiver, between loaded running and idling.

Physics (Bloch, A Practical Guide to Compressor Technology; Kaeser, Compressed Air Engineering):
- the controller loads the compressor at the lower end of its pressure band and unloads it at the upper end. The receiver
  integrates delivery less demand: a sawtooth, loaded for the share of time that demand is of delivery
- current: the whole shaft power while loaded, proportional to the pressure ratio's logarithm, about a third of it while idling
- the oil's temperature: a first-order lag far slower than a cycle, so it follows the mean power and the cooler
- vibration (RMS velocity of the housing): higher while loaded, with 1/f-like unrest

Demand swings slowly, as a share of the cycle; the cycle's length is the machine's own.
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

_THERMAL_TAU_S: Final = 90.0
_SOFT_S: Final = 0.4  # how long the inlet valve takes
_NOISE_STD: Final = {"pressure": 0.008, "current": 0.06, "temperature": 0.06, "vibration": 0.02}
_REST: Final = {"pressure": Rest(0.0), "current": Rest(0.0), "vibration": Rest(0.05, power=2)}  # it blows down as it stops


class Compressor:
    """Faults, and the channels they show in (severity 1):

    valve_leak      the minimum pressure valve leaks back: pressure sags, loaded for longer, current up, hotter by 10 K
    fouled_cooler   oil hotter by 30 K within minutes; nothing else
    bearing_wear    vibration three times as high and far rougher; current up a little
    oil_starvation  hotter by 25 K within minutes, current up by an eighth, vibration up by half and rough
    """

    fault_channels: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "valve_leak": ("pressure", "current"),
        "fouled_cooler": ("temperature",),
        "bearing_wear": ("vibration",),
        "oil_starvation": ("temperature", "current", "vibration"),
    }
    wear_per_year: ClassVar[Mapping[str, float]] = {"fouled_cooler": 0.25, "valve_leak": 0.02}

    def __init__(self, seed: int, rate_hz: float, operation: Operation = USUAL) -> None:
        self.profile = load_profile("compressor")
        rng = np.random.default_rng([seed, 4])
        self._rate_hz = rate_hz
        self._load = Load(rng, operation)
        self._cycle_s = rng.uniform(4.4, 5.2)
        self._phase = rng.uniform(0, 1)
        self._lower_bar = 7.0 * rng.normal(1, 0.02)
        self._band_bar = 0.7 * rng.normal(1, 0.05)
        self._full_a = 52.0 * rng.normal(1, 0.03)
        self._idle_share = 0.34 * rng.normal(1, 0.04)
        self._ambient_degc = rng.uniform(18, 26)
        self._rise_k = 55.0 * rng.normal(1, 0.05)
        self._vibration = 2.0 * rng.normal(1, 0.1)
        self._pink = PinkNoise(seed * 7 + 31)
        self._white = NoiseField(seed * 7 + 32, 3)
        rest = _REST | {"temperature": Rest(self._ambient_degc, tau_s=_THERMAL_TAU_S, follows_air=True)}
        self._sensors = Sensors(self.profile.channels, _NOISE_STD, rate_hz, seed * 7 + 33, operation, rest)

    def simulate(self, t_s: NDArray[np.float64], faults: Sequence[Fault] = ()) -> dict[str, NDArray[np.float64]]:
        """See `Asset.simulate`."""
        k = sample_index(t_s, self._rate_hz)
        load, white = self._load.at(t_s), self._white.at(k)
        leak, starved = level_of("valve_leak", faults, t_s), level_of("oil_starvation", faults, t_s)
        wear = level_of("bearing_wear", faults, t_s)

        share = np.clip(0.6 + 0.12 * load + 0.25 * leak, 0.05, 0.95)  # of a cycle that it is loaded
        place = (t_s / self._cycle_s + self._phase) % 1.0
        filling = np.where(place < share, place / share, (1 - place) / (1 - share))  # of the band, 0 at its lower end
        soft = _SOFT_S / self._cycle_s
        loaded = np.clip(np.minimum(place, share - place) / soft + 0.5, 0, 1)
        pressure = self._lower_bar + self._band_bar * filling - 0.8 * leak
        pressure = pressure + (0.01 + 0.05 * leak) * white[0]

        power = self._idle_share + (1 - self._idle_share) * loaded * np.log1p(pressure) / np.log1p(self._lower_bar)
        current = self._full_a * power * (1 + 0.12 * starved + 0.03 * wear) * (1 + 0.003 * white[1])

        heat = self._rise_k * (0.75 + 0.12 * self._load.lagged(t_s, _THERMAL_TAU_S))
        for kind, kelvin in (("fouled_cooler", 30.0), ("oil_starvation", 25.0), ("valve_leak", 10.0)):
            heat = heat + kelvin * lagged_level_of(kind, faults, t_s, _THERMAL_TAU_S)
        unrest = 0.05 * self._pink.at(k) + (0.35 * wear + 0.2 * starved) * white[2]
        level = 0.8 + 0.3 * loaded + 2.2 * wear + 0.6 * starved
        return self._sensors.measure(
            t_s,
            {
                "pressure": pressure,
                "current": current,
                "temperature": self._ambient_degc + heat,
                "vibration": self._vibration * level * np.maximum(1 + unrest, 0.1),
            },
        )
