"""What a device without a model says of the simulator's machines, scenario by scenario, and what that is worth.

    python -m benchmarks.detection.scenarios [NAME …] [--seed SEED …] [--commissioning N] [--always] [--asset NAME …]
        [--json FILE]

Each machine is played in virtual time, its sensors' samples go through the agent's own pipeline with the shipped profile, and
`firmware_sim.judging` holds what is told against the truth: false alarms an asset-month of thirty days, machine faults found
and after how long, sensor faults that were told though no sensor failed. Lines and brokers are left out. `--seed` plays the
same plan with other machines, other days and other weather.

Each asset's months are counted from the end of its commissioning on, so that a scenario that mostly learns looks no better.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from agent.asset import AssetWatch
from agent.pipeline import Pipeline
from firmware_sim.judging.judge import Judgement, judge
from firmware_sim.judging.told import Told, told_from
from firmware_sim.node import Node
from firmware_sim.scenario import Scenario, load_scenario
from firmware_sim.truth import Observed, TruthEvent
from firmware_sim.virtual import make_nodes
from models.contract.clock import NS_PER_S
from models.contract.config import load_profile
from models.contract.items import Alert, Body, Commissioning, SensorFault
from models.contract.profile import CommissioningPlan, Profile
from models.contract.reading import Block

DEFAULT: Final = ("shift-work", "office-weeks", "commissioning", "bearing-wear", "slow-drift", "sensor-rot")
_STEP_S: Final = 300.0


class Asked(NamedTuple):
    """`only`: these assets, () = all. `commissioning`: windows, None = the profile's. `always`: without `[running]`."""

    only: tuple[str, ...] = ()
    commissioning: int | None = None
    always: bool = False

    def profile(self, name: str) -> Profile:
        profile = load_profile(name)
        if self.commissioning is not None:
            profile = msgspec.structs.replace(profile, commissioning=CommissioningPlan(windows=self.commissioning))
        return msgspec.structs.replace(profile, running=None) if self.always else profile


def measure(name: str, seed: int | None, asked: Asked) -> dict[str, Any]:
    """The figures of one scenario. `seed`: None = its own."""
    scenario = load_scenario(name)
    if seed is not None:
        scenario = msgspec.structs.replace(scenario, seed=seed)
    alerts: dict[str, Alert] = {}
    faults: dict[str, SensorFault] = {}
    observed: list[Observed] = []
    truth: list[TruthEvent] = []
    for asset, node in make_nodes(scenario, scenario.virtual_start_ns).items():
        if asked.only and asset not in asked.only:
            continue
        learned_ns = None
        for body in _told(node, scenario, asked):
            if isinstance(body, Alert):
                alerts[body.alert_id] = body
            elif isinstance(body, SensorFault):
                faults[body.fault_id] = body
            elif isinstance(body, Commissioning):
                learned_ns = learned_ns or body.end_ns
        end_ns = scenario.virtual_start_ns + round((scenario.duration_s or 0.0) * NS_PER_S)
        begun_ns = end_ns if learned_ns is None else learned_ns
        observed.append(Observed(asset=asset, profile=node.plan.profile, start_ns=begun_ns, end_ns=end_ns))
        truth += node.truth()
    return {"scenario": name, "seed": scenario.seed, "assets": len(observed)} | _figures(
        judge(truth, _as_told(alerts.values(), faults.values()), observed), observed
    )


def _told(node: Node, scenario: Scenario, asked: Asked) -> list[Body]:
    """All that a device says of this machine."""
    name = node.plan.name
    pipeline = Pipeline([AssetWatch(name, asked.profile(node.plan.profile))])
    renewed_s = sorted(plan.start_s + plan.duration_s for plan in scenario.maintenance if plan.asset == name)
    bodies: list[Body] = []
    n_left = round((scenario.duration_s or 0.0) * node.plan.sampled_hz)
    n_step = max(1, round(_STEP_S * node.plan.sampled_hz))
    while n_left > 0:
        if renewed_s and node.next_s >= renewed_s[0]:
            del renewed_s[0]
            bodies += pipeline.recommission(name).bodies
        samples = node.take(min(n_step, n_left))
        n_left -= n_step
        blocks = []
        for i, channel in enumerate(samples.channels):
            there = np.isfinite(samples.values[:, i])  # what a sensor does not say is not sent
            blocks.append(Block(name, channel, samples.time_ns[there], samples.values[there, i]))
        bodies += [body for body in pipeline.handle(blocks, int(samples.time_ns[-1])).bodies if not _is_bulk(body)]
    return bodies


def _is_bulk(body: Body) -> bool:
    return not isinstance(body, Alert | SensorFault | Commissioning)


def _as_told(alerts: Iterable[Alert], faults: Iterable[SensorFault]) -> Told:
    """As the hub would list them."""
    return told_from(*(map(msgspec.to_builtins, sorted(told, key=_opened_ns)) for told in (alerts, faults)))


def _opened_ns(told: Alert | SensorFault) -> int:
    return told.opened_ns


def _figures(judgement: Judgement, observed: list[Observed]) -> dict[str, Any]:
    rate = judgement.false_alarms_per_month
    return {
        "false_alarms": len(judgement.false_alarms),
        "asset_months": round(judgement.asset_months, 3),
        "per_month": None if rate is None else round(rate[0], 2),
        "faults": len(judgement.machine),
        "found": len(judgement.delays_s),
        "median_delay_s": round(median(judgement.delays_s)) if judgement.delays_s else None,
        "worst_delay_s": round(judgement.delays_s[-1]) if judgement.delays_s else None,
        "delays_s": {f"{m.event.asset} {m.event.fault}": m.delay_s and round(m.delay_s) for m in judgement.machine},
        "sensor_faults_for_nothing": len(judgement.for_nothing),
        "for_nothing": sorted({f"{f.asset}.{f.channel} {f.fault}" for f in judgement.for_nothing}),
        "never_learned": sum(span.start_ns == span.end_ns for span in observed),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=DEFAULT, metavar="NAME")
    parser.add_argument("--seed", type=int, action="append", help="instead of the scenario's own; may come again")
    parser.add_argument("--asset", action="append", default=[])
    parser.add_argument("--commissioning", type=int, metavar="N")
    parser.add_argument("--always", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    asked = Asked(tuple(options.asset), options.commissioning, options.always)
    found = []
    print("| scenario, seed | false alarms | an asset-month | found | delay: median, worst, s | sensor faults for nothing |")
    print("|---|---|---|---|---|---|")
    for name in options.names:
        for seed in options.seed or [None]:
            found.append(row := measure(name, seed, asked))
            delay = f"{row['median_delay_s']}, {row['worst_delay_s']}" if row["found"] else ""
            print(
                f"| {name}, {row['seed']} | {row['false_alarms']} | {row['per_month']} | {row['found']} of {row['faults']} "
                f"| {delay} | {row['sensor_faults_for_nothing']} |",
                flush=True,
            )
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
