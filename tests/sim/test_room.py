"""The room: as warm and as stale as its hours, its people and its weather make it, and wrong where it is said to be."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from agent.asset import AssetWatch
from agent.pipeline import Pipeline
from firmware_sim.assets.room import Room
from firmware_sim.assets.room_physics import OUTDOOR_PPM, WORKER_L_PER_S, Building, Drive, State, step_through
from firmware_sim.faults.fault import Fault
from firmware_sim.node import Node
from firmware_sim.operation.operation import Operation
from firmware_sim.scenario import AssetPlan
from models.contract.clock import NS_PER_S
from models.contract.config import load_profile
from models.contract.items import Alert, SensorFault
from models.contract.reading import Block

RATE_HZ = 1 / 60
HOUR = 60  # samples
DAY = 24 * HOUR
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
Course = dict[str, np.ndarray]


def room(seed: int = 1, start: datetime = MONDAY) -> Room:
    return Room(seed, RATE_HZ, Operation(local_t0_s=start.timestamp(), seed=seed))


def played(asset: Room, days: float, faults: list[Fault] | None = None) -> Course:
    return asset.simulate(np.arange(round(days * DAY)) * 60.0, faults or [])


def at(course: Course, channel: str, day: int, hour: float) -> float:
    """The mean of the hour that begins there."""
    first = round(day * DAY + hour * HOUR)
    return float(course[channel][first : first + HOUR].mean())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_winter_week_has_warm_working_hours_cool_nights_and_an_empty_weekend(seed: int) -> None:
    week = played(room(seed), 7)
    for day in range(5):
        assert 21 < at(week, "temperature", day, 10) < 24
        assert at(week, "temperature", day, 3) < 20
        assert at(week, "co2", day, 10) > at(week, "co2", day, 5) + 200
    for day in (5, 6):
        assert at(week, "temperature", day, 11) < 21
        assert at(week, "co2", day, 14) < OUTDOOR_PPM + 40
    assert at(week, "outdoor_temperature", 2, 15) > at(week, "outdoor_temperature", 2, 5)


def test_summer_is_cooled_with_cold_water_and_warmer_than_winter() -> None:
    winter, summer = played(room(), 5), played(room(start=datetime(2026, 7, 6, tzinfo=UTC)), 5)
    assert summer["supply_temperature"].max() < 15
    assert winter["supply_temperature"].min() > 30
    assert 22 < at(summer, "temperature", 2, 14) < 26
    assert summer["outdoor_temperature"].mean() > winter["outdoor_temperature"].mean() + 12


def test_hours_are_those_of_the_place() -> None:
    here = played(room(), 3)
    two_hours_east = Room(1, RATE_HZ, Operation(local_t0_s=MONDAY.timestamp() + 7200, seed=1))
    assert at(here, "co2", 1, 17.5) > at(played(two_hours_east, 3), "co2", 1, 17.5) + 50


@pytest.mark.parametrize("kind", Room.fault_channels)
@pytest.mark.parametrize("month", [1, 4])
def test_a_fault_shows_within_a_day_in_the_channels_it_names(kind: str, month: int) -> None:
    """Beside the same room without it, which has the same noise; in units of how far that room's own Tuesdays are apart."""
    asset = room(start=datetime(2026, month, 5 if month == 1 else 6, tzinfo=UTC))
    well, ill = played(asset, 9), played(asset, 3, [Fault(kind, 1.5 * 86400, ramp_s=20)])
    tuesday, next_tuesday = slice(DAY, 2 * DAY), slice(8 * DAY, 9 * DAY)
    since = slice(round(1.5 * DAY), round(2.5 * DAY))
    for channel in Room.fault_channels[kind]:
        usual = np.abs(well[channel][tuesday] - well[channel][next_tuesday]).mean()
        assert np.abs(ill[channel][since] - well[channel][since]).mean() > usual, channel
    assert np.array_equal(ill["outdoor_temperature"], well["outdoor_temperature"][: 3 * DAY])
    before = slice(0, round(1.5 * DAY))
    assert all(np.array_equal(ill[channel][before], well[channel][before]) for channel in ill)


