"""Sensor faults are named as such, taken out or blanked, and harm no other channel."""

from __future__ import annotations

import numpy as np
import pytest

from models.contract.profile import Channel, Profile
from models.detectors.quality import CleanWindow, QualityControl
from tests.builders import plain, raw_window

NAN = float("nan")
N = 20


def profile(**channel: object) -> Profile:
    settings = {"name": "x", "min": 0.0, "max": 100.0, "resolution": 0.01} | channel
    return plain(Channel(**settings), "y", window_s=float(N), max_gap_s=3.0)


def noise(seed: int = 0, level: float = 50.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(level, 1.0, N)


def cleaned(quality: QualityControl, x: np.ndarray | list[float], number: int = 0, y: np.ndarray | None = None) -> CleanWindow:
    """The `number`-th window with `x` in the channel under test and noise in the other."""
    other = noise(1000 + number) if y is None else y
    return quality.clean(raw_window(list(x), list(other), start_s=number * N, window_s=N))


def with_values(values: dict[int, float]) -> np.ndarray:
    x = noise()
    for i, value in values.items():
        x[i] = value
    return x


def test_clean_data_passes_as_it_is() -> None:
    x, y = noise(), noise(1)
    window = cleaned(QualityControl(profile()), x, y=y)
    assert window.faults == []
    assert window.matrix.T.tolist() == [x.tolist(), y.tolist()]
    assert window.n_readings == 2 * N


@pytest.mark.parametrize("value", [-0.01, 100.01, -9999.0, 9999.0, float("inf"), float("-inf")])
def test_a_value_that_cannot_be_is_named_taken_out_and_interpolated_over(value: float) -> None:
    window = cleaned(QualityControl(profile()), with_values({7: value}))
    assert window.faults == [("x", "out_of_range")]
    expected = noise()
    assert window.matrix[7, 0] == pytest.approx((expected[6] + expected[8]) / 2)
    assert np.delete(window.matrix[:, 0], 7).tolist() == np.delete(expected, 7).tolist()


@pytest.mark.parametrize("value", [0.0, 100.0])
def test_a_value_on_the_limit_is_no_fault(value: float) -> None:
    x = noise(level=value) - noise() + value + np.linspace(0, 1e-9, N)  # around the limit, without a jump
    assert cleaned(QualityControl(profile(min=-1.0, max=101.0)), np.clip(x, -1, 101)).faults == []
    x = np.linspace(value, 50.0, N)
    assert cleaned(QualityControl(profile()), x).faults == []


def test_a_sentinel_is_what_the_profile_says_it_is() -> None:
    assert cleaned(QualityControl(profile(sentinels=(85.0,))), with_values({7: 85.0})).faults == [("x", "out_of_range")]
    assert cleaned(QualityControl(profile(sentinels=(), max=None)), np.full(N, 9999.0) + noise()).faults == []


@pytest.mark.parametrize("value", [-9999.0, 32767.0, 65535.0, -127.0, 85.0])
def test_a_default_sentinel_far_from_where_the_channel_is_stands_for_no_value(value: float) -> None:
    x = 22 + (noise() - 50) * 0.1
    x[[3, 9]] = value
    window = cleaned(QualityControl(profile(min=None, max=None)), x)
    (finding,) = window.findings
    assert (finding.kind, finding.detail) == ("out_of_range", f'2 of 20 readings were {value:g}, which stands for "no value"')
    assert np.abs(window.matrix[:, 0] - 22).max() < 1


@pytest.mark.parametrize("x", [np.linspace(84.0, 86.0, N), np.linspace(20.0, 150.0, 27)[:N], np.full(N, 85.0)])
def test_a_default_sentinel_that_may_well_be_a_value_is_one(x: np.ndarray) -> None:
    x[np.abs(x - 85).argmin()] = 85.0
    assert cleaned(QualityControl(profile(min=None, max=None)), x).faults == []


def test_a_channel_that_has_been_near_a_default_sentinel_may_say_it() -> None:
    quality = QualityControl(profile(min=None, max=None))
    for i in range(20):
        cleaned(quality, np.linspace(60, 84, N) + 0.1 * noise(i), i)
    x = np.full(N, 62.0) + 0.1 * noise(99)
    x[7] = 85.0
    assert ("x", "out_of_range") not in cleaned(quality, x, 20).faults


def test_an_absent_value_is_no_fault_by_itself() -> None:
    window = cleaned(QualityControl(profile()), with_values({7: NAN}))
    assert window.faults == []
    assert np.isfinite(window.matrix).all()


@pytest.mark.parametrize("x", [[NAN] * N, [1.0] * 10 + [NAN] * 10, [NAN] * 12 + [1.0] * 8])
def test_too_little_data_is_missing_and_blank(x: list[float]) -> None:
    window = cleaned(QualityControl(profile()), x)
    assert window.faults == [("x", "missing")]
    assert window.faulty == ["x"]
    assert np.isnan(window.matrix[:, 0]).all()
    assert np.isfinite(window.matrix[:, 1]).all()


def test_a_channel_that_only_says_sentinels_is_out_of_range_and_then_missing() -> None:
    assert cleaned(QualityControl(profile()), np.full(N, -9999.0)).faults == [("x", "out_of_range"), ("x", "missing")]


def test_an_optional_channel_is_missing_only_where_it_has_been_before() -> None:
    quality = QualityControl(profile(optional=True))
    absent = [NAN] * N
    assert cleaned(quality, absent, 0).faults == []
    assert cleaned(quality, noise(1), 1).faults == []
    assert cleaned(quality, absent, 2).faults == [("x", "missing")]


# --- spikes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [[1], [7], [18], [3, 9], [3, 9, 15]])
@pytest.mark.parametrize("size", [60.0, -49.0])
def test_isolated_spikes_are_named_and_taken_out(at: list[int], size: float) -> None:
    calm = 50 + (noise() - 50) * 0.1
    x = calm.copy()
    x[at] += size
    window = cleaned(QualityControl(profile(max=200.0)), x)
    assert window.faults == [("x", "spike")]
    assert np.abs(window.matrix[:, 0] - 50).max() < 1.0
    assert np.delete(window.matrix[:, 0], at).tolist() == np.delete(calm, at).tolist()


def test_a_spike_of_a_sensor_that_otherwise_rests_is_found_by_its_resolution() -> None:
    x = np.full(N, 50.0)
    x[7] = 51.0
    assert cleaned(QualityControl(profile(resolution=0.01)), x).faults == [("x", "spike")]
    assert cleaned(QualityControl(profile(resolution=0.5)), x).faults == []


def test_many_spikes_are_noise_and_left_to_the_detectors() -> None:
    x = 50 + (noise() - 50) * 0.1
    x[[2, 5, 8, 11]] += 30
    window = cleaned(QualityControl(profile()), x)
    assert window.faults == []
    assert window.matrix[5, 0] > 75


@pytest.mark.parametrize("shape", ["step", "ramp", "two samples wide"])
def test_what_does_not_jump_straight_back_is_no_spike(shape: str) -> None:
    x = 50 + (noise() - 50) * 0.1
    x[10:] += {"step": np.full(10, 40.0), "ramp": np.linspace(0, 40, 10), "two samples wide": [40, 40, *[0] * 8]}[shape]
    assert cleaned(QualityControl(profile()), x).faults == []


# --- stuck --------------------------------------------------------------------------------------------------------


def test_a_channel_that_stops_moving_is_stuck_once_it_has_for_long_enough_across_windows() -> None:
    quality = QualityControl(profile(stuck_after_s=30.0))
    x = noise()
    x[12:] = x[12]
    frozen = np.full(N, x[12])
    kinds = [cleaned(quality, values, i).faults for i, values in enumerate([x, frozen, frozen, noise(5), noise(6)])]
    assert kinds == [[], [], [("x", "stuck")], [], []]  # 8 s, 28 s, 48 s, then it moves again


def test_a_stuck_channel_is_blank_and_the_others_are_not() -> None:
    quality = QualityControl(profile(stuck_after_s=10.0))
    cleaned(quality, noise(), 0)
    window = cleaned(quality, np.full(N, 50.0), 1)
    assert window.faults == [("x", "stuck")]
    assert np.isnan(window.matrix[:, 0]).all()
    assert np.isfinite(window.matrix[:, 1]).all()


def test_jitter_within_the_resolution_is_stuck_and_beyond_it_is_not() -> None:
    quality = QualityControl(profile(stuck_after_s=10.0, resolution=0.1))
    wobble = np.where(np.arange(N) % 2, 50.0, 50.04)
    assert cleaned(quality, noise(), 0).faults == []
    assert cleaned(quality, wobble, 1).faults == [("x", "stuck")]
    assert cleaned(quality, 50 + (wobble - 50) * 3, 2).faults == []


def test_creeping_by_less_than_the_resolution_a_window_is_moving() -> None:
    quality = QualityControl(profile(stuck_after_s=120.0, resolution=0.1))
    faults = [cleaned(quality, np.full(N, 50 + 0.04 * i), i).faults for i in range(30)]
    assert faults == [[]] * 30


def test_the_same_value_after_movement_is_not_taken_for_standing_still() -> None:
    quality = QualityControl(profile(stuck_after_s=30.0))
    for i in range(10):
        x = np.full(N, 50.0)
        x[:5] = [40, 42, 44, 46, 48]
        assert cleaned(quality, x, i).faults == []


def frozen_kinds(quality: QualityControl, level: float, n_windows: int, y: float | None = None) -> list[list[tuple[str, str]]]:
    other = None if y is None else np.full(N, y)
    return [cleaned(quality, np.full(N, level), 1 + i, other).faults for i in range(n_windows)]


def test_a_channel_that_has_never_moved_is_given_ten_times_as_long() -> None:
    assert frozen_kinds(QualityControl(profile(stuck_after_s=10.0)), 50.0, 6) == [[]] * 5 + [[("x", "stuck")]]  # 119 s


def test_without_a_resolution_standing_still_to_the_last_digit_is_stuck() -> None:
    quality = QualityControl(profile(stuck_after_s=30.0, resolution=0.0))
    cleaned(quality, noise(), 0)
    assert frozen_kinds(quality, 50.0, 3) == [[], [("x", "stuck")], [("x", "stuck")]]


@pytest.mark.parametrize("resolution", [0.5, 0.0])
def test_a_coarse_channel_that_follows_something_slow_is_not_stuck(resolution: float) -> None:
    quality = QualityControl(profile(stuck_after_s=30.0, resolution=resolution))
    slow = np.round((50 + 3 * np.sin(np.arange(400 * N) / 300)) * 2) / 2  # rests of up to 170 s, steps of 0.5
    faults = [cleaned(quality, slow[i * N : (i + 1) * N], i).faults for i in range(400)]
    assert [i for i, found in enumerate(faults) if found and i > 100] == []


def test_a_machine_that_stands_has_no_stuck_sensors_and_one_dead_sensor_of_a_running_one_is() -> None:
    two = plain(
        *(Channel(name=n, min=0.0, max=100.0, resolution=0.01, stuck_after_s=10.0) for n in "xy"),
        window_s=float(N),
        max_gap_s=3.0,
    )
    stands, runs = QualityControl(two), QualityControl(two)
    for quality in (stands, runs):
        cleaned(quality, noise(), 0)
    assert frozen_kinds(stands, 0.0, 3, y=0.0) == [[], [], []]
    assert frozen_kinds(runs, 0.0, 2) == [[("x", "stuck")]] * 2


def test_a_frozen_gateway_that_repeats_every_value_is_stuck_all_over() -> None:
    two = plain(*(Channel(name=n, resolution=0.01, stuck_after_s=10.0) for n in "xy"), window_s=float(N), max_gap_s=3.0)
    quality = QualityControl(two)
    cleaned(quality, noise(), 0)
    assert frozen_kinds(quality, 50.0, 1, y=49.0) == [[("x", "stuck"), ("y", "stuck")]]


def test_without_a_limit_nothing_is_ever_stuck() -> None:
    quality = QualityControl(profile(stuck_after_s=None))
    assert all(cleaned(quality, np.full(N, 50.0), i).faults == [] for i in range(50))
