"""The simulator's machines through the agent's pipeline, judged: figures of a short scenario, the same each time."""

from __future__ import annotations

from benchmarks.detection.scenarios import Asked, measure


def test_a_short_scenario_is_measured_and_comes_out_the_same_again() -> None:
    asked = Asked(only=("motor-1",))
    found = measure("commissioning", None, asked)
    assert (found["faults"], found["found"], found["false_alarms"], found["never_learned"]) == (1, 1, 0, 0)
    assert 0 < found["median_delay_s"] <= 60
    assert measure("commissioning", 1, asked) == found


def test_what_is_asked_for_changes_the_profile() -> None:
    always = Asked(commissioning=100, always=True).profile("pump")
    assert (always.commissioning.windows, always.running) == (100, None)
    assert Asked().profile("pump").running is not None
