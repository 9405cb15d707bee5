"""Which asset plays which profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from firmware_sim.assets.asset import Asset
from firmware_sim.assets.bearing import Bearing
from firmware_sim.assets.compressor import Compressor
from firmware_sim.assets.fan import Fan
from firmware_sim.assets.motor import Motor
from firmware_sim.assets.pump import Pump

ASSETS: Final[Mapping[str, Callable[[int, float], Asset]]] = {
    "pump": Pump,
    "motor": Motor,
    "fan": Fan,
    "compressor": Compressor,
    "bearing": Bearing,
}
MACHINE_FAULTS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "pump": Pump.fault_channels,
    "motor": Motor.fault_channels,
    "fan": Fan.fault_channels,
    "compressor": Compressor.fault_channels,
    "bearing": Bearing.fault_channels,
}
