"""This machine's own sensors: real input with nothing attached. Channels are those of the profile `host`.

    cpu_load %, memory_used %, disk_write, disk_read, net_sent, net_received B/s, temperature degC

Loads and rates are means since the previous sample, from counters; a counter that went back (a wrap, a reset, a network
interface that left) gives no reading, and neither does a sensor that this machine does not have. The loopback
interface is not counted. The temperature is the processor's hottest, or the hottest there is.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psutil

from agent.backoff import Backoff
from agent.sources.config import HostConfig
from agent.sources.link import Link
from agent.sources.source import Burst, SourceState
from models.contract.reading import Reading
from models.errors import LinkError

_BACKOFF: Final = Backoff()
_CPU_SENSORS: Final = ("cpu_thermal", "cpu-thermal", "coretemp", "k10temp", "zenpower", "soc_thermal")


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters and gauges at one moment. `taken_s`: monotonic. `net`: interface -> (sent, received) bytes.
    `disk`: (written, read) bytes. None = this machine does not have it."""

    taken_s: float
    cpu_busy_s: float
    cpu_total_s: float
    memory_percent: float
    disk: tuple[int, int] | None
    net: Mapping[str, tuple[int, int]]
    temperature: float | None


def channel_values(before: Sample | None, now: Sample) -> dict[str, float]:
    """What can be said at `now`, given the sample before it (None = this is the first)."""
    values = {"memory_used": now.memory_percent}
    if now.temperature is not None:
        values["temperature"] = now.temperature
    if before is None or now.taken_s <= before.taken_s:
        return values
    total_s = now.cpu_total_s - before.cpu_total_s
    if total_s > 0:
        # I/O wait, which is not busy time, may run backwards in Linux: hence the bounds.
        values["cpu_load"] = min(100.0, max(0.0, 100.0 * (now.cpu_busy_s - before.cpu_busy_s) / total_s))
    elapsed_s = now.taken_s - before.taken_s
    if before.disk is not None and now.disk is not None:
        values |= _rates(("disk_write", "disk_read"), [(before.disk, now.disk)], elapsed_s)
    both = [(before.net[nic], now.net[nic]) for nic in now.net if nic in before.net]
    if both:
        values |= _rates(("net_sent", "net_received"), both, elapsed_s)
    return values


def _rates(
    names: tuple[str, str], pairs: Sequence[tuple[tuple[int, int], tuple[int, int]]], elapsed_s: float
) -> dict[str, float]:
    """B/s under each name, summed over `pairs` of (before, now); left out where any counter went back."""
    growths = {name: [now[i] - before[i] for before, now in pairs] for i, name in enumerate(names)}
    return {name: sum(growth) / elapsed_s for name, growth in growths.items() if min(growth) >= 0}


def take_sample() -> Sample:
    """Raises OSError where the kernel's counters cannot be read."""
    cpu = psutil.cpu_times()
    total_s = sum(cpu) - getattr(cpu, "guest", 0.0) - getattr(cpu, "guest_nice", 0.0)  # guests are in user and nice too
    disk = psutil.disk_io_counters(nowrap=False)
    nics = psutil.net_io_counters(pernic=True, nowrap=False)
    return Sample(
        taken_s=time.monotonic(),
        cpu_busy_s=total_s - cpu.idle - getattr(cpu, "iowait", 0.0),
        cpu_total_s=total_s,
        memory_percent=psutil.virtual_memory().percent,
        disk=None if disk is None else (disk.write_bytes, disk.read_bytes),
        net={name: (nic.bytes_sent, nic.bytes_recv) for name, nic in nics.items() if name != "lo"},
        temperature=_temperature(),
    )


def _temperature() -> float | None:
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    chosen = next((sensors[name] for name in _CPU_SENSORS if name in sensors), None)
    entries = chosen if chosen is not None else [entry for group in sensors.values() for entry in group]
    return max((entry.current for entry in entries if entry.current is not None), default=None)


class HostSource:
    """See `source.Source`. Samples every `interval_s` on the monotonic clock; a sample that is late skips no rate."""

    def __init__(
        self,
        config: HostConfig,
        now_ns: Callable[[], int],
        known: Mapping[str, Sequence[str]],
        backoff: Backoff = _BACKOFF,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = config.name
        self._config = config
        self._now_ns = now_ns
        self._channels = frozenset(known.get(config.asset, ()))
        self._link = Link(config.name, now_ns, backoff, jitter)

    def start(self, deliver: Callable[[Burst], None]) -> None:
        self._link.start(lambda: self._session(deliver))

    def stop(self) -> None:
        self._link.stop()

    @property
    def state(self) -> SourceState:
        return self._link.state

    def _session(self, deliver: Callable[[Burst], None]) -> None:
        before: Sample | None = None
        due_s = time.monotonic()
        while not self._link.pause(max(0.0, due_s - time.monotonic())):
            try:
                sample = take_sample()
            except OSError as error:
                raise LinkError(f"this machine's counters: {error}") from error
            self._link.up("this machine")
            deliver(self._burst(channel_values(before, sample)))
            before, due_s = sample, max(due_s + self._config.interval_s, time.monotonic())

    def _burst(self, values: Mapping[str, float]) -> Burst:
        at_ns = self._now_ns()
        readings = [Reading(self._config.asset, name, at_ns, value) for name, value in values.items() if name in self._channels]
        self._link.count(readings=len(readings), unknown=len(values) - len(readings))
        return Burst(self.name, readings)
