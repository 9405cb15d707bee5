"""A dataset out of a large lake, and a model from it: time and memory, in a process of its own.

    python -m benchmarks training

The goal: 1,000 devices x 7 days x 6 windows a minute = 60 million windows, in ten minutes on two cores and 4 GB. Here is a
fiftieth of that, with as many windows a device and fewer devices; a run reads the times of all windows and the features of at
most `MAX_WINDOWS`. What grows with the lake is looking at the times, and passing over windows that are not chosen: both are
measured for themselves, and told for 60 million. That is a projection, not a run of 60 million.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.figure import Figure

N_DEVICES: Final = 20
N_WINDOWS: Final = 60_480  # of each: seven days of ten seconds
MAX_WINDOWS: Final = 1_000_000
FULL: Final = 1000 * N_WINDOWS
T0_NS: Final = 1_764_000_000 * 10**9
WINDOW_NS: Final = 10 * 10**9


def run() -> Iterable[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.training", folder]
        subprocess.run([*command, "fill"], check=True)
        done = subprocess.run([*command, "measure"], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    n = found["windows"]
    whole_s = (found["look_s"] + found["pass_s"]) * FULL / n + found["load_s"] + found["fit_s"]
    yield Figure(name=f"{n:,} windows: to choose what is read", value=found["look_s"], unit="s")
    yield Figure(name=f"{n:,} windows: one block read, the rest passed over", value=found["pass_s"], unit="s")
    yield Figure(name=f"{found['read']:,} windows: read, measured, split", value=found["load_s"], unit="s")
    yield Figure(name="a whitening model: fit, int8, judged on faults", value=found["fit_s"], unit="s")
    yield Figure(name="peak resident set, all of it", value=found["peak_mb"], unit="MB", goal=4000, better="lower")
    yield Figure(
        name="projected to 60 million windows: look, pass over, read, fit",
        value=whole_s / 60,
        unit="min",
        goal=10,
        better="lower",
    )


def fill(folder: Path) -> None:
    """In a process of its own, for what it takes is not what is measured."""
    from hub.lake.lake import open_lake
    from hub.settings import init_hub
    from hub.state.database import open_state
    from models.contract.config import load_profile
    from models.features.spec import FeatureSpec

    profile = load_profile("pump")
    hub = init_hub(folder / "hub")
    engine = open_state(hub.state_url)
    _fill(engine, open_lake(hub.lake_url), profile.spec_hash, FeatureSpec(profile).n_features)
    engine.dispose()


def measure(folder: Path) -> dict[str, Any]:
    """In a fresh process, so that its memory is its own."""
    from hub.lake.lake import open_lake
    from hub.settings import init_hub
    from hub.state.database import open_state
    from hub.training.dataset import Rules
    from hub.training.evaluate import evaluate
    from hub.training.exporter import export_int8
    from hub.training.framework import load_tensorflow, native_silence
    from hub.training.injection import FeatureMap
    from hub.training.job import representative
    from hub.training.linear import Whitening
    from hub.training.loading import choose_blocks, load_groups, load_windows
    from hub.training.pin import Pin, pinned_dataset
    from hub.training.trainer import detector_of
    from models.contract.config import load_profile
    from models.features.spec import FeatureSpec

    profile = load_profile("pump")
    spec = FeatureSpec(profile)
    hub = init_hub(folder / "hub")
    engine, lake = open_state(hub.state_url), open_lake(hub.lake_url)
    version = lake.version("aggregates")
    started = time.perf_counter()
    blocks = choose_blocks(lake, profile.name, profile.spec_hash, version, MAX_WINDOWS)
    looked = time.perf_counter()
    one = choose_blocks(lake, profile.name, profile.spec_hash, version, 1)
    chosen = time.perf_counter()
    load_windows(lake, profile.name, profile.spec_hash, spec.n_features, version, (), one)
    passed = time.perf_counter()
    dataset = pinned_dataset(engine, lake, profile, Pin(version, 0, Rules(max_windows=MAX_WINDOWS), 1))
    loaded = time.perf_counter()
    load_tensorflow()
    ready = time.perf_counter()
    train, validation = dataset.z[dataset.part("train")], dataset.z[dataset.part("validation")]
    weights = Whitening().fit(train, validation, 1, lambda _line: None)
    with native_silence():
        detector = detector_of(export_int8(weights, representative(train)), weights)
        with engine.connect() as connection:
            groups = load_groups(connection, profile.name, profile.spec_hash, dataset.record["end_ns"])
        evaluate(dataset, weights, detector, FeatureMap(spec.names), groups, 1, None)
    fitted = time.perf_counter()
    engine.dispose()
    return {
        "windows": blocks.n_there,
        "read": dataset.record["windows_found"],
        "look_s": looked - started,
        "pass_s": passed - chosen,
        "load_s": loaded - passed,
        "fit_s": fitted - ready,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


def _fill(engine: Any, lake: Any, spec_hash: str, n_features: int) -> None:
    """Windows by the day, as a hub would have compacted them, and what each device learned."""
    from sqlalchemy import insert

    from hub.lake.tables import SCHEMAS
    from hub.state.schema import commissionings
    from models.contract.items import pack_floats

    rng = np.random.default_rng(1)
    normal = {"location": pack_floats(np.zeros(n_features, np.float32)), "scale": pack_floats(np.ones(n_features, np.float32))}
    own = {"asset": "pump-1", "spec_hash": spec_hash, "profile": "pump", "n_windows": 60, "start_ns": T0_NS, "end_ns": T0_NS}
    with engine.begin() as connection:
        rows = [{"device_id": f"gw-{n:04}", **own, **normal} for n in range(N_DEVICES)]
        connection.execute(insert(commissionings), rows)
    per_day = N_WINDOWS // 7
    for day in range(7):
        number = np.tile(np.arange(day * per_day, (day + 1) * per_day), N_DEVICES)
        start_ns = T0_NS + number * WINDOW_NS
        n = len(number)
        flat = pa.array(rng.standard_normal(n * n_features).astype(np.float32))
        columns: dict[str, Any] = {
            "device_id": np.repeat([f"gw-{i:04}" for i in range(N_DEVICES)], per_day),
            "epoch": ["e1"] * n, "lane": ["aggregates"] * n, "seq": number + 1, "profile": ["pump"] * n,
            "day": (start_ns // (86_400 * 10**9)).astype("datetime64[D]"), "asset": ["pump-1"] * n,
            "spec_hash": [spec_hash] * n,
            "start_ns": start_ns, "end_ns": start_ns + WINDOW_NS,
            "features": pa.ListArray.from_arrays(np.arange(0, n * n_features + 1, n_features, dtype=np.int32), flat),
            "n_readings": [250] * n, "n_late": [0] * n, "faulty": [[]] * n, "commissioning": [False] * n, "alarm": [False] * n,
            "scores": [[]] * n, "top": [[]] * n, "partial": [False] * n, "end_mono_ns": [0] * n, "wall_ns": start_ns,
            "mono_ns": [0] * n, "boot_id": ["b"] * n, "synced": [True] * n, "received_ns": start_ns,
        }  # fmt: skip
        schema = SCHEMAS["aggregates"]
        table = pa.table({name: columns[name] for name in schema.names}, schema=schema)
        lake.append("aggregates", table, "bench", day + 1)


if __name__ == "__main__":
    if sys.argv[2] == "fill":
        fill(Path(sys.argv[1]))
    else:
        print(json.dumps(measure(Path(sys.argv[1]))))
