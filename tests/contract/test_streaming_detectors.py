"""The contract of the streaming detector (models/detectors/streaming.py), whose readings come one by one, without a window."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detectors.streaming import CAPACITY, REFRACTORY, WARM_UP, GapLaw, SeenValues, StreamingDetector, StreamingMemory

ANY = st.lists(st.floats(width=64), min_size=1, max_size=40)


def noise(n: int, seed: int = 1) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).normal(20.0, 1.0, n)]


def served(values: list[float]) -> tuple[StreamingDetector, list[float]]:
    detector = StreamingDetector()
    return detector, [detector.update(value) for value in values]


@settings(max_examples=25, deadline=None)
@given(values=ANY)
def test_any_number_gets_a_score_from_nought_to_one(values: list[float]) -> None:
    detector, _ = served(noise(WARM_UP + 20))
    assert all(0.0 <= detector.update(value) <= 1.0 for value in values)


@settings(max_examples=25, deadline=None)
@given(values=ANY, cut=st.integers(0, 170))
def test_after_a_restart_from_its_memory_it_scores_as_if_it_had_gone_on(values: list[float], cut: int) -> None:
    stream = noise(WARM_UP + 30) + values
    _, expected = served(stream)
    first, before = served(stream[:cut])
    kept = msgspec.json.decode(msgspec.json.encode(first.memory), type=StreamingMemory)
    second = StreamingDetector(kept)
    assert before + [second.update(value) for value in stream[cut:]] == expected


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
    assert (scores >= 0.9).sum() <= 8000 / 600
    assert (scores >= 0.5).sum() <= 8000 / REFRACTORY


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
    with pytest.raises(ValueError, match="memory of 0, 3, 100 numbers"):
        StreamingDetector(msgspec.structs.replace(memory, counts=b"\0" * 24))
    with pytest.raises(ValueError, match="torn"):
        StreamingDetector(msgspec.structs.replace(memory, recent=memory.recent[:-1]))
