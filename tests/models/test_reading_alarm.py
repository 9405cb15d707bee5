"""When an alarm by single readings begins, and when it is over."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from models.detectors.reading_alarm import BACK, AlarmMemory, ReadingAlarm
from models.detectors.season import SLOT_S, SLOTS
from models.detectors.streaming import REFRACTORY, Heard

USUAL = [n * 0.618034 % 1.0 for n in range(400)]  # fills 0..1 ever more evenly: no reading is odd by chance


def learned() -> ReadingAlarm:
    alarm = ReadingAlarm(0.9)
    for value in USUAL:
        alarm.update(value)
    assert not alarm.alarm
    return alarm


def until_over(alarm: ReadingAlarm, values: list[float]) -> int:
    """How many of `values` it takes."""
    for n, value in enumerate(values, start=1):
        alarm.update(value)
        if not alarm.alarm:
            return n
    pytest.fail("it stays on")


def test_it_begins_with_the_odd_reading_and_knows_the_nearest_ever_seen() -> None:
    alarm = learned()
    heard = alarm.update(5.0)
    assert alarm.alarm
    assert alarm.is_odd(heard)
    assert (heard.below, heard.above) == (max(USUAL), math.inf)
    assert 0 < heard.p_value < 1e-3


def test_it_is_over_once_three_readings_in_a_row_are_where_it_had_been_before() -> None:
    alarm = learned()
    alarm.update(5.0)
    assert until_over(alarm, [0.5, 0.2, 5.0, 0.5, 0.2, 0.7]) == 6
    assert BACK == 3


def test_a_level_that_stays_is_told_once_and_then_it_is_usual() -> None:
    alarm = learned()
    alarm.update(5.0)
    stays = [5.0 + 0.01 * value for value in USUAL[:150]]
    assert until_over(alarm, stays) == REFRACTORY
    assert not any(alarm.is_odd(alarm.update(value)) for value in stays)


def test_what_gets_odder_prolongs_it() -> None:
    alarm = learned()
    alarm.update(5.0)
    for _ in range(REFRACTORY - 1):
        alarm.update(5.0)
    assert alarm.is_odd(alarm.update(50.0))
    assert until_over(alarm, [50.0] * 200) == REFRACTORY


def test_odd_on_the_other_side_it_is_over_when_it_is_back_from_there() -> None:
    alarm = learned()
    alarm.update(5.0)
    assert alarm.is_odd(alarm.update(-50.0))
    assert until_over(alarm, [-50.0, 0.5, 0.5, 0.5]) == 4


def test_absent_readings_neither_end_nor_prolong_it() -> None:
    alarm = learned()
    alarm.update(5.0)
    before = alarm.memory
    assert alarm.update(math.nan) == Heard(0.0)
    assert alarm.memory == before


@pytest.mark.parametrize("cut", [150, 401, 403, 420])
def test_after_a_restart_it_goes_on_as_if_nothing_had_been(cut: int) -> None:
    values = [*USUAL, 5.0, 0.5, 5.0, *[5.0] * 97, 5.0, 0.5, 9.0, 0.1, 0.2, 0.3]
    whole, first = ReadingAlarm(0.9), ReadingAlarm(0.9)
    for value in values[:cut]:
        whole.update(value)
        first.update(value)
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(first.memory), type=AlarmMemory)
    second = ReadingAlarm(0.9, kept)
    for value in values[cut:]:
        assert second.update(value) == whole.update(value)
        assert second.alarm == whole.alarm


# --- by the half hour of the week ---------------------------------------------------------------------------------------

WEEKS = 3


def daily(slot: int) -> float:
    """3 to 4 by night, 20 to 21 from eight to six; filled ever more evenly."""
    return (20.0 if 16 <= slot % 48 < 36 else 3.0) + slot * 0.618034 % 1.0


def watched(alarm: ReadingAlarm, values: list[float], first_slot: int) -> list[Heard]:
    return [alarm.update(value, SLOT_S * (first_slot + n)) for n, value in enumerate(values)]


def of_three_weeks() -> ReadingAlarm:
    alarm = ReadingAlarm(0.95)
    heard = watched(alarm, [daily(slot) for slot in range(WEEKS * SLOTS)], 0)
    assert not any(map(alarm.is_odd, heard[SLOTS:]))
    return alarm


def test_a_usual_value_at_the_wrong_time_opens_it_and_usual_ones_at_their_time_close_it() -> None:
    alarm, night = of_three_weeks(), WEEKS * SLOTS + 4
    watched(alarm, [daily(slot) for slot in range(night - 4, night)], night - 4)
    (heard,) = watched(alarm, [20.4], night)
    assert alarm.is_odd(heard)
    assert heard.usual == pytest.approx(3.5, abs=0.5)
    assert min(heard.above - 20.4, 20.4 - heard.below) < 0.01, "values like it have been seen"
    watched(alarm, [20.4, 3.2, 3.3], night + 1)
    assert alarm.alarm
    watched(alarm, [3.1], night + 4)
    assert not alarm.alarm


def test_without_times_it_is_not_noticed() -> None:
    alarm = ReadingAlarm(0.9)
    for slot in range(WEEKS * SLOTS):
        alarm.update(daily(slot))
    assert not alarm.is_odd(alarm.update(20.4))


def test_a_clock_that_was_wrong_ends_it_and_its_weeks_are_learned_anew() -> None:
    alarm, night = of_three_weeks(), WEEKS * SLOTS + 4
    watched(alarm, [20.4], night)
    assert alarm.alarm
    alarm.forget_times()
    assert not alarm.alarm
    assert not any(map(alarm.is_odd, watched(alarm, [20.4] * 20, night + 10)))


def test_an_untimely_alarm_goes_on_over_a_restart() -> None:
    first, night = of_three_weeks(), WEEKS * SLOTS + 4
    watched(first, [20.4], night)
    second = ReadingAlarm(0.95, msgspec.msgpack.decode(msgspec.msgpack.encode(first.memory), type=AlarmMemory))
    for n, value in enumerate([20.5, 3.2, 20.1, 3.2, 3.3, 3.1, 20.0]):
        assert watched(second, [value], night + 1 + n) == watched(first, [value], night + 1 + n)
        assert second.alarm == first.alarm


def test_a_higher_threshold_rings_less_often() -> None:
    noise = np.random.default_rng(1).standard_normal(5000).tolist()
    counts = []
    for threshold in (0.9, 0.99, 0.9999):
        alarm = ReadingAlarm(threshold)
        counts.append(sum(alarm.is_odd(alarm.update(value)) for value in noise))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]
