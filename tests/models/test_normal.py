"""An asset's own normal: robust against odd windows, and defined also for features that rest or were never seen."""

from __future__ import annotations

import numpy as np
import pytest

from models.features.normal import LocalNormal


def vectors(n: int = 200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal([10.0, -3.0], [2.0, 0.1], size=(n, 2)).astype(np.float32)


def test_location_and_scale_are_those_of_a_normal_distribution() -> None:
    normal = LocalNormal.fit(vectors(4000))
    assert normal.location == pytest.approx([10.0, -3.0], rel=0.02)
    assert normal.scale == pytest.approx([2.0, 0.1], rel=0.06)


def test_a_fifth_of_outliers_hardly_moves_the_location() -> None:
    x = vectors()
    x[::5] += 1000.0
    assert np.abs(LocalNormal.fit(x).location - [10.0, -3.0]).max() < 1.0


@pytest.mark.parametrize("share", [0.02, 0.045])
def test_few_outliers_on_one_side_hardly_widen_the_scale(share: float) -> None:
    x = vectors(400)
    x[: int(share * len(x))] += 1000.0
    assert LocalNormal.fit(x).scale == pytest.approx([2.0, 0.1], rel=0.5)


def test_a_feature_that_mostly_rests_has_the_spread_of_when_it_moves() -> None:
    x = np.zeros((100, 1), dtype=np.float32)
    x[::10] = 5.0
    assert 0.5 < LocalNormal.fit(x).scale[0] < 5.0


@pytest.mark.parametrize("value", [0.0, 7.0, -1e5])
def test_a_constant_feature_has_a_small_scale_that_is_not_zero(value: float) -> None:
    normal = LocalNormal.fit(np.full((50, 1), value, dtype=np.float32))
    assert normal.location[0] == value
    assert 0 < normal.scale[0] <= max(abs(value) * 1.1e-4, 1.1e-6)
    assert normal.apply(np.array([value]))[0] == 0


def test_a_feature_that_was_never_seen_is_never_judged() -> None:
    x = vectors()
    x[:, 1] = np.nan
    normal = LocalNormal.fit(x)
    assert np.isnan(normal.location[1])
    assert normal.scale[1] > 0
    z = normal.apply(np.array([10.0, 123.0]))
    assert np.isfinite(z[0])
    assert np.isnan(z[1])


def test_absent_values_do_not_count() -> None:
    x = vectors(400)
    holes = x.copy()
    holes[::3, 0] = np.nan
    assert LocalNormal.fit(holes).location == pytest.approx(LocalNormal.fit(x).location, rel=0.05)
    assert np.isnan(LocalNormal.fit(x).apply(np.array([np.nan, -3.0]))[0])


def test_nothing_ever_seen_is_a_normal_too() -> None:
    normal = LocalNormal.fit(np.full((30, 3), np.nan))
    assert np.isnan(normal.apply(np.ones(3))).all()


def test_applying_is_in_sigmas_for_one_vector_as_for_many_and_leaves_them_as_they_were() -> None:
    normal = LocalNormal(np.array([10.0, 0.0], dtype=np.float32), np.array([2.0, 0.5], dtype=np.float32))
    x = np.array([[14.0, 1.0], [8.0, -0.5]], dtype=np.float32)
    x.flags.writeable = False
    assert normal.apply(x).tolist() == [[2.0, 2.0], [-1.0, -1.0]]
    assert normal.apply(x[0]).tolist() == [2.0, 2.0]
    assert normal.apply(x).dtype == np.float32
