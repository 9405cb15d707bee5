"""When an alarm by single readings begins, and when it is over."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from models.detectors.reading_alarm import BACK, AlarmMemory, ReadingAlarm
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


def test_a_higher_threshold_rings_less_often() -> None:
    noise = np.random.default_rng(1).standard_normal(5000).tolist()
    counts = []
    for threshold in (0.9, 0.99, 0.9999):
        alarm = ReadingAlarm(threshold)
        counts.append(sum(alarm.is_odd(alarm.update(value)) for value in noise))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]
