"""How near the simulated bearing, fan and room lie to recorded ones before any fault, in the manner of `benchmarks.realism`.

    python -m benchmarks.realism_machines --data DIR

bearing  IMS bearings (University of Cincinnati; Lee et al., 2007): the mean absolute acceleration of a second, about every ten
         minutes, of each of twelve sensors over the first 300 snapshots. Beside it the same of simulated bearings, 2 kHz
fan      a ceiling fan's accelerometer (Hymel, 2020), each of three speeds, no weight: the root mean square over three axes and
         0.2 s, less its mean, five to a recording of a second. Beside it the vibration of simulated fans, 5 Hz. The recordings
         are one second long each and not contiguous
room     an office in Mons in February 2015 (Candanedo and Feldheim, 2016), temperature and CO2 each minute, in three stretches
         of days. Beside it simulated rooms over the same hours of the same days

Levels have no meaning across machines, so each run is in units of its own median and spread. How large that spread is beside
the level, the last column tells: 1.4826 times the median absolute deviation, as a share of the median.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.bearings import FILES as BEARING_FILES
from benchmarks.detection.bearings import read as read_bearings
from benchmarks.detection.fan import SPEEDS
from benchmarks.detection.fan import read as read_fan
from benchmarks.realism import Distance, distances_between, features_of
from firmware_sim.assets.bearing import Bearing
from firmware_sim.assets.fan import Fan
from firmware_sim.assets.room import Room
from firmware_sim.operation.operation import Operation

N_SEEDS: Final = 12
ROOM_FILES: Final = ("datatraining.txt", "datatest.txt", "datatest2.txt")
_N_SNAPSHOTS: Final = 300
_SNAPSHOT_S: Final = 1.024
_PERIOD_S: Final = 600.0
_BEARING_HZ: Final = 2000.0
_FAN_ROWS: Final = 5
Rows = NDArray[np.float64]


class Compared(NamedTuple):
    """`spread`: of a channel, of real and of simulated runs, as a share of the median; medians over the runs."""

    machine: str
    distances: list[Distance]
    spread: dict[str, tuple[float, float]]


def bearing(data: Path) -> Compared:
    tests = [read_bearings(data / "ims-bearing" / file).values[:_N_SNAPSHOTS] for file in BEARING_FILES]
    real = [sensor[:, None] for values in tests for sensor in values.T]
    snapshots = np.arange(_N_SNAPSHOTS)[:, None] * _PERIOD_S + np.arange(round(_SNAPSHOT_S * _BEARING_HZ)) / _BEARING_HZ
    simulated = []
    for seed in range(N_SEEDS):
        asset = Bearing(seed, _BEARING_HZ)
        levels = [np.abs(asset.simulate(t_s)["acceleration"]).mean() for t_s in snapshots]
        simulated.append(np.array(levels)[:, None])
    return _compared("bearing", ("mean absolute",), real, simulated, 6)


def fan(data: Path) -> Compared:
    recordings = read_fan(data / "fan-accel")
    real = [_vibration(recordings[f"fan_0_{speed}_0_weight"]) for speed in SPEEDS]
    t_s = 600 + np.arange(len(real[0])) / 5.0
    simulated = [Fan(seed, 5.0).simulate(t_s)["vibration"][:, None] for seed in range(N_SEEDS)]
    return _compared("fan", ("vibration",), real, simulated, _FAN_ROWS)


def room(data: Path) -> Compared:
    real, spans = [], []
    for file in ROOM_FILES:
        with (data / "occupancy" / file).open(encoding="utf-8", newline="") as stream:
            rows = [(row[1], row[2], row[5]) for row in list(csv.reader(stream))[1:]]
        at = [datetime.fromisoformat(row[0]).replace(tzinfo=UTC).timestamp() for row in rows]  # local time, taken as it stands
        real.append(np.array([row[1:] for row in rows], dtype=np.float64))
        spans.append((min(at), len(at)))
    simulated = []
    for seed in range(N_SEEDS):
        first_s, n = spans[seed % len(spans)]
        asset = Room(seed, 1 / 60, Operation(local_t0_s=first_s, seed=seed, weather_seed=seed))
        played = asset.simulate(np.arange(0, n * 60.0, 60.0))
        simulated.append(np.column_stack([played["temperature"], played["co2"]]))
    return _compared("room", ("temperature", "co2"), real, simulated, 15)


def _vibration(recordings: Rows) -> Rows:
    """(5 n, 1) of (n, 200, 3)."""
    moved = recordings - recordings.mean(axis=1, keepdims=True)
    parts = moved.reshape(len(moved), _FAN_ROWS, -1, moved.shape[2])
    return np.asarray(np.sqrt((parts**2).sum(axis=3).mean(axis=2)).reshape(-1, 1))


def _compared(
    machine: str, channels: tuple[str, ...], real: Sequence[Rows], simulated: Sequence[Rows], n_window: int
) -> Compared:
    ours, theirs = ([features_of(rows, channels, n_window) for rows in runs] for runs in (simulated, real))
    spread = {
        name: (_spread([rows[:, i] for rows in real]), _spread([rows[:, i] for rows in simulated]))
        for i, name in enumerate(channels)
    }
    return Compared(machine, distances_between(theirs, ours), spread)


def _spread(runs: Sequence[Rows]) -> float:
    shares = [1.4826 * np.median(np.abs(run - np.median(run))) / np.median(run) for run in runs]
    return float(np.median(shares))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="with ims-bearing, fan-accel and occupancy")
    data = parser.parse_args().data
    print("| machine | channel | mean: real, simulated | std | slope | roughness | spread, % of the level |")
    print("|---|---|---|---|---|---|---|")
    for compare in (bearing, fan, room):
        found = compare(data)
        for channel, (real, simulated) in found.spread.items():
            cells = [f"{d.real:.2f}, {d.simulated:.2f}" for d in found.distances if d.channel == channel]
            print(f"| {found.machine} | {channel} | {' | '.join(cells)} | {100 * real:.1f}, {100 * simulated:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
