"""Scenarios with light devices: what is wrong is named by file, line and the nearest thing; virtual time repeats itself."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from firmware_sim.load.plan import EVENT_KINDS, FleetEvent, FleetPlan, befallen
from firmware_sim.scenario import load_scenario
from firmware_sim.truth import read_fleet_truth, read_observed, read_truth
from firmware_sim.virtual import play_virtual
from models.errors import ConfigError
from tests.sim.test_scenario import PUMP, load

FLEET = PUMP + "[fleet]\n"
EVENT = FLEET + "[[fleet.events]]\n"
SMALL = (
    'seed = 3\nduration_s = 600\n[[assets]]\nname = "pump-1"\nformat = "cobs"\n[fleet]\ndevices = 8\nsync_s = 60\n'
    '[[fleet.events]]\nkind = "clone"\nstart_s = 100\nshare = 0.1\n'
    '[[fleet.events]]\nkind = "hub_unreachable"\nstart_s = 50\nend_s = 90\n'
)


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        (FLEET + "devises = 3", "mine.toml:4: fleet.devises", "unknown key; expected one of devices, profile"),
        (FLEET + "devices = 0", "mine.toml:4: fleet.devices", ">= 1"),
        (FLEET + 'profile = "pmup"', "mine.toml:4: fleet.profile", "did you mean 'pump'"),
        (FLEET + "sync_s = 0", "mine.toml:4: fleet.sync_s", ">= 0.1"),
        (EVENT + 'kind = "rebot"\nstart_s = 1', "mine.toml:5: fleet.events[0].kind", "did you mean 'reboot'"),
        (EVENT + 'kind = "reboot"', "mine.toml:4: fleet.events[0]", "missing required field 'start_s'"),
        (EVENT + 'kind = "reboot"\nstart_s = 1\nend_s = 2', "mine.toml:7: fleet.events[0].end_s", "over at once"),
        (EVENT + 'kind = "late"\nstart_s = 9\nend_s = 9', "mine.toml:7: fleet.events[0].end_s", "a time after start_s"),
        (EVENT + 'kind = "clone"\nstart_s = 1\nseverity = 0.5', "mine.toml:7: fleet.events[0].severity", "no degrees"),
        (EVENT + 'kind = "late"\nstart_s = 1\nbundle = "x"', "mine.toml:7: fleet.events[0].bundle", "nothing to do with"),
        (EVENT + 'kind = "late"\nstart_s = 1\nshare = 0', "mine.toml:7: fleet.events[0].share", "> 0"),
    ],
)  # fmt: skip
def test_a_bad_fleet_is_refused_with_file_line_and_what_was_expected(
    tmp_path: Path, text: str, where: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert error.value.where.endswith(where)
    assert expected in error.value.expected


def test_in_virtual_time_light_devices_say_the_same_each_time_and_their_troubles_are_labelled(tmp_path: Path) -> None:
    scenario = load(tmp_path, SMALL)
    for name in ("a", "b"):
        play_virtual(scenario, tmp_path / name)
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    assert sorted(files) == ["fleet.jsonl", "pump-1.cobs", "truth.jsonl"]
    unreachable, clone = read_fleet_truth(tmp_path / "a" / "truth.jsonl")
    start_ns = scenario.virtual_start_ns
    assert (unreachable.event, unreachable.whose, len(unreachable.devices)) == ("hub_unreachable", "link", 8)
    assert (unreachable.start_ns - start_ns, (unreachable.end_ns or 0) - start_ns) == (50 * 10**9, 90 * 10**9)
    assert (clone.event, clone.whose, len(clone.devices), clone.end_ns) == ("clone", "device", 1, None)
    assert read_truth(tmp_path / "a" / "truth.jsonl") == []
    assert [line.asset for line in read_observed(tmp_path / "a" / "truth.jsonl")] == ["pump-1"]
    lines = [json.loads(line) for line in files["fleet.jsonl"].splitlines()]
    (twice,) = clone.devices
    assert len({line["boot"] for line in lines if line["device"] == twice}) == 2
    assert {line["status"] for line in lines if 50 <= (line["at_ns"] - start_ns) / 1e9 < 90} == {None}


def test_what_befalls_whom_follows_from_the_seed() -> None:
    plan = FleetPlan(devices=1000, events=(FleetEvent(kind="crash", start_s=0, share=0.1),) * 2)
    one, two = befallen(plan, 1)
    assert (len(one), len(two)) == (100, 100)
    assert one != two
    assert befallen(plan, 1) == [one, two] != befallen(plan, 2)
    assert befallen(msgspec.structs.replace(plan, devices=3), 1)[0], "at least one"


def test_each_fleet_that_comes_along_shows_what_it_is_called_for() -> None:
    def kinds(name: str) -> set[str]:
        fleet = load_scenario(name).fleet
        assert fleet is not None
        return {event.kind for event in fleet.events}

    assert "hub_unreachable" in kinds("herd-reconnect")
    assert kinds("bad-rollout") == {"bad_bundle"}
    assert "clone" in kinds("cloned-card")
    assert "full_disk" in kinds("full-disk")
    assert all(event.text for event in EVENT_KINDS.values())
