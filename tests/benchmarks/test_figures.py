"""What scores and alarms are worth, against cases that can be told by hand; and the report's files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection.baselines import pca
from benchmarks.detection.figures import changepoint_score, delays, f1, percent, spans, spread, threshold_at
from benchmarks.detection.report import Bars, Course, Report, Roc, Table, write

FLAGS = np.array([0, 1, 1, 0, 0, 1, 1, 1], dtype=bool)


@pytest.mark.parametrize("far", [0.0, 0.01, 0.02, 0.5])
def test_no_more_than_the_stated_share_lies_above_the_threshold_also_with_ties(far: float) -> None:
    rng = np.random.default_rng(1)
    for scores in (rng.normal(size=960), rng.integers(0, 5, 960).astype(float)):
        assert (scores > threshold_at(scores, far)).mean() <= far


def test_of_distinct_scores_the_threshold_uses_the_whole_allowance() -> None:
    assert (np.arange(100.0) > threshold_at(np.arange(100.0), 0.02)).sum() == 2


def test_rates_spans_and_delays() -> None:
    called = np.array([1, 0, 1, 0, 0, 0, 0, 0], dtype=bool)
    assert spans(FLAGS) == [(1, 3), (5, 8)]
    assert delays(called, FLAGS) == [1, None]
    assert f1(called, FLAGS) == pytest.approx(2 / 7)
    assert percent(called[~FLAGS]) == pytest.approx(100 / 3)
    assert f1(np.zeros(3, bool), np.zeros(3, bool)) == 0


def test_a_change_told_at_once_is_worth_all_and_silence_nothing() -> None:
    times = np.arange(400.0)
    changes = np.isin(times, [100, 300])
    perfect = (times >= 100) & (times < 300)
    assert changepoint_score([(times, changes, perfect)]) == pytest.approx(100)
    assert changepoint_score([(times, changes, np.zeros(400, bool))]) == 0
    late = (times >= 130) & (times < 330)
    assert 40 < changepoint_score([(times, changes, late)]) < 95


def test_pca_tells_what_leaves_the_plane_apart_from_what_goes_far_in_it() -> None:
    rng = np.random.default_rng(2)
    along = rng.normal(size=(500, 1)) @ np.array([[1.0, 1.0]]) + 0.1 * rng.normal(size=(500, 2))
    scorers = pca(along, 0.9)
    far, off = np.array([[6.0, 6.0]]), np.array([[2.0, -2.0]])
    assert scorers["PCA T2"](far)[0] > 20 > scorers["PCA T2"](off)[0]
    assert scorers["PCA SPE"](off)[0] > 20 * scorers["PCA SPE"](far)[0]


def test_spread_is_told_only_where_there_is_some() -> None:
    assert spread([0.5, 0.5]) == "0.500"
    assert spread([0.4, 0.6], 1) == "0.5 ± 0.1"


def some_report() -> Report:
    x = np.arange(1.0, 6.0)
    plots = [
        Bars("bars", "b", "%", ["1", "2"], {"a": [1, 2], "b": [2, 3]}),
        Roc("roc", "r", {"a": (x, x + 2)}),
        Course("course", "c", x, "h", x, x > 3, x > 2),
    ]
    return Report([Table("t", "A table", ["method", "F1"], [["a", "1"]], "Notes.")], plots, {"a": 1})


def test_a_report_is_written_as_tables_plots_and_data(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra `bench`")
    write({"some": some_report()}, tmp_path, {"other": "there is no data"})
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["bars.svg", "course.svg", "figures.json", "roc.svg", "t.csv", "tables.md"]
    )
    assert json.loads((tmp_path / "figures.json").read_text()) == {"some": {"a": 1}}
    text = (tmp_path / "tables.md").read_text()
    assert "| a | 1 |" in text
    assert "Not run: other: there is no data" in text


def test_without_matplotlib_tables_come_without_plots_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    write({"some": some_report()}, tmp_path)
    assert (tmp_path / "tables.md").exists()
    assert not list(tmp_path.glob("*.svg"))
    assert "tocsin[bench]" in capsys.readouterr().err
