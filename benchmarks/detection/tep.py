"""Tennessee Eastman: a simulated chemical plant (Downs and Vogel, 1993; Chiang et al., 2001), 52 channels, a row each 3 min.

    python -m benchmarks.detection.tep --data DIR [--out DIR]

Protocol. Learned from: d00, 500 rows of normal running, and nothing else. Judged: d00_te, 960 normal rows, and dNN_te for
faults 1, 2, 4-8, 10-14 (3 and 9 are known to leave no trace), 960 rows each, the fault on from row 160 to the end. Detection
rate: the share of those 800 rows that score above the threshold. Two rules set it, the same for every method:

    equal     so that 2 % of d00_te score above it: compares methods at the same false alarm rate, but reads normal test rows
    trained   so that 1 % of d00 does, each fifth of it scored by what was learned from the others: reads nothing but d00

Ours: each row through the agent's pipeline, windows of five rows each row, the mean and the newest value of each channel, an
int8 whitening. PCA has its components from the rows, of 90 % of the variance; "best of" takes, for each fault, the better of
80, 90 and 95 %. Seed n drops up to 50 leading rows of d00 by a seeded draw.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.baselines import isolation_forest, pca
from benchmarks.detection.figures import percent, spread, threshold_at
from benchmarks.detection.learning import load, packed
from benchmarks.detection.replay import FLOAT, INT8, NO_MODEL, Replayed, replay, table_of, vectors_of
from benchmarks.detection.report import Bars, Course, Plot, Report, Table, run_one
from hub.training.linear import Whitening
from hub.training.trainer import float_scores
from models.contract.profile import Channel, CommissioningPlan, Features, Profile, Windowing
from models.features.normal import LocalNormal

FAULTS: Final = (1, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14)
SEEDS: Final = (1, 2, 3, 4, 5)
CHANNELS: Final = [*(f"xmeas{i}" for i in range(1, 42)), *(f"xmv{i}" for i in range(1, 12))]
PERIOD_S: Final = 180.0
ONSET: Final = 160
FAR: Final = 0.02
SHARES: Final = (0.8, 0.9, 0.95)
_WINDOW: Final = 5  # rows
_LEAST: Final = 0.002  # floor under the variances of the whitening
_DROPPED: Final = 50
_FOLDS: Final = 5
_TRAINED_FAR: Final = 0.01
_STATISTICS: Final = ("PCA T2", "PCA SPE")
METHODS: Final = (INT8, FLOAT, NO_MODEL, *_STATISTICS, *(f"{name}, best of" for name in _STATISTICS), "isolation forest")
Rows = NDArray[np.float64]
Scores = dict[str, Rows]  # by run: "normal", or the fault's number


def read(path: Path) -> Rows:
    """(n, 52); the one file that is stored with a channel a row is turned."""
    rows = np.loadtxt(path)
    return np.asarray(rows.T if rows.shape[0] == len(CHANNELS) else rows)


def runs_in(data: Path, faults: Iterable[int]) -> dict[str, Rows]:
    """The runs to judge."""
    return {"normal": read(data / "d00_te.dat"), **{str(fault): read(data / f"d{fault:02d}_te.dat") for fault in faults}}


def profile() -> Profile:
    """What a user would write for this plant."""
    return Profile(
        name="tep",
        channels=tuple(Channel(name=name) for name in CHANNELS),
        windowing=Windowing(
            rate_hz=1 / PERIOD_S, window_s=_WINDOW * PERIOD_S, hop_s=PERIOD_S, lateness_s=0.0, max_gap_s=_WINDOW * PERIOD_S
        ),
        features=Features(per_channel=("mean", "last")),
        commissioning=CommissioningPlan(windows=5000),
    )


def ours(train: Rows, runs: Mapping[str, Rows]) -> tuple[dict[str, Replayed], Rows]:
    """(each run replayed after d00, the cross-validated scores of d00)."""
    made = profile()
    vectors = vectors_of(table_of(CHANNELS, train, PERIOD_S), made)
    z = LocalNormal.fit(vectors).apply(vectors)
    trainer = Whitening(least=_LEAST)
    weights = trainer.fit(z, z[:0], 1, lambda _line: None)
    serving = load(packed(made, trainer.architecture, weights, z), made)
    found = {}
    for name, rows in runs.items():
        table = table_of(CHANNELS, np.concatenate([train, rows]), PERIOD_S)
        found[name] = replay(table, made, len(train), serving, weights)

    def fitted(others: NDArray[Any]) -> Callable[[NDArray[Any]], Rows]:
        normal = LocalNormal.fit(others)
        learned = trainer.fit(normal.apply(others), z[:0], 1, lambda _line: None)
        return lambda x: float_scores(learned, normal.apply(x))

    return found, cross_validated(vectors, fitted)


def cross_validated(rows: NDArray[Any], fit: Callable[[NDArray[Any]], Callable[[NDArray[Any]], Rows]]) -> Rows:
    """(n,) scores, each fifth in the order of time by what was learned from the other four."""
    scores = np.empty(len(rows))
    for fold in np.array_split(np.arange(len(rows)), _FOLDS):
        scores[fold] = fit(np.delete(rows, fold, axis=0))(rows[fold])
    return scores


def compared(train: Rows, runs: Mapping[str, Rows], seed: int) -> dict[str, tuple[Scores, Rows]]:
    """method -> (scores by run, cross-validated scores of d00)."""
    found: dict[str, tuple[Scores, Rows]] = {}
    for share in SHARES:
        scorers = pca(train, share)
        for name in _STATISTICS:
            own = cross_validated(train, lambda others, share=share, name=name: pca(others, share)[name])  # type: ignore[misc]
            found[f"{name} {share}"] = ({run: scorers[name](rows) for run, rows in runs.items()}, own)
    forest = isolation_forest(train, seed)
    own = cross_validated(train, lambda others: isolation_forest(others, seed))
    found["isolation forest"] = ({run: forest(rows) for run, rows in runs.items()}, own)
    return found


def rates(scores: Scores, threshold: float) -> dict[str, float]:
    """Percent of rows above the threshold: "FAR" of the normal run, "before" of rows before a fault, and of each fault's."""
    faults = {name: each for name, each in scores.items() if name != "normal"}
    before = np.concatenate([each[:ONSET] for each in faults.values()])
    found = {name: percent(each[ONSET:] > threshold) for name, each in faults.items()}
    return {"FAR": percent(scores["normal"] > threshold), "before": percent(before > threshold), **found}


