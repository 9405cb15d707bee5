"""Backtest on recorded pump data (SKAB), scored by the benchmark's own referee where that is at hand."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.backtest.cli import backtest
from tests.recorded import recorded

RUN = "valve1/10.csv"
COMMISSIONING_ROWS = 400  # of each run: the benchmark's rule
REFEREE = Path(__file__).resolve().parents[3] / "shared" / "referee" / "skab.py"


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What `tocsin backtest` writes for one recorded run."""
    source, out = recorded("skab") / RUN, tmp_path_factory.mktemp("skab") / "scores.csv"
    arguments = [str(source), "--commissioning", str(COMMISSIONING_ROWS), "--ignore", "anomaly,changepoint", "--out", str(out)]
    done = CliRunner().invoke(backtest, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    with out.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def labelled() -> list[dict[str, str]]:
    with (recorded("skab") / RUN).open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=";"))


def test_every_row_of_the_recording_gets_a_line(scored: list[dict[str, str]], labelled: list[dict[str, str]]) -> None:
    assert [row["time"] for row in scored] == [row["datetime"] for row in labelled]
    assert all(row["score"] == "" for row in scored[:COMMISSIONING_ROWS])
    assert all(0 < float(row["p_value"]) <= 1 for row in scored[COMMISSIONING_ROWS + 1 :])


def test_alerts_lie_where_the_valve_was_closed(scored: list[dict[str, str]], labelled: list[dict[str, str]]) -> None:
    alerts = [row["alert"] == "1" for row in scored]
    truth = [row["anomaly"] == "1.0" for row in labelled]
    first = truth.index(True)
    assert not any(alerts[: first - 1])
    hits = sum(a and t for a, t in zip(alerts, truth, strict=True))
    assert hits > 0.5 * sum(truth)


def test_the_referee_agrees(scored: list[dict[str, str]], tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="the referee needs pandas")
    if not REFEREE.exists():
        pytest.skip(f"no referee at {REFEREE}")
    (tmp_path / RUN).parent.mkdir()
    shutil.copy(recorded("skab") / RUN, tmp_path / RUN)
    with (tmp_path / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "datetime", "pred"])
        writer.writerows([RUN, row["time"], row["alert"]] for row in scored[COMMISSIONING_ROWS:])
    command = [sys.executable, str(REFEREE), "score", str(tmp_path / "predictions.csv"), "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["files"], result["rows"]) == (1, len(scored) - COMMISSIONING_ROWS)
    assert result["F1"] > 0.6
    assert result["FAR"] < 20
