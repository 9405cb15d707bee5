"""What happens on a light device as time passes: boots, windows, alerts, sensor faults, and what a scenario does to it. Pure.

Times are event seconds of the scenario (`t_s`) and event time in Unix ns. A device that is off, or whose disk is full, produces
nothing that has a number.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import msgspec

from firmware_sim.load.content import Look, Shape, alert, commissioning, evidence, sensor_fault
from firmware_sim.load.draws import Draws
from firmware_sim.load.outbox import Boot, LightOutbox
from firmware_sim.load.plan import FleetPlan
from firmware_sim.load.slots import LightSlots
from firmware_sim.load.troubles import Edge, Troubles
from models.contract.clock import NS_PER_S
from models.contract.items import Alert, Body, ClockMark, SensorFault, Severity
from models.contract.names import stable_id

_DAY_S: Final = 86_400.0
_ALERT_S: Final = 600.0  # how long one stays open, on average
_FAULT_S: Final = 1800.0
_HELD_ITEMS: Final = 2000  # that memory has room for while the disk is full; a real agent bounds it by bytes, to about as many
_NO_SPACE: Final = "[Errno 28] No space left on device"


@dataclass(frozen=True, slots=True)
class Setting:
    """What all devices of a fleet share. `t0_ns`: event time of second 0."""

    plan: FleetPlan
    shape: Shape
    seed: int
    t0_ns: int

    def at_ns(self, t_s: float) -> int:
        return self.t0_ns + round(t_s * NS_PER_S)


@dataclass(slots=True)
class _Open:
    """Something that is open until `end_s`: an alert's or a fault's first telling, and the asset."""

    told: Alert | SensorFault
    asset: int
    end_s: float


class Life:
    """`t_s`: how far it has been lived. `urgent`: an alert or a sensor fault waits to be sent."""

    def __init__(self, setting: Setting, device_id: str, troubles: Troubles) -> None:
        plan, shape = setting.plan, setting.shape
        self._setting = setting
        self._device_id = device_id
        self._troubles = troubles
        self._draws = Draws(setting.seed, device_id, "life")
        self._content_seed = Draws(setting.seed, device_id, "content").bits()
        self.t_s = -plan.backlog_s
        self.on = True
        self.urgent = False
        self.lost_by_wipe = 0
        self.clone_wanted = False
        self.restarted = False  # since it was last asked for: the device's turns begin anew
        self.slots = LightSlots(shape.profile, self.refusal_of)
        self._edges = deque(edge for edge in troubles.edges if edge.t_s >= self.t_s)
        self._opened: _Open | None = None
        self._next_s = {"alert": self.t_s + self._wait_s("alert"), "fault": self.t_s + self._wait_s("fault")}
        self._full_since: int | None = None  # window
        self._held: list[tuple[Body, int]] = []  # bodies of few, and when they came to be
        self._n_wipes = 0
        self.boot = self._new_boot(starts=1)
        self.outbox = self._new_outbox()
        self._begin_epoch()

    def copy(self) -> Life:
        """The copied card: the same state, from now on a boot of its own."""
        other: Life = object.__new__(Life)
        other.__dict__.update(self.__dict__)
        other._draws = Draws(self._setting.seed, self._device_id, "clone", self.boot.boot_id)
        other._next_s, other._held = dict(self._next_s), list(self._held)
        other.slots = self.slots.copy(other.refusal_of)
        other.outbox = self.outbox.copy()
        other._edges = deque(edge for edge in self._edges if edge.kind != "clone")
        other.clone_wanted = False
        other._restart(other._new_boot(other.boot.starts + 1), self.window(self.t_s) + 1)
        return other

    # --- questions -----------------------------------------------------------------------------------------------

    def window(self, t_s: float) -> int:
        """The number of the window that is open then."""
        return self._setting.at_ns(t_s) // self._setting.shape.hop_ns

    @property
    def now_ns(self) -> int:
        return self._setting.at_ns(self.t_s)

    @property
    def next_s(self) -> float:
        """When something happens by itself; inf = nothing that is known of."""
        opened_s = self._opened.end_s if self._opened else min(self._next_s.values())
        return min(opened_s, self._edges[0].t_s if self._edges else math.inf)

    @property
    def alarmed_asset(self) -> int | None:
        return self._opened.asset if self._opened and isinstance(self._opened.told, Alert) else None

    @property
    def storage(self) -> tuple[str, int]:
        """Why the disk takes nothing, empty while it does; and how many items are not stored for that."""
        if self._full_since is None:
            return "", 0
        windows = max(0, self.window(self.t_s) - self._full_since)
        return _NO_SPACE, windows * self._setting.plan.assets + len(self._held)

    def refusal_of(self, bundle_id: str) -> str:
        """Why this device would refuse a bundle, "" = it would not."""
        by_chance = Draws(self._setting.seed, self._device_id, bundle_id).one() < self._setting.plan.refuses
        if by_chance or self._troubles.severity("refused_bundle", self.t_s, bundle_id):
            return "self-test: golden vectors score outside their tolerance here"
        return ""

    # --- time ----------------------------------------------------------------------------------------------------

    def live_until(self, t_s: float) -> None:
        """Let everything happen that is due by `t_s`, in its order."""
        while self.next_s <= t_s:
            edge_s = self._edges[0].t_s if self._edges else math.inf
            if edge_s <= self.next_s:
                edge = self._edges.popleft()
                self.t_s = max(self.t_s, edge.t_s)
                self._meet(edge)
            else:
                self.t_s = max(self.t_s, self.next_s)
                self._open_or_close()
        self.t_s = max(self.t_s, t_s)

    def _meet(self, edge: Edge) -> None:
        window = self.window(self.t_s)
        if edge.kind in ("reboot", "crash"):
            self._restart(self._new_boot(self.boot.starts + 1, same=edge.kind == "crash"), window + 1)
        elif edge.kind == "wipe":
            self._wipe(window)
        elif edge.kind == "power_cut":
            self._power(edge.begins, window)
        elif edge.kind == "clone":
            self.clone_wanted = edge.begins
        elif edge.kind == "full_disk":
            self._fill(edge.begins, window)
        elif edge.kind == "bad_bundle":
            self.look_anew()

    def _restart(self, boot: Boot, window: int) -> None:
        self.boot = boot
        self.restarted = True
        if self._full_since is not None:  # what was in memory only is gone
            self._full_since, self._held = window, []
        self._mark()
        if self._full_since is None and self.on:
            self.outbox.begin(window, boot, self._look())

    def _power(self, off: bool, window: int) -> None:
        if off:
            self.outbox.pause(window)
            self.on = False
        elif not self.on:
            self.on = True
            self._restart(self._new_boot(self.boot.starts + 1), window + 1)

    def _wipe(self, window: int) -> None:
        self.lost_by_wipe += sum(self.outbox.waiting(self.now_ns).values())
        self._n_wipes += 1
        self._full_since, self._held, self._opened = None, [], None
        self.boot = self._new_boot(starts=1)
        self.restarted = True
        self.outbox = self._new_outbox()
        self._begin_epoch(window + 1)

    def _fill(self, full: bool, window: int) -> None:
        """The disk takes nothing from now on; or again, and what was held is stored behind what tells of the rest."""
        if full:
            self.outbox.pause(window)
            self._full_since = window
            return
        if self._full_since is None:
            return
        since, self._full_since = self._full_since, None
        held_from = max(since, window - _HELD_ITEMS // self._setting.plan.assets)
        at = self.boot.stamp(self.now_ns)
        if held_from > since:
            hop_ns = self._setting.shape.hop_ns
            self.outbox.lose((held_from - since) * self._setting.plan.assets, since * hop_ns, held_from * hop_ns, at)
        for body, at_ns in self._held:
            self.outbox.append(body, self.boot.stamp(at_ns))
        self._held = []
        if self.on:
            self.outbox.begin(held_from, self.boot, self._look())

    # --- alerts and sensor faults --------------------------------------------------------------------------------

    def _open_or_close(self) -> None:
        if self._opened is not None:
            self._close(self._opened)
            return
        what = min(self._next_s, key=lambda kind: self._next_s[kind])
        self._next_s[what] = self.t_s + self._wait_s(what)
        if not self.on:
            return
        asset = int(self._draws.one() * self._setting.plan.assets)
        if what == "alert":
            self._alert(asset)
        else:
            self._fault(asset)
        self.look_anew()

    def _alert(self, asset: int) -> None:
        shape, of, window = self._setting.shape, self._device_id, self.window(self.t_s)
        alert_id = stable_id(of, "alert", self.outbox.epoch, self.boot.boot_id, self.now_ns)
        severity: Severity = "critical" if self._draws.one() < 0.5 else "warning"
        told = alert(shape, of, asset, self.slots.detectors()[0], severity, alert_id, self.now_ns)
        self._tell(told)
        self._tell(evidence(shape, of, self._content_seed, asset, window, alert_id))
        self._opened = _Open(told, asset, self.t_s + self._draws.waiting(_ALERT_S))

    def _fault(self, asset: int) -> None:
        fault_id = stable_id(self._device_id, "fault", self.outbox.epoch, self.boot.boot_id, self.now_ns)
        told = sensor_fault(self._setting.shape, self._device_id, asset, fault_id, self.now_ns)
        self._tell(told)
        self._opened = _Open(told, asset, self.t_s + self._draws.waiting(_FAULT_S))

    def _close(self, opened: _Open) -> None:
        self._opened = None
        if self.on:
            self._tell(msgspec.structs.replace(opened.told, closed_ns=self.now_ns))
        self.look_anew()

    def _tell(self, body: Body) -> None:
        self.urgent = True
        if self._full_since is None:
            self.outbox.append(body, self.boot.stamp(self.now_ns))
        else:
            self._held.append((body, self.now_ns))

    # --- making --------------------------------------------------------------------------------------------------

    def _look(self) -> Look:
        detectors = tuple((name, self._rings(name)) for name in self.slots.detectors())
        opened = self._opened
        faulty = (opened.asset, 0) if opened and isinstance(opened.told, SensorFault) else None
        return Look(detectors, self.alarmed_asset, faulty)

    def _rings(self, detector: str) -> float:
        """In which share of the windows it rings for no reason; the baseline is not a bundle."""
        is_bundle = detector in self.slots.since_window
        return self._troubles.severity("bad_bundle", self.t_s, detector) if is_bundle else 0.0

    def look_anew(self) -> None:
        """Something has changed, such as its slots: windows look otherwise from the open one on."""
        if self.on and self._full_since is None:
            self.outbox.begin(self.window(self.t_s), self.boot, self._look())

    def _wait_s(self, what: str) -> float:
        plan = self._setting.plan
        per_day = plan.alerts_per_day if what == "alert" else plan.sensor_faults_per_day
        return self._draws.waiting(_DAY_S / per_day if per_day else math.inf)

    def _new_boot(self, starts: int, same: bool = False) -> Boot:
        """`same`: only the agent has started anew."""
        if same:
            return Boot(self.boot.boot_id, self.boot.at_ns, starts)
        return Boot(f"{self._draws.bits():016x}", self.now_ns - 20 * NS_PER_S, starts)

    def _new_outbox(self) -> LightOutbox:
        plan, shape = self._setting.plan, self._setting.shape
        health_windows = max(1, round(plan.health_s * NS_PER_S / shape.hop_ns))
        epoch = stable_id("light", self._setting.seed, self._device_id, self._setting.t0_ns, self._n_wipes)
        return LightOutbox(shape, self._device_id, self._content_seed, plan.assets, health_windows, plan.outbox_windows, epoch)

    def _begin_epoch(self, window: int | None = None) -> None:
        """The first items of a fresh outbox: what the clock is, and what was learned of each asset."""
        first = self.window(self.t_s) if window is None else window
        self._mark()
        for asset in range(self._setting.plan.assets):
            learned = commissioning(self._setting.shape, self._device_id, self._content_seed, asset, first)
            self.outbox.append(learned, self.boot.stamp(self.now_ns))
        self.outbox.begin(first, self.boot, self._look())

    def _mark(self) -> None:
        """The clock, at a start of the agent."""
        at = self.boot.stamp(self.now_ns)
        mark = ClockMark(reason="start", mono_ns=at.mono_ns, before_ns=at.wall_ns, after_ns=at.wall_ns, source="ntp")
        if self._full_since is None:
            self.outbox.append(mark, at)
        else:
            self._held.append((mark, at.wall_ns))
