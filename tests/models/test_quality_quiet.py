"""What healthy sensors say raises no sensor fault: not once in thousands of windows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.contract.profile import Channel
from models.detectors.quality import QualityControl
from models.raw_window import RawWindow
from tests.builders import T0_NS, plain

RATE_HZ = 5.0
N = 50  # samples a window
N_WINDOWS = 2000
RESOLUTION = 0.01


def times(n: int) -> np.ndarray:
    return np.arange(n) / RATE_HZ


SIGNALS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "white noise": lambda rng, n: rng.normal(50, 1, n),
    "Laplace noise": lambda rng, n: rng.laplace(50, 1, n),
    "uniform noise": lambda rng, n: rng.uniform(40, 60, n),
    "fast sine": lambda _rng, n: 50 + 5 * np.sin(2 * np.pi * times(n) / 0.9),
    "slow sine": lambda _rng, n: 50 + 20 * np.sin(2 * np.pi * times(n) / 900),
    "sine with harmonics": lambda _rng, n: 50 + sum(4 / k * np.sin(2 * np.pi * k * times(n) / 3.7) for k in (1, 2, 3)),
    "random walk": lambda rng, n: 50 + np.cumsum(rng.normal(0, 0.05, n)),
    "quantized noise": lambda rng, n: np.round(rng.normal(50, 0.02, n) / RESOLUTION) * RESOLUTION,
    "coarsely quantized noise": lambda rng, n: np.round(rng.normal(50, 0.6, n)),
    "load steps": lambda rng, n: np.repeat(rng.uniform(20, 80, n // 40 + 1), 40)[:n] + rng.normal(0, 0.3, n),
    "on and off": lambda rng, n: np.where(times(n) % 20 < 7, 60.0, 5.0) + rng.normal(0, 0.05, n),
    "counts": lambda rng, n: rng.poisson(3.0, n).astype(np.float64),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_a_healthy_signal_raises_no_fault(name: str) -> None:
    channel = Channel(name="x", min=-100.0, max=200.0, resolution=RESOLUTION, stuck_after_s=10.0)
    quality = QualityControl(plain(channel, rate_hz=RATE_HZ, window_s=N / RATE_HZ, max_gap_s=1.0))
    rng = np.random.default_rng(11)
    values = SIGNALS[name](rng, N * N_WINDOWS)
    stamps = T0_NS + np.round((np.arange(len(values)) + 1) / RATE_HZ * 1e9).astype(np.int64)
    faults = []
    for i in range(N_WINDOWS):
        span = slice(i * N, (i + 1) * N)
        start_ns = T0_NS + round(i * N / RATE_HZ * 1e9)
        window = RawWindow(start_ns, start_ns + round(N / RATE_HZ * 1e9), [stamps[span]], [values[span]], 0)
        faults += quality.clean(window).faults
    assert faults == []
