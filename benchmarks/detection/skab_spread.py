"""SKAB over five crops: int8 beside the same weights in float, the pipeline without a model, and simple baselines.

    python -m benchmarks.detection.skab_spread --data DIR [--out DIR]

The runs and settings are those of `benchmarks.detection.skab --mode fleet`; seed n crops by draw n and trains with seed n (the
trainer is closed-form, so the crop is what differs). Baselines learn from each run's own rows before row 400, scaled, and
call a row that scores above 99 % of those. Labels are read for the figures alone.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.judges import Serving
from benchmarks.detection.baselines import all_baselines
from benchmarks.detection.figures import changepoint_score, f1, percent, spread
from benchmarks.detection.learning import FloatDetector, load, train_bundle
from benchmarks.detection.report import Report, Table, run_one
from benchmarks.detection.skab import COMMISSIONING_ROWS, Case, cases, commissioning_vectors, profile_for, verdicts

SEEDS: Final = (1, 2, 3, 4, 5)
METRICS: Final = ("F1", "FAR %", "MAR %", "change points")
_QUANTILE: Final = 0.99
Flags = NDArray[np.bool_]


def labels(data: Path, case: Case, column: str) -> Flags:
    """(n_rows,) one label column of each row after commissioning."""
    with (data / case.name).open(encoding="utf-8") as stream:
        return np.array([float(row[column]) == 1 for row in csv.DictReader(stream, delimiter=";")])[COMMISSIONING_ROWS:]


def rated(data: Path, runs: list[Case], called: dict[str, Flags]) -> dict[str, float]:
    """Each metric over all runs together."""
    truth = {case.name: labels(data, case, "anomaly") for case in runs}
    t, p = (np.concatenate([each[case.name] for case in runs]) for each in (truth, called))
    changes = [
        (case.table.time_ns[case.commissioning_rows :] / 1e9, labels(data, case, "changepoint"), called[case.name])
        for case in runs
    ]
    return dict(zip(METRICS, (f1(p, t), percent(p[~t]), percent(~p[t]), changepoint_score(changes)), strict=True))


def with_pipeline(runs: list[Case], seed: int) -> dict[str, dict[str, Flags]]:
    """Each run's alerts, by what decides: the fleet's int8 model, its float weights, no model."""
    profiles = {case.name: profile_for(case.table, case.commissioning_rows) for case in runs}
    vectors = {case.name: commissioning_vectors(case, profiles[case.name]) for case in runs}
    called: dict[str, dict[str, Flags]] = {"Tocsin, int8": {}, "Tocsin, float": {}, "Tocsin, no model": {}}
    for case in runs:
        others = {name: v for name, v in vectors.items() if name != case.name}
        archive, weights = train_bundle(profiles[case.name], others or vectors, seed, fleet=bool(others))
        int8 = load(archive, profiles[case.name])
        for name, decides in zip(called, (int8, Serving(FloatDetector(weights), None, int8.fleet_drift), None), strict=True):
            called[name][case.name] = np.array([verdict.alert for verdict in verdicts(case, decides)])
    return called


def with_baselines(runs: list[Case], seed: int) -> dict[str, dict[str, Flags]]:
    """Each run's alarms by each simple baseline."""
    called: dict[str, dict[str, Flags]] = {}
    for case in runs:
        own, rows = case.table.values[: case.commissioning_rows], case.table.values[case.commissioning_rows :]
        for name, score in all_baselines(own, seed).items():
            called.setdefault(name, {})[case.name] = score(rows) > np.quantile(score(own), _QUANTILE)
        called.setdefault("every row", {})[case.name] = np.ones(len(rows), dtype=bool)
    return called


def measure(data: Path, seeds: Iterable[int] = SEEDS) -> Report:
    """See the module's text."""
    found: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:
        runs = list(cases(data, seed))
        for name, called in {**with_pipeline(runs, seed), **with_baselines(runs, seed)}.items():
            found.setdefault(name, []).append(rated(data, runs, called))
    rows = [
        [name, *(spread([each[metric] for each in rates], 3 if metric == "F1" else 1) for metric in METRICS)]
        for name, rates in found.items()
    ]
    title = f"SKAB, {len(list(seeds))} crops: mean and standard deviation"
    return Report([Table("skab_spread", title, ["method", *METRICS], rows)], (), found)


if __name__ == "__main__":
    sys.exit(run_one("skab_spread", __doc__, "valve1", measure))
