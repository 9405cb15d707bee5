"""Alerts and sensor faults against the truth, event by event. Pure.

Rules:
1. A machine's fault is *found* by the first alert of its asset that opens from its onset to `grace_s` after its end. An alert
   that was open before is none: it was raised for another reason, or for none.
2. An alert that finds no machine fault is *false*. Where a sensor or line of its asset was failing when it opened, it is false
   all the same, and counted as such.
3. The *attribution* is right where the first channel of the alert that found a fault is one that the fault shows in.
4. A sensor fault is *named* by every kind told of its place while it was on, or at most `grace_s` after; *alarmed* where a
   false alert opened in that time. What is told of a place where no sensor failed, nor the machine, is told *for nothing*.
   A fault of a line is dated by the device's own clock, which need not be the machines': it is told of by its place alone.
5. What is said of an asset from the beginning of its maintenance to `grace_s` after its end is *excused*: neither found, false,
   nor for nothing. That time is not watched either.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from firmware_sim.judging.told import Told, ToldAlert, ToldFault
from firmware_sim.truth import Observed, TruthEvent
from models.contract.clock import NS_PER_S

GRACE_S: Final = 120.0
MONTH_S: Final = 30 * 86400.0
_NEVER_NS: Final = 2**63


@dataclass(frozen=True, slots=True)
class MachineFault:
    """A machine fault that really was. `alert`: the one that found it. `delay_s`: event time from onset to it."""

    event: TruthEvent
    alert: ToldAlert | None

    @property
    def delay_s(self) -> float | None:
        return None if self.alert is None else (self.alert.opened_ns - self.event.start_ns) / NS_PER_S

    @property
    def top_channel(self) -> str:
        return self.alert.top[0][0] if self.alert is not None and self.alert.top else ""

    @property
    def attributed(self) -> bool | None:
        """Whether the right channel was named; None where it was not found, or the truth does not say where it shows."""
        return self.top_channel in self.event.shows_in if self.alert is not None and self.event.shows_in else None


@dataclass(frozen=True, slots=True)
class FalseAlarm:
    """An alert that no machine fault explains. `during`: the sensor or line faults of its asset when it opened."""

    alert: ToldAlert
    during: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SensorFailure:
    """A sensor or line fault that really was, and what was made of it."""

    event: TruthEvent
    named: tuple[str, ...]
    alarmed: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the alerts were worth. `observed_s`: of each asset, event seconds; empty where nobody knows."""

    machine: Sequence[MachineFault]
    false_alarms: Sequence[FalseAlarm]
    sensors: Sequence[SensorFailure]
    for_nothing: Sequence[ToldFault]
    excused: Sequence[ToldAlert]
    observed_s: dict[str, float]

    @property
    def recall(self) -> float | None:
        """The share of machine faults that were found; None without any."""
        return sum(fault.alert is not None for fault in self.machine) / len(self.machine) if self.machine else None

    @property
    def attribution(self) -> float | None:
        """The share of found faults whose channel was named; None without any."""
        known = [fault.attributed for fault in self.machine if fault.attributed is not None]
        return sum(known) / len(known) if known else None

    @property
    def delays_s(self) -> list[float]:
        """Of the faults that were found, ascending."""
        return sorted(fault.delay_s for fault in self.machine if fault.delay_s is not None)

    @property
    def asset_months(self) -> float:
        """How long assets were watched, together, in months of thirty days."""
        return sum(self.observed_s.values()) / MONTH_S

    @property
    def false_alarms_per_month(self) -> tuple[float, float] | None:
        """Per asset and month of thirty days: the rate, and the bound that it stays below with 95 % confidence.

        The bound is Garwood's for a Poisson count, by Byar's approximation (Breslow and Day, 1987, ch. 2); where there was
        no false alarm, the rule of three. None where nobody knows for how long the assets were watched.
        """
        if not self.asset_months:
            return None
        n = len(self.false_alarms)
        bound = 3.0 if n == 0 else (n + 1) * (1 - 1 / (9 * (n + 1)) + 1.645 / (3 * math.sqrt(n + 1))) ** 3
        return n / self.asset_months, bound / self.asset_months

    def confusion(self) -> dict[str, Counter[str]]:
        """For each kind of sensor or line fault, how often each kind was named for it; `none`: none was."""
        table: dict[str, Counter[str]] = {}
        for failure in self.sensors:
            table.setdefault(failure.event.fault, Counter()).update(failure.named or ("none",))
        return table


