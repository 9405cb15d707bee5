"""Every fault by name: whose it is, how it sets in, and the function that does it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from firmware_sim.assets.catalog import MACHINE_FAULTS
from firmware_sim.faults.drift import drift
from firmware_sim.faults.dropout import dropout
from firmware_sim.faults.noise import noise
from firmware_sim.faults.offset import offset
from firmware_sim.faults.quantization import quantization
from firmware_sim.faults.rate import slow_rate
from firmware_sim.faults.saturation import saturation
from firmware_sim.faults.sensor import SensorFault
from firmware_sim.faults.spike import spike
from firmware_sim.faults.step import step
from firmware_sim.faults.stuck import stuck
from firmware_sim.faults.wrong_unit import wrong_unit
from models.errors import ConfigError

Culprit = Literal["machine", "sensor", "link"]

SENSOR_FAULTS: Final[Mapping[str, SensorFault]] = {
    "stuck": stuck,
    "drift": drift,
    "spike": spike,
    "dropout": dropout,
    "step": step,
    "noise": noise,
    "slow_rate": slow_rate,
    "offset": offset,
    "saturation": saturation,
    "quantization": quantization,
    "wrong_unit": wrong_unit,
}
FIRMWARE_FAULTS: Final = ("fast_rate", "time")  # of all channels at once: the sampling and the clock are the firmware's
ALL_CHANNELS: Final = ("dropout", "slow_rate", *FIRMWARE_FAULTS)  # those that need no channel
LINK_FAULTS: Final = (
    "torn_frames",
    "merged_frames",
    "garbage",
    "bit_errors",
    "baud_mismatch",
    "duplicated",
    "reordered",
    "delayed",
    "unplugged",
    "broker_restart",
    "retained_junk",
)
SERIAL_ONLY: Final = ("merged_frames", "baud_mismatch")  # a broker delivers messages whole, and at no speed of its own
MQTT_ONLY: Final = ("broker_restart", "retained_junk")
_MACHINE_RAMP_S: Final = 20.0
_DRIFT_RAMP_S: Final = 300.0


def culprit_of(kind: str, profile: str) -> Culprit:
    """Whose fault `kind` is on an asset of `profile`. Raises ConfigError with the nearest name where there is no such."""
    if kind in MACHINE_FAULTS[profile]:
        return "machine"
    if kind in SENSOR_FAULTS or kind in FIRMWARE_FAULTS:
        return "sensor"
    if kind in LINK_FAULTS:
        return "link"
    raise unknown(f"fault of a {profile}", kind, [*MACHINE_FAULTS[profile], *SENSOR_FAULTS, *FIRMWARE_FAULTS, *LINK_FAULTS])


def default_ramp_s(kind: str, culprit: Culprit) -> float:
    """How long a fault takes to set in where nobody says: machines wear in, electronics break at once."""
    if culprit == "machine":
        return _MACHINE_RAMP_S
    return _DRIFT_RAMP_S if kind == "drift" else 0.0


def unknown(where: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not among `known`; it names the nearest."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(where, f"one of {', '.join(names)}, not {name!r}{hint}")
