"""Labelled single-hop wireless sensor network (Suthaharan et al., 2010): humidity and temperature of two motes indoors, 6 h.

    python -m benchmarks.detection.wsn --data DIR [--out DIR]

Mote 1 was heated with steam for ten minutes (117 rows of 4,417 labelled), mote 2 was left alone. Each runs row by row through
the agent's pipeline, a row each 5 s: windows of one minute each row, the mean of both channels, a normal that follows within a
quarter of an hour, one false alarm a month; the int8 model is of the cross-channel kind, learned from the mote's own 400
rows of commissioning. Baselines learn from the same rows and call what scores above 99 % of them. Seed n drops up to 150
leading rows by a seeded draw. Points are counted as they are, of both motes together.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.baselines import all_baselines
from benchmarks.detection.figures import delays, f1, percent, spread
from benchmarks.detection.learning import load, train_bundle
from benchmarks.detection.replay import FLOAT, INT8, NO_MODEL, Replayed, replay, table_of, vectors_of
from benchmarks.detection.report import Course, Report, Table, run_one
from hub.training.evaluate import auc
from models.contract.profile import Channel, CommissioningPlan, Features, Profile, Windowing

FILES: Final = ("singlehop_indoor_moteid1_data.txt", "singlehop_indoor_moteid2_data.txt")
SEEDS: Final = (1, 2, 3, 4, 5)
METRICS: Final = ("AUC", "F1", "FAR %", "delay s")
PERIOD_S: Final = 5.0
_COMMISSIONING: Final = 400
_DROPPED: Final = 150
_QUANTILE: Final = 0.99
_PROFILE: Final = Profile(
    name="wsn",
    channels=(Channel(name="humidity", unit="%"), Channel(name="temperature", unit="degC")),
    windowing=Windowing(rate_hz=1 / PERIOD_S, window_s=60.0, hop_s=PERIOD_S, lateness_s=0.0, max_gap_s=60.0),
    features=Features(per_channel=("mean",), follow_s=900.0),
    commissioning=CommissioningPlan(windows=5000),
)
Rows = NDArray[np.float64]
Flags = NDArray[np.bool_]


def read(path: Path) -> tuple[Rows, Flags]:
    """((n, 2) humidity and temperature, (n,) labels)."""
    rows = np.loadtxt(path, skiprows=1)
    return rows[:, 2:4], rows[:, 4] == 1


def one_mote(rows: Rows, commissioning: int, seed: int) -> tuple[dict[str, Rows], dict[str, Flags], Replayed]:
    """(scores, alarms) by method, of each row after commissioning."""
    table = table_of(_PROFILE.channel_names, rows, PERIOD_S)
    own = vectors_of(table_of(_PROFILE.channel_names, rows[:commissioning], PERIOD_S), _PROFILE)
    archive, weights = train_bundle(_PROFILE, {"own": own}, seed, fleet=False)
    replayed = replay(table, _PROFILE, commissioning, load(archive, _PROFILE), weights)
    scores, alarms = dict(replayed.scores), {INT8: replayed.alert}
    for name, scorer in all_baselines(rows[:commissioning], seed).items():
        scores[name] = scorer(rows[commissioning:])
        alarms[name] = scores[name] > np.quantile(scorer(rows[:commissioning]), _QUANTILE)
    scores["every row"] = np.ones(len(rows) - commissioning)
    alarms["every row"] = np.ones(len(rows) - commissioning, dtype=bool)
    return scores, alarms, replayed


def measure(data: Path, seeds: Iterable[int] = SEEDS) -> Report:
    """See the module's text."""
    figures: dict[str, list[dict[str, Any]]] = {}
    courses: list[Course] = []
    for seed in seeds:
        dropped = int(np.random.default_rng(seed).integers(0, _DROPPED + 1))
        motes = []
        for file in FILES:
            rows, labels = read(data / file)
            scores, alarms, replayed = one_mote(rows[dropped:], _COMMISSIONING - dropped, seed)
            motes.append((scores, alarms, labels[_COMMISSIONING:]))
            if seed == min(seeds):
                courses.append(_course(file, replayed, labels[_COMMISSIONING:]))
        for name in motes[0][0]:
            figures.setdefault(name, []).append(_rated(name, motes))
    rows_told = [
        [name, *(_cell([each[metric] for each in told], metric) for metric in METRICS)] for name, told in figures.items()
    ]
    title = "WSN, two motes indoors: mean and standard deviation over crops"
    notes = f"{FLOAT} and {NO_MODEL} are scored beside the int8 model, which decides; so they have an area only."
    return Report([Table("wsn", title, ["method", *METRICS], rows_told, notes)], courses, figures)


def _rated(name: str, motes: list[tuple[dict[str, Rows], dict[str, Flags], Flags]]) -> dict[str, Any]:
    truth = np.concatenate([labels for _, _, labels in motes])
    score = np.nan_to_num(np.concatenate([scores[name] for scores, _, _ in motes]))
    found: dict[str, Any] = {"AUC": auc(score[~truth], score[truth]), "F1": None, "FAR %": None, "delay s": None}
    if name in motes[0][1]:
        called = np.concatenate([alarms[name] for _, alarms, _ in motes])
        late = delays(called, truth)[0]
        found |= {"F1": f1(called, truth), "FAR %": percent(called[~truth])}
        found["delay s"] = None if late is None else late * PERIOD_S
    return found


def _cell(values: list[float | None], metric: str) -> str:
    told = [value for value in values if value is not None]
    digits = {"AUC": 4, "F1": 3, "FAR %": 1, "delay s": 0}[metric]
    return spread(told, digits) + ("" if len(told) == len(values) else f" ({len(told)} of {len(values)})") if told else ""


def _course(file: str, replayed: Replayed, labels: Flags) -> Course:
    hours = np.arange(len(labels)) * PERIOD_S / 3600
    name = file.split("_")[2]
    return Course(f"wsn_{name}", f"WSN, {name}", hours, "hours", np.nan_to_num(replayed.scores[INT8]), replayed.alert, labels)


if __name__ == "__main__":
    sys.exit(run_one("wsn", __doc__, FILES[0], measure))
