"""Opening and closing sensor faults, like alerts: named once when they start, once when they end."""

from __future__ import annotations

import msgspec

from models.contract.items import FaultKind, SensorFault
from models.contract.names import stable_id
from models.quality.finding import Finding

_CALM_WINDOWS = 2  # a fault closes after so many windows without it
_MAX_DETAIL = 500  # what an item's text may hold


class FaultTracker:
    """The open sensor faults of one asset. Fault ids are made of what and when, so a replay names them alike."""

    def __init__(self, asset: str, source: str = "") -> None:
        self._asset = asset
        self._source = source
        self._open: dict[tuple[str, FaultKind], tuple[SensorFault, int]] = {}

    def resume(self, faults: list[SensorFault]) -> None:
        """Go on with the faults that were open before a restart."""
        self._open = {(fault.channel, fault.fault): (fault, 0) for fault in faults}

    def update(self, findings: list[Finding], start_ns: int, end_ns: int, nonce: tuple[object, ...] = ()) -> list[SensorFault]:
        """Take in what one window showed; the faults that opened or closed with it, each with the newest detail. `nonce`: tells
        windows of the same times apart."""
        changed = []
        told = {(finding.channel, finding.kind): finding.detail[:_MAX_DETAIL] for finding in findings if finding.told}
        for key, detail in told.items():
            entry = self._open.get(key)
            if entry is None:
                fault = self._opened(*key, start_ns, detail, nonce)
                changed.append(fault)
            else:
                fault = entry[0] if entry[0].detail == detail else msgspec.structs.replace(entry[0], detail=detail)
            self._open[key] = (fault, 0)
        for key in [key for key in self._open if key not in told]:
            fault, calm = self._open[key]
            if calm + 1 < _CALM_WINDOWS:
                self._open[key] = (fault, calm + 1)
                continue
            del self._open[key]
            changed.append(msgspec.structs.replace(fault, closed_ns=end_ns))
        return changed

    def _opened(self, channel: str, fault: FaultKind, start_ns: int, detail: str, nonce: tuple[object, ...]) -> SensorFault:
        fault_id = stable_id(fault, self._source, self._asset, channel, start_ns, *nonce)
        return SensorFault(
            fault_id=fault_id, source=self._source, asset=self._asset, channel=channel, fault=fault, opened_ns=start_ns,
            detail=detail,
        )  # fmt: skip

    @property
    def open(self) -> list[SensorFault]:
        return [fault for fault, _ in list(self._open.values())]  # at once: another thread may ask
