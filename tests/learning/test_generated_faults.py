"""Faulty windows out of a few: as varied as normal ones, off as the few are, the same for the same seed, and nothing leaks."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.detection.generated import Run, split
from hub.training.generated.generator import FaultGenerator, FittedGenerator
from models.errors import TrainingError

N_FEATURES = 8
RNG = np.random.default_rng(1)
MIXED = RNG.standard_normal((3, N_FEATURES)) * 0.7
KINDS = np.repeat([0, 1], 4)


def normal_windows(n: int) -> np.ndarray:
    own = RNG.standard_normal((n, N_FEATURES)) * 0.3
    return np.asarray(RNG.standard_normal((n, 3)) @ MIXED + own, dtype=np.float32)


def faulty_windows() -> np.ndarray:
    """Of kind 0 feature 2 is 5 up, of kind 1 feature 7 is 4 down."""
    windows = normal_windows(8)
    windows[:4, 2] += 5
    windows[4:, 7] -= 4
    return windows


NORMAL, FAULTY = normal_windows(1500), faulty_windows()


@pytest.fixture(scope="module")
def fitted() -> FittedGenerator:
    return FaultGenerator(steps=800).fit(NORMAL, FAULTY, KINDS, 1)


def test_what_is_drawn_is_off_where_the_few_are(fitted: FittedGenerator) -> None:
    windows, kinds = fitted.draw(2000, np.random.default_rng(2))
    for kind, feature, off in ((0, 2, 5.0), (1, 7, -4.0)):
        mean = windows[kinds == kind].mean(axis=0)
        assert mean[feature] == pytest.approx(off, abs=1.2)
        np.testing.assert_allclose(mean, FAULTY[kind == KINDS].mean(axis=0), atol=0.8)


def test_what_is_drawn_varies_and_hangs_together_as_normal_windows_do(fitted: FittedGenerator) -> None:
    windows, kinds = fitted.draw(4000, np.random.default_rng(2))
    drawn = windows[kinds == 0]
    assert np.all(drawn.std(axis=0) / NORMAL.std(axis=0) > 0.75)
    assert np.all(drawn.std(axis=0) / NORMAL.std(axis=0) < 1.5)
    assert np.abs(np.corrcoef(drawn.T) - np.corrcoef(NORMAL.T)).max() < 0.25
    assert len(np.unique(drawn, axis=0)) == len(drawn)


def test_same_seed_same_generator_and_same_draw(fitted: FittedGenerator) -> None:
    again = FaultGenerator(steps=800).fit(NORMAL, FAULTY, KINDS, 1)
    one, other = (each.draw(10, np.random.default_rng(3))[0] for each in (fitted, again))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("n_normal", "kinds", "complaint"),
    [
        (49, [0, 0, 1], "49 normal and 3 faulty windows; to make more of, at least 50 and 3"),
        (50, [0, 0], "50 normal and 2 faulty"),
        (50, [0, 2, 2], "without a gap"),
    ],
)
def test_too_few_windows_or_wrong_kinds_are_refused(n_normal: int, kinds: list[int], complaint: str) -> None:
    with pytest.raises(TrainingError, match=complaint):
        FaultGenerator().fit(NORMAL[:n_normal], FAULTY[: len(kinds)], np.array(kinds), 1)


def test_a_split_takes_its_few_from_runs_that_are_not_judged() -> None:
    runs = [Run(*(np.full((20, 2), i + part, dtype=np.float32) for part in (0.1, 0.2)), np.arange(20) >= 10) for i in range(23)]
    for seed in range(5):
        known = split(runs, 6, seed)
        judged = {int(run.first[0, 0]) for run in known.test}
        assert len(judged) == 12
        assert judged.isdisjoint(known.few[:, 0].astype(int))
        assert judged.isdisjoint(known.normal[:, 0].astype(int))
        assert len(known.few) == len(known.kinds) == 6
