"""The SKAB benchmark's fixed command line, on a few recorded runs, scored by the benchmark's own referee."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.recorded import recorded

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
REFEREE = ROOT.parent / "shared" / "referee" / "skab.py"
RUNS = ("valve1/3.csv", "valve1/10.csv", "valve2/2.csv", "other/3.csv", "other/5.csv")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few runs."""
    folder = tmp_path_factory.mktemp("skab")
    for run in RUNS:
        (folder / run).parent.mkdir(exist_ok=True)
        shutil.copy(recorded("skab") / run, folder / run)
    return folder


def predicted(data: Path, out: Path, *options: str) -> Path:
    command = [sys.executable, "-m", "benchmarks.detection.skab", "--data", str(data), "--out", str(out), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    return out


def scored(data: Path, predictions: Path) -> Any:
    pytest.importorskip("pandas", reason="the referee needs pandas")
    if not REFEREE.exists():
        pytest.skip(f"no referee at {REFEREE}")
    command = [sys.executable, str(REFEREE), "score", str(predictions), "--data", str(data)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout)


@pytest.mark.parametrize(
    "options", [("--mode", "fleet"), ("--mode", "fleet", "--crop", "3"), ("--mode", "local")], ids=" ".join
)
def test_most_of_what_is_labelled_is_found_and_little_else(data: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    result = scored(data, predicted(data, tmp_path / "out.csv", *options))
    assert result["files"] == len(RUNS)
    assert result["F1"] > 0.85
    assert result["FAR"] < 15


def test_what_comes_later_changes_no_verdict_before_it(data: Path, tmp_path: Path) -> None:
    whole = predicted(data, tmp_path / "whole.csv", "--mode", "baseline")
    cut = tmp_path / "cut"
    for run in RUNS:
        (cut / run).parent.mkdir(parents=True, exist_ok=True)
        lines = (data / run).read_text().splitlines(keepends=True)
        (cut / run).write_text("".join(lines[:701]))
    early = predicted(cut, tmp_path / "early.csv", "--mode", "baseline")
    with whole.open() as a, early.open() as b:
        rows, first = list(csv.reader(a)), list(csv.reader(b))
    by_row = {(file, time): verdict for file, time, verdict in rows}
    assert len(first) == 1 + len(RUNS) * 300
    assert all(by_row[file, time] == verdict for file, time, verdict in first)
