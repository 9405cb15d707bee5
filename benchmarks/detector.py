"""One step of a detector on the device: from a feature vector to a p-value, with normal fixed and with normal that follows.

Eight features, one of each of eight channels; an int8 model as the hub exports it, one thread. And from a whole window of these
channels, 48 samples long, with a convolutional autoencoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from benchmarks.figure import Figure, median_of, rates
from hub.training.conv import export_conv_int8
from hub.training.exporter import export_int8
from hub.training.framework import native_silence
from hub.training.keras_conv import first_layers
from hub.training.linear import Whitening
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.calibration import cross_scores, cross_window_scores, fit_tail, p_value
from models.detectors.detector import DEFAULT_CLIP
from models.detectors.window_model import WindowAutoencoder
from models.features.drift import Drift, DriftModel, Pace
from models.features.normal import LocalNormal
from models.features.window_normal import WindowNormal

_N_FEATURES = 8
_N_WINDOWS = 2000
_N_SAMPLES = 48
Vectors = NDArray[np.float32]


def _microseconds(step: Callable[[Vectors], object], vectors: Vectors) -> list[float]:
    """Of one call, in several runs."""

    def work() -> int:
        for vector in vectors:
            step(vector)
        return len(vectors)

    return [1e6 / rate for rate in rates(work)]


def run() -> Iterable[Figure]:
    vectors = np.random.default_rng(1).standard_normal((_N_WINDOWS, _N_FEATURES)).astype(np.float32)
    weights = Whitening().fit(vectors, vectors[:0], 1, lambda _line: None)
    with native_silence():
        detector = TfliteAutoencoder(export_int8(weights, vectors), DEFAULT_CLIP)
    tail = fit_tail(cross_scores(detector, vectors[:200]))
    normal = LocalNormal.fit(vectors)
    drift = Drift(DriftModel.learn(vectors[:400], Pace(overlap=15, follow=50)))

    def following(vector: Vectors) -> None:
        z = drift.apply(vector)
        p_value(tail, detector.score(z).score)
        drift.follow(vector, z, None)

    fixed = _microseconds(lambda vector: p_value(tail, detector.score(normal.apply(vector)).score), vectors)
    network = _microseconds(detector.reconstruct, vectors)
    yield median_of("normalize, quantize, invoke, score, p-value", fixed, "us", 60, "lower")
    yield median_of("the same, and move on the levels that follow", _microseconds(following, vectors), "us", 60, "lower")
    yield median_of("compare: quantize and invoke alone", network, "us")
    yield from _whole_windows()


def _whole_windows() -> Iterable[Figure]:
    windows = np.random.default_rng(2).standard_normal((_N_WINDOWS, _N_SAMPLES, _N_FEATURES)).astype(np.float32)
    weights = first_layers(
        _N_SAMPLES, _N_FEATURES, 16, np.random.default_rng(3)
    )  # what they say does not change how long it takes
    with native_silence():
        detector = WindowAutoencoder(export_conv_int8(weights, windows[:200]), DEFAULT_CLIP, n_channels=_N_FEATURES)
    tail = fit_tail(cross_window_scores(detector, windows[:200], centered=False))
    for centered in (False, True):
        normal = WindowNormal.fit(windows[:200], centered)

        def step(window: Vectors, normal: WindowNormal = normal) -> None:
            p_value(tail, detector.score(normal.apply(window)).score)

        name = f"a window of {_N_SAMPLES} x {_N_FEATURES}, convolutional{', centered' * centered}"
        yield median_of(name, _microseconds(step, windows), "us", 60, "lower")
    alone = _microseconds(detector.reconstruct, windows.reshape(_N_WINDOWS, -1))
    yield median_of("compare: quantize and invoke it alone", alone, "us")
