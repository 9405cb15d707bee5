"""Features: their order, their values against formulas written out in plain Python, and what absence does to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract.profile import Features, Profile
from models.errors import ConfigError
from models.features.spec import FeatureSpec
from tests.builders import plain, rig

ALL = ("mean", "last", "std", "range", "slope", "roughness", "skew", "kurtosis", "crest")
RATE_HZ = 4.0


def everything(*channels: str) -> Profile:
    profile = plain(*channels, rate_hz=RATE_HZ, window_s=2.0)
    return Profile(
        name="p", channels=profile.channels, windowing=profile.windowing,
        features=Features(per_channel=ALL, cross=("correlation",)),
    )  # fmt: skip


def mean(x: Sequence[float]) -> float:
    return sum(x) / len(x)


def std(x: Sequence[float]) -> float:
    return math.sqrt(mean([(v - mean(x)) ** 2 for v in x]))


def slope(x: Sequence[float]) -> float:
    t = [i / RATE_HZ for i in range(len(x))]
    return sum((a - mean(t)) * (b - mean(x)) for a, b in zip(t, x, strict=True)) / sum((a - mean(t)) ** 2 for a in t)


def moment(x: Sequence[float], power: int) -> float:
    return mean([(v - mean(x)) ** power for v in x]) / std(x) ** power


REFERENCE: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": mean,
    "last": lambda x: x[-1],
    "std": std,
    "range": lambda x: max(x) - min(x),
    "slope": slope,
    "roughness": lambda x: math.sqrt(mean([(b - a) ** 2 for a, b in pairwise(x)])),
    "skew": lambda x: moment(x, 3),
    "kurtosis": lambda x: moment(x, 4),
    "crest": lambda x: max(abs(v - mean(x)) for v in x) / std(x),
}


def correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Fisher's z of Pearson's r."""
    r = mean([(a - mean(x)) * (b - mean(y)) for a, b in zip(x, y, strict=True)]) / std(x) / std(y)
    return math.atanh(r)


def test_the_order_is_channel_by_channel_then_pairs() -> None:
    spec = FeatureSpec(rig())
    per_channel = ["mean", "std", "range", "slope", "roughness"]
    expected = [f"{channel}.{name}" for channel in ("flow", "pressure", "temperature") for name in per_channel]
    expected += ["flow~pressure.correlation", "flow~temperature.correlation", "pressure~temperature.correlation"]
    assert spec.names == expected
    assert spec.n_features == 18
    assert spec.hash == rig().spec_hash


@pytest.mark.parametrize("seed", range(5))
def test_every_feature_is_what_its_formula_says(seed: int) -> None:
    spec = FeatureSpec(everything("a", "b", "c"))
    matrix = np.random.default_rng(seed).gamma(2.0, 3.0, size=(8, 3)) + np.array([0, 100, -5])
    columns = dict(zip("abc", matrix.T.tolist(), strict=True))
    expected = [REFERENCE[name](columns[channel]) for channel in "abc" for name in ALL]
    expected += [correlation(columns[a], columns[b]) for a, b in combinations("abc", 2)]
    vector = spec.compute(matrix)
    assert vector.dtype == np.float32
    assert dict(zip(spec.names, vector.tolist(), strict=True)) == pytest.approx(
        dict(zip(spec.names, expected, strict=True)), rel=1e-5, abs=1e-6
    )


@pytest.mark.parametrize("value", [0.0, 3.3, -1e-9, 1e12])
def test_a_constant_channel_does_not_move_which_is_no_nan(value: float) -> None:
    spec = FeatureSpec(everything("still", "moving"))
    matrix = np.column_stack([np.full(8, value), np.arange(8.0)])
    got = dict(zip(spec.names, spec.compute(matrix).tolist(), strict=True))
    assert got.pop("still.mean") == pytest.approx(value)
    for name in ("std", "range", "slope", "roughness", "skew", "kurtosis", "crest"):
        assert got[f"still.{name}"] == pytest.approx(0.0, abs=1e-3 * max(abs(value) * 1e-9, 1))
    assert got["still~moving.correlation"] == 0.0
    assert all(math.isfinite(v) for v in got.values())


@pytest.mark.parametrize("n_absent", [1, 8])
def test_a_channel_with_nan_harms_no_other(n_absent: int) -> None:
    spec = FeatureSpec(everything("a", "b", "c"))
    matrix = np.random.default_rng(1).normal(size=(8, 3))
    clean = spec.compute(matrix)
    matrix[:n_absent, 1] = np.nan
    vector = spec.compute(matrix)
    reads_b = np.array(["b." in name or "~b." in name or name.startswith("b~") for name in spec.names])
    assert np.isnan(vector[reads_b]).all()
    assert vector[~reads_b].tobytes() == clean[~reads_b].tobytes()


def test_computing_leaves_the_matrix_as_it_was_and_repeats_itself() -> None:
    spec = FeatureSpec(everything("a", "b"))
    matrix = np.random.default_rng(2).normal(size=(8, 2))
    before = matrix.copy()
    matrix.flags.writeable = False
    assert spec.compute(matrix).tobytes() == spec.compute(before).tobytes()


@given(st.lists(st.tuples(*[st.floats(-1e4, 1e4)] * 2), min_size=8, max_size=8))
def test_features_of_any_readings_are_finite_and_in_their_ranges(values: list[tuple[float, float]]) -> None:
    spec = FeatureSpec(everything("a", "b"))
    got = dict(zip(spec.names, spec.compute(np.array(values)).tolist(), strict=True))
    assert all(math.isfinite(v) for v in got.values())
    assert abs(got["a~b.correlation"]) < 5
    for name in ("std", "range", "roughness", "kurtosis", "crest"):
        assert got[f"a.{name}"] >= 0


