"""From what the pipeline has stored to what the rules make of it: the pipeline's side of local actions.

    pipeline thread: stored alerts, faults ──> rules that match ──> one bounded queue and thread a rule: decide ──> actor
                                                │                                                └── record ──> outbox
                     stored aggregates ─────────┴──> Home Assistant link (latest state wins)

`notice` never waits. Actions are done at most once: a crash between an alert's being stored and its action costs the action.
A record there is always, unless the crash came before the rule's thread had taken the event up.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from agent.actions.config import ActionRule
from agent.actions.event import Event, event_of
from agent.actions.rules import matches
from agent.actions.worker import Task, Worker
from agent.clock import mono_ns
from models.contract.clock import Stamp
from models.contract.items import Aggregate, Alert, Body, SensorFault, Severity

_STOP_S: Final = 5.0


class StateShow(Protocol):
    """Who shows the assets' states elsewhere, continuously; see `home_assistant_link`."""

    def start(self) -> None: ...

    def notice(self, bodies: Sequence[Body], now_ns: int) -> None: ...

    def stop(self) -> None: ...

    def state(self) -> str: ...


class Actions:
    """All rules of one device. `notice` is called from the pipeline's thread only."""

    def __init__(
        self,
        device: str,
        rules: Sequence[ActionRule],
        workers: Mapping[str, Worker],
        show: StateShow | None = None,
    ) -> None:
        self._device = device
        self._rules = rules
        self._workers = workers
        self._show = show
        self._told: dict[str, Severity] = {}  # of each open alert, by id

    def start(self, open_alerts: Sequence[Alert]) -> None:
        """`open_alerts`: left open before the restart; they have been acted on."""
        self._told = {alert.alert_id: alert.severity for alert in open_alerts}
        for worker in self._workers.values():
            worker.start()
        if self._show is not None:
            self._show.notice(open_alerts, mono_ns())
            self._show.start()

    def notice(
        self,
        bodies: Sequence[Body],
        open_alerts: Collection[Alert],
        commissioning: Collection[str],
        now: Stamp,
        *,
        stored: bool = True,
    ) -> None:
        """`bodies`: what has just been stored, or could not be. `open_alerts`: as they stand now, for they worsen without
        being stored anew. `commissioning`: the assets that are still learning their normal."""
        if self._show is not None:
            self._show.notice(bodies, now.mono_ns)
        if not self._rules:
            return
        since_s = time.monotonic()
        for told in [*self._events(bodies), *self._worsened(bodies, open_alerts)]:
            event = told if stored else msgspec.structs.replace(told, stored=False)
            for rule in self._rules:
                if matches(rule, event):
                    self._workers[rule.name].offer(Task(event, commissioning, now, since_s))

    def _events(self, bodies: Sequence[Body]) -> list[Event]:
        events = []
        for body in bodies:
            if isinstance(body, Alert | SensorFault):
                events.append(event_of(body, self._device))
            if isinstance(body, Alert) and body.closed_ns is None:
                self._told[body.alert_id] = body.severity
            elif isinstance(body, Alert):
                self._told.pop(body.alert_id, None)
        return events

    def _worsened(self, bodies: Sequence[Body], open_alerts: Collection[Alert]) -> list[Event]:
        worse = [a for a in open_alerts if a.severity == "critical" and self._told.get(a.alert_id) == "warning"]
        self._told.update({alert.alert_id: alert.severity for alert in worse})
        newest_ns = {body.asset: body.end_ns for body in bodies if isinstance(body, Aggregate)}
        return [event_of(a, self._device, worsened_ns=newest_ns.get(a.asset, a.opened_ns)) for a in worse]

    def stop(self) -> None:
        """Within about 5 s: what waits is done or recorded as not done; a running action is ended."""
        deadline_s = time.monotonic() + _STOP_S
        for worker in self._workers.values():
            worker.finish()
        for worker in self._workers.values():
            worker.stop(deadline_s)
        if self._show is not None:
            self._show.stop()

    def status(self) -> dict[str, Any]:
        """By rule: how often it did what, and what came last; as JSON-able values."""
        told: dict[str, Any] = {
            rule.name: {"actor": rule.actor, **self._workers[rule.name].counters, "last": self._workers[rule.name].last}
            for rule in self._rules
        }
        return {"rules": told, "home_assistant": self._show.state() if self._show is not None else None}
