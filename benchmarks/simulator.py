"""The simulator in virtual time: how fast one core makes a pump's readings, and the bytes that its firmware would send."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure, median_of, rates
from firmware_sim.node import Node
from firmware_sim.scenario import AssetPlan, Scenario
from firmware_sim.virtual import play_virtual

_N_CHANNELS = 5
_BLOCK = 4096
_N_BLOCKS = 60
_PLAYED_S = 10_000.0


def _readings() -> Callable[[], int]:
    """As the sensors give them, one block after another."""
    node = Node(AssetPlan(name="pump"), 1, [], 0)

    def work() -> int:
        return sum(node.take(_BLOCK).values.size for _ in range(_N_BLOCKS))

    return work


def _played(form: str) -> Callable[[], int]:
    """Into a file, as `tocsin sim run --virtual` does."""
    plan = AssetPlan(name="pump", format=form)
    scenario = Scenario(assets=(plan,), duration_s=_PLAYED_S)

    def work() -> int:
        with tempfile.TemporaryDirectory() as folder:
            play_virtual(scenario, Path(folder))
        return round(_PLAYED_S * plan.sampled_hz) * _N_CHANNELS

    return work


def _noise_alone() -> int:
    rng = np.random.default_rng(1)
    return sum(rng.standard_normal((_N_CHANNELS, _BLOCK)).size for _ in range(_N_BLOCKS))


def run() -> Iterable[Figure]:
    yield median_of("a pump's readings: physics, sensors, faults", rates(_readings()), "readings/s", 1_000_000)
    yield median_of("the same in checked binary frames, in a file", rates(_played("cobs"), 3), "readings/s")
    yield median_of("the same in JSON lines, in a file", rates(_played("jsonl"), 3), "readings/s")
    yield median_of("compare: as many normal random numbers", rates(_noise_alone), "numbers/s")
