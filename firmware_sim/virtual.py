"""Virtual time: a scenario played as fast as it can be computed, into files; the same bytes for the same seed.

In the output folder, one file an asset, and the truth:

    pump-1.jsonl  pump-2.csv  pump-3.cobs    what went over the serial line, byte for byte
    pump-5.tcp                               Modbus: its registers' image after each sample (`firmware.registers`)
    pump-4.mqtt.jsonl                        a line a publication: {"topic": …, "payload": …}, a byte of the payload a character
    fleet.jsonl                              where there are light devices: what they and a hub say to each other (`load.play`)
    truth.jsonl                              see `truth`
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firmware_sim.firmware.encoder import Message
from firmware_sim.firmware.mqtt import ObjectMessages
from firmware_sim.node import Node
from firmware_sim.operation.plan import operation_of
from firmware_sim.scenario import Scenario, planned_faults
from firmware_sim.truth import FleetTruth, Observed, fleet_truth, write_truth
from models.contract.clock import NS_PER_S
from models.errors import ConfigError

_STEP_S: Final = 600.0
TRUTH_FILE: Final = "truth.jsonl"
FLEET: Final = "light devices"  # their key among what was played; no asset's name has a space


@dataclass(frozen=True, slots=True)
class Played:
    """What was written for one asset."""

    path: Path
    n_messages: int
    n_bytes: int


def make_nodes(scenario: Scenario, t0_ns: int, live: bool = False) -> dict[str, Node]:
    """A node for each asset, with what is planned for it. `t0_ns`: event time of second 0. `live`: for real links, where a
    Sparkplug session numbers its messages itself."""
    nodes = {}
    for plan in scenario.assets:
        encoder = ObjectMessages() if live and plan.form == "sparkplug" else None
        seeds = scenario.seed_of(plan), scenario.seed
        maintenance = [each for each in scenario.maintenance if each.asset == plan.name]
        operation = operation_of(plan.load, plan.ambient, maintenance, t0_ns, scenario.start, seeds)
        nodes[plan.name] = Node(plan, seeds[0], planned_faults(scenario, plan), t0_ns, encoder, operation)
    return nodes


def play_virtual(scenario: Scenario, out: Path) -> dict[str, Played]:
    """Write all of the scenario into the folder `out`. Raises ConfigError without a duration, OSError."""
    if scenario.duration_s is None:
        raise ConfigError("duration_s", "a duration: virtual time has no other end")
    out.mkdir(parents=True, exist_ok=True)
    nodes = make_nodes(scenario, scenario.virtual_start_ns)
    played = {name: _play(node, scenario.duration_s, out) for name, node in nodes.items()}
    end_ns = scenario.virtual_start_ns + round(scenario.duration_s * NS_PER_S)
    observed = [
        Observed(asset=plan.name, profile=plan.profile, start_ns=scenario.virtual_start_ns, end_ns=end_ns)
        for plan in scenario.assets
    ]
    light: list[FleetTruth] = []
    if scenario.fleet is not None:
        from firmware_sim.load.play import PREFIX, play_fleet

        t0_ns = scenario.virtual_start_ns
        path, n_exchanges = play_fleet(scenario.fleet, scenario.seed, scenario.speed, scenario.duration_s, t0_ns, out)
        played[FLEET] = Played(path, n_exchanges, path.stat().st_size)
        light = fleet_truth(scenario.fleet, scenario.seed, t0_ns, PREFIX)
    write_truth(out / TRUTH_FILE, [event for node in nodes.values() for event in node.truth()], observed, light)
    return played


def _play(node: Node, duration_s: float, out: Path) -> Played:
    mqtt = node.plan.link == "mqtt"
    path = out / (f"{node.plan.name}.mqtt.jsonl" if mqtt else f"{node.plan.name}.{node.plan.form}")
    last_s = duration_s - 1 / node.plan.sampled_hz
    n_messages, until_s = 0, 0.0
    with path.open("wb") as file:
        while until_s < last_s:
            until_s = min(until_s + _STEP_S, last_s)
            messages = node.due(until_s)
            n_messages += len(messages)
            file.write(_publications(messages) if mqtt else b"".join(message.payload for message in messages))
        return Played(path, n_messages, file.tell())


def _publications(messages: Sequence[Message]) -> bytes:
    lines = [json.dumps({"topic": m.topic, "payload": m.payload.decode("latin-1")}) for m in messages]
    return "".join(line + "\n" for line in lines).encode()
