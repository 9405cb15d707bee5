"""Reading a dataset's parts: windows from the lake at one version, each asset's normal from the hub's state.

Where a profile has more windows than a run is to read, *blocks* of ten minutes are chosen, evenly spread over all of the time
that there are windows of, the same for all assets. So every asset and every time of the day has its share, what stands in
memory is bounded, and windows still have their neighbours, but for those at a block's edge. The choice follows from the lake
and the limit alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from hub.lake.lake import Lake
from hub.rollout.cohorts import age_group
from hub.state.schema import commissionings, devices
from hub.training.dataset import Normals, Windows
from hub.training.feedback import LabelledSpan, lay_over
from hub.training.slices import Groups
from models.contract.clock import NS_PER_S
from models.contract.items import unpack_floats
from models.errors import TrainingError
from models.features.normal import LocalNormal

_COLUMNS: Final = (
    "device_id",
    "asset",
    "epoch",
    "seq",
    "start_ns",
    "end_ns",
    "features",
    "faulty",
    "commissioning",
    "alarm",
    "partial",
)


BLOCK_NS: Final = 600 * NS_PER_S


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """What is read of a profile's windows. `chosen`: numbers of blocks, start_ns // BLOCK_NS; None = all. `n_there`: windows in
    the lake; `n_blocks`: blocks with windows in them."""

    chosen: NDArray[np.int64] | None
    n_there: int
    n_blocks: int

    @property
    def record(self) -> dict[str, int]:
        return {
            "windows": self.n_there,
            "blocks": self.n_blocks,
            "blocks_read": self.n_blocks if self.chosen is None else len(self.chosen),
        }


def choose_blocks(lake: Lake, profile: str, spec_hash: str, version: int, max_windows: int) -> Blocks:
    """Looks at the times of all windows, some at a time, and at nothing else of them."""
    counts: Counter[int] = Counter()
    mine = (ds.field("profile") == profile) & (ds.field("spec_hash") == spec_hash)
    for batch in lake.dataset("aggregates", version).to_batches(columns=["start_ns"], filter=mine):
        blocks, n = np.unique(batch.column("start_ns").to_numpy(zero_copy_only=False) // BLOCK_NS, return_counts=True)
        counts.update(dict(zip(blocks.tolist(), n.tolist(), strict=True)))
    numbers, total = np.array(sorted(counts), dtype=np.int64), counts.total()
    if total <= max_windows:
        return Blocks(None, total, len(numbers))
    n_chosen = max(1, len(numbers) * max_windows // total)
    middles = (2 * np.arange(n_chosen) + 1) * len(numbers) // (2 * n_chosen)
    return Blocks(numbers[middles], total, len(numbers))


def load_windows(
    lake: Lake,
    profile: str,
    spec_hash: str,
    n_features: int,
    version: int,
    spans: Sequence[LabelledSpan] = (),
    blocks: Blocks | None = None,
) -> Windows:
    """All whole windows of a profile and spec at one version of the lake, or those in `blocks`. Raises TrainingError on another
    width than the spec's."""
    only = None
    if blocks is not None and blocks.chosen is not None:
        only = pc.divide(ds.field("start_ns"), BLOCK_NS).isin(pa.array(blocks.chosen))
    table = lake.aggregates(profile, spec_hash, columns=_COLUMNS, version=version, only=only)
    table = table.filter(pc.invert(pc.fill_null(table.column("partial"), False)))  # null: from before there was such a thing
    lists = table.column("features").combine_chunks()
    widths = np.asarray(lists.value_lengths().to_numpy(zero_copy_only=False))
    if (widths != n_features).any():
        raise TrainingError(f"{profile}: {int((widths != n_features).sum())} windows are not of {n_features} features")
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    faults = table.column("faulty").to_pylist()
    device_id, asset = _strings(table, "device_id"), _strings(table, "asset")
    start_ns, end_ns = (table.column(name).to_numpy().astype(np.int64) for name in ("start_ns", "end_ns"))
    return Windows(
        device_id=device_id,
        asset=asset,
        epoch=_strings(table, "epoch"),
        seq=table.column("seq").to_numpy().astype(np.int64),
        start_ns=start_ns,
        features=np.asarray(flat, dtype=np.float32).reshape(-1, n_features),
        faulty=np.array([bool(channels) for channels in faults], dtype=bool),
        commissioning=np.asarray(table.column("commissioning").to_pylist(), dtype=bool),
        alarm=np.asarray(table.column("alarm").to_pylist(), dtype=bool),
        label=lay_over(spans, device_id, asset, start_ns, end_ns),
    )


def load_normals(connection: Connection, spec_hash: str, n_features: int) -> Normals:
    """What each device learned of each of its assets. Entries of another width are left out: they cannot be applied."""
    rows = connection.execute(select(commissionings).where(commissionings.c.spec_hash == spec_hash))
    found = {(row.device_id, row.asset): LocalNormal(unpack_floats(row.location), unpack_floats(row.scale)) for row in rows}
    return {pair: normal for pair, normal in found.items() if len(normal.location) == len(normal.scale) == n_features}


def load_groups(connection: Connection, profile: str, spec_hash: str, end_ns: int) -> Groups:
    """Each asset's site, hardware and age at `end_ns`, for the bias report."""
    own = commissionings.c
    query = select(own.device_id, own.asset, own.start_ns, devices.c.site, devices.c.hardware)
    query = query.join(devices, devices.c.device_id == own.device_id, isouter=True)
    rows = connection.execute(query.where(own.profile == profile, own.spec_hash == spec_hash)).all()
    return {
        "site": {(row.device_id, row.asset): row.site or "unknown" for row in rows},
        "hardware": {(row.device_id, row.asset): row.hardware or "unknown" for row in rows},
        "asset age": {(row.device_id, row.asset): age_group(row.start_ns, end_ns) for row in rows},
    }


def _strings(table: pa.Table, column: str) -> NDArray[Any]:
    return np.array(table.column(column).to_pylist(), dtype=np.str_)
