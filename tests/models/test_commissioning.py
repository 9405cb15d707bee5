"""Commissioning: a disturbance among the first windows neither widens the normal nor raises the thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from models.detectors.calibration import cross_scores, fit_tail
from models.detectors.commissioning import learn
from models.detectors.robust import RobustDetector

N, N_FEATURES = 60, 18


def vectors(seed: int = 0, n: int = N) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(np.arange(N_FEATURES) * 10, 1 + np.arange(N_FEATURES) % 4, size=(n, N_FEATURES)).astype(np.float32)


def disturbed(rows: slice | list[int], size: float, features: slice = slice(0, 6)) -> np.ndarray:
    x = vectors()
    x[rows, features] += size
    return x


def test_clean_windows_are_nearly_all_kept() -> None:
    kept = [len(learn(vectors(seed)).reference) for seed in range(20)]
    assert min(kept) >= N - 2
    assert np.mean(kept) > N - 0.5


@pytest.mark.parametrize("rows", [slice(0, 10), slice(10, 22), slice(25, 37), slice(50, 60), [3, 44]], ids=str)
@pytest.mark.parametrize("size", [60.0, -300.0, 1e5])
def test_a_disturbance_of_up_to_a_fifth_is_dropped_wherever_it_lies(rows: slice | list[int], size: float) -> None:
    learned, clean = learn(disturbed(rows, size)), learn(vectors())
    n_odd = len(np.arange(N)[rows])
    assert N - n_odd - 2 <= len(learned.reference) <= N - n_odd
    assert np.abs((learned.normal.location - clean.normal.location) / clean.normal.scale).max() < 0.5
    assert (learned.normal.scale / clean.normal.scale).max() < 1.4
    thresholds = [fit_tail(cross_scores(RobustDetector(), each.reference)).threshold for each in (learned, clean)]
    assert thresholds[0] < 1.4 * thresholds[1]


def test_the_disturbance_itself_is_then_judged_odd() -> None:
    learned = learn(disturbed(slice(0, 10), 60.0))
    tail = fit_tail(cross_scores(RobustDetector(), learned.reference))
    score = RobustDetector().score(learned.normal.apply(disturbed(slice(0, 10), 60.0)[0])).score
    assert score > 4 * tail.threshold


def test_a_machine_that_is_odd_more_than_a_fifth_of_the_time_runs_like_that() -> None:
    assert len(learn(disturbed(slice(0, 24), 60.0)).reference) >= N * 0.8


def test_windows_that_are_odd_all_over_are_dropped_however_they_are_scattered() -> None:
    learned = learn(disturbed([3, 9, 20, 21, 35, 44, 50, 59], 60.0, slice(0, N_FEATURES)))
    assert len(learned.reference) == N - 8


def test_never_so_many_are_dropped_that_too_few_are_left() -> None:
    x = vectors(n=22)
    x[:6] += 1000.0
    assert len(learn(x).reference) == 20
    assert len(learn(vectors(n=20)).reference) == 20


def test_the_reference_is_the_kept_windows_in_their_order_and_the_normal_is_theirs() -> None:
    x = disturbed([5, 6], 500.0)
    learned = learn(x)
    kept = [row.tolist() for row in learned.reference]
    assert kept == [row.tolist() for row in x if row.tolist() in kept]
    assert learned.normal.location == pytest.approx(np.median(learned.reference, axis=0))


def test_absent_features_do_not_make_a_window_odd() -> None:
    x = vectors()
    x[::4, 3] = np.nan
    x[:, 7] = np.nan
    learned = learn(x)
    assert len(learned.reference) >= N - 2
    assert np.isnan(learned.normal.location[7])
