"""The simulated pump beside a real rig: how near its normal lies, channel by channel, in what a detector sees."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.realism import CHANNELS, distances, features_of, largest_gap
from tests.recorded import recorded

# The rig's temperature creeps with hardly any noise; the simulated sensor's noise is a larger part of a calmer temperature.
FAR = {("temperature", "std"): 0.9, ("temperature", "roughness"): 0.9}


def test_a_pump_lies_about_as_near_to_the_rig_as_the_rigs_own_runs_to_each_other() -> None:
    found = distances(recorded("skab"))
    assert {(d.channel, d.feature) for d in found} == {(c, f) for c in CHANNELS for f in ("mean", "std", "slope", "roughness")}
    for distance in found:
        at_most = FAR.get((distance.channel, distance.feature), distance.real + 0.21)
        assert distance.simulated <= at_most, distance
    assert np.median([d.simulated for d in found]) <= np.median([d.real for d in found]) + 0.1


def test_the_distance_tells_other_noise_another_swing_and_another_shape() -> None:
    rng = np.random.default_rng(1)
    usual = rng.standard_normal(4000)
    assert largest_gap(usual, rng.standard_normal(4000)) < 0.05
    assert largest_gap(usual, usual + 1) == pytest.approx(0.383, abs=0.03)  # 2 Phi(1/2) - 1
    assert largest_gap(usual, usual + 100) == 1.0


def test_another_unit_changes_no_feature() -> None:
    rows = np.random.default_rng(2).standard_normal((400, len(CHANNELS)))
    for a, b in zip(features_of(rows).values(), features_of(rows * 7.0 + 300.0).values(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
