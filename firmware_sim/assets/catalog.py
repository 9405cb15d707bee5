"""Which asset plays which profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from firmware_sim.assets.asset import Asset
from firmware_sim.assets.bearing import Bearing
from firmware_sim.assets.compressor import Compressor
from firmware_sim.assets.fan import Fan
from firmware_sim.assets.motor import Motor
from firmware_sim.assets.pump import Pump
from firmware_sim.assets.room import Room
from firmware_sim.operation.operation import USUAL, Operation


class MakeAsset(Protocol):
    """`rate_hz`: samples a second. `operation`: how the machine is run."""

    def __call__(self, seed: int, rate_hz: float, operation: Operation = USUAL) -> Asset: ...


ASSETS: Final[Mapping[str, MakeAsset]] = {
    "pump": Pump,
    "motor": Motor,
    "fan": Fan,
    "compressor": Compressor,
    "bearing": Bearing,
    "room": Room,
}
MACHINE_FAULTS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "pump": Pump.fault_channels,
    "motor": Motor.fault_channels,
    "fan": Fan.fault_channels,
    "compressor": Compressor.fault_channels,
    "bearing": Bearing.fault_channels,
    "room": Room.fault_channels,
}
