"""The NAB benchmark's fixed command line, on a few recorded files, scored by the benchmark's own referee."""

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

ROOT = Path(__file__).resolve().parents[2]
REFEREE = ROOT.parent / "shared" / "referee" / "nab.py"
FILES = (
    "realKnownCause/ambient_temperature_system_failure.csv",
    "realKnownCause/ec2_request_latency_system_failure.csv",
    "realTraffic/occupancy_6005.csv",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few files and the labels, for the referee alone."""
    folder = tmp_path_factory.mktemp("nab")
    shutil.copytree(recorded("nab") / "labels", folder / "labels")
    for name in FILES:
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(recorded("nab") / "data" / name, folder / "data" / name)
    return folder


def run(data: Path, out: Path, *options: str) -> Path:
    command = [sys.executable, "-m", "benchmarks.detection.nab", "--data", str(data), "--out", str(out), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return out


def lines(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def scored(data: Path, results: Path) -> Any:
    pytest.importorskip("pandas", reason="the referee needs pandas")
    if not REFEREE.exists():
        pytest.skip(f"no referee at {REFEREE}")
    subset = ",".join(Path(name).stem for name in FILES)
    command = [sys.executable, str(REFEREE), "score", str(results), "--data", str(data), "--subset", subset]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout)


@pytest.mark.parametrize("options", [(), ("--crop", "3")], ids=["whole", "cropped"])
def test_most_windows_are_found_at_one_threshold(data: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    result = scored(data, run(data, tmp_path / "out", *options))
    assert result["files"] == len(FILES)
    assert result["standard"] > 60


def test_what_comes_later_changes_no_score_before_it(data: Path, tmp_path: Path) -> None:
    whole = run(data, tmp_path / "whole")
    for name in FILES:
        (tmp_path / "cut" / name).parent.mkdir(parents=True, exist_ok=True)
        kept = (data / "data" / name).read_text().splitlines(keepends=True)[:1501]
        (tmp_path / "cut" / name).write_text("".join(kept))
    early = run(tmp_path / "cut", tmp_path / "early")
    for name in FILES:
        assert lines(early / name) == lines(whole / name)[:1501]
        assert lines(whole / name)[0] == ["timestamp", "score"]


def test_through_the_agent_alerts_open_with_the_readings_that_the_bare_detector_finds(data: Path, tmp_path: Path) -> None:
    bare, agent = run(data, tmp_path / "bare"), run(data, tmp_path / "agent", "--agent", "--group", "realTraffic")
    name = "realTraffic/occupancy_6005.csv"
    odd = {label for label, score in lines(bare / name)[1:] if float(score) >= 0.9}
    opened = {label: float(score) for label, score in lines(agent / name)[1:] if float(score)}
    assert opened
    assert set(opened) <= odd
    assert min(opened.values()) >= 0.9


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.detection.nab", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 2
    assert "holds no GROUP/FILE.csv" in done.stderr
    assert not (tmp_path / "out").exists()