def judge(truth: Iterable[TruthEvent], told: Told, observed: Iterable[Observed] = (), grace_s: float = GRACE_S) -> Judgement:
    """`observed`: from when to when each asset was watched; without it there is no rate of false alarms."""
    everything = list(truth)
    maintained = [event for event in everything if event.kind == "maintenance"]
    events = [event for event in everything if event.kind != "maintenance"]
    grace_ns = round(grace_s * NS_PER_S)
    machine = [event for event in events if event.kind == "machine"]
    others = [event for event in events if event.kind != "machine"]
    excused = [alert for alert in told.alerts if any(_is_on(event, alert, grace_ns) for event in maintained)]
    alerts = [alert for alert in told.alerts if alert not in excused]
    false_alarms = [
        FalseAlarm(alert, tuple(event.fault for event in others if _is_on(event, alert, grace_ns)))
        for alert in alerts
        if not any(_is_on(event, alert, grace_ns) for event in machine)
    ]
    return Judgement(
        machine=[_found(event, alerts, grace_ns) for event in machine],
        false_alarms=false_alarms,
        sensors=[_named(event, told.faults, false_alarms, grace_ns) for event in others],
        for_nothing=[fault for fault in told.faults if not any(_concerns(event, fault, grace_ns) for event in everything)],
        excused=excused,
        observed_s=_observed_s(observed, maintained),
    )


def _found(event: TruthEvent, alerts: Iterable[ToldAlert], grace_ns: int) -> MachineFault:
    return MachineFault(event, next((alert for alert in alerts if _is_on(event, alert, grace_ns)), None))


def _is_on(event: TruthEvent, alert: ToldAlert, grace_ns: int) -> bool:
    """Whether the alert opened on this asset while the fault was on, or shortly after."""
    return alert.asset == event.asset and event.start_ns <= alert.opened_ns <= _end_ns(event, grace_ns)


def _named(event: TruthEvent, faults: Iterable[ToldFault], false_alarms: Iterable[FalseAlarm], grace_ns: int) -> SensorFailure:
    kinds = {told.fault for told in faults if _same_place(event, told) and _overlap(event, told, grace_ns)}
    alarmed = any(_is_on(event, false.alert, grace_ns) for false in false_alarms)
    return SensorFailure(event, tuple(sorted(kinds)), alarmed)


def _concerns(event: TruthEvent, told: ToldFault, grace_ns: int) -> bool:
    """Whether the event may be why this was told. A machine's fault may look like a sensor's: then it is not for nothing."""
    same = event.asset == told.asset if event.kind in ("machine", "maintenance") else _same_place(event, told)
    return same and _overlap(event, told, grace_ns)


def _same_place(event: TruthEvent, told: ToldFault) -> bool:
    if event.kind == "link":
        return told.fault == "link" and event.asset in (told.source, told.source.removeprefix("line-"))
    return told.asset == event.asset and event.channel in (None, told.channel)


def _overlap(event: TruthEvent, told: ToldFault, grace_ns: int) -> bool:
    if event.kind == "link":
        return True
    closed_ns = _NEVER_NS if told.closed_ns is None else told.closed_ns
    return told.opened_ns <= _end_ns(event, grace_ns) and closed_ns >= event.start_ns


def _end_ns(event: TruthEvent, grace_ns: int) -> int:
    return _NEVER_NS if event.end_ns is None else event.end_ns + grace_ns


def _observed_s(observed: Iterable[Observed], maintained: Sequence[TruthEvent]) -> dict[str, float]:
    spans: dict[str, float] = {}
    for span in observed:
        lost_ns = sum(_shared_ns(span, event) for event in maintained if event.asset == span.asset)
        spans[span.asset] = spans.get(span.asset, 0.0) + (span.end_ns - span.start_ns - lost_ns) / NS_PER_S
    return spans


def _shared_ns(span: Observed, event: TruthEvent) -> int:
    return max(0, min(span.end_ns, _end_ns(event, 0)) - max(span.start_ns, event.start_ns))
