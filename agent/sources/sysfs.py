"""The sysfs source: sensors of the Linux kernel, by name; see `sensor_files` for what they are called and their units.

It is a table of its own and no part of `[[host]]`: what hangs on an I²C bus or an ADC mostly sits on a machine, an asset of
another profile and rate, while `host` is this computer, by psutil, with the channels of one profile.

- A pattern has to mean one sensor. Where it matches several, none is read and `state` names them: a reading of the wrong
  sensor is worse than none.
- A sensor that is not there, or no longer, gives no readings (so its channel goes missing) and is looked for every
  `RESCAN_S`; it is found again under another number. The link is down only while none of them is there.
- A sensor that is there and gives no value (its own fault flag, an I/O error) is a reading of NaN.
- Values are polled, for slow signals: up to some 100 Hz. IIO's buffered capture for fast ones is not used.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from agent.backoff import Backoff
from agent.sources.config import SysfsConfig, SysfsSensor
from agent.sources.link import Link
from agent.sources.sensor_files import SensorFile, SensorGone, find_sensors
from agent.sources.source import Burst, SourceState
from models.contract.reading import Reading
from models.errors import LinkError

RESCAN_S: Final = 5.0
_BACKOFF: Final = Backoff(cap_s=10.0)


def choose(wanted: Sequence[SysfsSensor], there: Sequence[SensorFile]) -> tuple[dict[str, SensorFile], str]:
    """The sensor of each channel that has exactly one, and one line about the others ("" = none)."""
    chosen: dict[str, SensorFile] = {}
    troubles = []
    for each in wanted:
        matching = [file for file in there if any(fnmatchcase(address, each.sensor) for address in file.addresses)]
        if len(matching) == 1:
            chosen[each.channel] = matching[0]
        elif matching:
            names = ", ".join(file.addresses[-1] for file in matching[:4])
            troubles.append(f"{each.channel}: {each.sensor!r} matches {len(matching)} sensors: {names}")
        else:
            troubles.append(f"{each.channel}: no sensor {each.sensor!r}")
    return chosen, "; ".join(troubles)


class SysfsSource:
    """See `source.Source`. Samples every `interval_s` on the monotonic clock. `known`: channels by asset."""

    def __init__(
        self,
        config: SysfsConfig,
        now_ns: Callable[[], int],
        known: Mapping[str, Sequence[str]],
        backoff: Backoff = _BACKOFF,
        jitter: Callable[[], float] = random.random,
        rescan_s: float = RESCAN_S,
    ) -> None:
        self.name = config.name
        self._config = config
        self._now_ns = now_ns
        self._known = frozenset(known.get(config.asset, ()))
        self._rescan_s = rescan_s
        self._chosen: dict[str, SensorFile] = {}
        self._trouble = ""
        self._link = Link(config.name, now_ns, backoff, jitter, extra=("missing",))

    def start(self, deliver: Callable[[Burst], None]) -> None:
        self._link.start(lambda: self._session(deliver))

    def stop(self) -> None:
        self._link.stop()

    @property
    def state(self) -> SourceState:
        state, trouble = self._link.state, self._trouble
        if state.link != "up" or not trouble:
            return state
        return SourceState(state.link, f"{state.detail}; {trouble}"[:500], state.since_ns, state.counters)

    def _session(self, deliver: Callable[[Burst], None]) -> None:
        """From finding sensors to having none. Raises LinkError."""
        scan_s = due_s = time.monotonic()
        self._chosen = {}
        while not self._link.pause(max(0.0, due_s - time.monotonic())):
            if len(self._chosen) < len(self._config.sensors) and time.monotonic() >= scan_s:
                self._scan()
                scan_s = time.monotonic() + self._rescan_s
            burst = self._sample()
            if self._link.stopping:  # a sensor may have kept us waiting
                return
            self._link.up(f"sensors: {', '.join(self._chosen)}")
            self._link.count(readings=len(burst.readings))
            deliver(burst)
            due_s = max(due_s + self._config.interval_s, time.monotonic())

    def _scan(self) -> None:
        roots = Path(self._config.hwmon_root), Path(self._config.iio_root)
        self._chosen, self._trouble = choose(self._config.sensors, find_sensors(*roots))

    def _sample(self) -> Burst:
        """What the sensors say now. Raises LinkError where none is there."""
        readings, n_unknown = [], 0
        for each in self._config.sensors:
            file = self._chosen.get(each.channel)
            if file is None:
                continue
            try:
                value = file.read()
            except SensorGone:
                del self._chosen[each.channel]
                self._trouble = "; ".join(filter(None, (self._trouble, f"{each.channel}: {each.sensor!r} has gone")))
                continue
            if each.channel in self._known:
                at_ns = self._now_ns()
                readings.append(Reading(self._config.asset, each.channel, at_ns, value * each.scale + each.offset))
            else:
                n_unknown += 1
        if not self._chosen:
            raise LinkError(self._trouble)
        self._link.count(unknown=n_unknown, missing=len(self._config.sensors) - len(self._chosen))
        return Burst(self.name, readings)
