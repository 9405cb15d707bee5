"""A fleet: the nodes of a scenario over real links, in event time that runs `speed` times as fast as the clock.

One thread plays them all, in ticks: each tick, every node gives what became due, and its link carries it. Nothing in it
waits for a reader or a broker.

Threading contract: every method may be called from any thread; a change takes effect with the next tick.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from firmware_sim.links.link import Link
from firmware_sim.links.mqtt import MqttLink
from firmware_sim.links.pty import PtyLink
from firmware_sim.links.sparkplug import SparkplugLink
from firmware_sim.scenario import AssetPlan, Scenario
from firmware_sim.truth import Observed, TruthEvent
from firmware_sim.virtual import make_nodes
from models.contract.clock import NS_PER_S
from models.errors import ConfigError, LinkError

TICK_S: Final = 0.08


class Fleet(Protocol):
    """`start` returns once links are there; `stop` once nothing is left running."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def now_ns(self) -> int:
        """Event time now, Unix ns."""
        ...

    def addresses(self) -> Mapping[str, str]:
        """Each asset's serial port, or broker."""
        ...

    def inject(
        self, asset: str, kind: str, severity: float = 1.0, channel: str | None = None, ramp_s: float | None = None
    ) -> TruthEvent:
        """Begin a fault now; what was recorded of it. Raises ConfigError where the asset has no such fault."""
        ...

    def clear(self, asset: str, kind: str | None = None) -> int:
        """End an asset's faults, or those of one kind; how many."""
        ...

    def unplug(self, asset: str) -> None:
        """Pull the asset's cable; time goes on, what it would have said is lost."""
        ...

    def plug(self, asset: str) -> None: ...

    def truth(self) -> list[TruthEvent]:
        """What is, was and is planned to be wrong."""
        ...


