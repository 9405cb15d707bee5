"""What the alerts were worth in the demo: the judgement, told machine by machine. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from firmware_sim.judging.judge import Judgement, MachineFault, judge
from firmware_sim.judging.told import told_from
from firmware_sim.truth import TruthEvent


@dataclass(frozen=True, slots=True)
class AssetOutcome:
    """One asset over the whole demo. `false_alarms`: alerts that no machine fault explains; `by_bad_model`: those among
    them that the deliberately bad model raised while it was a canary."""

    asset: str
    faults: list[MachineFault]
    false_alarms: int
    by_bad_model: int


def judge_demo(
    truth: Sequence[TruthEvent], alerts: Iterable[Mapping[str, Any]], sensor_faults: Iterable[Mapping[str, Any]]
) -> Judgement:
    """`alerts`, `sensor_faults`: as the hub's API lists them."""
    return judge(truth, told_from(alerts, sensor_faults))


def by_asset(judgement: Judgement, assets: Iterable[str], bad_model: str) -> list[AssetOutcome]:
    outcomes = []
    for asset in assets:
        false = [false.alert.detector for false in judgement.false_alarms if false.alert.asset == asset]
        faults = [fault for fault in judgement.machine if fault.event.asset == asset]
        outcomes.append(AssetOutcome(asset, faults, len(false), false.count(bad_model)))
    return outcomes


def named_sensor_faults(judgement: Judgement) -> dict[str, str | None]:
    """For each sensor or link fault that was injected, by what kinds the devices named it; None = not at all."""
    return {_place(failure.event): ", ".join(failure.named) or None for failure in judgement.sensors}


def _place(event: TruthEvent) -> str:
    return f"{event.asset}.{event.channel} {event.fault}" if event.channel else f"{event.asset} {event.fault}"
