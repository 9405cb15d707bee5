"""Scenarios: what is there loads; what is wrong is named by file, key and the nearest thing that would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_sim.scenario import Scenario, builtin_names, load_scenario, planned_faults
from models.errors import ConfigError

PUMP = '[[assets]]\nname = "pump-1"\n'


def load(tmp_path: Path, text: str) -> Scenario:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_scenario(str(path))


@pytest.mark.parametrize("name", builtin_names())
def test_built_in_scenarios_load_and_say_what_they_are(name: str) -> None:
    assert load_scenario(name).title


def test_asset_gets_the_usual_format_of_its_link_and_a_seed_of_its_own(tmp_path: Path) -> None:
    scenario = load(tmp_path, PUMP + '[[assets]]\nname = "pump-2"\nlink = "mqtt"\n')
    one, two = scenario.assets
    assert (one.form, two.form) == ("jsonl", "senml")
    assert scenario.seed_of(one) != scenario.seed_of(two)
    assert scenario.seed_of(one) == load(tmp_path, PUMP).seed_of(one), "other assets do not change it"


def test_fault_sets_in_as_its_kind_does(tmp_path: Path) -> None:
    text = PUMP + '[[faults]]\nasset = "pump-1"\nkind = "blockage"\nstart_s = 5\n'
    text += '[[faults]]\nasset = "pump-1"\nkind = "stuck"\nchannel = "flow"\nstart_s = 7\nend_s = 9\n'
    scenario = load(tmp_path, text)
    blockage, stuck = planned_faults(scenario, scenario.assets[0])
    assert (blockage.ramp_s, stuck.ramp_s, stuck.end_s) == (20.0, 0.0, 9.0)


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        ("", "mine.toml", "missing required field 'assets'"),
        ("assets = []", "mine.toml:1: assets", "length >= 1"),
        (PUMP + "sped = 3", "mine.toml:3: assets[0].sped", "unknown key; expected one of name, profile"),
        (PUMP + 'rate_hz = "5"', "mine.toml:3: assets[0].rate_hz", "Expected 'float | null', got 'str'"),
        (PUMP + "rate_hz = 0", "mine.toml:3: assets[0].rate_hz", "> 0"),
        (PUMP + 'profile = "pmup"', "mine.toml:3: assets[0].profile", "did you mean 'pump'"),
        (PUMP + 'link = "can"', "mine.toml:3: assets[0].link", "Invalid enum value 'can'"),
        (PUMP + 'format = "senml"', "mine.toml:3: assets[0].format", "one of jsonl, csv, cobs, not 'senml'"),
        (PUMP + PUMP, "mine.toml:4: assets[1].name", "'pump-1' is taken"),
        ('[[assets]]\nname = "pump 1"', "mine.toml:2: assets[0].name", "matching regex"),
        (PUMP + '[[faults]]\nasset="pump-2"\nkind="stuck"\nstart_s=1', "mine.toml:4: faults[0].asset", "did you mean 'pump-1'"),
        (PUMP + '[[faults]]\nasset="pump-1"\nkind="bearing-wear"\nstart_s=1', "mine.toml:5: faults[0].kind", "'bearing_wear'"),
        (PUMP + '[[faults]]\nasset="pump-1"\nkind="overload"\nstart_s=1', "mine.toml:5: faults[0].kind", "one of bearing_wear"),
        (PUMP + '[[faults]]\nasset="pump-1"\nkind="stuck"\nstart_s=1', "mine.toml:3: faults[0].channel", "one of flow"),
        (
            PUMP + '[[faults]]\nasset="pump-1"\nkind="stuck"\nchannel="presure"\nstart_s=1',
            "mine.toml:6: faults[0].channel",
            "did you mean 'pressure'",
        ),
        (
            PUMP + '[[faults]]\nasset="pump-1"\nkind="blockage"\nstart_s=9\nend_s=9',
            "mine.toml:7: faults[0].end_s",
            "a time after start_s, which is 9",
        ),
        (
            PUMP + '[[faults]]\nasset="pump-1"\nkind="blockage"\nstart_s=9\nseverity=2',
            "mine.toml:7: faults[0].severity",
            "<= 1",
        ),
        ("speed = [", "mine.toml", "not TOML"),
    ],
)
def test_bad_scenario_is_refused_with_file_key_and_what_was_expected(
    tmp_path: Path, text: str, where: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert error.value.where.endswith(where)
    assert expected in error.value.expected


def test_the_line_is_that_of_the_right_table(tmp_path: Path) -> None:
    good = '[[faults]]  # one\nasset = "pump-1"\nkind = "blockage"\nstart_s = 1\n\n'
    with pytest.raises(ConfigError, match=r"mine\.toml:16: faults\[2\]\.kind: .*did you mean 'blockage'"):
        load(tmp_path, PUMP + "\n" + good + good + good.replace("blockage", "blokcage"))


def test_missing_scenario_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'sensor-rot'"):
        load_scenario("sensor-rott")
    with pytest.raises(ConfigError, match="no such file"):
        load_scenario(str(tmp_path / "none.toml"))
