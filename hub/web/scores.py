"""One asset's windows over time, from the lake, as columns that a plot is drawn from.

1. Reading is bounded by `SPAN_S` and by the asset; what is sent is bounded by `MAX_POINTS`. Where there are more windows,
   neighbours are drawn as one, by the most unusual of them: a short alarm is never thinned away.
2. Windows are placed by event time. Where the device's clock is far behind, or it has been away for longer than `SPAN_S`,
   the span ends with its newest window: what there is, is shown.
3. A gap is a gap: windows that were not judged (commissioning, a sensor fault) and spans without windows have no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from hub.web.inbox import AlertRow
from hub.web.queries import Tile
from hub.web.seams import Windows
from hub.web.words import NS_PER_S
from models.detectors.decision import P_SUSPICIOUS

MAX_POINTS: Final = 1500
SPAN_S: Final = 7 * 86400
MIN_P: Final = 1e-9  # drawn no further: below this a p-value is extrapolation
_GAP_WINDOWS: Final = 4.0  # so many windows' time without one is a gap
Floats = NDArray[np.float64]


def read_scores(lake: Windows, tile: Tile, alerts: Sequence[AlertRow], now_ns: int) -> dict[str, Any]:
    """The asset's windows, oldest first, JSON-able.

    `t`: end of window, Unix s. `decades`: -log10 of the deciding detector's p-value, 0..9, None = not judged.
    `threshold`: decades from which a window is suspicious. `alerts`: [[from, to], …] in Unix s, `to` None while open.
    `learning`: [[from, to], …] of commissioning.
    """
    ends_s, p, learning = _read_windows(lake, tile, now_ns)
    unusual = decades(np.where(learning, np.nan, p))
    spans = _runs(ends_s, learning)
    t, drawn = with_gaps(*thinned(ends_s, unusual, MAX_POINTS))
    return {
        "t": t.tolist(),
        "decades": [None if np.isnan(value) else value for value in drawn.round(3).tolist()],
        "threshold": float(decades(np.array([P_SUSPICIOUS]))[0]),
        "alerts": [[alert.opened_ns / NS_PER_S, alert.closed_ns and alert.closed_ns / NS_PER_S] for alert in alerts],
        "learning": spans,
    }


def decades(p: Floats) -> Floats:
    """-log10 of p-values, 0..9; NaN stays NaN."""
    return np.asarray(-np.log10(np.clip(p, MIN_P, 1.0)) + 0.0)


def thinned(t: Floats, values: Floats, n_points: int) -> tuple[Floats, Floats]:
    """At most `n_points` of (t, values): neighbours become their largest value, at the last one's time."""
    if len(t) <= n_points:
        return t, values
    starts = np.linspace(0, len(t), n_points, endpoint=False).astype(np.intp)
    ends = np.append(starts[1:], len(t)) - 1
    return t[ends], np.fmax.reduceat(values, starts)


def with_gaps(t: Floats, values: Floats) -> tuple[Floats, Floats]:
    """The same with a point without value in each span that has none for much longer than usual."""
    if len(t) < 3:
        return t, values
    steps = np.diff(t)
    before = np.flatnonzero(steps > _GAP_WINDOWS * np.median(steps)) + 1
    return np.insert(t, before, t[before] - steps[before - 1] / 2), np.insert(values, before, np.nan)


def _read_windows(lake: Windows, tile: Tile, now_ns: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """(ends in Unix s, p-values with NaN where there is none, commissioning), oldest first."""
    dataset = lake.dataset("aggregates")
    mine = (ds.field("profile") == tile.profile) & (ds.field("device_id") == tile.device_id) & (ds.field("asset") == tile.asset)
    table = _since(dataset, mine, now_ns - SPAN_S * NS_PER_S)
    if not table.num_rows:
        newest_ns = pc.max(dataset.to_table(columns=["end_ns"], filter=mine)["end_ns"]).as_py()
        table = table if newest_ns is None else _since(dataset, mine, newest_ns - SPAN_S * NS_PER_S)
    table = table.sort_by("end_ns")
    ends_s = np.asarray(table["end_ns"].to_numpy(), np.float64) / NS_PER_S
    return ends_s, _first_p(table["scores"].combine_chunks()), np.asarray(table["commissioning"].to_numpy(), np.bool_)


def _since(dataset: ds.Dataset, mine: ds.Expression, from_ns: int) -> pa.Table:
    """The windows of `mine` that ended at `from_ns` or later, in event time."""
    first_day = datetime.fromtimestamp(max(0, from_ns // NS_PER_S - 86400), UTC).date()
    recent = (ds.field("day") >= first_day) & (ds.field("end_ns") >= from_ns)  # by day, older files stay closed
    return dataset.to_table(columns=["end_ns", "commissioning", "scores"], filter=mine & recent)


def _first_p(scores: pa.ListArray) -> Floats:
    """(n,) the p-value of each row's first score, the detector that decided; NaN where there is none."""
    lengths = np.nan_to_num(np.asarray(scores.value_lengths().to_numpy(zero_copy_only=False), np.float64))
    p = np.asarray(scores.flatten().field("p_value").to_numpy(zero_copy_only=False), np.float64)
    first = np.full(len(lengths), np.nan)
    has = lengths > 0
    first[has] = p[(np.cumsum(lengths) - lengths)[has].astype(np.intp)]
    return first


def _runs(t: Floats, marked: NDArray[np.bool_]) -> list[list[float]]:
    """The spans [first, last] over which the mark is set."""
    edges = np.diff(np.concatenate([[0], marked.astype(np.int8), [0]]))
    firsts, lasts = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return [[float(t[first]), float(t[last])] for first, last in zip(firsts, lasts, strict=True)]
