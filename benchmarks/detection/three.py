"""Data alone, AI alone, or both? The same test rows of SKAB, by how many rows a device has had of its own.

    python -m benchmarks.detection.three --data DIR [--rows 50,100,200,400]

    data alone   fixed limits for each channel, from what the other runs' commissioning rows show: no model
    AI alone     a model learned from the device's own rows, no fleet
    both         the fleet's model, learned from the other runs, commissioned on the device's own rows

The device's own rows are the last ones before row 400, without labels. F1 and false alarm rate are over all rows after it, as
SKAB's protocol has them; labels are read for that alone.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.learning import load, train_bundle
from benchmarks.detection.skab import COMMISSIONING_ROWS, Case, cases, commissioning_vectors, profile_for, shortened, verdicts

_SHARE: Final = 0.001  # of the fleet's commissioning windows beyond each limit
Alarms = dict[str, NDArray[np.bool_]]


def labels(data: Path, case: Case) -> NDArray[np.bool_]:
    """(n_rows,) whether each row after commissioning is anomalous."""
    with (data / case.name).open(encoding="utf-8") as stream:
        return np.array([row["anomaly"] == "1.0" for row in csv.DictReader(stream, delimiter=";")])[COMMISSIONING_ROWS:]


def f1_and_far(told: Alarms, truth: Alarms) -> tuple[float, float]:
    """(F1, false alarms in percent of the normal rows), over the rows of all runs together."""
    p, t = (np.concatenate([each[name] for name in truth]) for each in (told, truth))
    return float(2 * (p & t).sum() / (p.sum() + t.sum())), float(100 * (p & ~t).sum() / (~t).sum())


def data_alone(runs: list[Case]) -> Alarms:
    """Alarm where a channel is outside of what the other runs have shown."""
    told = {}
    for case in runs:
        others = [other.table.values[: other.commissioning_rows] for other in runs if other.name != case.name]
        low, high = np.nanquantile(np.concatenate(others), [_SHARE, 1 - _SHARE], axis=0)
        rows = case.table.values[case.commissioning_rows :]
        told[case.name] = np.asarray(((rows < low) | (rows > high)).any(axis=1))
    return told


def with_models(runs: list[Case], n_rows: int, *, fleet: bool) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each run's alerts, its device having had `n_rows` of its own; a fleet's model comes from the other runs alone."""
    profile = profile_for(runs[0].table, COMMISSIONING_ROWS)
    vectors = {case.name: commissioning_vectors(case, profile) for case in runs}
    for case in runs:
        few = shortened(case, n_rows)
        own = {case.name: commissioning_vectors(few, profile)}
        others = {name: v for name, v in vectors.items() if name != case.name}
        archive, _ = train_bundle(profile, others if fleet else own, 1, fleet=fleet)
        yield case.name, np.array([verdict.alert for verdict in verdicts(few, load(archive, profile))])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.three", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds valve1, valve2, other")
    parser.add_argument("--rows", default="50,100,200,400")
    args = parser.parse_args()
    runs = list(cases(args.data, None))
    if not runs:
        parser.error(f"{args.data} holds no runs: valve1/*.csv, valve2/*.csv, other/*.csv")
    truth = {case.name: labels(args.data, case) for case in runs}
    print("own rows       data alone          AI alone              both    (F1, false alarms in %)", flush=True)
    fixed = f1_and_far(data_alone(runs), truth)
    for n_rows in map(int, args.rows.split(",")):
        found = [fixed, *(f1_and_far(dict(with_models(runs, n_rows, fleet=fleet)), truth) for fleet in (False, True))]
        print(f"{n_rows:>8}" + "".join(f"{f1:>12.3f} {far:>5.1f}" for f1, far in found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
