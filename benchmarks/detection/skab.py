"""Skoltech Anomaly Benchmark: runs of a water pump rig with valves, leaks and imbalances (Katser and Kozitsin, 2020).

    python -m benchmarks.detection.skab --data DIR [--crop SEED] [--mode local|fleet] --out PREDICTIONS.csv

Each run goes row by row through the agent's own pipeline, with an int8 bundle in the active slot, and each row after
commissioning gets 0 or 1: whether an alert is open. Rules: the first 400 rows of a run, without labels, may be learned from;
`local` learns from the run's own, `fleet` from those of the others; `baseline` has no model. `--crop` drops up to 150 leading
rows by a seeded draw, as the referee does, so that a row's number says nothing. Settings are the same for every run.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.asset import AssetWatch
from agent.backtest.run import ASSET, Verdict, profile_of, run
from agent.judges import Serving
from agent.pipeline import Pipeline
from benchmarks.detection.learning import load, train_bundle
from models.contract.items import Aggregate, unpack_floats
from models.contract.profile import DecisionPlan, Features, Profile
from models.contract.reading import Reading
from models.contract.table import Table, channel_names, read_table

COMMISSIONING_ROWS: Final = 400
WINDOW_S: Final = 15.0
HOP_S: Final = 1.0
FOLLOW_S: Final = 50.0
FALSE_ALARMS_PER_MONTH: Final = 20_000.0  # SKAB counts rows of half-hour runs: its best operating point is a nervous one
OPEN_WINDOWS: Final = 3
CLOSE_WINDOWS: Final = 4
_LABELS: Final = ("anomaly", "changepoint")
Mode = Literal["local", "fleet", "baseline"]


class Case(NamedTuple):
    """One run. `table`: from the first row that the crop leaves. `commissioning_rows`: of those."""

    name: str
    table: Table
    commissioning_rows: int


def cases(data: Path, crop_seed: int | None) -> Iterator[Case]:
    """The runs under `data`, in the referee's order and with its crops."""
    rng = np.random.default_rng(crop_seed)
    for group in ("valve1", "valve2", "other"):
        for path in sorted((data / group).glob("*.csv"), key=lambda p: int(p.stem)):
            dropped = 0 if crop_seed is None else int(rng.integers(0, 151))
            yield Case(f"{group}/{path.name}", _from(read_table(path, ignore=_LABELS), dropped), COMMISSIONING_ROWS - dropped)


def _from(table: Table, first: int) -> Table:
    return Table(table.time_ns[first:], table.columns, table.values[first:], table.time_labels[first:], table.time_column)


def shortened(case: Case, commissioning_rows: int) -> Case:
    """The same run, of which the device has seen only the last so many rows before the test."""
    return Case(case.name, _from(case.table, case.commissioning_rows - commissioning_rows), commissioning_rows)


def profile_for(table: Table, commissioning_rows: int) -> Profile:
    """What a user would write for this rig: its eight channels, and the settings above."""
    made = profile_of(table, commissioning_rows, WINDOW_S, HOP_S, FALSE_ALARMS_PER_MONTH)
    return msgspec.structs.replace(
        made,
        name="skab",
        features=Features(per_channel=("mean",), follow_s=FOLLOW_S),
        decision=DecisionPlan(
            false_alarms_per_month=FALSE_ALARMS_PER_MONTH, open_windows=OPEN_WINDOWS, close_windows=CLOSE_WINDOWS
        ),
    )


def commissioning_vectors(case: Case, profile: Profile) -> NDArray[np.float32]:
    """(n, n_features): what the device computes from the commissioning rows, faulty windows left out."""
    watch = AssetWatch(ASSET, profile)
    names = [(i, name) for i, name in enumerate(channel_names(case.table.columns))]
    vectors = []
    for t_ns, row in zip(case.table.time_ns[: case.commissioning_rows].tolist(), case.table.values, strict=False):
        outcome = Pipeline([watch]).handle([Reading(ASSET, name, t_ns, float(row[i])) for i, name in names], t_ns)
        vectors += [unpack_floats(b.features) for b in outcome.bodies if isinstance(b, Aggregate) and not b.faulty]
    return np.array(vectors)


def serving(mode: Mode, data: list[Case], seed: int) -> Iterator[Serving | None]:
    """What decides for each case: nothing but the baseline, a model of its own rows, or one of all other runs'."""
    profiles = [profile_for(case.table, case.commissioning_rows) for case in data]
    vectors = {case.name: commissioning_vectors(case, p) for case, p in zip(data, profiles, strict=True)}
    for case, profile in zip(data, profiles, strict=True):
        others = {name: v for name, v in vectors.items() if name != case.name}
        fleet = mode == "fleet" and bool(others)
        if mode == "baseline":
            yield None
        else:
            members = others if fleet else {case.name: vectors[case.name]}
            yield load(train_bundle(profile, members, seed, fleet=fleet)[0], profile)


def verdicts(case: Case, decides: Serving | None) -> list[Verdict]:
    """One a row after commissioning."""
    profile = profile_for(case.table, case.commissioning_rows)
    return list(run(case.table, profile, case.commissioning_rows, decides))[case.commissioning_rows :]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detection.skab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds valve1, valve2, other")
    parser.add_argument("--crop", type=int, metavar="SEED", help="drop up to 150 leading rows of each run")
    parser.add_argument("--mode", choices=("local", "fleet", "baseline"), default="fleet")
    parser.add_argument("--seed", type=int, default=1, help="of training")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    data = list(cases(args.data, args.crop))
    if not data:
        parser.error(f"{args.data} holds no runs: valve1/*.csv, valve2/*.csv, other/*.csv")
    with args.out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "datetime", "pred"])
        for case, decides in zip(data, serving(args.mode, data, args.seed), strict=True):
            labels = case.table.time_labels[case.commissioning_rows :]
            writer.writerows(
                [case.name, label, int(verdict.alert)] for label, verdict in zip(labels, verdicts(case, decides), strict=True)
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
