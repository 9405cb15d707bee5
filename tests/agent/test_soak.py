"""Memory stays flat, and everything that is kept is kept in bounds, while nothing goes well for long.

The million windows are `python -m benchmarks soak`; this is a tenth of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak import Soak, soaked

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
    soak = Soak(tmp_path)
    flat = soaked(soak, WINDOWS)
    assert flat.growth < 2_000_000, flat
    assert flat.slope * WINDOWS / 1e6 < 2_000_000, flat
    assert {name: most for name, most in flat.most.items() if most > AT_MOST[name]} == {}

    soak.finish()
    kept, hub = soak.kept(), soak.hub
    assert (kept["items that wait"], kept["messages held"], kept["messages unacknowledged at the broker"]) == (0, 0, 0)
    assert hub.kinds["aggregate"] == soak.pipeline.counters.windows, "each window once; the sequence is whole"
    assert hub.kinds["alert"] > 100
    assert hub.kinds["sensor_fault"] > 100
    assert hub.kinds["evidence"] > 50
    assert hub.kinds["clock"] > 0
    assert hub.kinds["eviction"] == 0
    soak.close()
