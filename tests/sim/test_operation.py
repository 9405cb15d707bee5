"""How machines are run: schedules, air, wear and maintenance, and that nothing of it touches who does not ask for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_sim.assets.catalog import ASSETS, MACHINE_FAULTS
from firmware_sim.faults.fault import level_of
from firmware_sim.operation.ageing import worn
from firmware_sim.operation.climate import Climate
from firmware_sim.operation.operation import Operation
from firmware_sim.operation.plan import PATTERNS
from firmware_sim.operation.schedule import DAY_S, RAMP_S, Pattern, Schedule
from firmware_sim.scenario import load_scenario
from firmware_sim.truth import read_truth
from firmware_sim.virtual import make_nodes, play_virtual
from models.errors import ConfigError
from tests.sim.reading import rate_of

MONDAY_S = 4 * DAY_S  # 1970-01-05
HOUR_S = 3600.0
PUMP = '[[assets]]\nname = "pump-1"\n'
STEADY = [profile for profile in ASSETS if profile != "room"]


def running_at(schedule: Schedule, day: int, *hours: float) -> list[float]:
    return schedule.running(MONDAY_S + day * DAY_S + np.array(hours) * HOUR_S).tolist()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_pattern_works_and_rests_when_it_says(seed: int) -> None:
    shifts, office = Schedule("two-shift", seed), Schedule("office", seed)
    for day in range(5):
        assert running_at(shifts, day, 3, 8, 10.25, 15, 18.25, 20, 23) == [0, 1, 0, 1, 0, 1, 0]
        assert running_at(office, day, 3, 8, 12.75, 18, 20) == [0, 1, 1, 1, 0]
    for day in (5, 6):
        assert running_at(shifts, day, 8, 15, 20) == running_at(office, day, 8, 15, 20) == [0, 0, 0]
    assert running_at(Schedule("constant", seed), 6, 3, 12) == [1, 1]
    t_s = MONDAY_S + np.arange(0, 7 * DAY_S, 10.0)
    rests = 1 - Schedule("continuous-with-pauses", seed).running(t_s)
    assert rests.sum() * 10 == pytest.approx(14 * 1200, rel=0.02)


def test_no_two_days_are_alike_but_the_same_day_always_is() -> None:
    t_s = MONDAY_S + np.arange(0, DAY_S, 10.0)
    schedule = Schedule("two-shift", 1)
    assert not np.array_equal(schedule.running(t_s), schedule.running(t_s + DAY_S))
    assert np.array_equal(schedule.running(t_s), Schedule("two-shift", 1).running(t_s))


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(PATTERNS), st.integers(0, 5), st.floats(20, 600), st.sampled_from(["running", "demand"]))
def test_a_lag_is_what_small_steps_come_to(pattern: Pattern, seed: int, tau_s: float, what: str) -> None:
    t_s = MONDAY_S + np.arange(0, DAY_S, 2.0)
    schedule = Schedule(pattern, seed, ((MONDAY_S + 36_000, MONDAY_S + 39_000),))
    value, lagged = getattr(schedule, what)(t_s), schedule.lagged(t_s, tau_s, what)  # type: ignore[arg-type]
    step = -np.expm1(-2.0 / tau_s)
    stepped, _ = scipy.signal.lfilter([0.0, step], [1.0, step - 1], value, zi=[lagged[0]])
    assert np.abs(stepped - lagged).max() < 0.06


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_machine_stands_still_while_it_is_off_and_runs_as_it_would_have_before_and_after(pattern: Pattern) -> None:
    off = Schedule(pattern, 1, ((MONDAY_S + 50_000, MONDAY_S + 54_000),))
    t_s = MONDAY_S + np.arange(0, DAY_S, 5.0)
    since_s = t_s - MONDAY_S
    inside = (since_s > 50_000 + RAMP_S) & (since_s < 54_000 - RAMP_S)
    outside = (since_s <= 50_000) | (since_s >= 54_000)
    assert not off.running(t_s)[inside].any()
    np.testing.assert_allclose(off.running(t_s)[outside], Schedule(pattern, 1).running(t_s)[outside], atol=1e-9)


@pytest.mark.parametrize(
    ("profile", "reading"),
    [
        ("pump", {"flow": 50.5, "pressure": 3.306, "current": 11.07, "temperature": 48.68, "vibration": 1.54}),
        ("motor", {"current": 24.26, "speed": 1463.0, "temperature": 68.17, "vibration": 1.62}),
        ("fan", {"speed": 1217.3, "current": 4.06, "airflow": 7030.1, "vibration": 1.65}),
        ("compressor", {"pressure": 7.532, "current": 53.41, "temperature": 61.34, "vibration": 2.02}),
    ],
)
def test_a_machine_of_which_nothing_is_said_reads_as_before_there_were_schedules(
    profile: str, reading: dict[str, float]
) -> None:
    told = ASSETS[profile](7, 5.0).simulate(np.array([1000.0]))
    assert {channel: float(values[0]) for channel, values in told.items()} == pytest.approx(reading, rel=1e-3)


@pytest.mark.parametrize("profile", STEADY)
def test_a_resting_machine_reads_as_one_that_stands_still(profile: str) -> None:
    rate_hz, operation = rate_of(profile), Operation("two-shift", local_t0_s=MONDAY_S)
    asset = ASSETS[profile](1, rate_hz, operation)
    night, day = (asset.simulate(hour * HOUR_S + np.arange(500) / rate_hz) for hour in (3, 8))
    for channel in set(night) - {"temperature"}:
        assert np.abs(night[channel]).mean() < 0.05 * max(np.abs(day[channel]).mean(), np.abs(day[channel]).std())
    if "temperature" in night:
        assert night["temperature"].mean() < day["temperature"].mean() - 20


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 1500), min_size=2, max_size=5), st.sampled_from(list(ASSETS)), st.sampled_from(PATTERNS))
def test_readings_do_not_depend_on_how_time_is_cut_whatever_the_schedule(
    pieces: list[int], profile: str, pattern: Pattern
) -> None:
    rate_hz = rate_of(profile)
    operation = Operation(pattern, Climate(3, 8, 2), ((60.0, 200.0),), local_t0_s=MONDAY_S + DAY_S - 120, seed=3)
    t_s = np.arange(sum(pieces)) / rate_hz
    whole, cut = (ASSETS[profile](2, rate_hz, operation) for _ in range(2))
    parts = [cut.simulate(part) for part in np.split(t_s, np.cumsum(pieces)[:-1])]
    for channel, values in whole.simulate(t_s).items():
        assert np.array_equal(values, np.concatenate([part[channel] for part in parts]))


@pytest.mark.parametrize("profile", ["pump", "motor", "compressor"])
def test_the_air_warms_the_machine_by_as_much_and_nothing_else(profile: str) -> None:
    t_s = np.arange(0, DAY_S, 600.0)
    usual, warmed = ASSETS[profile](1, 5.0), ASSETS[profile](1, 5.0, Operation(climate=Climate(day_k=4), local_t0_s=MONDAY_S))
    one, other = usual.simulate(t_s), warmed.simulate(t_s)
    by_k = other["temperature"] - one["temperature"]
    assert (by_k.max(), by_k.min()) == (pytest.approx(4, abs=0.02), pytest.approx(-4, abs=0.02))
    assert t_s[by_k.argmax()] == pytest.approx(15 * HOUR_S, abs=1200)
    assert all(np.array_equal(one[channel], other[channel]) for channel in set(one) - {"temperature"})


def test_wear_grows_evenly_and_maintenance_takes_it_back() -> None:
    wear = worn({"seal_leak": 0.02}, 365.0, [10 * DAY_S])
    levels = level_of("seal_leak", wear, np.array([0.0, 9.99, 10.01, 375.0]) * DAY_S)
    assert levels == pytest.approx([0.02, 0.02 + 0.02 * 9.99 / 365, 0.02 * 0.01 / 365, 0.02], rel=1e-3)


@pytest.mark.parametrize("profile", ASSETS)
def test_every_machine_wears_by_faults_of_its_own_and_slower_than_in_a_year(profile: str) -> None:
    rates = ASSETS[profile](1, rate_of(profile)).wear_per_year
    assert rates
    assert set(rates) <= set(MACHINE_FAULTS[profile])
    assert all(0 < rate < 1 for rate in rates.values())


SCENARIO = """
seed = 3
duration_s = 90000
start = 2026-03-02T00:00:00+01:00
[[assets]]
name = "fan-1"
profile = "fan"
rate_hz = 0.05
age_days = 365
[[maintenance]]
asset = "fan-1"
start_s = 40000
duration_s = 3600
"""


def test_maintenance_stops_the_fan_gives_its_airflow_back_and_is_in_the_truth(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SCENARIO)
    scenario = load_scenario(str(path))
    (node,) = make_nodes(scenario, scenario.virtual_start_ns).values()
    airflow = node.take(4500).values[:, node.channels.index("airflow")]
    before, during, after = airflow[:2000].mean(), airflow[2010:2170].mean(), airflow[2190:].mean()
    assert during < 0.05 * before
    assert after / before == pytest.approx(1 / (1 - 0.35 * 0.5), rel=0.02)  # half clogged costs half of the third
    play_virtual(scenario, tmp_path / "out")
    (event,) = read_truth(tmp_path / "out" / "truth.jsonl")
    t0_ns = scenario.virtual_start_ns
    assert (event.kind, event.asset, event.start_ns - t0_ns, event.end_ns) == (
        "maintenance", "fan-1", 40_000 * 10**9, t0_ns + 43_600 * 10**9
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        (PUMP + '[assets.load]\npattern = "ofice"', "mine.toml:4: assets[0].load.pattern", "did you mean 'office'"),
        (PUMP + 'load = { pattern = "three" }', "mine.toml:3: assets[0].load.pattern", "one of constant, two-shift"),
        (PUMP + "[assets.load]\npatern = 1", "mine.toml:4: assets[0].load.patern", "expected one of pattern"),
        (PUMP + "[assets.ambient]\nday_k = -1", "mine.toml:4: assets[0].ambient.day_k", ">= 0"),
        (PUMP + PUMP.replace("1", "2") + "[assets.ambient]\nday_k = -1", "mine.toml:6: assets[1].ambient.day_k", ">= 0"),
        (PUMP + "age_days = -1", "mine.toml:3: assets[0].age_days", ">= 0"),
        (PUMP + '[[maintenance]]\nasset = "pmup-1"\nstart_s = 1', "mine.toml:4: maintenance[0].asset", "did you mean 'pump-1'"),
        (PUMP + '[[maintenance]]\nasset="pump-1"\nstart_s=1\nduration_s=5', "mine.toml:6: maintenance[0].duration_s", ">= 120"),
        (
            PUMP + 2 * '[[maintenance]]\nasset = "pump-1"\nstart_s = 1\n',
            "mine.toml:8: maintenance[1].start_s",
            "after the maintenance of pump-1 before, to 1801",
        ),
    ],
)  # fmt: skip
def test_bad_operation_is_refused_with_line_key_and_what_was_expected(
    tmp_path: Path, text: str, where: str, expected: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_scenario(str(path))
    assert error.value.where.endswith(where)
    assert expected in error.value.expected
