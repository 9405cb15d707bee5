"""Statlog (Shuttle): nine sensor values of a space shuttle's radiators, rows without an order, seven in a hundred anomalous.

    python -m benchmarks.detection.shuttle --data DIR [--out DIR]

There is no time in it, so each row is a window of its own, by the device's features, normal and int8 detector; nothing of the
decision over time is used. Half of the normal rows, by a seeded draw, is learned from (2,000 of them); the other half and all
anomalies are judged. Thresholds: the one that leaves 1 % of the rows learned from above it, and the same for every method.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.baselines import all_baselines
from benchmarks.detection.figures import f1, percent, spread, threshold_at
from benchmarks.detection.report import Report, Roc, Table, run_one
from hub.training.evaluate import auc, detector_scores
from hub.training.exporter import export_int8
from hub.training.framework import native_silence
from hub.training.job import representative
from hub.training.linear import Whitening
from hub.training.regimes import Regimes
from hub.training.trainer import Trainer, detector_of, float_scores
from models.detectors.robust import RobustDetector
from models.features.normal import LocalNormal

FILE: Final = "shuttle.csv.gz"
SEEDS: Final = (1, 2, 3, 4, 5)
METRICS: Final = ("AUC", "F1", "FAR %", "found %")
_LEARNED: Final = 2000
_HELD: Final = 0.15
_FAR: Final = 0.01
_TRAINERS: Final[tuple[Trainer, ...]] = (Whitening(), Regimes())
Rows = NDArray[np.float64]
Scores = dict[str, tuple[Rows, Rows, Rows]]  # method -> scores of (learned from, normal, anomalous)


def read(data: Path) -> tuple[Rows, Rows]:
    """(normal, anomalous) rows, (n, 9)."""
    with gzip.open(data / FILE, "rt", encoding="utf-8") as stream:
        rows = np.loadtxt(stream, delimiter=",", skiprows=1)
    return rows[rows[:, -1] == 0, :-1], rows[rows[:, -1] == 1, :-1]


def scored(normal: Rows, anomalous: Rows, seed: int) -> Scores:
    """Every method's scores."""
    order = np.random.default_rng(seed).permutation(len(normal))
    learned, judged = normal[order[: len(order) // 2]][:_LEARNED], normal[order[len(order) // 2 :]]
    own = LocalNormal.fit(learned)
    parts = tuple(own.apply(rows) for rows in (learned, judged, anomalous))
    z = parts[0]
    cut = round(len(z) * (1 - _HELD))
    found: Scores = {}
    for trainer in _TRAINERS:
        weights = trainer.fit(z[:cut], z[cut:], seed, lambda _line: None)
        with native_silence():
            int8 = detector_of(export_int8(weights, representative(z)), weights)
        a, b, c = (detector_scores(int8, part) for part in parts)
        found[f"{trainer.architecture}, int8"] = (a, b, c)
        a, b, c = (float_scores(weights, part) for part in parts)
        found[f"{trainer.architecture}, float"] = (a, b, c)
    robust = RobustDetector()
    a, b, c = (detector_scores(robust, part) for part in parts)
    found["no model"] = (a, b, c)
    for name, scorer in all_baselines(learned, seed).items():
        found[name] = (scorer(learned), scorer(judged), scorer(anomalous))
    found["every row"] = (np.zeros(len(learned)), np.ones(len(judged)), np.ones(len(anomalous)))
    return found


def rated(learned: Rows, normal: Rows, anomalous: Rows) -> dict[str, float]:
    """Each metric of one method."""
    threshold = threshold_at(learned, _FAR)
    called = np.concatenate([normal, anomalous]) > threshold
    truth = np.arange(len(called)) >= len(normal)
    values = (auc(normal, anomalous), f1(called, truth), percent(called[~truth]), percent(called[truth]))
    return dict(zip(METRICS, values, strict=True))


def measure(data: Path, seeds: Iterable[int] = SEEDS) -> Report:
    """See the module's text."""
    normal, anomalous = read(data)
    scores = {seed: scored(normal, anomalous, seed) for seed in seeds}
    first = next(iter(scores.values()))
    figures = {name: [rated(*each[name]) for each in scores.values()] for name in first}
    rows = [
        [name, *(spread([each[m] for each in rates], 4 if m == "AUC" else 3 if m == "F1" else 1) for m in METRICS)]
        for name, rates in figures.items()
    ]
    roc = Roc("shuttle_roc", "Shuttle", {name: each[1:] for name, each in first.items() if name != "every row"})
    return Report(
        [Table("shuttle", "Shuttle, mean and standard deviation over 5 draws", ["method", *METRICS], rows)], [roc], figures
    )


if __name__ == "__main__":
    sys.exit(run_one("shuttle", __doc__, FILE, measure))
