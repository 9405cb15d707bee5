"""A profile with more windows than a run is to read: blocks of time, the same for every asset, spread over all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hub.lake.lake import DeltaLake, open_lake
from hub.settings import init_hub
from hub.state.database import open_state
from hub.training.dataset import Rules
from hub.training.loading import BLOCK_NS, choose_blocks, load_windows
from hub.training.pin import Pin, pinned_dataset
from models.features.spec import FeatureSpec
from tests.learning.pumps import PUMP, PumpFleet

N_WINDOWS = 600  # of ten seconds: ten blocks


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blocks") / "hub"
    hub = init_hub(path)
    engine = open_state(hub.state_url)
    PumpFleet(n_devices=3, n_windows=N_WINDOWS).fill(engine, open_lake(hub.lake_url))
    engine.dispose()
    return path


@pytest.fixture
def lake(fleet: Path) -> DeltaLake:
    return open_lake(init_hub(fleet).lake_url)


def read(lake: DeltaLake, max_windows: int) -> tuple[int, np.ndarray, np.ndarray]:
    version = lake.version("aggregates")
    blocks = choose_blocks(lake, PUMP.name, PUMP.spec_hash, version, max_windows)
    windows = load_windows(lake, PUMP.name, PUMP.spec_hash, FeatureSpec(PUMP).n_features, version, (), blocks)
    return blocks.n_there, np.unique(windows.start_ns // BLOCK_NS), windows.device_id


def test_where_all_fits_all_is_read(lake: DeltaLake) -> None:
    n_there, blocks, devices = read(lake, 3 * N_WINDOWS)
    assert (n_there, len(devices)) == (3 * N_WINDOWS, 3 * N_WINDOWS)
    assert len(blocks) in (10, 11)


def test_beyond_the_limit_blocks_are_spread_over_the_whole_time_and_are_whole(lake: DeltaLake) -> None:
    _, every, _ = read(lake, 3 * N_WINDOWS)
    n_there, blocks, devices = read(lake, 600)
    assert n_there == 3 * N_WINDOWS
    assert len(devices) <= 600
    assert set(blocks) < set(every)
    assert blocks[0] <= every[3]
    assert blocks[-1] >= every[-4]
    counts = np.unique(devices, return_counts=True)[1]
    assert len(counts) == 3
    assert counts.min() == counts.max() >= 60


def test_a_limit_below_one_block_still_reads_one(lake: DeltaLake) -> None:
    assert len(read(lake, 1)[1]) == 1


def test_the_record_tells_what_was_left_and_the_same_pin_gives_the_same_dataset(fleet: Path, lake: DeltaLake) -> None:
    engine = open_state(init_hub(fleet).state_url)
    pin = Pin(lake.version("aggregates"), 0, replace(Rules(), max_windows=900), 1)
    first, again = (pinned_dataset(engine, lake, PUMP, pin) for _ in range(2))
    engine.dispose()
    assert first.record["in_lake"]["windows"] == 3 * N_WINDOWS
    assert first.record["in_lake"]["blocks_read"] < first.record["in_lake"]["blocks"]
    assert first.record["windows_found"] <= 900
    assert first.record["sha256"] == again.record["sha256"]
