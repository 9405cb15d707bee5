"""The figures by which a model is judged, and what makes it refused."""

from __future__ import annotations

import numpy as np
import pytest

from hub.training.evaluate import auc, refuse_bad
from hub.training.injection import FAULTS, FeatureMap, inject
from hub.training.trainer import DenseLayer, float_scores
from models.detectors.detector import DEFAULT_CLIP
from models.errors import TrainingError
from tests.learning.pumps import SPEC


def test_auc_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    normal, faulty = rng.integers(0, 9, 40).astype(float), rng.integers(3, 12, 30).astype(float)
    pairs = [(f > n) + 0.5 * (f == n) for f in faulty for n in normal]
    assert auc(normal, faulty) == pytest.approx(np.mean(pairs))


def test_equal_scores_are_a_coin_toss() -> None:
    assert auc(np.ones(10), np.ones(10)) == 0.5


@pytest.mark.parametrize("fault", FAULTS)
def test_an_injected_fault_touches_one_channel_and_not_its_source(fault) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(1)
    z = rng.normal(size=(50, SPEC.n_features)).astype(np.float32)
    before, features = z.copy(), FeatureMap(SPEC.names)
    faulty = inject(z, fault, features, rng)
    assert np.array_equal(z, before)
    for row in np.flatnonzero((faulty != z).any(axis=1)):
        changed = set(np.flatnonzero(faulty[row] != z[row]).tolist())
        assert any(changed <= set(features.of(channel).tolist()) for channel in features.channels)


def test_a_channel_without_spread_features_is_disturbed_all_the_same() -> None:
    features = FeatureMap(["a.slope", "b.slope", "a~b.correlation"])
    assert features.channels == ["a", "b"]
    assert features.of("b", ("std",)).tolist() == [1]


def test_missing_features_count_neither_for_nor_against() -> None:
    identity = [DenseLayer(np.zeros((3, 3), np.float32), np.zeros(3, np.float32), "linear")]
    scores = float_scores(identity, np.array([[2, np.nan, 0], [np.nan, np.nan, np.nan], [100, 0, 0]], np.float32))
    assert scores.tolist() == pytest.approx([4.0, 0.0, DEFAULT_CLIP * (200 - DEFAULT_CLIP)])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"auc_loss": 0.011}, "int8 loses 0.011 of AUC"),
        ({"auc": {"int8": {"shift": 0.52, "variance": 0.9}}}, "shift 0.52, variance 0.90; at least 0.6"),
    ],
)
def test_a_bad_model_is_refused_with_its_figures(changed: dict[str, object], message: str) -> None:
    good = {"auc_loss": 0.001, "auc": {"int8": {"shift": 0.9, "variance": 0.9}}, "bias": {"axes": {}}}
    refuse_bad(good)
    with pytest.raises(TrainingError, match=message):
        refuse_bad({**good, **changed})
