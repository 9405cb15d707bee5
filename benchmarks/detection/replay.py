"""A recorded table through the agent's own pipeline, row by row, with an int8 bundle in the active slot and its float weights
in the shadow, so that both see the very same windows.

Causality is that of `agent.backtest.run`: a row's scores come from the newest window that ends at or before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.asset import AssetWatch
from agent.backtest.run import ASSET
from agent.judges import Serving
from agent.pipeline import Pipeline
from benchmarks.detection.learning import FloatDetector
from hub.training.trainer import DenseWeights
from models.contract.clock import NS_PER_S
from models.contract.items import BASELINE, Aggregate, unpack_floats
from models.contract.profile import Profile
from models.contract.reading import Reading
from models.contract.table import ROW_EPOCH_NS, Table

INT8, FLOAT, NO_MODEL = "Tocsin, int8", "Tocsin, float", "Tocsin, no model"
Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """Of each row after commissioning. `scores`: by `INT8`, `FLOAT`, `NO_MODEL`; NaN before the first. `alert`: whether one was
    open, by the int8 model."""

    scores: dict[str, Rows]
    alert: NDArray[np.bool_]


def table_of(names: list[str], rows: Rows, period_s: float) -> Table:
    """Rows without times, placed a period apart."""
    times = ROW_EPOCH_NS + (np.arange(1, len(rows) + 1) * round(period_s * NS_PER_S)).astype(np.int64)
    return Table(times, tuple(names), rows, [str(i) for i in range(len(rows))], "")


def vectors_of(table: Table, profile: Profile) -> NDArray[np.float32]:
    """(n_windows, n_features) of windows without a sensor fault, as the device computes them."""
    pipeline, vectors = Pipeline([AssetWatch(ASSET, profile)]), []
    for t_ns, row in zip(table.time_ns.tolist(), table.values, strict=True):
        bodies = pipeline.handle(_readings(table, row, t_ns), t_ns).bodies
        vectors += [unpack_floats(b.features) for b in bodies if isinstance(b, Aggregate) and not b.faulty]
    return np.array(vectors)


def replay(table: Table, profile: Profile, commissioning_rows: int, int8: Serving, weights: DenseWeights) -> Replayed:
    """`int8` decides; its float `weights` and the baseline are scored beside it."""
    watch = AssetWatch(ASSET, profile)
    watch.serve(int8, Serving(FloatDetector(weights), int8.fleet_tail, int8.fleet_drift))
    pipeline = Pipeline([watch])
    names = {int8.detector.detector_id: INT8, FloatDetector.detector_id: FLOAT, BASELINE: NO_MODEL}
    scores = {name: np.full(len(table.time_ns), np.nan) for name in names.values()}
    alert = np.zeros(len(table.time_ns), dtype=bool)
    newest: dict[str, float] = {}
    for i, t_ns in enumerate(table.time_ns.tolist()):
        if i == commissioning_rows:
            watch.commission_now(t_ns)
        for body in pipeline.handle(_readings(table, table.values[i], t_ns), t_ns).bodies:
            if isinstance(body, Aggregate) and body.scores:
                newest = {names[told.detector]: told.score for told in body.scores}
        for name, score in newest.items():
            scores[name][i] = score
        alert[i] = watch.alert is not None
    return Replayed({name: each[commissioning_rows:] for name, each in scores.items()}, alert[commissioning_rows:])


def _readings(table: Table, row: Rows, t_ns: int) -> list[Reading]:
    return [Reading(ASSET, name, t_ns, value) for name, value in zip(table.columns, row.tolist(), strict=True)]
