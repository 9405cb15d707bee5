"""Assets that have fallen silent: a window without any reading never closes, so nobody else would tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from agent.asset import AssetWatch
from agent.timeline import restated
from models.contract.clock import NS_PER_S, Stamp
from models.contract.items import ClockMark, SensorFault
from models.contract.names import stable_id

_MIN_S: Final = 30.0
_WINDOWS: Final = 3.0


def silent_after_ns(watch: AssetWatch) -> int:
    """How long without a reading is silence: three windows, or three readings that are due; at least half a minute."""
    profile = watch.profile
    return round(max(_MIN_S, _WINDOWS * profile.windowing.window_s, _WINDOWS * profile.period_s) * NS_PER_S)


def is_silent(watch: AssetWatch, mono_ns: int) -> bool:
    """Whether nothing has come from the asset for so long; also while nothing has come yet at all."""
    heard_ns = watch.windower.heard_ns
    return heard_ns is None or mono_ns - heard_ns > silent_after_ns(watch)


class SilenceMonitor:
    """Opens a `missing` fault, without a channel, for an asset that was heard and is no more.

    How long it has been silent is told by the monotonic clock, when that was by the wall clock. A fault closes with the next
    reading, or where its asset is watched no more.
    """

    def __init__(self) -> None:
        self._open: dict[str, SensorFault] = {}
        self._heard_ns: dict[str, int | None] = {}  # of those that are open: when the last reading before had come

    def resume(self, faults: Iterable[SensorFault], watches: Mapping[str, AssetWatch]) -> None:
        """Go on with those that were open before a restart. A new start is no reading."""
        for fault in faults:
            if fault.asset:
                self._open[fault.asset] = fault
                watch = watches.get(fault.asset)
                self._heard_ns[fault.asset] = watch.windower.heard_ns if watch is not None else None

    def tick(self, watches: Iterable[AssetWatch], now: Stamp) -> list[SensorFault]:
        """The faults that open or close now."""
        changed, gone = [], set(self._open)
        for watch in watches:
            gone.discard(watch.asset)
            heard_ns = watch.windower.heard_ns
            fault = self._open.get(watch.asset)
            if fault is None and heard_ns is not None and is_silent(watch, now.mono_ns):
                changed.append(self._opened(watch, now, heard_ns))
            elif fault is not None and heard_ns != self._heard_ns.get(watch.asset) and not is_silent(watch, now.mono_ns):
                changed.append(self._closed(watch.asset, now))
        return [*changed, *(self._closed(asset, now) for asset in gone)]

    def step(self, mark: ClockMark) -> None:
        """The device's clock was set: what is open is told by the new time from now on."""
        for asset, fault in self._open.items():
            self._open[asset] = msgspec.structs.replace(fault, opened_ns=restated(fault.opened_ns, mark))

    def _opened(self, watch: AssetWatch, now: Stamp, heard_ns: int) -> SensorFault:
        since_ns = now.wall_ns - (now.mono_ns - heard_ns)
        fault = SensorFault(
            fault_id=stable_id("missing", watch.asset, since_ns, now.boot_id, heard_ns), source="", asset=watch.asset,
            channel="", fault="missing", opened_ns=since_ns, detail="no readings from any of its channels",
        )  # fmt: skip
        self._open[watch.asset], self._heard_ns[watch.asset] = fault, heard_ns
        return fault

    def _closed(self, asset: str, now: Stamp) -> SensorFault:
        fault = self._open.pop(asset)
        return msgspec.structs.replace(fault, closed_ns=max(now.wall_ns, fault.opened_ns))

    @property
    def open(self) -> list[SensorFault]:
        return list(self._open.values())
