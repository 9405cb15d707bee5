"""The device's timeline: who is believed, what is a step, and what is told of it; and timers that do not stop for years."""

from __future__ import annotations

import itertools
import time

import pytest

from agent.clock import SystemClock, mono_ns
from agent.timeline import Timeline
from models.contract.clock import NS_PER_S
from tests.agent.clock_world import DAY_S, ClockWorld
from tests.builders import T0_NS

UP_NS = 40 * NS_PER_S
MS = 1_000_000


def timeline(synced: bool = False, wall_ns: int = T0_NS) -> Timeline:
    made = Timeline(wall_ns, UP_NS, synced)
    made.take_marks()
    return made


# --- who is believed ----------------------------------------------------------------------------------------------


def test_the_first_mark_tells_how_it_began() -> None:
    (mark,) = Timeline(T0_NS, UP_NS, synced=False).take_marks()
    assert (mark.reason, mark.source, mark.before_ns, mark.after_ns) == ("start", "none", T0_NS, T0_NS)


@pytest.mark.parametrize("moved_ms", [-99, 0, 99])
def test_unevenness_within_a_tenth_of_a_second_is_no_step(moved_ms: int) -> None:
    made = timeline()
    made.observe(T0_NS + (1000 + moved_ms) * MS, UP_NS + NS_PER_S, synced=False)
    assert (made.take_marks(), made.offset_ns) == ([], T0_NS - UP_NS)


def test_small_steps_count_once_they_add_up() -> None:
    made = timeline(synced=True)
    for n in range(1, 4):
        made.observe(T0_NS + n * (NS_PER_S + 40 * MS), UP_NS + n * NS_PER_S, synced=True)
    (mark,) = made.take_marks()
    assert (mark.reason, mark.after_ns - mark.before_ns) == ("step", 120 * MS)


def test_gaining_and_losing_a_time_server_is_told_also_where_nothing_moves() -> None:
    made = timeline()
    made.observe(T0_NS, UP_NS, synced=True)
    made.observe(T0_NS, UP_NS, synced=False)
    told = [(mark.reason, mark.source, mark.after_ns - mark.before_ns) for mark in made.take_marks()]
    assert told == [("synced", "ntp", 0), ("lost", "none", 0)]


def test_the_hub_s_time_is_taken_where_there_is_no_time_server() -> None:
    made = timeline(wall_ns=7 * NS_PER_S)
    made.attest(T0_NS, UP_NS, 30 * MS)
    (mark,) = made.take_marks()
    assert (mark.reason, mark.source, mark.after_ns, mark.error_ns) == ("hub", "hub", T0_NS, 30 * MS)
    made.observe(9 * NS_PER_S, UP_NS + 2 * NS_PER_S, synced=False)
    made.attest(T0_NS + 3 * NS_PER_S + 40 * MS, UP_NS + 3 * NS_PER_S, 30 * MS)
    assert made.take_marks() == [], "the system's clock is ignored, and the hub's only followed where it matters"
    made.observe(T0_NS + 4 * NS_PER_S, UP_NS + 4 * NS_PER_S, synced=True)
    (mark,) = made.take_marks()
    assert (mark.reason, mark.source) == ("synced", "ntp")


def test_a_hub_that_nearly_agrees_vouches_for_the_clock_and_moves_nothing() -> None:
    made = timeline()
    made.attest(T0_NS + 400 * MS, UP_NS, 10 * MS)
    (mark,) = made.take_marks()
    assert (mark.source, mark.after_ns - mark.before_ns, mark.error_ns) == ("hub", 0, 410 * MS)


@pytest.mark.parametrize(("synced", "hub_ns"), [(True, T0_NS + NS_PER_S * 3600), (False, 7 * NS_PER_S), (False, 2**63)])
def test_the_hub_s_time_is_not_taken_beside_a_time_server_nor_where_it_is_absurd(synced: bool, hub_ns: int) -> None:
    made = timeline(synced=synced)
    made.attest(hub_ns, UP_NS, MS)
    assert (made.take_marks(), made.offset_ns) == ([], T0_NS - UP_NS)


def test_time_between_steps_never_runs_back_whatever_the_system_s_clock_does() -> None:
    world = ClockWorld(wall_s=7.0)
    world.clock.attest(world.now_ns, 0)
    before = world.clock.now()
    world.set_system_clock(-14 * DAY_S)
    world.pass_time(1.0)
    after = world.clock.now()
    assert after.wall_ns - before.wall_ns == after.mono_ns - before.mono_ns == NS_PER_S


# --- the system's clocks ------------------------------------------------------------------------------------------


def test_a_thread_that_lost_its_core_between_two_reads_is_no_step() -> None:
    reads = itertools.count()

    def wall() -> int:
        return T0_NS + (3 * NS_PER_S if next(reads) == 6 else 0)  # the look at the start takes five

    clock = SystemClock(wall, lambda: UP_NS, lambda: False, "boot")
    clock.take_marks()
    assert {clock.now().wall_ns for _ in range(5)} == {T0_NS}
    assert clock.take_marks() == []


def test_the_real_clocks_agree_with_one_another() -> None:
    clock = SystemClock()
    (mark,) = clock.take_marks()
    times_ns = []  # before, between and after the stamps: however long this takes
    stamps = []
    for _ in range(1000):
        times_ns.append((mono_ns(), time.time_ns()))
        stamps.append(clock.now())
    times_ns.append((mono_ns(), time.time_ns()))
    for stamp, before_ns, after_ns in zip(stamps, times_ns[:-1], times_ns[1:], strict=True):
        assert before_ns[0] <= stamp.mono_ns <= after_ns[0]
        assert before_ns[1] - NS_PER_S < stamp.wall_ns < after_ns[1] + NS_PER_S
    assert (mark.reason, clock.take_marks()) == ("start", [])
