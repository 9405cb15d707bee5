"""What comes back in several episodes, spread over commissioning, is how the machine runs; one stretch is a disturbance."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.detectors.calibration import cross_scores, fit_tail, p_value, without_odd
from models.detectors.commissioning import learn
from models.detectors.recurrence import recurring
from models.detectors.robust import RobustDetector

N, N_FEATURES = 400, 8
HEATING = np.array([9.0, 9.0, 6.0, 0, 0, 0, 0, 0], dtype=np.float32)
LEAK = np.array([0, 0, 0, 0, -9.0, 0, 7.0, 8.0], dtype=np.float32)


def windows(episodes: list[tuple[int, int]], kind: NDArray[np.float32] = HEATING, seed: int = 0) -> NDArray[np.float32]:
    """(N, N_FEATURES) in units of their spread; `kind` is added in each (first, length)."""
    x = np.random.default_rng(seed).normal(0, 1, (N, N_FEATURES)).astype(np.float32)
    for first, length in episodes:
        x[first : first + length] += kind
    return x


def found(x: NDArray[np.float32], episodes: list[tuple[int, int]]) -> NDArray[np.bool_]:
    odd = np.zeros(N, dtype=bool)
    for first, length in episodes:
        odd[first : first + length] = True
    return recurring(x, odd, np.flatnonzero(odd))


def test_what_comes_back_each_day_recurs() -> None:
    days = [(40 + 80 * day, 6) for day in range(5)]
    assert found(windows(days), days).all()


@pytest.mark.parametrize(
    "episodes",
    [[(100, 60)], [(40, 6), (360, 6)], [(100, 6), (112, 6), (124, 6)], [(20, 1), (100, 1), (200, 1), (300, 1)]],
    ids=["one stretch", "twice", "three times, but close together", "single windows"],
)
def test_a_disturbance_does_not(episodes: list[tuple[int, int]]) -> None:
    assert not found(windows(episodes), episodes).any()


def test_another_kind_among_what_recurs_does_not() -> None:
    days, leak = [(40 + 80 * day, 6) for day in range(5)], (70, 12)
    x = windows(days)
    x[leak[0] : leak[0] + leak[1]] += LEAK
    odd = np.zeros(N, dtype=bool)
    for first, length in [*days, leak]:
        odd[first : first + length] = True
    recurs = recurring(x, odd, np.flatnonzero(odd))
    at = np.flatnonzero(odd)
    assert recurs[(at < 70) | (at >= 82)].all()
    assert not recurs[(at >= 70) & (at < 82)].any()


def test_absent_values_are_left_out_of_what_is_near() -> None:
    days = [(40 + 80 * day, 6) for day in range(5)]
    x = windows(days)
    x[::3, 1] = np.nan
    x[:, 5] = np.nan
    assert found(x, days).mean() > 0.9


def test_without_any_odd_window_nothing_recurs() -> None:
    assert recurring(windows([]), np.zeros(N, dtype=bool), np.empty(0, dtype=np.intp)).tolist() == []


def alarming(x: NDArray[np.float32], kind: NDArray[np.float32]) -> float:
    """The p-value of a window of `kind`, by what is learned from `x`."""
    learned, detector = learn(x), RobustDetector()
    tail = fit_tail(cross_scores(detector, learned.reference))
    return p_value(tail, detector.score(learned.normal.apply(4 * kind)).score)


def test_commissioning_keeps_what_recurs_and_does_not_ring_at_it_later() -> None:
    days = [(30 + 80 * day, 6) for day in range(5)]
    x = windows(days, 4 * HEATING)
    assert len(learn(x).reference) > N - 4
    assert alarming(x, HEATING) > 1e-3
    assert alarming(x, LEAK) < alarming(x, HEATING) * 2


def test_commissioning_drops_one_stretch_of_the_same_and_rings_at_it_later() -> None:
    x = windows([(100, 30)], 4 * HEATING)
    assert N - 34 <= len(learn(x).reference) <= N - 30
    assert alarming(x, HEATING) < 1e-6


def test_scores_of_whole_windows_that_come_back_raise_the_thresholds_and_one_stretch_does_not() -> None:
    scores = np.abs(np.random.default_rng(1).normal(1, 0.2, 60))
    once, often = scores.copy(), scores.copy()
    once[20:25] = 30.0
    often[[5, 18, 31, 44, 57]] = 30.0
    assert len(without_odd(once)) == 55
    assert without_odd(often).max() == 30.0
