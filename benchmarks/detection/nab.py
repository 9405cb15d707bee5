"""Numenta Anomaly Benchmark (Lavin and Ahmad, 2015): 58 single channels, each at its own rate.

    python -m benchmarks.detection.nab --data DIR [--crop SEED] [--untimed] --out RESULTS_DIR

Each file goes row by row through one fresh streaming detector, with the same settings for all; it gets values and their times,
no file names, labels, or rows to come. `--untimed`: values alone. RESULTS_DIR/GROUP/FILE.csv has the columns timestamp, score.
`--crop` drops up to a twentieth of the leading rows of each file by a seeded draw. No TFLite model is in it.
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

from models.detectors.streaming import ALARM_SCORE, StreamingDetector

_CROPPED: Final = 0.05


def seconds(timestamp: str) -> float:
    """Since the epoch, as if the file told UTC."""
    return datetime.fromisoformat(timestamp).replace(tzinfo=UTC).timestamp()


def rows(path: Path) -> list[tuple[str, float]]:
    """(timestamp, value) of each row; an empty value is NaN."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [(row["timestamp"], float(row["value"] or "nan")) for row in csv.DictReader(stream)]


def files(data: Path) -> Iterator[tuple[str, Path]]:
    """(GROUP/FILE.csv, its path), in order; DIR may be the benchmark's checkout or the `data` folder in it."""
    root = data / "data" if (data / "data").is_dir() else data
    for path in sorted(root.glob("*/*.csv")):
        yield str(path.relative_to(root)), path


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detection.nab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds realKnownCause, realTraffic, …")
    parser.add_argument("--crop", type=int, metavar="SEED", help="drop up to a twentieth of the leading rows of each file")
    parser.add_argument("--untimed", action="store_true", help="give the detector no times")
    parser.add_argument("--out", type=Path, required=True, help="a folder, made where it is not there")
    args = parser.parse_args()
    found = list(files(args.data))
    if not found:
        parser.error(f"{args.data} holds no GROUP/FILE.csv")
    rng = np.random.default_rng(args.crop)
    n_rows, n_alarms, spent_s, largest = 0, 0, 0.0, 0
    for name, path in found:
        kept = rows(path)
        if args.crop is not None:
            kept = kept[int(rng.integers(0, int(_CROPPED * len(kept)) + 1)) :]
        times = [None if args.untimed else seconds(label) for label, _ in kept]
        detector = StreamingDetector()
        began_s = time.process_time()
        scores = [detector.update(value, time_s) for time_s, (_, value) in zip(times, kept, strict=True)]
        spent_s += time.process_time() - began_s
        n_rows += len(kept)
        n_alarms += sum(score >= ALARM_SCORE for score in scores)
        largest = max(largest, len(msgspec.msgpack.encode(detector.memory)))
        out = args.out / name
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["timestamp", "score"])
            writer.writerows([label, repr(score)] for (label, _), score in zip(kept, scores, strict=True))
    print(f"{len(found)} files, {n_rows} rows, {n_alarms} alarms at the detector's own threshold of {ALARM_SCORE}")
    print(f"{1e6 * spent_s / n_rows:.1f} µs a row, at most {largest} bytes of state")
    return 0


if __name__ == "__main__":
    sys.exit(main())