def _best_of(rated: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """PCA's statistics under the names of `METHODS`; the other methods as they are."""
    found = {name: each for name, each in rated.items() if not name.startswith("PCA")}
    for name in _STATISTICS:
        by_share = [rated[f"{name} {share}"] for share in SHARES]
        found[name] = rated[f"{name} 0.9"]
        found[f"{name}, best of"] = {row: max(each[row] for each in by_share) for row in by_share[0]}
    return found


def one_seed(data: Path, seed: int, faults: Iterable[int]) -> tuple[dict[str, Any], dict[str, Replayed]]:
    """{"equal", "trained"} -> method -> rates, and {"alerts"}: delays in minutes and false alarms."""
    train = read(data / "d00.dat")[int(np.random.default_rng(seed).integers(0, _DROPPED + 1)) :]
    runs = runs_in(data, faults)
    replayed, own = ours(train, runs)
    everyone = compared(train, runs, seed)
    for name in (INT8, FLOAT, NO_MODEL):
        everyone[name] = ({run: each.scores[name] for run, each in replayed.items()}, own)
    equal = {name: rates(scores, threshold_at(scores["normal"], FAR)) for name, (scores, _) in everyone.items()}
    trained = {
        name: rates(scores, threshold_at(cv, _TRAINED_FAR)) for name, (scores, cv) in everyone.items() if name != NO_MODEL
    }
    return {"equal": _best_of(equal), "trained": _best_of(trained), "alerts": _alerts(replayed)}, replayed


def _alerts(replayed: Mapping[str, Replayed]) -> dict[str, Any]:
    """What the shipped decision makes of it, at one false alarm a month."""
    normal = [replayed["normal"].alert, *(each.alert[:ONSET] for name, each in replayed.items() if name != "normal")]
    opened = sum(int((np.diff(flags.astype(np.int8)) > 0).sum() + flags[0]) for flags in normal)
    minutes = {}
    for name, each in replayed.items():
        at = np.flatnonzero(each.alert[ONSET:])
        minutes[name] = float(at[0]) * PERIOD_S / 60 if len(at) else None
    minutes.pop("normal")
    return {"false": opened, "normal days": sum(map(len, normal)) * PERIOD_S / 86400, "delay min": minutes}


def measure(data: Path, seeds: Iterable[int] = SEEDS, faults: Iterable[int] = FAULTS) -> Report:
    """See the module's text."""
    found = [one_seed(data, seed, faults) for seed in seeds]
    figures = {str(seed): each for seed, (each, _) in zip(seeds, found, strict=True)}
    rows = ["FAR", "before", *map(str, faults)]
    titles = {"equal": "threshold at 2 % of normal test rows", "trained": "threshold at 1 % of d00, cross-validated"}
    tables = [_table(rule, title, rows, [each for each, _ in found]) for rule, title in titles.items()]
    tables.append(_alert_table([each["alerts"] for each, _ in found], list(map(str, faults))))
    groups = [str(fault) for fault in faults]
    shown = (INT8, *_STATISTICS)
    means = {name: [float(np.mean([each["equal"][name][group] for each, _ in found])) for group in groups] for name in shown}
    plots: list[Plot] = [Bars("tep_rates", "TEP: rows found of each fault, at 2 % false alarms", "%", groups, means)]
    plots += [_course(name, each) for name, each in found[0][1].items() if name in ("normal", "5", "10")]
    return Report(tables, plots, figures)


def _table(rule: str, title: str, rows: list[str], found: list[dict[str, Any]]) -> Table:
    methods = [name for name in METHODS if name in found[0][rule]]
    names = {"FAR": "FAR, d00_te", "before": "FAR, rows before faults"}
    cells = [
        [names.get(row, f"fault {row}"), *(spread([each[rule][name][row] for each in found], 1) for name in methods)]
        for row in rows
    ]
    return Table(f"tep_{rule}", f"TEP, detection rate in %: {title}", ["", *methods], cells)


def _alert_table(alerts: list[dict[str, Any]], faults: list[str]) -> Table:
    cells = []
    for fault in faults:
        told = [each["delay min"][fault] for each in alerts]
        late = [minutes for minutes in told if minutes is not None]
        cells.append([fault, spread(late, 0) if late else "-", f"{len(told) - len(late)} of {len(told)}"])
    false = spread([each["false"] for each in alerts], 1)
    notes = f"False alarms opened: {false} in {alerts[0]['normal days']:.1f} days of normal running."
    return Table(
        "tep_alerts", "TEP: alerts at one false alarm a month", ["fault", "minutes to the alert", "missed"], cells, notes
    )


def _course(name: str, replayed: Replayed) -> Course:
    n = len(replayed.alert)
    truth = (np.arange(n) >= ONSET) & (name != "normal")
    hours = np.arange(n) * PERIOD_S / 3600
    title = "TEP: normal test run" if name == "normal" else f"TEP: fault {name}"
    return Course(f"tep_{name}", title, hours, "hours", replayed.scores[INT8], replayed.alert, truth)


if __name__ == "__main__":
    sys.exit(run_one("tep", __doc__, "d00.dat", measure))
