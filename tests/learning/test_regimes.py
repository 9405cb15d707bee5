"""Operating regimes: found without a label, as many as there are, and what is odd in each of them is told."""

from __future__ import annotations

import numpy as np
import pytest

from hub.training.evaluate import auc, detector_scores
from hub.training.regimes import Regimes
from hub.training.trainer import RegimeWeights, detector_of, float_scores
from models.detectors.regimes import TfliteRegimes
from models.errors import BundleIncompatible, TrainingError

N = 6
CENTRES = np.array([[-1.5, -1, -1, 0, 0, 0], [0, 0, 0, 0.5, 0, 0], [1.5, 1, 1, 0, 0.5, 0]])


def windows(n: int, seed: int) -> np.ndarray:
    """Of three speeds, each far narrower than they lie apart; feature 5 moves with feature 0."""
    rng = np.random.default_rng(seed)
    z = CENTRES[rng.integers(0, 3, n)] + rng.normal(scale=0.15, size=(n, N))
    z[:, 5] = z[:, 0] + rng.normal(scale=0.15, size=n)
    return z.astype(np.float32)


@pytest.fixture(scope="module")
def weights() -> RegimeWeights:
    return Regimes().fit(windows(900, 1), windows(200, 2), 1, lambda _line: None)


@pytest.fixture(scope="module")
def detector(weights: RegimeWeights) -> TfliteRegimes:
    from hub.training.exporter import export_int8

    pytest.importorskip("tensorflow", reason="the export needs the hub's packages")
    made = detector_of(export_int8(weights, windows(900, 1)), weights)
    assert isinstance(made, TfliteRegimes)
    return made


def test_as_many_regimes_are_found_as_there_are_and_where_they_are(weights: RegimeWeights) -> None:
    centres = np.array(sorted(weights.centres))
    assert centres.shape == CENTRES.shape
    assert np.abs(centres[:, :5] - CENTRES[:, :5]).max() < 0.1


def test_one_cloud_is_one_regime() -> None:
    cloud = np.random.default_rng(3).normal(size=(900, N)).astype(np.float32)
    assert len(Regimes().fit(cloud[:700], cloud[700:], 1, lambda _line: None).centres) == 1


def test_the_same_seed_and_windows_give_the_same_weights(weights: RegimeWeights) -> None:
    again = Regimes().fit(windows(900, 1), windows(200, 2), 1, lambda _line: None)
    assert (again[0].kernel == weights[0].kernel).all()
    assert again.centres == weights.centres


def test_what_lies_between_two_regimes_is_odd_and_int8_tells_it_as_float_does(
    detector: TfliteRegimes, weights: RegimeWeights
) -> None:
    normal = windows(400, 4)
    between = normal + np.float32([0.6, 0, 0, 0, 0, 0.6])
    assert auc(detector_scores(detector, normal), detector_scores(detector, between)) > 0.95
    by_float = auc(float_scores(weights, normal), float_scores(weights, between))
    assert abs(by_float - auc(detector_scores(detector, normal), detector_scores(detector, between))) < 0.01


def test_a_missing_feature_does_not_make_a_normal_window_odd(detector: TfliteRegimes, weights: RegimeWeights) -> None:
    normal = windows(200, 5)
    usual = np.quantile(detector_scores(detector, normal), 0.99)
    holes = normal.copy()
    holes[:, 0] = np.nan
    assert np.median(detector_scores(detector, holes)) < usual
    assert np.corrcoef(detector_scores(detector, holes), float_scores(weights, holes))[0, 1] > 0.9
    nothing = detector.score(np.full(N, np.nan, dtype=np.float32))
    assert nothing.score == 0.0
    assert np.isnan(nothing.contributions).all()


def test_a_model_and_centres_that_do_not_fit_are_refused(weights: RegimeWeights) -> None:
    from hub.training.exporter import export_int8

    pytest.importorskip("tensorflow", reason="the export needs the hub's packages")
    model = export_int8(weights, windows(100, 1))
    with pytest.raises(BundleIncompatible, match=r"18 outputs; 2 regimes of 6 features have 12"):
        TfliteRegimes(model, 8.0, weights.centres[:2])


def test_windows_to_choose_by_are_needed() -> None:
    with pytest.raises(TrainingError, match="900 windows to learn from and 0 to choose by"):
        Regimes().fit(windows(900, 1), windows(0, 1), 1, lambda _line: None)
