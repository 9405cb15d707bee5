"""A ceiling fan with and without a coin on a blade, by accelerometer: is the imbalance told, window by window?

    python -m benchmarks.detection.fan --data DIR

Each recording is one window of 1 s, 3 axes at 200 Hz. The first half of the balanced windows of each speed is learned from, the
other half and all windows with the coin are told apart; the speed is not known. Beside the area under the curve of int8 and
float stands that of the baseline, and of the mean of each axis alone.

A trap: the sensor was taped on anew between sessions, and the mean of an axis tells which way it hung. So features are judged
without it, too: only what is left then is the machine's. The same goes for whole windows, which a convolutional autoencoder
takes: as they are, and centered, each less its own mean.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hub.training.conv import export_conv_int8, float_window_scores
from hub.training.evaluate import auc, detector_scores
from hub.training.exporter import export_int8
from hub.training.framework import native_silence
from hub.training.job import representative
from hub.training.keras_conv import KerasConv
from hub.training.linear import Whitening
from hub.training.trainer import float_scores
from hub.training.window_faults import window_scores
from hub.training.window_job import representative_windows
from models.contract.profile import Channel, Features, PerChannel, Profile, Windowing
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.detector import DEFAULT_CLIP
from models.detectors.robust import RobustDetector
from models.detectors.window_model import WindowAutoencoder
from models.features.normal import LocalNormal
from models.features.spec import FeatureSpec
from models.features.window_normal import WindowNormal

_SHAPE: Final[tuple[PerChannel, ...]] = ("std", "range", "roughness", "kurtosis", "crest")
_OCTAVES: Final[tuple[PerChannel, ...]] = ("octave1", "octave2", "octave3", "octave4", "octave5", "octave6")
_SPEEDS: Final = ("low", "med", "high")
_SETS: Final[dict[str, tuple[PerChannel, ...]]] = {
    "mean alone": ("mean",),
    "all with mean": ("mean", *_SHAPE, *_OCTAVES),
    "all without mean": (*_SHAPE, *_OCTAVES),
}
Windows = dict[str, NDArray[np.float64]]


def profile_for(per_channel: tuple[PerChannel, ...]) -> Profile:
    return Profile(
        name="ceiling-fan",
        channels=tuple(Channel(name=axis, unit="g") for axis in "xyz"),
        windowing=Windowing(rate_hz=200.0, window_s=1.0),
        features=Features(per_channel=per_channel, cross=("correlation",) if "std" in per_channel else ()),
    )


def areas(recordings: Windows, per_channel: tuple[PerChannel, ...]) -> dict[str, float]:
    """The area under the curve by detector."""
    spec = FeatureSpec(profile_for(per_channel))
    vectors = {name: np.array([spec.compute(matrix) for matrix in windows]) for name, windows in recordings.items()}
    balanced = [vectors[f"fan_0_{speed}_0_weight"] for speed in _SPEEDS]
    learned = np.concatenate([v[: len(v) // 2] for v in balanced])
    normal = LocalNormal.fit(learned)
    train = normal.apply(learned)
    held = normal.apply(np.concatenate([v[len(v) // 2 :] for v in balanced]))
    coin = normal.apply(np.concatenate([vectors[f"fan_0_{speed}_1_weight"] for speed in _SPEEDS]))
    weights = Whitening().fit(train, train[:0], 1, lambda _line: None)
    with native_silence():
        int8 = TfliteAutoencoder(export_int8(weights, representative(train)), DEFAULT_CLIP)
    robust = RobustDetector()
    return {
        "int8": auc(detector_scores(int8, held), detector_scores(int8, coin)),
        "float": auc(float_scores(weights, held), float_scores(weights, coin)),
        "baseline": auc(detector_scores(robust, held), detector_scores(robust, coin)),
    }


def window_areas(recordings: Windows, *, centered: bool, seed: int) -> dict[str, float]:
    """The same of whole windows."""
    balanced = [recordings[f"fan_0_{speed}_0_weight"].astype(np.float32) for speed in _SPEEDS]
    learned = np.concatenate([w[: len(w) // 2] for w in balanced])
    normal = WindowNormal.fit(learned, centered)
    order, n_train = np.random.default_rng(seed).permutation(len(learned)), round(0.85 * len(learned))
    train = _as_windows(normal, learned[order])
    held = _as_windows(normal, np.concatenate([w[len(w) // 2 :] for w in balanced]))
    coin = _as_windows(normal, np.concatenate([recordings[f"fan_0_{speed}_1_weight"] for speed in _SPEEDS]))
    trainer = KerasConv(centered=centered, share=1.0)
    weights = trainer.fit(train[:n_train], train[n_train:], seed, lambda _line: None)
    with native_silence():
        model = export_conv_int8(weights, representative_windows(train))
        int8 = WindowAutoencoder(model, DEFAULT_CLIP, n_channels=3, share=trainer.share)
    return {
        "int8": auc(window_scores(int8, held), window_scores(int8, coin)),
        "float": auc(*(float_window_scores(weights, z, trainer.share) for z in (held, coin))),
        "energy": auc(*(np.mean(z.astype(np.float64) ** 2, axis=(1, 2)) for z in (held, coin))),
    }


def _as_windows(normal: WindowNormal, windows: NDArray[np.floating]) -> NDArray[np.float32]:
    return normal.apply(windows).reshape(windows.shape)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.fan", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds fan_accel_float32.npz")
    path = parser.parse_args().data / "fan_accel_float32.npz"
    if not path.is_file():
        parser.error(f"there is no {path}")
    with np.load(path) as archive:
        recordings = {name: archive[name].astype(np.float64) for name in archive}
    for name, per_channel in _SETS.items():
        told = ", ".join(f"{detector} {area:.4f}" for detector, area in areas(recordings, per_channel).items())
        print(f"{name}: {told}", flush=True)
    for name, centered in (("whole windows", False), ("whole windows, centered", True)):
        seeds = [window_areas(recordings, centered=centered, seed=seed) for seed in (1, 2, 3)]
        told = ", ".join(f"{key} {' '.join(f'{each[key]:.4f}' for each in seeds)}" for key in seeds[0])
        print(f"{name}, seeds 1 to 3: {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
