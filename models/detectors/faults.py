"""Opening and closing sensor faults, like alerts: named once when they start, once when they end."""

from __future__ import annotations

import msgspec

from models.contract.items import FaultKind, SensorFault
from models.contract.names import stable_id

_CALM_WINDOWS = 2  # a fault closes after so many windows without it


class FaultTracker:
    """The open sensor faults of one asset. Fault ids are made of what and when, so a replay names them alike."""

    def __init__(self, asset: str, source: str = "") -> None:
        self._asset = asset
        self._source = source
        self._open: dict[tuple[str, FaultKind], tuple[SensorFault, int]] = {}

    def resume(self, faults: list[SensorFault]) -> None:
        """Go on with the faults that were open before a restart."""
        self._open = {(fault.channel, fault.fault): (fault, 0) for fault in faults}

    def update(
        self, found: list[tuple[str, FaultKind]], start_ns: int, end_ns: int, nonce: tuple[object, ...] = ()
    ) -> list[SensorFault]:
        """Take in what one window showed; the faults that opened or closed with it. `nonce`: tells windows of the same times
        apart."""
        changed = []
        for channel, fault in found:
            entry = self._open.get((channel, fault))
            if entry is None:
                opened = self._opened(channel, fault, start_ns, nonce)
                changed.append(opened)
                self._open[channel, fault] = (opened, 0)
            else:
                self._open[channel, fault] = (entry[0], 0)
        for key in [key for key in self._open if key not in found]:
            entry_fault, calm = self._open[key]
            if calm + 1 < _CALM_WINDOWS:
                self._open[key] = (entry_fault, calm + 1)
                continue
            del self._open[key]
            changed.append(msgspec.structs.replace(entry_fault, closed_ns=end_ns))
        return changed

    def _opened(self, channel: str, fault: FaultKind, start_ns: int, nonce: tuple[object, ...]) -> SensorFault:
        fault_id = stable_id(fault, self._source, self._asset, channel, start_ns, *nonce)
        return SensorFault(
            fault_id=fault_id, source=self._source, asset=self._asset, channel=channel, fault=fault, opened_ns=start_ns
        )

    @property
    def open(self) -> list[SensorFault]:
        return [fault for fault, _ in list(self._open.values())]  # at once: another thread may ask
