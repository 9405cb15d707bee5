"""What the alerts were worth, against what really was wrong. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from firmware_sim.truth import TruthEvent
from models.contract.clock import NS_PER_S

AFTER_S = 120.0  # an alert that opens so soon after a fault has ended is still about it


@dataclass(frozen=True, slots=True)
class FaultOutcome:
    """One injected machine fault. `delay_s`: event time from its onset to the alert, None = never alerted."""

    asset: str
    fault: str
    delay_s: float | None
    top_channel: str


@dataclass(frozen=True, slots=True)
class AssetOutcome:
    """One asset over the whole demo. `false_alarms`: alerts that no machine fault explains; `by_bad_model`: those among
    them that the deliberately bad model raised while it was a canary."""

    asset: str
    faults: list[FaultOutcome]
    false_alarms: int
    by_bad_model: int


def judge_alerts(
    assets: Iterable[str], truth: Sequence[TruthEvent], alerts: Sequence[Mapping[str, Any]], bad_model: str
) -> list[AssetOutcome]:
    """`alerts`: as the hub's API lists them, `opened_ns` in event time."""
    outcomes = []
    for asset in assets:
        faults = [event for event in truth if event.asset == asset and event.kind == "machine"]
        mine = sorted((alert for alert in alerts if alert["asset"] == asset), key=lambda alert: alert["opened_ns"])
        unexplained = [alert for alert in mine if not any(_about(alert, fault) for fault in faults)]
        by_bad = sum(alert["detector"] == bad_model for alert in unexplained)
        found = [_outcome(fault, mine) for fault in faults]
        outcomes.append(AssetOutcome(asset, found, len(unexplained), by_bad))
    return outcomes


def _about(alert: Mapping[str, Any], fault: TruthEvent) -> bool:
    end_ns = fault.end_ns + round(AFTER_S * NS_PER_S) if fault.end_ns is not None else 2**63
    return bool(fault.start_ns <= alert["opened_ns"] <= end_ns)


def _outcome(fault: TruthEvent, alerts: Sequence[Mapping[str, Any]]) -> FaultOutcome:
    first = next((alert for alert in alerts if _about(alert, fault)), None)
    if first is None:
        return FaultOutcome(fault.asset, fault.fault, None, "")
    delay_s = (first["opened_ns"] - fault.start_ns) / NS_PER_S
    return FaultOutcome(fault.asset, fault.fault, round(delay_s, 1), first["top"][0][0] if first["top"] else "")


def named_sensor_faults(truth: Sequence[TruthEvent], told: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """For each sensor or link fault that was injected, by what kind the devices named it; None = not at all."""
    named: dict[str, str | None] = {}
    for event in truth:
        if event.kind == "machine":
            continue
        where = f"{event.asset}.{event.channel}" if event.channel else event.asset
        kinds = {fault["fault"] for fault in told if _same_place(event, fault)}
        named[f"{where} {event.fault}"] = ", ".join(sorted(kinds)) or None
    return named


def _same_place(event: TruthEvent, told: Mapping[str, Any]) -> bool:
    if event.kind == "link":
        return bool(told["fault"] == "link" and told["source"] == f"line-{event.asset}")
    end_ns = event.end_ns if event.end_ns is not None else 2**63
    overlaps = told["opened_ns"] <= end_ns and (told["closed_ns"] or 2**63) >= event.start_ns
    return bool(overlaps and told["asset"] == event.asset and event.channel in (None, told["channel"]))
