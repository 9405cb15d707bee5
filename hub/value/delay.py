"""How long an alert took to open: from the start of the unbroken run of unusual windows before it.

Unusual is a window with p <= 0.01 by the detector that decided. What went on before the first of them nobody knows, so this is
how long the decision took, not how long the machine was ill.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow.dataset as ds

from hub.lake.days import first_scores
from models.contract.clock import NS_PER_S

UNUSUAL_P: Final = 0.01
MAX_BACK_NS: Final = 24 * 3600 * NS_PER_S
MAX_GAP_NS: Final = 3600 * NS_PER_S  # a longer one ends the run


def opening_delay_s(windows: ds.Dataset, profile: str, device_id: str, asset: str, opened_ns: int) -> float | None:
    """Seconds; None where the lake does not have the windows. `opened_ns`: as the device said it. At most MAX_BACK_NS."""
    field = ds.field
    last = datetime.fromtimestamp(opened_ns // NS_PER_S, UTC).date()
    of_days = (field("day") >= last - timedelta(days=1)) & (field("day") <= last)
    mine = (field("profile") == profile) & (field("device_id") == device_id) & (field("asset") == asset)
    span = (field("end_ns") <= opened_ns) & (field("end_ns") > opened_ns - MAX_BACK_NS)
    table = windows.to_table(columns=["start_ns", "end_ns", "scores"], filter=mine & of_days & span)
    if not table.num_rows:
        return None
    table = table.sort_by("end_ns")
    _, p = first_scores(table)
    starts, ends = (np.asarray(table[name].to_numpy(), np.int64) for name in ("start_ns", "end_ns"))
    if opened_ns - ends[-1] > MAX_GAP_NS or not p[-1] <= UNUSUAL_P:
        return None
    first = len(p) - 1
    while first and p[first - 1] <= UNUSUAL_P and starts[first] - ends[first - 1] <= MAX_GAP_NS:
        first -= 1
    return float(opened_ns - starts[first]) / NS_PER_S
