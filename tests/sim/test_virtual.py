"""Virtual time: the same bytes for the same seed, however it is played."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from firmware_sim.node import Node
from firmware_sim.scenario import AssetPlan, FaultPlan, Scenario, load_scenario
from firmware_sim.truth import read_truth
from firmware_sim.virtual import make_nodes, play_virtual
from models.errors import ConfigError

FORMATS = {
    "jsonl": "serial",
    "csv": "serial",
    "cobs": "serial",
    "senml": "mqtt",
    "object": "mqtt",
    "json": "mqtt",
    "number": "mqtt",
}


def fleet(seed: int = 1) -> Scenario:
    assets = tuple(AssetPlan(name=f"pump-{form}", link=link, format=form) for form, link in FORMATS.items())  # type: ignore[arg-type]
    assets += (AssetPlan(name="spark-1", link="mqtt", format="sparkplug"), AssetPlan(name="plc-1", link="modbus"))
    assets += (AssetPlan(name="motor-1", profile="motor"), AssetPlan(name="fan-1", profile="fan"))
    faults = tuple(
        FaultPlan(asset=f"pump-{form}", kind=kind, channel=channel, start_s=start_s, end_s=start_s + 40)
        for form in FORMATS
        for start_s, kind, channel in [
            (20, "cavitation", None),
            (80, "torn_frames", None),
            (130, "stuck", "flow"),
            (190, "garbage", None),
        ]
    )
    return Scenario(assets=assets, faults=faults, seed=seed, duration_s=300)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        play_virtual(fleet(seed), tmp_path / name)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert len(a) == len(FORMATS) + 5
    assert all(a[name] != c[name] for name in a if name != "truth.jsonl")


def test_bytes_do_not_depend_on_the_ticks_in_which_they_are_asked_for() -> None:
    def stream(node: Node, step_s: float) -> list[bytes]:
        ticks = int(300 / step_s)
        return [m.payload for i in range(ticks + 1) for m in node.due(i * step_s)]

    for at_once, in_ticks in zip(make_nodes(fleet(), 10**18).values(), make_nodes(fleet(), 10**18).values(), strict=True):
        assert stream(at_once, 300) == stream(in_ticks, 2.4)


def test_truth_lists_every_fault_with_whose_it_is(tmp_path: Path) -> None:
    play_virtual(fleet(), tmp_path)
    events = [event for event in read_truth(tmp_path / "truth.jsonl") if event.asset == "pump-csv"]
    start_ns = fleet().virtual_start_ns
    assert [(e.fault, e.kind, e.channel, (e.start_ns - start_ns) / 1e9) for e in events] == [
        ("cavitation", "machine", None, 20),
        ("torn_frames", "link", None, 80),
        ("stuck", "sensor", "flow", 130),
        ("garbage", "link", None, 190),
    ]
    assert all(e.end_ns == e.start_ns + 40 * 10**9 for e in events)


def test_publications_are_kept_byte_for_byte(tmp_path: Path) -> None:
    play_virtual(fleet(), tmp_path)
    lines = (tmp_path / "pump-object.mqtt.jsonl").read_bytes().splitlines()
    recorded = [msgspec.json.decode(line)["payload"].encode("latin-1") for line in lines]
    (node,) = [n for n in make_nodes(fleet(), fleet().virtual_start_ns).values() if n.plan.name == "pump-object"]
    assert recorded == [message.payload for message in node.due(299.9)]


def test_scenario_without_an_end_is_refused_in_virtual_time(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="duration_s"):
        play_virtual(load_scenario("demo"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
