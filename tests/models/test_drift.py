"""A normal that follows slow drift: what it swallows, what it must not, and what it makes of little or odd data."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from models.bundle.manifest import Manifest
from models.detectors.commissioning import learn_in_order
from models.features.drift import HELD, Drift, DriftModel, FleetDrift, Pace, fleet_drift
from models.features.normal import LocalNormal

PACE = Pace(overlap=10.0, follow=50.0)
STEADY, WANDERING = 0, 1


def windows(n: int, seed: int = 0) -> np.ndarray:
    """(n, 2): means over ten overlapping samples of noise, and of noise on a random walk."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n + 9, 2))
    noise[:, WANDERING] += rng.standard_normal(n + 9).cumsum() * 0.3
    sums = noise.cumsum(axis=0)
    sums[10:] -= sums[:-10].copy()
    return (sums[9:] / 10).astype(np.float32)


def watched(drift: Drift, vectors: np.ndarray, alerting: np.ndarray | None = None) -> np.ndarray:
    """(n, F) z of each window, the level following as it does on a device."""
    out = []
    for vector in vectors:
        out.append(drift.apply(vector))
        drift.follow(vector, out[-1], alerting)
    return np.array(out)


def commissioned(n: int = 300, seed: int = 0) -> tuple[DriftModel, np.ndarray]:
    vectors = windows(n + 400, seed)
    return DriftModel.learn(vectors[:n], PACE), vectors[n:]


def test_normal_running_stays_near_its_level() -> None:
    far = [np.abs(watched(Drift(model), after))[:, STEADY] for model, after in (commissioned(seed=s) for s in range(10))]
    assert np.median(far) < 1.0
    assert (np.concatenate(far) > HELD).mean() < 0.002


def test_a_slow_ramp_is_followed_and_a_step_is_not() -> None:
    model, after = commissioned()
    ramp = after.copy()
    ramp[:, STEADY] += np.linspace(0, 4, len(ramp))  # 13 sigmas of a window in the end
    assert np.abs(watched(Drift(model), ramp))[:, STEADY].max() < HELD
    step = after.copy()
    step[100:, STEADY] += 4
    assert np.abs(watched(Drift(model), step))[110:200, STEADY].min() > HELD


def test_a_held_level_stays_and_is_trusted_less_the_longer_it_is_held() -> None:
    model, after = commissioned()
    drift = Drift(model)
    odd = after[0] + np.array([10.0, 0.0], dtype=np.float32)
    z = watched(drift, np.repeat(odd[np.newaxis], 300, axis=0))[:, STEADY]
    assert drift.level[STEADY] == pytest.approx(model.level[STEADY])
    assert z[0] > z[100] > z[299] > HELD


def test_features_that_an_open_alert_rests_on_are_held_however_near_they_come() -> None:
    model, after = commissioned()
    drift = Drift(model)
    near = after[:200] + np.float32(0.3)
    watched(drift, near, np.array([True, False]))
    assert drift.level[STEADY] == pytest.approx(model.level[STEADY])
    assert drift.level[WANDERING] != pytest.approx(model.level[WANDERING])


def test_what_wanders_is_given_more_room_than_what_does_not() -> None:
    model, _ = commissioned()
    room = model.widened[0] / model.noise
    assert model.wander[WANDERING] > 10 * model.wander[STEADY]
    assert room[WANDERING] > 5 * room[STEADY]


def test_after_an_alert_the_level_is_found_anew() -> None:
    model, after = commissioned()
    drift = Drift(model)
    elsewhere = after + np.array([6.0, 0.0], dtype=np.float32)
    assert abs(drift.apply(elsewhere[0])[STEADY]) > HELD
    drift.settle()
    for vector in elsewhere[:10]:
        assert drift.settling
        drift.follow(vector, drift.apply(vector), None)
    assert not drift.settling
    assert np.abs(watched(drift, elsewhere[10:60]))[:, STEADY].max() < HELD


def test_to_come_back_to_where_it_was_before_an_alert_is_no_anomaly() -> None:
    model, after = commissioned()
    drift = Drift(model)
    drift.settle()
    watched(drift, after[:100] + np.array([6.0, 0.0], dtype=np.float32))  # closed too early: the level has gone along
    assert drift.level[STEADY] == pytest.approx(6.0, abs=0.5)
    assert np.abs(watched(drift, after[100:150]))[:, STEADY].max() < HELD
    assert abs(drift.apply(after[150] - np.array([6.0, 0.0], dtype=np.float32))[STEADY]) > HELD


