"""Torn and garbage frames, told as a fault of the link: opened at the first, closed after a calm spell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from agent.sources.source import Burst
from agent.timeline import restated
from models.contract.clock import NS_PER_S, Stamp
from models.contract.items import ClockMark, SensorFault
from models.contract.names import stable_id

CALM_S: Final = 10.0


class LinkMonitor:
    """Watches the frame errors of all sources of one device. How long it has been calm is told by the monotonic clock."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[SensorFault, int]] = {}  # by source: the fault, and when the last bad frame came, monotonic
        self.frame_errors = 0

    def resume(self, faults: Iterable[SensorFault], mono_ns: int) -> None:
        """Go on with those that were open before a restart; a source that is there no more is calm, too."""
        self._open |= {fault.source: (fault, mono_ns) for fault in faults if fault.source}

    def heard(self, burst: Burst, now: Stamp) -> list[SensorFault]:
        """Take in a burst; the fault that it opens, if it does."""
        if not burst.frame_errors:
            return []
        self.frame_errors += burst.frame_errors
        entry = self._open.get(burst.source)
        fault = entry[0] if entry else SensorFault(
            fault_id=stable_id("link", burst.source, now.wall_ns, now.boot_id, now.mono_ns), source=burst.source, asset="",
            channel="", fault="link", opened_ns=now.wall_ns, detail=burst.last_error[:500],
        )  # fmt: skip
        self._open[burst.source] = (fault, now.mono_ns)
        return [] if entry else [fault]

    def tick(self, now: Stamp) -> list[SensorFault]:
        """The faults that close because nothing bad has come for a while."""
        calm = [source for source, (_, last_ns) in self._open.items() if now.mono_ns - last_ns > CALM_S * NS_PER_S]
        return [msgspec.structs.replace(self._open.pop(source)[0], closed_ns=now.wall_ns) for source in calm]

    def step(self, mark: ClockMark) -> None:
        """The device's clock was set: what is open is told by the new time from now on."""
        for source, (fault, last_ns) in self._open.items():
            self._open[source] = (msgspec.structs.replace(fault, opened_ns=restated(fault.opened_ns, mark)), last_ns)

    @property
    def open(self) -> list[SensorFault]:
        return [fault for fault, _ in list(self._open.values())]  # at once: another thread may ask
