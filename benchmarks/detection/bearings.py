"""IMS bearings, run to failure (University of Cincinnati; Lee et al., 2007): how long before the end is it told?

    python -m benchmarks.detection.bearings --data DIR [--out DIR]

Two tests of four bearings, of which one or two fail at the end; of each snapshot of a second, about every ten minutes, the
mean absolute acceleration of each sensor. The bearings' condition in between is not known, so neither F1 nor a false alarm rate
can be told: what can is when an alert stands that lasts to the end, and how much of the first half of the life after
commissioning, in which nobody reports damage, is in alert. The first 300 snapshots are commissioning; windows of an hour, each
snapshot, the mean of each channel, a fixed normal, an int8 whitening, one false alarm a month. Baselines learn from the same
snapshots and call where the median score of the last 6 is above 99.9 % of those.
"""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.baselines import all_baselines
from benchmarks.detection.figures import percent, spans
from benchmarks.detection.learning import load, packed
from benchmarks.detection.replay import INT8, replay, vectors_of
from benchmarks.detection.report import Course, Report, Table, run_one
from hub.training.linear import Whitening
from models.contract.clock import NS_PER_S
from models.contract.profile import Channel, CommissioningPlan, Features, Profile, Windowing
from models.contract.table import Table as Readings
from models.features.normal import LocalNormal

FILES: Final = ("1st_test_resmaple_10minutes.csv", "3rd_test_resmaple_10minutes.csv")
_COMMISSIONING: Final = 300
_PERIOD_S: Final = 600.0
_WINDOW: Final = 6  # snapshots
_QUANTILE: Final = 0.999
Rows = NDArray[np.float64]
Flags = NDArray[np.bool_]


def read(path: Path) -> Readings:
    """Snapshots in the order of time; no two at the same time."""
    with path.open(encoding="utf-8") as stream:
        header, *lines = list(csv.reader(stream))
    times = [round(datetime.strptime(line[1], "%Y.%m.%d.%H.%M.%S").replace(tzinfo=UTC).timestamp()) for line in lines]
    order = np.unique(times, return_index=True)[1]
    values = np.array([line[2:] for line in lines], dtype=np.float64)[order]
    names = tuple(name.lower().replace(" ", "") for name in header[2:])
    return Readings(np.array(times)[order] * NS_PER_S, names, values, [lines[i][1] for i in order], header[1])


def profile(names: list[str]) -> Profile:
    """What a user would write for this rig."""
    return Profile(
        name="bearings",
        channels=tuple(Channel(name=name, unit="V") for name in names),
        windowing=Windowing(
            rate_hz=1 / _PERIOD_S, window_s=_WINDOW * _PERIOD_S, hop_s=_PERIOD_S, lateness_s=0.0, max_gap_s=3 * _PERIOD_S
        ),
        features=Features(per_channel=("mean",)),
        commissioning=CommissioningPlan(windows=5000),
    )


def one_test(readings: Readings) -> tuple[dict[str, Flags], Course]:
    """Alarms by method after commissioning, and the course of ours."""
    made = profile(list(readings.columns))
    first = Readings(
        readings.time_ns[:_COMMISSIONING],
        readings.columns,
        readings.values[:_COMMISSIONING],
        readings.time_labels[:_COMMISSIONING],
        readings.time_column,
    )
    vectors = vectors_of(first, made)
    z = LocalNormal.fit(vectors).apply(vectors)
    weights = Whitening().fit(z, z[:0], 1, lambda _line: None)
    replayed = replay(readings, made, _COMMISSIONING, load(packed(made, "whitening", weights, z), made), weights)
    called = {INT8: replayed.alert}
    for name, scorer in all_baselines(first.values, 1).items():
        smooth = _running_median(scorer(readings.values))
        called[name] = smooth[_COMMISSIONING:] > np.quantile(smooth[:_COMMISSIONING], _QUANTILE)
    days = (readings.time_ns[_COMMISSIONING:] - readings.time_ns[0]) / NS_PER_S / 86400
    return called, Course("", "", days, "days", np.nan_to_num(replayed.scores[INT8]), replayed.alert)


def _running_median(scores: Rows) -> Rows:
    return np.array([np.median(scores[max(0, i - _WINDOW + 1) : i + 1]) for i in range(len(scores))])


def measure(data: Path) -> Report:
    """See the module's text."""
    rows, courses, figures = [], [], {}
    for file in FILES:
        test = file.split("_")[0]
        called, course = one_test(read(data / file))
        courses.append(
            Course(f"bearings_{test}", f"IMS bearings, {test} test", course.time, "days", course.score, course.alert)
        )
        for name, flags in called.items():
            told = _told(flags, course.time)
            figures[f"{test} {name}"] = told
            lasting = "none" if told["lasting h"] is None else f"{told['lasting h']:.0f}"
            rows.append([test, name, lasting, f"{told['first half %']:.1f}", str(told["alerts"])])
    header = ["test", "method", "hours before the end that the last alert has stood", "first half in alert, %", "alerts"]
    return Report([Table("bearings", "IMS bearings, run to failure", header, rows)], courses, figures)


def _told(flags: Flags, days: Rows) -> dict[str, Any]:
    found = spans(flags)
    lasting = float((days[-1] - days[found[-1][0]]) * 24) if found and found[-1][1] == len(flags) else None
    return {"lasting h": lasting, "first half %": percent(flags[: len(flags) // 2]), "alerts": len(found)}


if __name__ == "__main__":
    sys.exit(run_one("bearings", __doc__, FILES[0], measure))
