"""P-values: honest on held-out normal scores, monotone, and careful where nobody has data."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle.manifest import Tail
from models.detectors.calibration import MIN_SCORES, P_FLOOR, cross_scores, fit_tail, p_value
from models.detectors.robust import RobustDetector
from models.features.normal import LocalNormal

N_FEATURES = 18


def normal_scores(n: int, seed: int) -> np.ndarray:
    """What the baseline gives for windows of a healthy machine."""
    z = np.random.default_rng(seed).normal(size=(n, N_FEATURES)).astype(np.float32)
    detector = RobustDetector()
    return np.array([detector.score(vector).score for vector in z])


def share_at_most(tail: Tail, scores: np.ndarray, p: float) -> float:
    return float(np.mean([p_value(tail, score) <= p for score in scores]))


@pytest.mark.parametrize("p", [0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05])
def test_p_values_are_uniform_on_held_out_normal_scores(p: float) -> None:
    tail = fit_tail(normal_scores(2000, seed=1))
    assert share_at_most(tail, normal_scores(4000, seed=2), p) == pytest.approx(p, abs=0.03)


def test_sixty_windows_err_on_the_careful_side_in_the_tail() -> None:
    held_out = normal_scores(3000, seed=100)
    tails = [fit_tail(normal_scores(60, seed)) for seed in range(20)]
    assert np.mean([share_at_most(tail, held_out, 0.05) for tail in tails]) == pytest.approx(0.05, abs=0.03)
    assert np.mean([share_at_most(tail, held_out, 1e-3) for tail in tails]) < 3e-3
    assert np.mean([share_at_most(tail, held_out, 1e-5) for tail in tails]) < 3e-4


SCORE = st.floats(0, 1e6).map(lambda score: round(score, 9))  # scores are means of float32 squares, never subnormal
SCORES = st.lists(SCORE, min_size=MIN_SCORES, max_size=200).map(np.array)


@given(SCORES, st.lists(SCORE, min_size=2, max_size=20))
def test_a_higher_score_never_has_a_higher_p_value(normal: np.ndarray, scores: list[float]) -> None:
    tail = fit_tail(normal)
    p = [p_value(tail, score) for score in sorted(scores)]
    assert all(0 < b <= a + 1e-12 and a <= 1 for a, b in pairwise(p))


@given(SCORES, st.one_of(st.floats(0, 1e308), st.just(math.inf)))
def test_a_p_value_is_finite_above_zero_and_at_most_one_whatever_the_score(normal: np.ndarray, score: float) -> None:
    assert P_FLOOR <= p_value(fit_tail(normal), score) <= 1


def test_the_body_and_the_tail_meet() -> None:
    tail = fit_tail(normal_scores(300, seed=3))
    assert p_value(tail, tail.threshold) == pytest.approx(tail.p_threshold)
    assert p_value(tail, tail.threshold * (1 + 1e-9)) == pytest.approx(tail.p_threshold, rel=1e-6)
    assert p_value(tail, 0.0) == 1.0


def test_scores_far_out_are_told_apart() -> None:
    tail = fit_tail(normal_scores(60, seed=4))
    p = [p_value(tail, tail.threshold * factor) for factor in (2, 4, 8, 16)]
    assert p == sorted(p, reverse=True)
    assert p[0] > 1e-6 > p[2]


def test_scores_that_never_varied_do_not_make_the_same_score_odd() -> None:
    assert p_value(fit_tail(np.full(60, 3.0)), 3.0) >= 0.1
    assert p_value(fit_tail(np.zeros(60)), 0.0) >= 0.1


@pytest.mark.parametrize("n", [0, 1, MIN_SCORES - 1])
def test_fewer_than_twenty_scores_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"{n} scores; at least {MIN_SCORES}"):
        fit_tail(np.ones(n))


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_refused(poison: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        fit_tail(np.array([*range(30), poison]))


def test_a_tail_travels_in_a_manifest_unchanged() -> None:
    tail = fit_tail(normal_scores(60, seed=5))
    assert msgspec.json.decode(msgspec.json.encode(tail), type=Tail) == tail


def test_scoring_windows_by_the_others_is_harsher_than_by_themselves() -> None:
    vectors = np.random.default_rng(6).normal(size=(40, N_FEATURES)).astype(np.float32)
    detector = RobustDetector()
    own = LocalNormal.fit(vectors)
    flattered = np.mean([detector.score(own.apply(v)).score for v in vectors])
    assert np.mean(cross_scores(detector, vectors)) > flattered


def test_a_drift_within_commissioning_counts_as_spread() -> None:
    rng = np.random.default_rng(7)
    still = rng.normal(size=(60, N_FEATURES)).astype(np.float32)
    drifting = still + np.linspace(0, 6, 60, dtype=np.float32)[:, np.newaxis]
    assert (
        fit_tail(cross_scores(RobustDetector(), drifting)).threshold > fit_tail(cross_scores(RobustDetector(), still)).threshold
    )
