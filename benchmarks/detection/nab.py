"""Numenta Anomaly Benchmark (Lavin and Ahmad, 2015): 58 single channels, each at its own rate.

    python -m benchmarks.detection.nab --data DIR [--crop SEED] [--untimed | --agent] [--group NAME] --out RESULTS_DIR

Each file goes row by row through one fresh streaming detector, the object that the agent runs for a channel of a profile's
`[streaming]`, with the same settings for all; it gets values and their times, no file names, labels, or rows to come.
`--untimed`: values alone. RESULTS_DIR/GROUP/FILE.csv has the columns timestamp, score. `--crop` drops up to a twentieth of the
leading rows of each file by a seeded draw. No TFLite model is in it.

With `--agent` each file is what a device hears of one channel that comes rarely: its rows go with their times through the
agent's whole pipeline (windows, sensor faults, detector, alerts), and a row's score is that of the alert that opened with it,
else 0.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from agent.asset import AssetWatch
from agent.pipeline import Pipeline
from models.contract.clock import NS_PER_S
from models.contract.items import STREAMING, Alert
from models.contract.profile import Channel, Features, Profile, StreamingPlan, Windowing
from models.contract.reading import Reading
from models.detectors.reading_alarm import ReadingAlarm
from models.detectors.streaming import ALARM_SCORE

_CROPPED: Final = 0.05


def rows(path: Path) -> list[tuple[str, float]]:
    """(timestamp, value) of each row; an empty value is NaN."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [(row["timestamp"], float(row["value"] or "nan")) for row in csv.DictReader(stream)]


def files(data: Path) -> Iterator[tuple[str, Path]]:
    """(GROUP/FILE.csv, its path), in order; DIR may be the benchmark's checkout or the `data` folder in it."""
    root = data / "data" if (data / "data").is_dir() else data
    for path in sorted(root.glob("*/*.csv")):
        yield str(path.relative_to(root)), path


def scores_of(times_ns: list[int] | None, values: list[float]) -> tuple[list[float], int, int]:
    """(the score of each row, how many alerts open, bytes of state). `times_ns`: None = by values alone."""
    alarm = ReadingAlarm(ALARM_SCORE)
    scores, n_alerts = [], 0
    times = [None] * len(values) if times_ns is None else [t_ns / NS_PER_S for t_ns in times_ns]
    for time_s, value in zip(times, values, strict=True):
        before = alarm.alarm
        scores.append(alarm.update(value, time_s).score)
        n_alerts += alarm.alarm and not before
    return scores, n_alerts, len(msgspec.msgpack.encode(alarm.memory))


def scores_of_agent(times_ns: list[int], values: list[float]) -> tuple[list[float], int, int]:
    """The same by the agent's pipeline; the rate that somebody would declare for the channel is told by its median interval."""
    rate_hz = NS_PER_S / max(float(np.median(np.diff(times_ns))), 1.0)
    profile = Profile(
        name="nab",
        channels=(Channel(name="value", rate_hz=rate_hz),),
        windowing=Windowing(rate_hz=1.0, window_s=1.0, lateness_s=0.0),
        features=Features(per_channel=("mean",)),
        streaming=StreamingPlan(channels=("value",)),
    )
    pipeline = Pipeline([AssetWatch("nab", profile)])
    opened: dict[int, float] = {}
    for t_ns, value in zip(times_ns, values, strict=True):
        heard = pipeline.handle([Reading("nab", "value", t_ns, value)], t_ns)
        alerts = [body for body in heard.bodies if isinstance(body, Alert) and body.closed_ns is None]
        opened |= {alert.opened_ns: alert.score for alert in alerts if alert.detector == STREAMING}
    n_alerts = len(opened)
    return [opened.pop(t_ns, 0.0) for t_ns in times_ns], n_alerts, 0


def _scored(args: argparse.Namespace, times_ns: list[int], values: list[float]) -> tuple[list[float], int, int]:
    if args.agent:
        return scores_of_agent(times_ns, values)
    return scores_of(None if args.untimed else times_ns, values)


def times_of(labels: list[str]) -> list[int]:
    """Unix ns of `2014-02-14 14:30:00`, as UTC."""
    return [round(datetime.fromisoformat(label).replace(tzinfo=UTC).timestamp()) * NS_PER_S for label in labels]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detection.nab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds realKnownCause, realTraffic, …")
    parser.add_argument("--crop", type=int, metavar="SEED", help="drop up to a twentieth of the leading rows of each file")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--untimed", action="store_true", help="give the detector no times")
    how.add_argument("--agent", action="store_true", help="through the agent's whole pipeline; the scores are of its alerts")
    parser.add_argument("--group", metavar="NAME", help="one folder alone, such as realTweets")
    parser.add_argument("--out", type=Path, required=True, help="a folder, made where it is not there")
    args = parser.parse_args()
    found = [(name, path) for name, path in files(args.data) if args.group in (None, path.parent.name)]
    if not found:
        parser.error(f"{args.data} holds no GROUP/FILE.csv")
    rng = np.random.default_rng(args.crop)
    n_rows, n_alarms, n_alerts, spent_s, largest = 0, 0, 0, 0.0, 0
    for name, path in found:
        kept = rows(path)
        if args.crop is not None:
            kept = kept[int(rng.integers(0, int(_CROPPED * len(kept)) + 1)) :]
        values = [value for _, value in kept]
        times_ns = times_of([label for label, _ in kept])
        began_s = time.process_time()
        scores, opened, n_bytes = _scored(args, times_ns, values)
        spent_s += time.process_time() - began_s
        n_rows, n_alerts, largest = n_rows + len(kept), n_alerts + opened, max(largest, n_bytes)
        n_alarms += sum(score >= ALARM_SCORE for score in scores)
        out = args.out / name
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["timestamp", "score"])
            writer.writerows([label, repr(score)] for (label, _), score in zip(kept, scores, strict=True))
    print(f"{len(found)} files, {n_rows} rows, {n_alarms} alarms at the detector's own threshold of {ALARM_SCORE}")
    state = f", at most {largest} bytes of state" if largest else ""
    print(f"{n_alerts} alerts opened; {1e6 * spent_s / n_rows:.1f} µs a row{state}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
