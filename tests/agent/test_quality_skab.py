"""Sensor faults on recorded pump data (SKAB): what a machine does is not laid to its sensors, and nothing is blanked for it."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from agent.backtest.run import profile_of, run
from models.contract.table import read_table
from models.detectors.quality import CleanWindow, QualityControl
from models.raw_window import RawWindow
from tests.recorded import recorded

COMMISSIONING_ROWS = 400
RUNS = ["valve1/3.csv", "valve2/2.csv", "other/1.csv", "other/5.csv", "other/12.csv"]


def judged(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, CleanWindow]]:
    """(whether the newest row of it is labelled anomalous, window) of one run."""
    windows: list[CleanWindow] = []
    clean = QualityControl.clean

    def kept(self: QualityControl, window: RawWindow, healthy: bool = True) -> CleanWindow:
        windows.append(clean(self, window, healthy))
        return windows[-1]

    monkeypatch.setattr(QualityControl, "clean", kept)
    table = read_table(path, None, ["anomaly", "changepoint"])
    with path.open(encoding="utf-8") as file:
        anomalous = [float(row["anomaly"]) > 0 for row in csv.DictReader(file, delimiter=";")]
    for _ in run(table, profile_of(table, COMMISSIONING_ROWS, None, None, 1.0), COMMISSIONING_ROWS):
        pass
    rows = np.searchsorted(table.time_ns, [window.end_ns for window in windows], side="right") - 1
    return [(anomalous[row], window) for row, window in zip(rows.tolist(), windows, strict=True)]


@pytest.mark.slow
def test_no_anomaly_of_the_machine_is_blanked_as_a_step_or_noise_of_a_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    n, named, blanked = Counter[bool](), Counter[tuple[bool, str]](), Counter[tuple[bool, str]]()
    for name in RUNS:
        with monkeypatch.context() as patch:
            for anomalous, window in judged(recorded("skab") / name, patch):
                n[anomalous] += 1
                blank = dict(zip(window.channels, np.isnan(window.matrix).any(axis=0).tolist(), strict=True))
                for kind in {finding.kind for finding in window.findings}:
                    mine = [finding for finding in window.findings if finding.kind == kind]
                    named[anomalous, kind] += any(finding.told for finding in mine)
                    blanked[anomalous, kind] += any(blank.get(finding.channel, False) for finding in mine)
    assert n[True] > 1500
    assert blanked[True, "step"] + blanked[True, "noise"] == 0
    assert named[False, "step"] + named[False, "noise"] <= 0.002 * n[False]
    assert {kind for _, kind in +named} <= {"spike", "missing", "step"}