class LocalFleet:
    """A fleet in a thread of this process. `broker`: (host, port), needed where an asset speaks MQTT.

    `ports`: folder for stable names of the serial ports, one symbolic link an asset; None = the terminals' own names.
    `t0_ns`: event time at the start; None = the scenario's, else the clock's.
    """

    def __init__(
        self, scenario: Scenario, broker: tuple[str, int] | None = None, ports: Path | None = None, t0_ns: int | None = None
    ) -> None:
        if t0_ns is None:
            t0_ns = scenario.virtual_start_ns if scenario.start else time.time_ns()
        self.t0_ns = t0_ns
        self.started_mono_ns: int | None = None
        self._scenario = scenario
        self._broker = broker
        self._ports = ports
        self._nodes = make_nodes(scenario, t0_ns, live=True)
        self._links: dict[str, Link] = {}
        self._planned_out: set[str] = set()  # assets whose cable the scenario has pulled
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulated-fleet", daemon=True)
        self._failure: Exception | None = None

    def start(self) -> None:
        """See `Fleet.start`. Raises ConfigError where a link cannot be made."""
        try:
            for plan in self._scenario.assets:
                self._links[plan.name] = self._connect(plan)
        except ConfigError:
            self._close_links()
            raise
        self.started_mono_ns = time.monotonic_ns()
        self._thread.start()

    def stop(self) -> None:
        """See `Fleet.stop`. Raises LinkError where the fleet had stopped by itself, and why."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._close_links()
        self._check()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the scenario's duration is over; whether it is."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def now_ns(self) -> int:
        return self.t0_ns + round(self._elapsed_s() * NS_PER_S)

    def addresses(self) -> Mapping[str, str]:
        return {name: link.address for name, link in self._links.items()}

    def channels(self, asset: str) -> tuple[str, ...]:
        """An asset's channels, in the order of its columns."""
        return self._nodes[self._known(asset)].channels

    def dropped(self) -> dict[str, int]:
        """Messages that no reader or broker took, by asset."""
        return {name: link.n_dropped for name, link in self._links.items()}

    def inject(
        self, asset: str, kind: str, severity: float = 1.0, channel: str | None = None, ramp_s: float | None = None
    ) -> TruthEvent:
        node = self._nodes[self._known(asset)]
        with self._lock:
            node.inject(kind, severity, channel, ramp_s)
            return node.truth()[-1]

    def clear(self, asset: str, kind: str | None = None) -> int:
        node = self._nodes[self._known(asset)]
        with self._lock:
            return node.clear(kind)

    def unplug(self, asset: str) -> None:
        with self._lock:
            self._links[self._known(asset)].unplug()

    def plug(self, asset: str) -> None:
        with self._lock:
            self._links[self._known(asset)].plug()

    def observed(self) -> list[Observed]:
        """From when to when each machine has played so far."""
        duration_s = self._scenario.duration_s
        end_s = self._elapsed_s() if duration_s is None else min(self._elapsed_s(), duration_s)
        end_ns = self.t0_ns + round(end_s * NS_PER_S)
        plans = self._scenario.assets
        return [Observed(asset=plan.name, profile=plan.profile, start_ns=self.t0_ns, end_ns=end_ns) for plan in plans]

    def truth(self) -> list[TruthEvent]:
        self._check()
        with self._lock:
            return [event for node in self._nodes.values() for event in node.truth()]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _connect(self, plan: AssetPlan) -> Link:
        path = self._ports / plan.name if self._ports is not None else None
        if plan.link == "serial":
            return PtyLink(path)
        channels = self._nodes[plan.name].channels
        if plan.link == "modbus":
            return _polled(plan, len(channels), path)
        if self._broker is None:
            raise ConfigError(f"assets: {plan.name}", "the address of a broker, because it speaks MQTT")
        if plan.form == "sparkplug":
            return SparkplugLink(plan.name, channels, *self._broker)
        return MqttLink(*self._broker)

    def _elapsed_s(self) -> float:
        """Scenario time: seconds of event time since the start."""
        if self.started_mono_ns is None:
            return 0.0
        return (time.monotonic_ns() - self.started_mono_ns) * self._scenario.speed / NS_PER_S

    def _run(self) -> None:
        try:
            duration_s = self._scenario.duration_s
            while not self._stopping.wait(TICK_S):
                now_s = self._elapsed_s()
                with self._lock:
                    for name, node in self._nodes.items():
                        self._follow_plan(name, node.unplugged(now_s))
                        self._links[name].write(node.due(now_s if duration_s is None else min(now_s, duration_s)))
                if duration_s is not None and now_s >= duration_s:
                    return
        except Exception as error:  # a thread has nobody to raise to: whoever calls next is told
            self._failure = error

    def _follow_plan(self, name: str, out: bool) -> None:
        """Pull the cable where the scenario has it out, and put back only what was pulled here."""
        if out and name not in self._planned_out:
            self._planned_out.add(name)
            self._links[name].unplug()
        elif not out and name in self._planned_out:
            self._planned_out.remove(name)
            self._links[name].plug()

    def _check(self) -> None:
        if self._failure is not None:
            raise LinkError(f"the simulated fleet stopped by itself: {self._failure!r}") from self._failure

    def _known(self, asset: str) -> str:
        self._check()
        if asset not in self._nodes:
            raise ConfigError(f"asset {asset!r}", f"one of {', '.join(self._nodes)}")
        return asset

    def _close_links(self) -> None:
        for link in self._links.values():
            link.close()


def _polled(plan: AssetPlan, n_channels: int, path: Path | None) -> Link:
    try:
        from firmware_sim.links.polled import PolledLink
    except ImportError:
        raise ConfigError(
            f"assets: {plan.name}", "the package pymodbus, for link = \"modbus\": pip install 'tocsin[modbus]'"
        ) from None
    if plan.form == "tcp":
        return PolledLink(n_channels)
    if path is None:
        raise ConfigError(f"assets: {plan.name}", "a folder for the names of serial ports (--ports), for Modbus RTU")
    return PolledLink(n_channels, path)
