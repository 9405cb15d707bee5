"""The contract of the streaming detector (models/detectors/streaming.py), whose readings come one by one, without a window."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detectors.season import SLOT_S, SLOTS, Season, SeasonMemory
from models.detectors.streaming import (
    ALARM_SCORE,
    CAPACITY,
    MEMORY,
    WARM_UP,
    GapLaw,
    SeenValues,
    StreamingDetector,
    StreamingMemory,
)

ANY = st.lists(st.floats(width=64), min_size=1, max_size=40)


def noise(n: int, seed: int = 1) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).normal(20.0, 1.0, n)]


def daily(n_days: int, seed: int = 1) -> list[float]:
    """Every half hour: 20 by night, 60 by day, give or take 1."""
    night_and_day = np.tile(np.repeat([20.0, 60.0], 24), n_days)
    return [float(x) for x in night_and_day + np.random.default_rng(seed).normal(0, 1, len(night_and_day))]


def timed(values: list[float]) -> tuple[StreamingDetector, list[float]]:
    """One value each half hour."""
    detector = StreamingDetector()
    return detector, [detector.update(value, SLOT_S * i) for i, value in enumerate(values)]


def served(values: list[float]) -> tuple[StreamingDetector, list[float]]:
    detector = StreamingDetector()
    return detector, [detector.update(value) for value in values]


@settings(max_examples=25, deadline=None)
@given(values=ANY)
def test_any_number_gets_a_score_from_nought_to_one(values: list[float]) -> None:
    detector, _ = served(noise(WARM_UP + 20))
    assert all(0.0 <= detector.update(value) <= 1.0 for value in values)


@pytest.mark.parametrize("tiny", [1e-300, 5e-324, -1e-290])
def test_a_step_far_smaller_than_any_before_is_not_odd(tiny: float) -> None:
    """Where a channel mostly rests, its law begins at the first gap, and this one is hundreds of decades below."""
    detector, _ = served([0.0] * 20 + [50.0] + [0.0] * WARM_UP)
    assert detector.update(tiny) == 0.0


@settings(max_examples=25, deadline=None)
@given(values=ANY, cut=st.integers(0, 170))
def test_after_a_restart_from_its_memory_it_scores_as_if_it_had_gone_on(values: list[float], cut: int) -> None:
    stream = noise(WARM_UP + 30) + values
    _, expected = served(stream)
    first, before = served(stream[:cut])
    kept = msgspec.json.decode(msgspec.json.encode(first.memory), type=StreamingMemory)
    second = StreamingDetector(kept)
    assert before + [second.update(value) for value in stream[cut:]] == expected


@settings(max_examples=15, deadline=None)
@given(
    values=st.lists(st.floats(width=64), max_size=30),
    steps_s=st.lists(st.floats(-1e12, 1e12), max_size=30),
    cut=st.integers(0, 30),
)
def test_at_any_time_scores_lie_in_range_and_a_restart_changes_none(
    values: list[float], steps_s: list[float], cut: int
) -> None:
    first, _ = timed(daily(9))
    kept = msgspec.json.encode(first.memory)
    told = list(zip(values, steps_s, strict=False))
    expected = [first.update(value, time_s) for value, time_s in told]
    assert all(0.0 <= score <= 1.0 for score in expected)
    second = StreamingDetector(msgspec.json.decode(kept, type=StreamingMemory))
    before = [second.update(value, time_s) for value, time_s in told[:cut]]
    third = StreamingDetector(msgspec.json.decode(msgspec.json.encode(second.memory), type=StreamingMemory))
    assert before + [third.update(value, time_s) for value, time_s in told[cut:]] == expected


def test_a_usual_value_at_the_wrong_time_is_odd_only_where_times_are_told() -> None:
    values = daily(16)
    values[-10:] = [20.0 + 0.1 * i for i in range(10)]  # as by night, on the last evening
    assert max(timed(values)[1][-10:]) > 0.5
    assert max(served(values)[1][-10:]) < 0.1


def test_a_channel_without_a_season_scores_alike_with_times_and_without() -> None:
    values = noise(3000)
    assert timed(values)[1] == served(values)[1]


@pytest.mark.parametrize("no_time_s", [math.nan, math.inf, -math.inf, 1e300])
def test_a_time_that_is_none_is_not_taken_for_one(no_time_s: float) -> None:
    detector, _ = served(noise(300))
    detector.update(20.0, no_time_s)
    assert detector.memory.season is None


@given(weeks=st.integers(1, 3), jitter=st.floats(0, 0.5))
def test_the_half_hour_is_judged_by_earlier_weeks_alone(weeks: int, jitter: float) -> None:
    season = Season(MEMORY)
    for i in range(weeks * SLOTS):
        off = season.off(float(i % SLOTS) + jitter, SLOT_S * i)
        assert math.isnan(off) if i < SLOTS else abs(off) < 1e-9
    assert season.off(1000.0, SLOT_S * weeks * SLOTS) == 1000.0 - jitter
    assert season.off(1000.0, SLOT_S * weeks * SLOTS + 1) == 1000.0 - jitter


def test_a_season_tells_nothing_until_it_halves_the_deviation() -> None:
    season = Season(MEMORY)
    assert not season.tells(1e9)
    for i, value in enumerate(daily(8)):
        season.learn(value, season.off(value, SLOT_S * i))
    assert season.tells(40.0)
    assert season.tells(-40.0)
    assert not season.tells(2.0)
    assert not season.tells(math.nan)


def test_a_witness_that_rings_often_is_believed_less_until_it_has_been_quiet() -> None:
    detector, _ = served(noise(1000))
    calm = detector.memory
    hoarse = msgspec.structs.replace(calm, bar=calm.bar + 2)
    assert StreamingDetector(hoarse).update(60.0) < StreamingDetector(calm).update(60.0)
    assert detector.update(60.0) > 0.5
    assert detector.memory.bar == pytest.approx(calm.bar + math.log10(2), abs=1e-3)
    for _ in range(MEMORY):
        detector.update(20.0)
    assert detector.memory.bar == pytest.approx(calm.bar, abs=1e-3)


def test_the_largest_gap_is_half_forgotten_in_its_memory() -> None:
    detector, _ = served([*noise(1000), 1000.0])
    before = detector.memory.largest
    for _ in range(MEMORY):
        detector.update(20.0)
    assert detector.memory.largest == pytest.approx(before / 2)


def test_however_often_gaps_come_alarms_do_not() -> None:
    """Ever larger: each reading is the farthest out so far, every hundredth by a lot."""
    values = [float(x) for x in np.cumsum(np.random.default_rng(7).pareto(0.8, 20_000))]
    _, scores = served(values)
    assert sum(score >= ALARM_SCORE for score in scores) <= 40


def test_what_comes_later_changes_no_score_before_it() -> None:
    stream = noise(600)
    assert served(stream[:400])[1] == served(stream)[1][:400]


def test_nothing_is_odd_before_it_has_warmed_up() -> None:
    assert served([*noise(WARM_UP - 1), 1e9])[1] == [0.0] * WARM_UP


def test_a_value_far_from_all_seen_scores_high_and_the_same_again_does_not() -> None:
    detector, _ = served(noise(1000))
    assert detector.update(60.0) > 0.9
    assert detector.update(60.0) == 0.0
    assert detector.update(60.1) == 0.0


def test_a_reading_is_heard_with_the_values_that_it_lies_between() -> None:
    detector, _ = served([10.0, 90.0, 30.0] * 200)
    heard = detector.hear(50.0)
    assert (heard.below, heard.above) == (30.0, 90.0)
    assert 0 < heard.p_value < 0.05
    assert detector.hear(100.0).above == math.inf


def test_a_hole_in_the_middle_of_what_was_seen_is_odd_too() -> None:
    rng = np.random.default_rng(3)
    detector, _ = served([float(x) for x in rng.choice([10.0, 90.0], 1000) + rng.normal(0, 1, 1000)])
    assert detector.update(50.0) > 0.9


def test_an_anomaly_that_gets_worse_is_told_again() -> None:
    detector, _ = served(noise(1000))
    assert 0.5 < detector.update(32.0) < detector.update(200.0)


@pytest.mark.parametrize("absent", [math.nan, math.inf, -math.inf])
def test_what_is_absent_scores_nothing_and_teaches_nothing(absent: float) -> None:
    detector, _ = served(noise(300))
    before = detector.memory
    assert detector.update(absent) == 0.0
    assert detector.memory == before


def test_a_constant_channel_is_never_odd_until_it_moves() -> None:
    detector, scores = served([5.0] * 1000)
    assert max(scores) == 0.0
    assert detector.update(6.0) > 0.5


def test_scores_of_a_channel_do_not_depend_on_its_unit() -> None:
    celsius = noise(800, seed=4)
    kelvin_times_8 = [8 * value for value in celsius]  # a power of two: no rounding
    assert served(kelvin_times_8)[1] == served(celsius)[1]


def test_few_of_many_normal_readings_reach_a_half() -> None:
    scores = np.array(served(noise(8000, seed=5))[1])
    assert (scores >= ALARM_SCORE).sum() <= 8000 / 1000
    assert (scores >= 0.5).sum() <= 8000 / 500


def test_memory_stays_bounded_and_keeps_the_range() -> None:
    seen = SeenValues(64)
    values = noise(3000)
    for value in values:
        seen.add(value)
    assert len(seen.values) <= 64
    assert (np.diff(seen.values) > 0).all()
    assert (seen.values[0], seen.values[-1]) == (min(values), max(values))
    detector, _ = served(noise(CAPACITY + 500))
    assert len(msgspec.msgpack.encode(detector.memory)) < 41_000
    detector, _ = timed(noise(CAPACITY + 500))
    assert len(msgspec.msgpack.encode(detector.memory)) < 55_000


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60))
def test_the_gap_is_that_to_the_nearest_value_seen(values: list[float]) -> None:
    seen = SeenValues(100)
    for i, value in enumerate(values):
        gap = seen.add(value)
        assert math.isnan(gap) if i == 0 else gap == min(abs(value - earlier) for earlier in values[:i])


def test_a_larger_gap_is_never_less_surprising() -> None:
    gaps = np.abs(np.random.default_rng(6).standard_t(3, 2000))
    surprises = []
    for asked in np.geomspace(1e-3, 1e6, 60):
        law = GapLaw()
        for gap in gaps:
            law.counts[min(max(int(4 * math.log2(gap / gaps[0]) + 320), 1), 639)] += 1
        law.unit = float(gaps[0])
        surprises.append(law.add(float(asked)))
    assert surprises == sorted(surprises)
    assert 2.5 < surprises[-1] <= 12


def test_a_memory_of_another_shape_is_refused() -> None:
    memory = StreamingDetector().memory
    with pytest.raises(ValueError, match="memory of 0, 3 numbers"):
        StreamingDetector(msgspec.structs.replace(memory, counts=b"\0" * 24))
    with pytest.raises(ValueError, match="torn"):
        StreamingDetector(msgspec.structs.replace(memory, recent=memory.recent[:-1]))
    with pytest.raises(ValueError, match="numbers that none leaves"):
        StreamingDetector(msgspec.structs.replace(memory, largest=-1.0))
    with pytest.raises(ValueError, match="memory of 99 oddnesses"):
        StreamingDetector(msgspec.structs.replace(memory, recent=memory.recent[8:]))
    season = timed(noise(3))[0].memory.season
    assert isinstance(season, SeasonMemory)
    with pytest.raises(ValueError, match="season's memory of 8"):
        Season(MEMORY, msgspec.structs.replace(season, means=b"\0" * 8))
