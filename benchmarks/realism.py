"""How near the simulated pump lies to a real one, at rest from faults: the runs of the Skoltech Anomaly Benchmark's water rig.

    python -m benchmarks.realism --data DIR

A rig in a laboratory and a simulated plant pump have other flows and pressures. What a detector sees are features in units of a
machine's own normal, and those are compared: for each channel, the first 400 rows of each run (before any fault) are put in
units of their median and 1.4826 times their median absolute deviation, and cut into windows of ten rows. The distance of two
sets of a feature is Kolmogorov and Smirnov's: the largest gap between their cumulative distributions, 0..1.

The yardstick is the rig itself: one of its runs against all others. A simulated pump of any seed is as near as could be asked
for where it is no farther from the rig's runs than they are from each other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.skab import cases
from firmware_sim.assets.pump import Pump

CHANNELS: Final[Mapping[str, str]] = {
    "flow": "Volume Flow RateRMS",
    "pressure": "Pressure",
    "current": "Current",
    "temperature": "Temperature",
    "vibration": "Accelerometer1RMS",
}
N_ROWS: Final = 400
N_WINDOW: Final = 10
N_PUMPS: Final = 30
RATE_HZ: Final = 1.0  # the rig's

Features = dict[tuple[str, str], NDArray[np.float64]]


class Distance(NamedTuple):
    """Medians: of a real run from the others, and of a simulated pump from all real runs."""

    channel: str
    feature: str
    real: float
    simulated: float


def distances(data: Path) -> list[Distance]:
    return distances_between(real_runs(data), simulated_runs())


def distances_between(real: Sequence[Features], simulated: Sequence[Features]) -> list[Distance]:
    """Feature by feature, the medians over the runs of each."""
    return [_distance(key, real, simulated) for key in real[0]]


def real_runs(data: Path) -> list[Features]:
    found = []
    for case in cases(data, None):
        columns = [case.table.columns.index(name) for name in CHANNELS.values()]
        rows = case.table.values[:N_ROWS, columns]
        if not np.isnan(rows).any():
            found.append(features_of(rows))
    return found


def simulated_runs() -> list[Features]:
    start_s = 600.0  # past any start
    t_s = np.arange(start_s, start_s + N_ROWS / RATE_HZ, 1 / RATE_HZ)
    pumps = (Pump(seed, RATE_HZ).simulate(t_s) for seed in range(N_PUMPS))
    return [features_of(np.column_stack([pump[name] for name in CHANNELS])) for pump in pumps]


def features_of(rows: NDArray[np.float64], channels: Iterable[str] = CHANNELS, n_window: int = N_WINDOW) -> Features:
    """`rows`: (n, channels). `n_window`: rows a window."""
    found: Features = {}
    steps = np.arange(n_window) - (n_window - 1) / 2
    for name, values in zip(channels, rows.T, strict=True):
        middle = np.median(values)
        spread = 1.4826 * np.median(np.abs(values - middle)) or values.std() or 1.0
        windows = ((values - middle) / spread)[: len(values) // n_window * n_window].reshape(-1, n_window)
        found[name, "mean"] = windows.mean(axis=1)
        found[name, "std"] = windows.std(axis=1)
        found[name, "slope"] = windows @ steps / (steps @ steps)
        found[name, "roughness"] = np.abs(np.diff(windows, axis=1)).mean(axis=1)
    return found


def largest_gap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The two-sample statistic of Kolmogorov and Smirnov: 0 for the same distribution, 1 for two that do not meet."""
    both = np.sort(np.concatenate([a, b]))
    below_a, below_b = (np.searchsorted(np.sort(x), both, side="right") / len(x) for x in (a, b))
    return float(np.abs(below_a - below_b).max())


def _distance(key: tuple[str, str], real: Sequence[Features], simulated: Sequence[Features]) -> Distance:
    every = np.concatenate([run[key] for run in real])
    others = [np.concatenate([run[key] for m, run in enumerate(real) if m != n]) for n in range(len(real))]
    from_others = [largest_gap(run[key], rest) for run, rest in zip(real, others, strict=True)]
    from_real = [largest_gap(run[key], every) for run in simulated]
    return Distance(*key, float(np.median(from_others)), float(np.median(from_real)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder with valve1, valve2 and other")
    found = distances(parser.parse_args().data)
    print("| channel | feature | a real run from the others | a simulated pump from the real ones |\n|---|---|---|---|")
    for channel, feature, real, simulated in found:
        print(f"| {channel} | {feature} | {real:.2f} | {simulated:.2f} |")
    near = sum(distance.simulated <= distance.real for distance in found)
    print(f"\n{near} of {len(found)} no farther than the rig's own runs from each other; median", end=" ")
    print(f"{np.median([d.simulated for d in found]):.2f}, of the rig's own {np.median([d.real for d in found]):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
