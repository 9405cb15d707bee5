"""Memory stays flat, and everything that is kept is kept in bounds, while nothing goes well for long.

The million windows are `python -m benchmarks soak`; this is a tenth of them.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.soak import Flatness, Soak, soaked

WINDOWS = 100_000
AT_MOST = {
    "bursts held": 40,
    "rows of the journal": 12,
    "messages held": 400,
    "messages remembered": 1000,
    "messages unacknowledged at the broker": 400,
    "readings in windows": 1000,
    "readings set apart": 200,
    "open faults": 8 * 4 + 8 + 1,
    "commits in the tail": 64,
    "items that wait": 4000,
    "bytes of the outbox's files": 4_000_000,
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_stays_flat_and_the_hub_has_everything(tmp_path: Path) -> None:
    """In a process of its own: what other tests have left in this one would be measured, too."""
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        end = alone.submit(soak_to_the_end, tmp_path).result()
    flat, kept, kinds = end.flat, end.kept, end.kinds
    assert flat.growth < 2_000_000, flat
    assert flat.slope * WINDOWS / 1e6 < 2_000_000, flat
    assert {name: most for name, most in flat.most.items() if most > AT_MOST[name]} == {}

    assert (kept["items that wait"], kept["messages held"], kept["messages unacknowledged at the broker"]) == (0, 0, 0)
    assert kinds["aggregate"] == end.n_windows, "each window once; the sequence is whole"
    assert kinds["alert"] > 100
    assert kinds["sensor_fault"] > 100
    assert kinds["evidence"] > 50
    assert kinds["clock"] > 0
    assert kinds["eviction"] == 0


class End(NamedTuple):
    """Of a soak: what memory did, what was kept after it, and what the hub has by kind."""

    flat: Flatness
    kept: dict[str, int]
    kinds: Counter[str]
    n_windows: int


def soak_to_the_end(folder: Path) -> End:
    soak = Soak(folder)
    flat = soaked(soak, WINDOWS)
    soak.finish()
    end = End(flat, soak.kept(), soak.hub.kinds, soak.pipeline.counters.windows)
    soak.close()
    return end
