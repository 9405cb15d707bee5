"""A ceiling fan with and without a coin on a blade, by accelerometer: is the imbalance told, window by window?

    python -m benchmarks.detection.fan --data DIR [--out DIR]

Each recording is one window of 1 s, 3 axes at 200 Hz. Half of the balanced windows of each speed is learned from, the other
half and all windows with the coin are told apart; the speed is not known, neither in learning nor in judging. Beside the area
under the curve of int8 and float stands that of the baseline and of simple methods. Seed 1 learns from the first half of each
recording, as it was taken; seeds 2 to 5 from another half by a seeded draw of blocks of 20 windows.

A trap: the sensor was taped on anew between sessions, and the mean of an axis tells which way it hung. So features are judged
without it, too: only what is left then is the machine's. The rest of a session (how firmly the tape held) stays in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.baselines import all_baselines
from benchmarks.detection.figures import percent, spread, threshold_at
from benchmarks.detection.report import Report, Roc, Table, run_one
from hub.training.evaluate import auc, detector_scores
from hub.training.exporter import export_int8
from hub.training.framework import native_silence
from hub.training.job import representative
from hub.training.linear import Whitening
from hub.training.regimes import Regimes
from hub.training.trainer import Trainer, detector_of, float_scores
from models.contract.profile import Channel, Features, PerChannel, Profile, Windowing
from models.detectors.robust import RobustDetector
from models.features.normal import LocalNormal
from models.features.spec import FeatureSpec

SEEDS: Final = (1, 2, 3, 4, 5)
FILE: Final = "fan_accel_float32.npz"
FAR: Final = 0.02
_SHAPE: Final[tuple[PerChannel, ...]] = ("std", "range", "roughness", "kurtosis", "crest")
_OCTAVES: Final[tuple[PerChannel, ...]] = ("octave1", "octave2", "octave3", "octave4", "octave5", "octave6")
SPEEDS: Final = ("low", "med", "high")
_SETS: Final[dict[str, tuple[PerChannel, ...]]] = {
    "the mean of each axis alone": ("mean",),
    "spread, shape, octaves, correlation, with the mean": ("mean", *_SHAPE, *_OCTAVES),
    "the same without the mean": (*_SHAPE, *_OCTAVES),
    "spread, octaves, correlation, without the mean": ("std", *_OCTAVES),
}
JUDGED: Final = "spread, octaves, correlation, without the mean"
_TRAINERS: Final[tuple[Trainer, ...]] = (Whitening(), Regimes())
_BLOCK: Final = 20  # windows that stay together in a draw: neighbours are alike
_HELD: Final = 0.15
Windows = dict[str, NDArray[np.float64]]
Vectors = NDArray[np.float32]
Scores = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]  # method -> (balanced, with the coin)


def profile_for(per_channel: tuple[PerChannel, ...]) -> Profile:
    return Profile(
        name="ceiling-fan",
        channels=tuple(Channel(name=axis, unit="g") for axis in "xyz"),
        windowing=Windowing(rate_hz=200.0, window_s=1.0),
        features=Features(per_channel=per_channel, cross=("correlation",) if "std" in per_channel else ()),
    )


def read(data: Path) -> Windows:
    """Recordings by name, each (n_windows, 200, 3), in g."""
    with np.load(data / FILE) as archive:
        return {name: archive[name].astype(np.float64) for name in archive}


def features(recordings: Windows, per_channel: tuple[PerChannel, ...]) -> tuple[list[Vectors], Vectors]:
    """(balanced vectors of each speed, vectors of all speeds with the coin)."""
    spec = FeatureSpec(profile_for(per_channel))
    vectors = {name: np.array([spec.compute(matrix) for matrix in windows]) for name, windows in recordings.items()}
    return (
        [vectors[f"fan_0_{speed}_0_weight"] for speed in SPEEDS],
        np.concatenate([vectors[f"fan_0_{speed}_1_weight"] for speed in SPEEDS]),
    )


def halves(n: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(learned from, judged) of n windows."""
    if seed == 1:
        return np.arange(n // 2), np.arange(n // 2, n)
    blocks = np.arange(n) // _BLOCK
    chosen = np.random.default_rng(seed).permutation(int(blocks[-1]) + 1)[: (int(blocks[-1]) + 1) // 2]
    learned = np.isin(blocks, chosen)
    return np.flatnonzero(learned), np.flatnonzero(~learned)


def scored(balanced: list[Vectors], coin: Vectors, seed: int) -> Scores:
    """Every method's scores of the other half, and of what has the coin."""
    split = [halves(len(v), seed) for v in balanced]
    learned = np.concatenate([v[a] for v, (a, _) in zip(balanced, split, strict=True)])
    normal = LocalNormal.fit(learned)
    z = normal.apply(learned)
    held = normal.apply(np.concatenate([v[b] for v, (_, b) in zip(balanced, split, strict=True)]))
    faulty = normal.apply(coin)
    order = np.random.default_rng(seed).permutation(len(z))
    cut = round(len(z) * (1 - _HELD))
    found: Scores = {}
    for trainer in _TRAINERS:
        weights = trainer.fit(z[order[:cut]], z[order[cut:]], seed, lambda _line: None)
        with native_silence():
            int8 = detector_of(export_int8(weights, representative(z)), weights)
        name = str(trainer.architecture)
        found[f"{name}, int8"] = (detector_scores(int8, held), detector_scores(int8, faulty))
        found[f"{name}, float"] = (float_scores(weights, held), float_scores(weights, faulty))
    robust = RobustDetector()
    found["no model"] = (detector_scores(robust, held), detector_scores(robust, faulty))
    for name, scorer in all_baselines(z.astype(np.float64), seed).items():
        found[name] = (scorer(held.astype(np.float64)), scorer(faulty.astype(np.float64)))
    return found


def measure(data: Path, seeds: Iterable[int] = SEEDS, sets: Iterable[str] = tuple(_SETS)) -> Report:
    """See the module's text."""
    recordings = read(data)
    figures: dict[str, Any] = {}
    rows, plots = [], []
    for name in sets:
        balanced, coin = features(recordings, _SETS[name])
        scores = {seed: scored(balanced, coin, seed) for seed in seeds}
        areas = {method: [auc(*each[method]) for each in scores.values()] for method in next(iter(scores.values()))}
        figures[name] = {"auc": areas, f"detection at {FAR:.0%} FAR": _detection(scores)}
        rows.append([name, *(spread(each) for each in areas.values())])
        if name == JUDGED:
            plots.append(Roc("fan_roc", f"Fan, coin on a blade: {name}", next(iter(scores.values()))))
    table = Table("fan", "Fan, coin on a blade: area under the curve by window", ["features", *areas], rows)
    return Report([table], plots, figures)


def _detection(scores: dict[int, Scores]) -> dict[str, list[float]]:
    """Percent of windows with the coin above the threshold that leaves 2 % of the other half above it."""
    methods = next(iter(scores.values()))
    return {m: [percent(s[m][1] > threshold_at(s[m][0], FAR)) for s in scores.values()] for m in methods}


if __name__ == "__main__":
    sys.exit(run_one("fan", __doc__, FILE, measure))
