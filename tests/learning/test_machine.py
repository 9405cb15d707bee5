"""The table of a rollout's states, and what devices should hold in each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.rollout.cohorts import Member
from hub.rollout.machine import ASSIGNING, OPEN, TRANSITIONS, Plan, assignment, make_plan, next_state, reached_devices
from models.errors import RolloutError
from tests.waiting import least_cpu_s

EVENTS = ["pass", "finish", "halt", "pause", "resume", "abort", "returned"]
STATES = {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values())
MEMBERS = [Member(f"gw-{i}", f"site-{i % 2}", "pi4") for i in range(7)]


@given(st.lists(st.sampled_from(EVENTS), max_size=30))
def test_no_sequence_of_steps_leads_from_halted_to_done(events: list[str]) -> None:
    state, halted = "running", False
    for event in events:
        try:
            state = next_state(state, event)  # type: ignore[arg-type]
        except RolloutError:
            continue
        halted |= state == "halted"
        assert state in STATES
        if halted:
            assert state in ("halted", "rolled_back", "aborted")


def test_ended_rollouts_stay_ended() -> None:
    for state in ("rolled_back", "aborted"):
        for event in EVENTS:
            with pytest.raises(RolloutError, match="possible: nothing"):
                next_state(state, event)  # type: ignore[arg-type]


def test_only_running_and_paused_rollouts_assign() -> None:
    assert set(ASSIGNING) < set(OPEN)
    assert "halted" not in ASSIGNING


@given(st.integers(1, 7), st.integers(1, 4), st.booleans())
def test_once_active_a_device_stays_active_until_the_end(canaries: int, waves: int, skip_shadow: bool) -> None:
    plan = make_plan(MEMBERS, "r", canaries=canaries, waves=waves, skip_shadow=skip_shadow)
    for member in MEMBERS:
        modes = [assignment(plan, stage, member.device_id) for stage in range(len(plan.stages))]
        since = modes.index("active")
        assert all(mode == "active" for mode in modes[since:])
        assert all(mode in (None, "shadow") for mode in modes[:since])
    assert reached_devices(plan, len(plan.stages) - 1) == sorted(member.device_id for member in MEMBERS)


def test_default_plan_is_shadow_canary_and_one_wave() -> None:
    plan = make_plan(MEMBERS, "r")
    assert [(stage.name, stage.mode) for stage in plan.stages] == [
        ("shadow", "shadow"),
        ("canary", "active"),
        ("wave 1", "active"),
    ]
    assert plan.stages[0].devices == plan.stages[1].devices
    assert len(plan.stages[2].devices) == 5


def test_a_fleet_of_one_has_no_wave() -> None:
    assert [stage.name for stage in make_plan(MEMBERS[:1], "r").stages] == ["shadow", "canary"]


def test_a_plan_survives_its_json() -> None:
    plan = make_plan(MEMBERS, "r", waves=2)
    assert Plan.from_json(plan.to_json()) == plan


def test_no_devices_is_refused() -> None:
    with pytest.raises(RolloutError, match="no device"):
        make_plan([], "r")


def test_ten_thousand_devices_are_planned_in_a_second() -> None:
    members = [Member(f"gw-{i}", f"site-{i % 20}", "pi4") for i in range(10_000)]
    assert least_cpu_s(lambda: make_plan(members, "r1", canaries=5_000)) < 1.0
    plan = make_plan(members, "r1", canaries=5_000)
    assert [len(stage.devices) for stage in plan.stages] == [5_000, 5_000, 5_000]
