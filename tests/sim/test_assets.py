"""The machines: well behaved when healthy, unmistakable when not, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_sim.assets.bearing import Bearing
from firmware_sim.assets.catalog import ASSETS, MACHINE_FAULTS
from firmware_sim.faults.fault import Fault
from models.contract.config import load_profile
from models.features.spec import FeatureSpec
from tests.sim.reading import RATE_HZ, feature_vectors, rate_of

EVERY_FAULT = [(profile, kind) for profile, faults in MACHINE_FAULTS.items() for kind in faults]
STEADY = [profile for profile in ASSETS if profile != "room"]  # alike at any hour; a room has days (test_room.py)
STEADY_FAULT = [(profile, kind) for profile, kind in EVERY_FAULT if profile in STEADY]
CLIP = 8.0


def score(z: np.ndarray) -> np.ndarray:
    """Mean square of the quarter of features that are farthest out; a stand-in for any robust detector."""
    squares = np.sort(np.square(np.clip(z, -CLIP, CLIP)), axis=1)
    return squares[:, -(z.shape[1] // 4) :].mean(axis=1)


def normal_of(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    location = np.median(vectors, axis=0)
    return location, np.maximum(1.4826 * np.median(np.abs(vectors - location), axis=0), 1e-6)


@pytest.mark.parametrize("profile", ASSETS)
def test_channels_and_their_order_are_the_profiles(profile: str) -> None:
    readings = ASSETS[profile](1, rate_of(profile)).simulate(np.arange(100) / rate_of(profile))
    assert list(readings) == load_profile(profile).channel_names


@pytest.mark.parametrize("profile", ASSETS)
def test_readings_are_in_range_and_never_look_stuck(profile: str) -> None:
    asset = ASSETS[profile](3, rate_of(profile))
    readings = asset.simulate(np.arange(20_000) / rate_of(profile))
    for channel in asset.profile.channels:
        values = readings[channel.name]
        assert channel.min is None or values.min() > channel.min
        assert channel.max is None or values.max() < channel.max
        windows = values.reshape(-1, 50)
        assert np.ptp(windows, axis=1).min() > channel.resolution


@pytest.mark.parametrize("profile", ASSETS)
def test_same_seed_same_readings_and_another_seed_another_machine(profile: str) -> None:
    t_s = np.arange(5000) / rate_of(profile)
    one, same, other = (ASSETS[profile](seed, rate_of(profile)).simulate(t_s) for seed in (5, 5, 6))
    for channel in one:
        assert np.array_equal(one[channel], same[channel])
        assert abs(one[channel].mean() - other[channel].mean()) > 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 1500), min_size=1, max_size=6), st.sampled_from(EVERY_FAULT))
def test_readings_do_not_depend_on_how_time_is_cut(pieces: list[int], fault: tuple[str, str]) -> None:
    profile, kind = fault
    rate_hz = rate_of(profile)
    faults = [Fault(kind, start_s=200 / rate_hz, end_s=1000 / rate_hz, ramp_s=100 / rate_hz)]
    t_s = np.arange(sum(pieces)) / rate_hz
    whole = ASSETS[profile](2, rate_hz).simulate(t_s, faults)
    cut = ASSETS[profile](2, rate_hz)
    parts = [cut.simulate(part, faults) for part in np.split(t_s, np.cumsum(pieces)[:-1])]
    for channel, values in whole.items():
        assert np.array_equal(values, np.concatenate([part[channel] for part in parts]))


@pytest.mark.parametrize("profile", STEADY)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ten_minutes_of_normal_running_tell_what_the_next_hours_look_like(profile: str, seed: int) -> None:
    asset = ASSETS[profile](seed, rate_of(profile))
    location, scale = normal_of(feature_vectors(asset, 0.0, round(600 / asset.profile.windowing.window_s)))
    later = score((feature_vectors(asset, 600.0, 300 if profile == "bearing" else 1500) - location) / scale)
    assert np.median(later) < 6
    assert later.max() < 30, "a healthy machine must stay far from the 64 at which clipped scores end"


@pytest.mark.parametrize(("profile", "kind"), STEADY_FAULT)
def test_fault_shows_within_five_windows_in_the_channels_it_names(profile: str, kind: str) -> None:
    asset = ASSETS[profile](4, rate_of(profile))
    names = FeatureSpec(asset.profile).names
    location, scale = normal_of(feature_vectors(asset, 0.0, 60))
    healthy = score((feature_vectors(asset, 600.0, 500) - location) / scale).max()
    z = (
        feature_vectors(asset, 9000.0, 8, [Fault(kind, 9000.0, ramp_s=2 * asset.profile.windowing.window_s)]) - location
    ) / scale
    assert score(z)[4:].min() > 1.3 * healthy
    for channel in asset.fault_channels[kind]:
        own = [i for i, name in enumerate(names) if name.startswith(f"{channel}.")]
        assert np.abs(z[4:, own]).max(axis=1).min() > 5, f"{kind} does not show in {channel}"


@pytest.mark.parametrize(("profile", "kind"), STEADY_FAULT)
def test_cleared_fault_leaves_a_healthy_machine(profile: str, kind: str) -> None:
    asset = ASSETS[profile](4, rate_of(profile))
    t_s = 3000 + np.arange(500) / rate_of(profile)
    healthy, after = asset.simulate(t_s), asset.simulate(t_s, [Fault(kind, 1000.0, 1300.0)])
    for channel, values in healthy.items():
        assert np.allclose(values, after[channel], atol=0.011)


def test_normal_running_has_relations_for_a_model_to_learn() -> None:
    readings = ASSETS["pump"](1, RATE_HZ).simulate(np.arange(3000) / RATE_HZ)
    assert np.corrcoef(readings["flow"], readings["pressure"])[0, 1] < -0.8
    assert np.corrcoef(readings["flow"], readings["current"])[0, 1] > 0.5


@pytest.mark.parametrize(("kind", "per_turn"), [("outer_race", 3.6), ("inner_race", 5.4), ("ball", 4.8)])
def test_a_bearings_pit_is_heard_at_the_rate_that_its_geometry_gives(kind: str, per_turn: float) -> None:
    """Nine balls a fifth as wide as their pitch circle: 9/2 (1 -+ 1/5), and (1 - 1/25) / (1/5)."""
    bearing = Bearing(3, 2000.0)
    x = bearing.simulate(np.arange(8000) / 2000.0, [Fault(kind, 0.0)])["acceleration"]
    lines = np.abs(np.fft.rfft(np.abs(scipy.signal.hilbert(np.diff(x))) ** 2))
    hertz = np.arange(len(lines)) * 2000 / (len(x) - 1)
    passes = bearing.rate_of(kind)
    assert passes / bearing.shaft_hz == pytest.approx(per_turn)
    at_rate = lines[np.abs(hertz - passes) < 0.02 * passes].max()
    elsewhere = (hertz > 3 * bearing.shaft_hz) & (np.abs(hertz % passes) > 30) & (np.abs(passes - hertz % passes) > 30)
    assert at_rate > 5 * lines[elsewhere].max()
