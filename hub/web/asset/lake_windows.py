"""An asset's windows out of the lake, oldest first, as arrays: what plots and comparisons are worked out from.

1. What is read is bounded by the time range and by the asset; of the features only those that are asked for are kept.
2. Windows are placed by event time, as their device said it. A range that follows the present ends with the newest window
   where the device's clock is far behind, or where it has been away: what there is, is shown.
3. A feature is taken from windows of the wanted spec only; others have NaN there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from hub.web.queries import Tile
from hub.web.seams import Windows
from hub.web.time_range import TimeRange
from hub.web.words import NS_PER_S

_BATCH_ROWS: Final = 65_536
_COLUMNS: Final = ("end_ns", "commissioning", "partial", "scores")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """Positions of features in vectors of `n_features` under `spec_hash`."""

    spec_hash: str
    n_features: int
    positions: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class AssetWindows:
    """n windows. `ends_s`: Unix s, ascending. `p`: of the detector that decided, NaN = not judged. `learning`: commissioning.
    `partial`: cut short, or the machine did not run: nothing is learned from it. `features`: (n, len(positions)), NaN = absent;
    without columns where none were asked for. `range`: what was looked at."""

    ends_s: Floats
    p: Floats
    learning: NDArray[np.bool_]
    partial: NDArray[np.bool_]
    features: Floats
    range: TimeRange

    def __len__(self) -> int:
        return len(self.ends_s)


def read_windows(lake: Windows, tile: Tile, wanted_range: TimeRange, wanted: Wanted | None = None) -> AssetWindows:
    """The asset's windows that ended within the range."""
    dataset = lake.dataset("aggregates")
    mine = (ds.field("profile") == tile.profile) & (ds.field("device_id") == tile.device_id) & (ds.field("asset") == tile.asset)
    found = _read(dataset, mine, wanted_range, wanted)
    if not len(found) and wanted_range.follows:
        newest_ns = pc.max(dataset.to_table(columns=["end_ns"], filter=mine)["end_ns"]).as_py()
        if newest_ns is not None:
            found = _read(dataset, mine, wanted_range.ending(newest_ns), wanted)
    return found


def _read(dataset: ds.Dataset, mine: ds.Expression, within: TimeRange, wanted: Wanted | None) -> AssetWindows:
    first_day, last_day = _day(within.from_ns - 86_400 * NS_PER_S), _day(within.to_ns)
    here = (ds.field("day") >= first_day) & (ds.field("day") <= last_day)  # by day, other files stay closed
    here &= (ds.field("end_ns") >= within.from_ns) & (ds.field("end_ns") <= within.to_ns)
    columns = [*_COLUMNS, *(("spec_hash", "features") if wanted else ())]
    parts = [
        _arrays(batch, wanted)
        for batch in dataset.to_batches(columns=columns, filter=mine & here, batch_size=_BATCH_ROWS)
        if batch.num_rows
    ]
    if not parts:
        no = np.empty(0, bool)
        return AssetWindows(np.empty(0), np.empty(0), no, no, np.empty((0, _width(wanted))), within)
    ends_ns, p, learning, partial, features = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(ends_ns, kind="stable")
    said = learning[order].astype(bool), partial[order].astype(bool)
    return AssetWindows(ends_ns[order] / NS_PER_S, p[order], *said, features[order], within)


def _arrays(batch: pa.RecordBatch, wanted: Wanted | None) -> tuple[NDArray[Any], ...]:
    def column(name: str) -> NDArray[Any]:
        return np.asarray(batch.column(name).to_numpy(zero_copy_only=False))

    features = _features(batch, wanted) if wanted else np.empty((batch.num_rows, 0))
    partial = np.asarray(batch.column("partial").fill_null(False).to_numpy(zero_copy_only=False))  # older rows do not say
    return column("end_ns").astype(np.int64), _first_p(batch.column("scores")), column("commissioning"), partial, features


def _features(batch: pa.RecordBatch, wanted: Wanted) -> Floats:
    """(n, len(positions)) of the batch's vectors; NaN where a row is of another spec or width."""
    vectors = batch.column("features")
    lengths = np.asarray(vectors.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
    rows = (lengths == wanted.n_features) & pc.equal(batch.column("spec_hash"), wanted.spec_hash).to_numpy(zero_copy_only=False)
    found = np.full((batch.num_rows, len(wanted.positions)), np.nan)
    if rows.any():
        flat = vectors.filter(pa.array(rows)).flatten().to_numpy(zero_copy_only=False)
        found[rows] = flat.reshape(-1, wanted.n_features)[:, list(wanted.positions)]
    return found


def _first_p(scores: pa.ListArray) -> Floats:
    """(n,) the p-value of each row's first score, the detector that decided; NaN where there is none."""
    lengths = np.nan_to_num(np.asarray(scores.value_lengths().to_numpy(zero_copy_only=False), np.float64))
    p = np.asarray(scores.flatten().field("p_value").to_numpy(zero_copy_only=False), np.float64)
    first = np.full(len(lengths), np.nan)
    has = lengths > 0
    first[has] = p[(np.cumsum(lengths) - lengths)[has].astype(np.intp)]
    return first


def _width(wanted: Wanted | None) -> int:
    return len(wanted.positions) if wanted else 0


def _day(ns: int) -> object:
    return datetime.fromtimestamp(max(0, ns // NS_PER_S), UTC).date()