@pytest.mark.parametrize("kind", Room.fault_channels)
def test_a_room_forgets_a_fault_within_days(kind: str) -> None:
    asset = room()
    well, healed = played(asset, 8), played(asset, 8, [Fault(kind, 86400.0, 1.5 * 86400)])
    assert np.abs(healed["temperature"] - well["temperature"])[7 * DAY :].max() < 0.25
    assert np.abs(healed["co2"] - well["co2"])[7 * DAY :].max() <= 2


def test_any_time_can_be_asked_for_first_and_between_samples() -> None:
    t_s = np.arange(0, 4 * 86400, 20.0)
    whole = Room(1, 0.05).simulate(t_s)
    late = Room(1, 0.05).simulate(t_s[-500:])
    assert all(np.array_equal(whole[channel][-500:], values) for channel, values in late.items())


def test_a_fault_that_ends_sooner_than_planned_is_played_as_if_it_always_had() -> None:
    asset, t_s = room(), np.arange(6 * DAY) * 60.0
    asset.simulate(t_s, [Fault("valve_leak", 86400.0)])
    ended = [Fault("valve_leak", 86400.0, 2.2 * 86400)]
    again, afresh = asset.simulate(t_s, ended), room().simulate(t_s, ended)
    assert all(np.array_equal(again[channel], afresh[channel]) for channel in again)


def constant_drive(n: int, **of: float) -> Drive:
    usual = dict.fromkeys(Drive._fields, 0.0) | {"sign": 1.0, "fan": 1.0, "fresh_m3_s": 0.02} | of
    return Drive(*(np.full(n, usual[name]) for name in Drive._fields))


BUILDING = Building(180.0, 1.0e6, 1.2e7, 250.0, 25.0, 35.0, 180.0, 0.07)
FIRST = State(20.0, 20.0, 20.0, OUTDOOR_PPM, 0.0, 0.0)


def test_without_heat_the_room_comes_to_the_outdoor_temperature_and_people_to_the_known_balance_of_co2() -> None:
    course = step_through(BUILDING, FIRST, constant_drive(60_000, outdoor=5.0, setpoint=-50.0, people=4.0))
    air, mass, _, co2, _, valve = course[-1]
    assert (air, mass, valve) == (pytest.approx(5.0, abs=0.01), pytest.approx(5.0, abs=0.01), 0.0)
    assert co2 == pytest.approx(OUTDOOR_PPM + 4 * WORKER_L_PER_S * 1000 / 0.02, rel=1e-3)


def test_heat_that_the_water_loses_is_what_leaves_through_the_walls() -> None:
    course = step_through(BUILDING, FIRST, constant_drive(60_000, outdoor=0.0, setpoint=21.0, supply=50.0))
    air, mass, back, _, _, valve = course[-1]
    lost_w = BUILDING.h_air * air + BUILDING.h_wall * mass
    assert air == pytest.approx(21.0, abs=0.05)
    assert BUILDING.water_kg_s * valve * 4186 * (50.0 - back) == pytest.approx(lost_w, rel=0.01)


@pytest.mark.slow
def test_a_device_that_has_seen_two_weeks_hears_stale_air_within_hours_and_calls_no_sensor_broken() -> None:
    profile = load_profile("room")
    t0_ns = round(MONDAY.timestamp()) * NS_PER_S
    tuesday_at_ten_s = 15 * 86400 + 36_000.0
    faults = [Fault("damper_stuck", tuesday_at_ten_s, ramp_s=20)]
    node = Node(AssetPlan(name="room", profile="room"), 1, faults, t0_ns, None, Operation(local_t0_s=MONDAY.timestamp()))
    pipeline = Pipeline([AssetWatch("room", profile)])
    told: list[object] = []
    for _ in range(16 * 96):
        samples = node.take(15)
        columns = zip(samples.channels, samples.values.T, strict=True)
        told += pipeline.handle([Block("room", name, samples.time_ns, values) for name, values in columns], 0).bodies
    found = [a for a in told if isinstance(a, Alert) and a.opened_ns > t0_ns + tuesday_at_ten_s * NS_PER_S]
    assert not any(isinstance(body, SensorFault) for body in told)
    assert found[0].opened_ns < t0_ns + (tuesday_at_ten_s + 3 * 3600) * NS_PER_S
    assert found[0].top[0][0] == "co2"
