"""Each feature from the features of other channels: what that tells, and what it must not copy."""

from __future__ import annotations

import numpy as np
import pytest

from hub.training.exporter import export_int8
from hub.training.linear import CrossChannel, Whitening
from hub.training.trainer import Floats, float_scores, forward
from models.contract.profile import Features
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.detector import DEFAULT_CLIP
from models.errors import TrainingError
from models.features.spec import FeatureSpec
from tests.builders import plain

ALONE = np.eye(4, dtype=bool)


def shaft(n: int, seed: int = 0) -> Floats:
    """(n, 4): two features that move together, and two that nothing else tells of."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(n)
    return np.column_stack(
        [common + 0.3 * rng.standard_normal(n), common + 0.3 * rng.standard_normal(n), *rng.standard_normal((2, n))]
    ).astype(np.float32)


def learned() -> list[np.ndarray]:
    layers = CrossChannel(ALONE).fit(shaft(2000), shaft(500, 1), 1, lambda line: None)
    return [layer.kernel for layer in layers]


def test_what_others_tell_is_told_and_the_rest_is_left_alone() -> None:
    (kernel,) = learned()
    assert kernel[0, 1] == pytest.approx(0.9, abs=0.1)
    assert kernel[1, 0] == pytest.approx(0.9, abs=0.1)
    assert np.count_nonzero(kernel[:, 2:]) == 0
    assert np.count_nonzero(np.diag(kernel)) == 0


def test_a_relation_that_breaks_shows_although_each_feature_is_normal_by_itself() -> None:
    weights = CrossChannel(ALONE).fit(shaft(2000), shaft(500, 1), 1, lambda line: None)
    together, apart = np.array([[1.5, 1.5, 0, 0]], np.float32), np.array([[1.5, -1.5, 0, 0]], np.float32)
    assert float_scores(weights, apart)[0] > 10 * float_scores(weights, together)[0]


def test_features_of_one_channel_do_not_explain_each_other() -> None:
    profile = plain("a", "b")
    spec = FeatureSpec(
        type(profile)(
            name="p", channels=profile.channels, windowing=profile.windowing,
            features=Features(per_channel=("mean", "std"), cross=("correlation",)),
        )
    )  # fmt: skip
    assert spec.names == ["a.mean", "a.std", "b.mean", "b.std", "a~b.correlation"]
    assert spec.related.astype(int).tolist() == [
        [1, 1, 0, 0, 1], [1, 1, 0, 0, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1],
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    copies = np.repeat(rng.standard_normal((500, 1)), 5, axis=1).astype(np.float32)
    (layer,) = CrossChannel(spec.related).fit(copies, copies, 1, lambda line: None)
    assert not layer.kernel[spec.related].any()
    assert layer.kernel[2, 0] > 0.4


def test_its_int8_export_scores_as_the_float_does() -> None:
    train = shaft(2000)
    weights = CrossChannel(ALONE).fit(train, shaft(500, 1), 1, lambda line: None)
    detector = TfliteAutoencoder(export_int8(weights, np.concatenate([train, 3 * train])), DEFAULT_CLIP)
    z = shaft(50, 2)
    assert np.abs(np.array([detector.reconstruct(row) for row in z]) - forward(weights, z)).max() < 0.1
    scores = np.array([detector.score(row).score for row in z])
    assert scores == pytest.approx(float_scores(weights, z), rel=0.1, abs=0.1)


def test_nothing_to_choose_by_is_an_error_that_says_so() -> None:
    with pytest.raises(TrainingError, match="0 to choose by"):
        CrossChannel(ALONE).fit(shaft(50), shaft(0), 1, lambda line: None)


# --- whitening ------------------------------------------------------------------------------------------------------


def slanted(n: int, seed: int = 0) -> Floats:
    return (shaft(n, seed) + np.array([0.5, 0, 0, -1], dtype=np.float32)).astype(np.float32)


def test_what_whitening_leaves_sums_up_to_mahalanobiss_distance() -> None:
    train, z = slanted(3000), slanted(50, 1)
    weights = Whitening().fit(train, train[:0], 1, lambda line: None)
    left = z - forward(weights, z)
    inverse = np.linalg.inv(np.cov(train, rowvar=False))
    away = z - train.mean(axis=0)
    assert (left**2).sum(axis=1) == pytest.approx(np.einsum("ij,jk,ik->i", away, inverse, away), rel=0.01)


def test_whitened_normal_windows_have_no_preferred_direction() -> None:
    train = slanted(3000)
    left = train - forward(Whitening().fit(train, train[:0], 1, lambda line: None), train)
    assert np.cov(left, rowvar=False) == pytest.approx(np.eye(4), abs=0.02)
    assert left.mean(axis=0) == pytest.approx(np.zeros(4), abs=0.02)


def test_a_direction_in_which_normal_never_moves_has_a_floor() -> None:
    train = slanted(500)
    train[:, 3] = train[:, 2]
    weights = Whitening().fit(train, train[:50], 1, lambda line: None)
    assert np.isfinite(weights[0].kernel).all()
    assert np.abs(weights[0].kernel).max() < 10
    with pytest.raises(TrainingError, match="at least 2"):
        Whitening().fit(train[:1], train[:0], 1, lambda line: None)


def test_int8_whitening_scores_as_the_float_does() -> None:
    train, z = slanted(2000), slanted(100, 2)
    weights = Whitening().fit(train, train[:0], 1, lambda line: None)
    detector = TfliteAutoencoder(export_int8(weights, np.concatenate([train, 3 * train])), DEFAULT_CLIP)
    scores = np.array([detector.score(row).score for row in z])
    assert np.corrcoef(scores, float_scores(weights, z))[0, 1] > 0.99
