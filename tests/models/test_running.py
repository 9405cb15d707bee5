"""Whether a machine runs, by one of its channels: what is told of each window, however its samples come."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from models.contract.clock import NS_PER_S
from models.contract.config import load_profile
from models.contract.items import FaultKind
from models.contract.profile import Profile, RunningPlan
from models.quality.finding import Finding
from models.quality.running import RunningCheck
from tests import builders

PLAN = RunningPlan(channel="flow", above=10.0, below=5.0, settle_s=20.0, stop_s=20.0)
WINDOW_S = 10


def phases(
    levels: list[float], hop_s: int = WINDOW_S, usual_low: float = math.nan, check: RunningCheck | None = None, since_s: int = 0
) -> list[str]:
    """Of windows of 10 s over a sample a second."""
    check = check or RunningCheck(PLAN)
    found = []
    for end in range(WINDOW_S, len(levels) + 1, hop_s):
        times = (since_s + np.arange(end - WINDOW_S, end) + 1) * NS_PER_S
        values = np.array(levels[end - WINDOW_S : end])
        check.see(times.astype(np.int64), values)
        found.append(check.phase((since_s + end - WINDOW_S) * NS_PER_S, values, [], usual_low))
    return found


def test_at_rest_until_it_has_run_for_a_whole_window_and_settled() -> None:
    levels = [0.0] * 20 + [20.0] * 50
    assert phases(levels) == ["rest"] * 2 + ["starting"] * 3 + ["running"] * 2


def test_a_window_with_a_moment_of_rest_did_not_run_through() -> None:
    levels = [20.0] * 15 + [0.0] + [20.0] * 54
    assert phases(levels) == ["running"] + ["starting"] * 3 + ["running"] * 3


def test_between_the_two_limits_it_does_as_it_did() -> None:
    assert phases([20.0] * 10 + [7.0] * 20) == ["running"] * 3
    assert phases([0.0] * 10 + [7.0] * 20) == ["rest"] * 3


def test_a_machine_that_ran_when_its_device_came_up_is_judged_at_once() -> None:
    assert phases([20.0] * 20) == ["running"] * 2
    assert phases([7.0] * 20) == ["running"] * 2, "nobody knows yet"


def test_how_samples_are_grouped_and_windows_overlap_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    levels = np.repeat(rng.choice([0.0, 7.0, 20.0], 60), 7).tolist()
    by_second = phases(levels, hop_s=1)
    for hop_s in (2, 5, 10):
        assert phases(levels, hop_s) == by_second[::hop_s]


def test_since_when_it_rests_is_the_first_sample_after_it_last_ran() -> None:
    check = RunningCheck(PLAN)
    phases([20.0] * 12 + [4.0] + [7.0] * 3 + [0.0] * 14, check=check)
    assert check.rest_since_ns == 13 * NS_PER_S
    phases([20.0] * 10, check=check, since_s=30)
    assert check.rest_since_ns is None


@pytest.mark.parametrize("kind", ["step", "missing", "out_of_range", "noise", "disagreement"])
def test_a_channel_at_fault_tells_nothing_and_the_window_is_judged(kind: FaultKind) -> None:
    check = RunningCheck(PLAN)
    assert phases([0.0] * 20, check=check) == ["rest"] * 2
    zeros = np.zeros(10)
    assert check.phase(10 * NS_PER_S, zeros, [Finding("flow", kind, "")], math.nan) == "running"
    assert check.phase(10 * NS_PER_S, zeros, [Finding("", kind, "")], math.nan) == "running"
    assert check.phase(10 * NS_PER_S, zeros, [Finding("pressure", kind, "")], math.nan) == "rest"
    assert check.phase(10 * NS_PER_S, zeros[:0], [], math.nan) == "running", "no sample of it at all"


def test_a_spike_that_was_taken_out_leaves_the_channel_believed() -> None:
    check = RunningCheck(PLAN)
    phases([0.0] * 20, check=check)
    assert check.phase(10 * NS_PER_S, np.zeros(10), [Finding("flow", "spike", "")], math.nan) == "rest"


def test_lower_than_usual_may_be_a_stop_for_so_long_as_a_stop_takes() -> None:
    levels = [20.0] * 10 + [14.0] * 40 + [20.0] * 10 + [14.0] * 10
    expected = ["running", "stopping", "stopping", "running", "running", "running", "stopping"]
    assert phases(levels, usual_low=18.0) == expected
    assert phases(levels) == ["running"] * 7, "what is usual is not known yet"


def test_after_a_jump_of_the_clock_it_goes_on_with_what_it_does() -> None:
    check = RunningCheck(PLAN)
    phases([20.0] * 20, check=check, since_s=100)
    check.forget_times()
    assert phases([20.0] * 10, check=check) == ["running"]
    phases([0.0] * 10, check=check, since_s=10)
    check.forget_times()
    assert check.rest_since_ns is None
    assert phases([7.0] * 10, check=check) == ["rest"]


def test_without_a_plan_it_always_runs() -> None:
    assert phases([0.0] * 20, check=RunningCheck(None)) == ["running"] * 2


# --- the plan --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"channel": "speed", "above": 1.0}, "running.channel: 'speed' must be a channel of the profile"),
        ({"channel": "flow", "above": 1.0, "below": 1.0}, "running.below: 1 must be less than above, 1"),
        ({"channel": "flow", "above": 0.0}, "Expected `float` > 0"),
        ({"channel": "flow", "above": 1.0, "settle_s": -1.0}, "Expected `float` >= 0.0"),
        ({"channel": "flow", "above": 1.0, "stop_s": -1.0}, "Expected `float` >= 0.0"),
        ({"channel": "flow", "above": 1.0, "under": 0.5}, "unknown field `under`"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan: dict[str, object], says: str) -> None:
    fields = msgspec.to_builtins(builders.rig()) | {"running": plan}
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert(fields, Profile)


def test_the_plan_is_no_part_of_the_feature_spec() -> None:
    rig = builders.rig()
    assert msgspec.structs.replace(rig, running=PLAN).spec_hash == rig.spec_hash
    assert RunningPlan(channel="flow", above=10.0).lower == 8.0


@pytest.mark.parametrize("name", ["pump", "motor", "fan", "compressor"])
def test_shipped_machines_run_where_they_draw_current(name: str) -> None:
    plan = load_profile(name).running
    assert plan is not None
    assert plan.channel == "current"
