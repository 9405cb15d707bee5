"""Whatever is done to the system's clock: no reading is lost, no window comes twice or out of order, the hub can tell when."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.timeline import restated
from models.contract.clock import NS_PER_S
from models.contract.items import Aggregate, ClockMark, SensorFault
from models.contract.reading import Reading
from tests.agent.clock_world import DAY_S, ClockWorld
from tests.builders import T0_S

WINDOW_S = 10.0
YEAR_2000_S = 946_684_800.0


def check(world: ClockWorld, tolerance_s: float = 0.2, unevenness: int = 0) -> None:
    """What holds for every history: see the module's text. `unevenness`: by how many readings neighbouring windows may overlap,
    where steps too small to cut a window shift times within the lateness."""
    numbers = world.numbers
    assert len(numbers) == len(set(numbers)), "a reading in two windows"
    for one, other in pairwise(world.raws):
        assert one.values[0].max() < other.values[0].min() + 2 * unevenness, "windows out of order"
    assert len(numbers) + world.n_counted + world.n_waiting == len(world.times_ns), "a reading that nobody accounts for"
    assert all(one.end_mono_ns < other.end_mono_ns + unevenness * NS_PER_S for one, other in pairwise(world.raws))
    identities = {(a.start_ns, a.end_ns, a.end_mono_ns) for a in world.aggregates}
    assert len(identities) == len(world.aggregates) == len(world.raws)
    for raw, placed in zip(world.raws, world.placed(), strict=True):
        assert placed.quality in ("synced", "corrected")
        times_s = [(world.times_ns[int(value)] - placed.time_ns) / NS_PER_S for value in raw.values[0]]
        assert -WINDOW_S - tolerance_s < min(times_s) <= max(times_s) < tolerance_s


@pytest.mark.parametrize(
    "boot_s", [7.0, YEAR_2000_S, T0_S - 3 * DAY_S, T0_S + 20 * DAY_S], ids=["1970", "2000", "late", "early"]
)
def test_a_boot_at_a_wrong_time_and_ntp_later_lose_nothing_and_every_window_is_placed(boot_s: float) -> None:
    world = ClockWorld(wall_s=boot_s)
    world.run(73)
    world.set_system_clock(0.0, synced=True)
    world.run(60)
    check(world)
    assert world.watch.windower.n_left_out <= WINDOW_S, "more than the cut-off window of the start"
    assert sum(raw.n_late for raw in world.raws) == 0
    assert [mark.reason for mark in world.marks] == ["start", "synced"]
    assert {p.quality for p in world.placed()} == {"corrected", "synced"}


@pytest.mark.parametrize("jump_s", [14 * DAY_S, -14 * DAY_S, 600.0, -600.0, 30.0, -30.0, 3.5, -3.5])
def test_a_jump_and_the_correction_minutes_later_lose_nothing(jump_s: float) -> None:
    world = ClockWorld(synced=True)
    world.run(57)
    world.set_system_clock(jump_s)
    world.run(180)
    world.set_system_clock(0.0, synced=True)
    world.run(60)
    check(world)
    assert sum(raw.n_late for raw in world.raws) == 0
    assert world.watch.windower.n_left_out <= WINDOW_S
    assert [mark.reason for mark in world.marks] == ["start", "step", "synced"]


def test_a_window_of_the_same_times_as_an_earlier_one_is_told_apart_by_the_monotonic_clock() -> None:
    world = ClockWorld(synced=True)
    world.run(60)
    world.set_system_clock(-40.0)
    world.run(60)
    twice = {(a.start_ns, a.end_ns) for a in world.aggregates if not a.partial}
    whole = [a for a in world.aggregates if not a.partial]
    assert len(twice) < len(whole) == len({(a.end_ns, a.end_mono_ns) for a in whole})


def test_windows_that_a_step_cut_short_are_marked_and_decide_nothing() -> None:
    world = ClockWorld(wall_s=7.0)
    world.run(73)
    world.set_system_clock(0.0, synced=True)
    world.run(60)
    short = [a for a in world.aggregates if a.partial]
    assert 1 <= len(short) <= 2
    assert all(a.scores == [] for a in short)
    assert [body for body in world.bodies if isinstance(body, SensorFault)] == [], "a step is no fault of a sensor"
    learned = world.watch.commissioned[0]
    assert learned == len(world.aggregates) - len(short)


@pytest.mark.parametrize("step_s", [0.12, -0.12, 0.9, -0.9])
def test_a_small_step_cuts_no_window_and_makes_nothing_late(step_s: float) -> None:
    world = ClockWorld(synced=True)
    world.run(57)
    world.set_system_clock(step_s)
    world.run(57)
    check(world, tolerance_s=1.0, unevenness=1)
    assert not any(raw.partial for raw in world.raws)
    assert sum(raw.n_late for raw in world.raws) == 0


def test_a_sensor_with_a_clock_of_its_own_does_not_care_what_is_done_to_the_device_s() -> None:
    world, calm = ClockWorld(wall_s=7.0), ClockWorld(synced=True)
    for each in (world, calm):
        each.run(60, sensor_ahead_s=0.0)
        each.set_system_clock(0.0, synced=True)
        each.run(60, sensor_ahead_s=0.0)
    assert world.aggregates == calm.aggregates
    assert [placed.time_ns for placed in world.placed()] == [a.end_ns for a in world.aggregates], "right already: left as it is"


def test_a_sensor_s_clock_that_agrees_with_no_other_is_left_as_it_is() -> None:
    world = ClockWorld(wall_s=7.0)
    world.run(60, sensor_ahead_s=-DAY_S)
    world.set_system_clock(0.0, synced=True)
    world.run(30, sensor_ahead_s=-DAY_S)
    assert {placed.quality for placed in world.placed()} == {"sensor"}
    assert [placed.time_ns for placed in world.placed()] == [a.end_ns for a in world.aggregates]


def test_readings_that_were_dated_before_a_step_and_come_after_it_belong_to_the_old_time() -> None:
    world = ClockWorld(wall_s=7.0)
    world.run(41)
    old = world.clock.now().wall_ns
    world.set_system_clock(0.0, synced=True)
    world.clock.now()
    world.heed_clock()
    world.pipeline.handle([Reading("rig-1", "x", old + 1, 41.0)], world.clock.now().mono_ns)
    world.times_ns.append(world.now_ns)
    world.run(30)
    check(world)
    assert world.watch.windower.n_restarts == 1


def test_silence_over_a_step_closes_the_old_window_by_monotonic_time() -> None:
    world = ClockWorld(wall_s=7.0)
    world.run(57)
    world.set_system_clock(0.0, synced=True)
    world.be_silent(30)
    assert world.numbers[-1] == 56, "the open window closes though nothing comes"
    world.run(30)
    check(world)


def test_ids_of_what_opens_do_not_repeat_when_the_same_times_come_again() -> None:
    fault_ids = []
    for boot_id in ("boot-1", "boot-2"):
        world = ClockWorld(wall_s=0.0, boot_id=boot_id)
        world.run(35)
        world.pass_time(8)
        world.run(30)
        fault_ids += [body.fault_id for body in world.bodies if isinstance(body, SensorFault) and body.closed_ns is None]
    assert len(fault_ids) == len(set(fault_ids)) == 2


def test_what_is_open_over_a_step_is_told_by_the_new_time_and_was_opened_before_it_closes() -> None:
    world = ClockWorld(wall_s=1000.0)
    world.run(35)
    world.pass_time(8)
    world.run(5)
    (opened,) = world.watch.open_faults
    world.set_system_clock(0.0, synced=True)
    world.run(1)
    (restated,) = world.watch.open_faults
    assert restated.fault_id == opened.fault_id
    assert restated.opened_ns - opened.opened_ns == world.marks[-1].after_ns - world.marks[-1].before_ns
    world.run(50)
    (closed,) = (body for body in world.bodies if isinstance(body, SensorFault) and body.closed_ns is not None)
    assert closed.closed_ns is not None
    assert 0 < closed.closed_ns - closed.opened_ns < 60 * NS_PER_S


def test_what_was_opened_in_an_earlier_boot_stays_when_this_one_s_clock_is_set() -> None:
    earlier = T0_S * NS_PER_S - 5 * 3600 * NS_PER_S
    mark = ClockMark(reason="synced", mono_ns=60 * NS_PER_S, before_ns=67 * NS_PER_S, after_ns=T0_S * NS_PER_S, source="ntp")
    assert restated(earlier, mark) == earlier
    assert restated(30 * NS_PER_S, mark) == T0_S * NS_PER_S - 37 * NS_PER_S


STEPS_S = st.sampled_from([0.5, -0.5, 4.0, -4.0, 90.0, -90.0, 3000.0, -3000.0, 3700.0, -3700.0, 14 * DAY_S, -14 * DAY_S])


@given(
    st.sampled_from([None, 7.0, YEAR_2000_S]),
    st.lists(st.tuples(st.integers(1, 40), STEPS_S, st.booleans()), max_size=8),
    st.integers(32, 50),  # the kernel is asked every half minute
)
def test_any_history_of_steps(wall_s: float | None, history: list[tuple[int, float, bool]], last: int) -> None:
    world = ClockWorld(wall_s=wall_s)
    ahead_s = 0.0 if wall_s is None else wall_s - T0_S
    for seconds, step_s, silent in history:
        world.run(seconds)
        ahead_s += step_s
        if T0_S + ahead_s > 1000:
            world.set_system_clock(ahead_s)
        if silent:
            world.be_silent(seconds)
    world.run(3)
    world.set_system_clock(0.0, synced=True)
    world.run(last)
    check(world, tolerance_s=4.5, unevenness=4)  # eight steps of half a second cut no window


@given(st.lists(st.tuples(st.integers(1, 40), STEPS_S), max_size=6))
def test_a_sensor_s_clock_that_steps_at_will_loses_nothing(history: list[tuple[int, float]]) -> None:
    world, ahead_s = ClockWorld(synced=True), 0.0
    for seconds, step_s in history:
        world.run(seconds, sensor_ahead_s=ahead_s)
        ahead_s += step_s
    world.run(30, sensor_ahead_s=ahead_s)
    numbers = world.numbers
    assert len(numbers) == len(set(numbers))
    assert len(numbers) + world.n_counted + world.n_waiting == len(world.times_ns)
    windows = [body for body in world.bodies if isinstance(body, Aggregate)]
    assert len({(a.start_ns, a.end_ns, a.end_mono_ns) for a in windows}) == len(windows)
