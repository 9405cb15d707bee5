"""The simulated bearing, fan and room beside recorded ones: how near their normal lies, and where it does not."""

from __future__ import annotations

import pytest

from benchmarks.realism_machines import Compared, bearing, fan, room
from tests.recorded import recorded

# What is told here was measured (docs/benchmarks.md): within windows these move otherwise than the recorded ones.
FAR = {
    ("bearing", "mean absolute", "std"): 0.95,
    ("bearing", "mean absolute", "roughness"): 0.92,
    ("fan", "vibration", "roughness"): 0.62,
}


def check(found: Compared, spread_within: float) -> None:
    """No feature farther than the recordings from each other plus a quarter, but those told; a like spread."""
    for distance in found.distances:
        at_most = FAR.get((found.machine, distance.channel, distance.feature), distance.real + 0.25)
        assert distance.simulated <= at_most, (found.machine, distance)
    for channel, (real, simulated) in found.spread.items():
        assert 1 / spread_within < simulated / real < spread_within, (channel, real, simulated)


def test_a_fan_swings_as_much_as_a_real_one_and_about_as_its_speeds_differ() -> None:
    check(fan(recorded("fan-accel").parent), 1.5)


def test_rooms_lie_about_as_near_to_an_office_as_its_weeks_to_each_other() -> None:
    check(room(recorded("occupancy").parent), 2.5)


@pytest.mark.slow
def test_a_bearing_spreads_as_a_real_one_but_does_not_creep_as_it_does() -> None:
    check(bearing(recorded("ims-bearing").parent), 1.5)
