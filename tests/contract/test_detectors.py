"""The contract of every detector (models/detectors/detector.py), crossed with every detector there is."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hub.training.conv import export_conv_int8
from hub.training.exporter import export_int8
from hub.training.keras_conv import KerasConv
from hub.training.linear import CrossChannel, Whitening
from hub.training.regimes import Regimes
from hub.training.trainer import DenseLayer, RegimeWeights, Trainer
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.calibration import cross_scores, fit_tail, p_value
from models.detectors.detector import Detector
from models.detectors.regimes import TfliteRegimes
from models.detectors.robust import RobustDetector
from models.detectors.scoring_model import TfliteScore
from models.detectors.window_model import WindowAutoencoder
from models.features.normal import LocalNormal
from tests.builders import tiny_model

N = 18


def linear(trainer: Trainer) -> TfliteAutoencoder:
    """A model of normal windows in which one feature moves with another, as a hub exports it."""
    train = normal_vectors(600, seed=5)
    train[:, 17] = 0.8 * train[:, 17] + 0.6 * train[:, 0]
    weights = trainer.fit(train[:500], train[500:], 1, lambda line: None)
    model = export_int8(weights, np.concatenate([train, 3 * train]))
    if isinstance(weights, RegimeWeights):
        return TfliteRegimes(model, 8.0, weights.centres, "rig-v2")
    return TfliteAutoencoder(model, 8.0, "rig-v2")


def conv() -> TfliteAutoencoder:
    """A model over windows of six samples of three channels, as a hub exports it."""
    train = np.random.default_rng(5).normal(size=(400, 6, 3)).astype(np.float32)
    weights = KerasConv(max_epochs=15, width=8).fit(train[:350], train[350:], 1, lambda line: None)
    model = export_conv_int8(weights, np.concatenate([train, 3 * train]))
    return WindowAutoencoder(model, 8.0, "rig-v3", n_channels=3)


def score() -> TfliteScore:
    """A foreign model whose one output is the sum of what its 18 inputs are off, as absolutes."""
    eye = np.eye(N, dtype=np.float32)
    absolutes = DenseLayer(np.concatenate([eye, -eye], axis=1), np.zeros(2 * N, dtype=np.float32), "relu")
    total = DenseLayer(np.ones((2 * N, 1), dtype=np.float32), np.zeros(1, dtype=np.float32), "linear")
    train = normal_vectors(600, seed=5)
    return TfliteScore(export_int8([absolutes, total], np.concatenate([train, 3 * train])), 8.0, "rig-v4")


DETECTORS: dict[str, Callable[[], Detector]] = {
    "robust": RobustDetector,
    "tflite": lambda: TfliteAutoencoder(tiny_model(), 8.0, "rig-v1"),
    "cross-channel": lambda: linear(CrossChannel(np.eye(N, dtype=bool))),
    "whitening": lambda: linear(Whitening()),
    "conv-autoencoder": conv,
    "score": score,
    "regimes": lambda: linear(Regimes(most=2)),
}
FINITE = hnp.arrays(np.float32, N, elements=st.floats(-1e6, 1e6, width=32))
WITH_HOLES = hnp.arrays(np.float32, N, elements=st.one_of(st.just(np.float32(np.nan)), st.floats(-1e6, 1e6, width=32)))


@pytest.fixture(scope="module", params=DETECTORS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param not in ("robust", "tflite"):
        pytest.importorskip("tensorflow", reason="the export needs the hub's packages")
    return str(request.param)


@pytest.fixture(scope="module")
def detector(kind: str) -> Detector:
    return DETECTORS[kind]()


def normal_vectors(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, N)).astype(np.float32)


@given(z=WITH_HOLES)
def test_scores_and_contributions_are_finite_and_not_negative_whatever_is_missing(detector: Detector, z: np.ndarray) -> None:
    scored = detector.score(z)
    assert isinstance(scored.score, float)
    assert 0 <= scored.score < np.inf
    assert scored.contributions.shape == (N,)
    assert scored.contributions.dtype == np.float32
    missing = np.isnan(z)
    assert np.isnan(scored.contributions[missing]).all()
    assert (scored.contributions[~missing] >= 0).all()


@given(z=WITH_HOLES)
def test_the_input_is_left_untouched(detector: Detector, z: np.ndarray) -> None:
    before = z.copy()
    z.flags.writeable = False
    detector.score(z)
    assert z.tobytes() == before.tobytes()


@given(z=WITH_HOLES, between=FINITE)
def test_the_same_vector_always_gets_the_same_score(detector: Detector, z: np.ndarray, between: np.ndarray) -> None:
    first = detector.score(z)
    detector.score(between)
    again = detector.score(z)
    assert again.score == first.score
    assert again.contributions.tobytes() == first.contributions.tobytes()


def test_two_of_a_kind_agree(kind: str, detector: Detector) -> None:
    other = DETECTORS[kind]()
    for z in normal_vectors(20):
        assert other.score(z).score == detector.score(z).score


def test_results_are_not_overwritten_by_the_next_call(detector: Detector) -> None:
    first, second = normal_vectors(2)
    kept = detector.score(first).contributions
    copy = kept.copy()
    detector.score(second)
    assert kept.tobytes() == copy.tobytes()


def test_a_vector_with_nothing_in_it_scores_nothing(detector: Detector) -> None:
    assert detector.score(np.full(N, np.nan, dtype=np.float32)).score == 0.0


@pytest.mark.parametrize("missing", [[0], [3, 4], list(range(5)), list(range(12))], ids=len)
def test_what_is_missing_neither_raises_nor_lowers_a_score_much(detector: Detector, missing: list[int]) -> None:
    if isinstance(detector, TfliteScore) and len(missing) > 5:
        pytest.skip("what a model that gives the score itself makes of absent values is its own: here it sums up what is there")
    whole = np.array([detector.score(z).score for z in normal_vectors(300)])
    holes = normal_vectors(300)
    holes[:, missing] = np.nan
    partly = np.array([detector.score(z).score for z in holes])
    assert 0.5 < np.median(partly) / np.median(whole) < 1.5


@pytest.mark.parametrize("feature", range(0, N, 3))
def test_a_feature_far_out_scores_higher_the_farther_and_contributes_most(detector: Detector, feature: int) -> None:
    z = normal_vectors(1)[0]
    scores = []
    for distance in (0.0, 10.0, 30.0, 100.0):
        z[feature] = distance
        scored = detector.score(z)
        scores.append(scored.score)
    assert scores == sorted(scores)
    assert scores[-1] > 5 * scores[0]
    assert int(np.nanargmax(scored.contributions)) == feature


@pytest.mark.parametrize(
    "z",
    [np.full(N, 3e38), np.full(N, -3e38), np.full(N, np.inf), np.full(N, 1e-40), np.zeros(N)],
    ids=["huge", "-huge", "infinite", "tiny", "0"],
)
def test_extremes_are_scored_without_a_warning(detector: Detector, z: np.ndarray) -> None:
    scored = detector.score(z.astype(np.float32))
    assert np.isfinite(scored.score)
    assert (scored.score > 1000) == (abs(z[0]) > 1000)


def test_it_can_be_calibrated_and_then_tells_odd_from_normal(detector: Detector) -> None:
    reference = normal_vectors(60) * 3 + 10
    tail = fit_tail(cross_scores(detector, reference))
    normal = LocalNormal.fit(reference)
    p = [p_value(tail, detector.score(normal.apply(x)).score) for x in normal_vectors(300, seed=1) * 3 + 10]
    assert 0.3 < np.median(p) < 0.8
    odd = [p_value(tail, detector.score(normal.apply(x)).score) for x in normal_vectors(20, seed=2) * 3 + 80]
    assert max(odd) < 1e-4


def test_a_detector_made_in_one_thread_may_serve_in_another(detector: Detector) -> None:
    z = normal_vectors(1)[0]
    seen: list[float] = []
    thread = threading.Thread(target=lambda: seen.append(detector.score(z).score))
    thread.start()
    thread.join(10)
    assert seen == [detector.score(z).score]


def test_detectors_have_names_of_their_own() -> None:
    assert RobustDetector().detector_id == "baseline"
    assert TfliteAutoencoder(tiny_model(), 8.0, "rig-v1").detector_id == "rig-v1"
