"""The protocols of the benchmarks of detection, on a part of the recorded data, where those are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection import fan, shuttle, tep, wsn
from benchmarks.detection.all import BENCHMARKS, main
from benchmarks.detection.replay import FLOAT, INT8
from tests.recorded import recorded

pytest.importorskip("tensorflow", reason="the export needs the hub's packages")
pytest.importorskip("sklearn", reason="the baselines need the extra `bench`")


@pytest.mark.slow
def test_a_fault_of_the_plant_that_pca_hardly_sees_is_found_and_thresholds_keep_their_word() -> None:
    found, replayed = tep.one_seed(recorded("tep"), 1, (5,))
    rates = found["equal"]
    assert all(each["FAR"] <= 2.0 for each in rates.values())
    assert rates[INT8]["5"] > 99
    assert rates[INT8]["5"] > max(rates["PCA T2, best of"]["5"], rates["PCA SPE, best of"]["5"])
    assert abs(rates[INT8]["5"] - rates[FLOAT]["5"]) < 1
    assert len(replayed["5"].alert) == 960
    assert found["alerts"]["delay min"]["5"] is not None


def test_the_transposed_file_is_turned() -> None:
    data = recorded("tep")
    assert tep.read(data / "d00.dat").shape == (500, 52)
    assert tep.read(data / "d00_te.dat").shape == (960, 52)


def test_halves_are_apart_and_hold_every_window() -> None:
    for seed in (1, 2):
        learned, judged = fan.halves(585, seed)
        assert sorted([*learned, *judged]) == list(range(585))
        assert abs(len(learned) - len(judged)) <= 20


def test_a_coin_is_told_at_the_lower_speeds_and_regimes_tell_more_than_one_cloud() -> None:
    balanced, coin = fan.features(fan.read(recorded("fan-accel")), fan._SETS[fan.JUDGED])
    scores = fan.scored(balanced, coin, 1)
    areas = {name: fan.auc(*each) for name, each in scores.items()}
    assert areas["regimes, int8"] > 0.98
    assert areas["regimes, int8"] > areas["whitening, int8"]
    assert abs(areas["regimes, int8"] - areas["regimes, float"]) < 0.01


def test_steam_is_told_within_two_minutes_and_nothing_else() -> None:
    rows, labels = wsn.read(recorded("wsn-singlehop") / wsn.FILES[0])
    _, alarms, _ = wsn.one_mote(rows, 400, 1)
    called, truth = alarms[INT8], labels[400:]
    assert truth.sum() == 117
    assert wsn.percent(called[~truth]) < 2
    late = wsn.delays(called, truth)[0]
    assert late is not None
    assert late * wsn.PERIOD_S < 120


def test_shuttle_has_the_rows_that_it_is_said_to_have() -> None:
    normal, anomalous = shuttle.read(recorded("shuttle"))
    assert (len(normal), len(anomalous)) == (49_097 - 3_511, 3_511)
    rated = shuttle.rated(np.arange(100.0), np.arange(100.0), np.full(10, 200.0))
    assert rated == {"AUC": 1.0, "F1": pytest.approx(20 / 21), "FAR %": 1.0, "found %": 100.0}


def test_sets_that_are_not_there_are_skipped_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["all", "--data", str(tmp_path), "--out", f"{tmp_path}/out"])
    assert main() == 1
    told = capsys.readouterr().err
    assert all(f"{name}: skipped: there is no" in told for name in BENCHMARKS)
