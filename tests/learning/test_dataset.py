"""What a dataset takes in, what it leaves out and says so, and how it is split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.training.dataset import DEVICE, TIME, TRAIN, TRIMMED, VALIDATION, Dataset, Normals, Rules, Windows, build_dataset
from models.errors import TrainingError
from models.features.drift import Pace
from models.features.normal import LocalNormal

F = 6
RULES = Rules(min_windows=50)


def _windows(n_devices: int = 4, n: int = 100, seed: int = 0) -> Windows:
    rng = np.random.default_rng(seed)
    total = n_devices * n
    return Windows(
        device_id=np.repeat([f"gw-{i}" for i in range(n_devices)], n),
        asset=np.full(total, "pump-1"),
        epoch=np.full(total, "e1"),
        seq=np.tile(np.arange(1, n + 1), n_devices),
        start_ns=np.tile(np.arange(n) * 10, n_devices),
        features=(np.repeat(np.arange(n_devices) * 100.0, n)[:, None] + rng.normal(size=(total, F))).astype(np.float32),
        faulty=np.zeros(total, dtype=bool),
        commissioning=np.tile(np.arange(n) < 30, n_devices),
        alarm=np.zeros(total, dtype=bool),
        label=np.full(total, "", dtype="<U12"),
    )


def _normals(windows: Windows) -> Normals:
    ids = np.unique(windows.device_id).tolist()
    return {(i, "pump-1"): LocalNormal.fit(windows.features[windows.device_id == i]) for i in ids}


def _build(windows: Windows, rules: Rules = RULES, seed: int = 1) -> Dataset:
    return build_dataset("pump", windows, _normals(windows), rules, seed)


def test_each_machine_is_measured_by_its_own_yardstick() -> None:
    dataset = _build(_windows())
    assert np.abs(np.median(dataset.z, axis=0)).max() < 0.2
    assert 0.8 < np.nanstd(dataset.z) < 1.2


def test_a_sensor_fault_and_an_alarm_with_its_neighbours_are_left_out_and_counted() -> None:
    windows = _windows()
    windows.faulty[10:13] = True
    windows.alarm[50] = True
    windows.alarm[100] = True  # the first of the second device: its neighbour before is another machine's
    left_out = _build(windows).record["left_out"]
    assert left_out["sensor fault"] == 3
    assert left_out["alarm"] == 2
    assert left_out["next to an alarm"] == 4 + 2


def test_windows_with_many_missing_features_are_left_out_those_with_few_are_not() -> None:
    windows = _windows()
    windows.features[0, :3] = np.nan
    windows.features[1, :1] = np.nan
    dataset = _build(windows)
    assert dataset.record["left_out"]["too many missing features"] == 1
    assert np.isnan(dataset.z).sum() == 1


def test_an_asset_that_never_told_its_normal_is_left_out() -> None:
    windows = _windows()
    normals = _normals(windows)
    del normals["gw-2", "pump-1"]
    dataset = build_dataset("pump", windows, normals, RULES, 1)
    assert dataset.record["left_out"]["asset not commissioned"] == 100
    assert "gw-2" not in dataset.record["devices"]


def test_too_little_data_says_how_much_there_is_and_how_much_is_needed() -> None:
    windows = _windows(n_devices=1, n=60)
    windows.faulty[:20] = True
    with pytest.raises(TrainingError, match=r"pump: 40 usable windows of 60 \(left out: 20 sensor fault\); at least 50"):
        _build(windows)


def test_no_data_at_all_says_so() -> None:
    with pytest.raises(TrainingError, match="pump: 0 usable windows of 0; at least 50"):
        _build(_windows(n=0))


def test_all_nan_is_too_little_data() -> None:
    windows = _windows()
    windows.features[:] = np.nan
    with pytest.raises(TrainingError, match="400 too many missing features"):
        _build(windows)


def test_one_of_four_devices_is_held_out_as_a_whole_and_the_latest_of_the_others() -> None:
    dataset = _build(_windows())
    (held_out,) = dataset.record["held_out_devices"]
    own = dataset.windows.device_id == held_out
    assert (dataset.split[own] == DEVICE).all()
    for device_id in set(dataset.windows.device_id[~own].tolist()):
        mine = dataset.windows.device_id == device_id
        newest_learned = dataset.windows.start_ns[mine & dataset.part(TRAIN, VALIDATION, TRIMMED)].max()
        oldest_held = dataset.windows.start_ns[mine & dataset.part(TIME)].min()
        assert newest_learned < oldest_held
        assert (mine & dataset.part(TIME)).sum() == 20


def test_three_devices_are_too_few_to_hold_one_out() -> None:
    dataset = _build(_windows(n_devices=3))
    assert dataset.record["held_out_devices"] == []
    assert not dataset.part(DEVICE).any()


def test_trimming_leaves_the_odd_window_out_of_training_but_not_out_of_grading() -> None:
    windows = _windows(n_devices=1)
    windows.features[5] += 50
    windows.features[95] += 50
    dataset = _build(windows)
    assert dataset.split[5] == TRIMMED
    assert dataset.split[95] == TIME


@settings(max_examples=20)
@given(st.randoms(), st.integers(0, 5))
def test_the_order_of_the_lakes_rows_does_not_matter(random, seed: int) -> None:  # type: ignore[no-untyped-def]
    windows = _windows()
    order = list(range(len(windows)))
    random.shuffle(order)
    one, other = _build(windows, seed=seed), _build(windows.take(np.array(order)), seed=seed)
    assert one.record == other.record
    assert np.array_equal(one.z, other.z)


def test_another_value_is_another_dataset() -> None:
    windows, changed = _windows(), _windows()
    changed.features[7, 0] += 1
    assert _build(windows).record["sha256"] != _build(changed).record["sha256"]


# --- where normal follows drift -----------------------------------------------------------------------------------


def test_a_machine_that_drifts_is_measured_from_where_it_lies() -> None:
    windows = _windows(n=300)
    windows.features[:] += np.tile(np.linspace(0, 20, 300), 4)[:, None].astype(np.float32)
    normals = _normals(windows.take(windows.commissioning))
    fixed = build_dataset("pump", windows, normals, RULES, 1)
    following = build_dataset("pump", windows, normals, RULES, 1, Pace(overlap=1.0, follow=15.0))
    late = following.part(TIME)
    assert np.abs(fixed.z[late]).mean() > 5
    assert np.abs(following.z[late]).mean() < 1.2
    assert fixed.fleet_drift is None
    assert following.fleet_drift is not None
    assert len(following.fleet_drift.wander) == F


def test_where_normal_follows_an_asset_without_commissioning_windows_is_left_out() -> None:
    windows = _windows()
    windows.commissioning[:100] = False
    following = build_dataset("pump", windows, _normals(windows), RULES, 1, Pace(overlap=1.0, follow=15.0))
    assert following.record["left_out"]["too many missing features"] == 100