def test_drift_is_told_in_units_of_the_spread_while_commissioning() -> None:
    vectors = windows(300)
    model, normal = DriftModel.learn(vectors, PACE), LocalNormal.fit(vectors)
    level = model.level + np.array([5 * normal.scale[0], 0.0])
    moved = Drift(model, level).moved(normal)
    assert moved[STEADY] == pytest.approx(5 + (model.level[STEADY] - normal.location[STEADY]) / normal.scale[STEADY], rel=0.01)


@pytest.mark.parametrize("odd_share", [0.03, 0.08])
def test_a_few_anomalous_windows_while_commissioning_do_not_spoil_it(odd_share: float) -> None:
    clean = windows(300)
    spoilt = clean.copy()
    spoilt[100 : 100 + round(odd_share * 300)] += 50
    ratio = DriftModel.learn(learn_in_order(spoilt).reference, PACE).widened[0] / DriftModel.learn(clean, PACE).widened[0]
    assert ratio[STEADY] < 4
    shifted = np.abs(watched(Drift(DriftModel.learn(learn_in_order(spoilt).reference, PACE)), clean[-50:] + np.float32(6)))
    assert shifted[:, STEADY].min() > HELD


@pytest.mark.parametrize("n", [20, 25, 60])
def test_little_data_gives_finite_scales_that_never_fall_with_the_horizon(n: int) -> None:
    for pace in (PACE, Pace(overlap=1.0, follow=10.0)):
        model = DriftModel.learn(windows(n), pace)
        assert np.isfinite(model.scale).all()
        assert (np.diff(model.scale, axis=0) >= 0).all()
        assert np.isfinite(model.own_z(windows(n))).all()
        assert len(model.own_z(windows(n))) == n


def test_a_constant_feature_and_one_never_seen() -> None:
    vectors = np.column_stack([np.full(60, 7.0), np.full(60, np.nan), windows(60)[:, 0]]).astype(np.float32)
    drift = Drift(DriftModel.learn(vectors, PACE))
    z = drift.apply(np.array([7.0, 3.0, vectors[-1, 2]]))
    assert z[0] == pytest.approx(0.0)
    assert np.isnan(z[1])
    assert abs(drift.apply(np.array([8.0, 3.0, 0.0]))[0]) > HELD
    drift.follow(np.array([7.0, np.nan, np.nan]), drift.apply(np.array([7.0, np.nan, np.nan])), None)
    assert np.isfinite(drift.level[[0, 2]]).all()


def test_gaps_in_what_is_learned_from_are_no_news() -> None:
    holes = windows(300)
    holes[50:60] = np.nan
    whole, partly = DriftModel.learn(windows(300), PACE), DriftModel.learn(holes, PACE)
    assert partly.widened[0, STEADY] == pytest.approx(whole.widened[0, STEADY], rel=0.3)


def test_the_fleets_drift_is_averaged_with_the_assets_own_as_logarithms() -> None:
    own, _ = commissioned()
    fleet = FleetDrift(scale=(np.log(own.scale / own.noise) + 2).tolist(), wander=(np.log(own.wander) + 1).tolist())
    both = DriftModel.learn(windows(700)[:300], PACE, fleet)
    assert both.scale == pytest.approx(own.scale * np.e)
    assert both.wander == pytest.approx(own.wander * np.exp(0.5))


def test_a_fleets_drift_of_another_width_is_left_aside() -> None:
    assert DriftModel.learn(windows(300), PACE, FleetDrift(scale=[[0.0]] * 5, wander=[0.0])).wander == pytest.approx(
        DriftModel.learn(windows(300), PACE).wander
    )


def test_what_a_fleet_has_in_common_is_the_median_and_travels_in_a_manifest() -> None:
    members = [DriftModel.learn(windows(300, seed), PACE) for seed in range(5)]
    common = fleet_drift(members)
    assert common.wander == pytest.approx(np.median(np.log([m.wander for m in members]), axis=0))
    manifest = Manifest(
        bundle_id="b", profile="p", version=1, created_ns=0, spec_hash="0" * 16, n_features=2, model_sha256="0" * 64,
        golden_sha256="0" * 64, fleet_drift=common,
    )  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest).fleet_drift == common


def test_nothing_given_is_changed() -> None:
    model, after = commissioned()
    vector = after[0].copy()
    vector.flags.writeable = False
    drift = Drift(model)
    drift.follow(vector, drift.apply(vector), None)
    assert model.level.tobytes() == commissioned()[0].level.tobytes()
