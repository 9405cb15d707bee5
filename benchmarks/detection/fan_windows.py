"""The same fan as in `fan.py`, by a convolutional autoencoder over whole windows: as they are, and each less its own mean.

    python -m benchmarks.detection.fan_windows --data DIR

The first half of the balanced windows of each speed is learned from, the other half and all windows with the coin are told
apart. Beside int8 and float stands the mean square of the window alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.fan import FILE, SPEEDS, Windows, read
from hub.training.conv import export_conv_int8, float_window_scores
from hub.training.evaluate import auc
from hub.training.framework import native_silence
from hub.training.keras_conv import KerasConv
from hub.training.window_faults import window_scores
from hub.training.window_job import representative_windows
from models.detectors.detector import DEFAULT_CLIP
from models.detectors.window_model import WindowAutoencoder
from models.features.window_normal import WindowNormal


def window_areas(recordings: Windows, *, centered: bool, seed: int) -> dict[str, float]:
    """The area under the curve, by what scores."""
    balanced = [recordings[f"fan_0_{speed}_0_weight"].astype(np.float32) for speed in SPEEDS]
    learned = np.concatenate([w[: len(w) // 2] for w in balanced])
    normal = WindowNormal.fit(learned, centered)
    order, n_train = np.random.default_rng(seed).permutation(len(learned)), round(0.85 * len(learned))
    train = _as_windows(normal, learned[order])
    held = _as_windows(normal, np.concatenate([w[len(w) // 2 :] for w in balanced]))
    coin = _as_windows(normal, np.concatenate([recordings[f"fan_0_{speed}_1_weight"] for speed in SPEEDS]))
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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.fan_windows")
    parser.add_argument("--data", type=Path, required=True, help=f"the folder that holds {FILE}")
    data = parser.parse_args().data
    if not (data / FILE).is_file():
        parser.error(f"there is no {data / FILE}")
    recordings = read(data)
    for name, centered in (("whole windows", False), ("whole windows, centered", True)):
        seeds = [window_areas(recordings, centered=centered, seed=seed) for seed in (1, 2, 3)]
        told = ", ".join(f"{key} {' '.join(f'{each[key]:.4f}' for each in seeds)}" for key in seeds[0])
        print(f"{name}, seeds 1 to 3: {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