@pytest.mark.parametrize(("factor", "sign"), [(2.0, 1), (-0.5, -1)])
def test_a_perfect_relation_is_far_out_but_finite(factor: float, sign: int) -> None:
    x = np.array([1.0, 4, 2, 8, 5, 7, 1, 3])
    spec = FeatureSpec(everything("a", "b"))
    assert sign * spec.compute(np.column_stack([x, factor * x + 3]))[-1] == pytest.approx(math.atanh(0.9999), rel=1e-6)


def test_a_single_sample_has_neither_slope_nor_roughness() -> None:
    got = dict(zip(FeatureSpec(everything("a")).names, FeatureSpec(everything("a")).compute(np.array([[5.0]])), strict=True))
    assert (got["a.mean"], got["a.slope"], got["a.roughness"], got["a.std"]) == (5, 0, 0, 0)


# --- shares -------------------------------------------------------------------------------------------------------


def shares(**contributions: float) -> list[tuple[str, float]]:
    spec = FeatureSpec(rig())
    values = [contributions.get(name.replace(".", "_").replace("~", "_"), 0.0) for name in spec.names]
    return spec.channel_shares(np.array(values, dtype=np.float32))


def test_a_share_is_what_a_channels_features_contribute_largest_first() -> None:
    assert shares(pressure_mean=6.0, pressure_std=3.0, flow_mean=1.0) == [
        ("pressure", 0.9),
        ("flow", 0.1),
        ("temperature", 0.0),
    ]


def test_a_relation_belongs_half_to_each_of_its_channels() -> None:
    assert shares(flow_temperature_correlation=2.0) == [("flow", 0.5), ("temperature", 0.5), ("pressure", 0.0)]


def test_missing_contributions_have_no_share() -> None:
    assert shares(flow_mean=float("nan"), pressure_mean=2.0)[0] == ("pressure", 1.0)
    assert shares() == []
    assert shares(**{f"flow_{name}": float("nan") for name in ("mean", "std")}) == []


# --- spectral -----------------------------------------------------------------------------------------------------


def fast(*names: str, rate_hz: float = 200.0, window_s: float = 1.0) -> FeatureSpec:
    profile = plain("a", "b", rate_hz=rate_hz, window_s=window_s)
    return FeatureSpec(
        Profile(
            name="p", channels=profile.channels, windowing=profile.windowing, features=Features(per_channel=names)  # type: ignore[arg-type]
        )
    )  # fmt: skip


OCTAVES = tuple(f"octave{k}" for k in range(1, 7))


@pytest.mark.parametrize(("hertz", "loudest"), [(75, 1), (30, 2), (15, 3), (9, 4), (5, 5), (2, 6)])
def test_a_tone_is_in_its_octave(hertz: float, loudest: int) -> None:
    t = np.arange(200) / 200.0
    tone = 3 * np.sin(2 * np.pi * hertz * t)
    vector = fast(*OCTAVES).compute(np.column_stack([tone, np.zeros(200)]))
    assert int(np.argmax(vector[:6])) + 1 == loudest
    assert vector[loudest - 1] == pytest.approx(np.log10(4.5), abs=0.1)
    assert vector[6:].tolist() == [-12.0] * 6


def test_octaves_together_hold_the_variance() -> None:
    noise = np.random.default_rng(0).standard_normal((200, 2))
    vector = fast(*OCTAVES).compute(noise)
    assert (10.0 ** vector[:6]).sum() == pytest.approx(noise[:, 0].var(), rel=0.3)


def test_the_same_frequency_is_in_another_octave_at_another_rate() -> None:
    for rate_hz, loudest in ((200.0, 2), (400.0, 3), (100.0, 1)):
        t = np.arange(200) / rate_hz
        tone = np.sin(2 * np.pi * 30 * t)
        spec = fast(*OCTAVES, rate_hz=rate_hz, window_s=200 / rate_hz)
        assert int(np.argmax(spec.compute(np.column_stack([tone, tone]))[:6])) + 1 == loudest


def test_the_envelope_tells_how_often_a_ringing_comes_back() -> None:
    rng = np.random.default_rng(1)
    ringing = 0.1 * rng.standard_normal(400)
    for start in range(0, 400, 40):  # ten a second at 400 Hz
        k = np.arange(400 - start)
        ringing[start:] += np.exp(-k / 6) * np.sin(2 * np.pi * 120 * k / 400)
    calm = 0.1 * rng.standard_normal(400)
    spec = fast("envelope", "envelope_hz", rate_hz=400.0)
    a_height, a_hz, b_height, _ = spec.compute(np.column_stack([ringing, calm])).tolist()
    assert min(abs(a_hz - multiple) for multiple in (10, 20, 30)) < 1.1
    assert a_height > b_height + 0.3
    assert spec.compute(np.full((400, 2), 3.0)).tolist() == [0.0] * 4


def test_a_gap_in_one_channel_leaves_the_others_spectrum_alone() -> None:
    spec = fast(*OCTAVES, "envelope", "envelope_hz")
    matrix = np.random.default_rng(2).standard_normal((200, 2))
    clean = spec.compute(matrix)
    matrix[3, 0] = np.nan
    vector = spec.compute(matrix)
    assert np.isnan(vector[:8]).all()
    assert vector[8:] == pytest.approx(clean[8:])


def test_a_window_too_short_for_a_feature_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'octave6'.*at least 128 samples; they have 10"):
        fast("octave6", rate_hz=10.0)
    with pytest.raises(ConfigError, match=r"'envelope'.*at least 16 samples"):
        fast("envelope", rate_hz=10.0)
