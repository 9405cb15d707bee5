"""What is its own in a training run whose model takes whole windows: dataset, fit, export, judgement, golden windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection

from hub.lake.lake import Lake
from hub.training.card import library_versions
from hub.training.conv import export_conv_int8
from hub.training.dataset import DEVICE, TIME, TRAIN, VALIDATION, Rules
from hub.training.framework import native_silence
from hub.training.keras_conv import KerasConv
from hub.training.trainer import Floats, Progress
from hub.training.window_faults import evaluate_windows, refuse_bad_windows, window_scores
from hub.training.windows import build_window_dataset, load_sampled
from models.bundle.archive import Golden
from models.contract.profile import Profile
from models.detectors.detector import DEFAULT_CLIP
from models.detectors.window_model import WindowAutoencoder
from models.errors import TrainingError

_N_GOLDEN_NORMAL: Final = 8
_N_GOLDEN_FAULTY: Final = 2  # of each kind: windows are large
_STRETCH: Final = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class WindowModel:
    """`manifest`: what of a manifest is not as for models of features."""

    model: bytes
    golden: Golden
    manifest: dict[str, Any]


def train_on_windows(
    trainer: KerasConv,
    profile: Profile,
    lake: Lake,
    connection: Connection,
    *,
    seed: int,
    rules: Rules,
    record: dict[str, Any],
    progress: Progress,
) -> WindowModel:
    """Fills `record` as it goes. Raises TrainingError: no device could calibrate it, too few windows, the model is refused."""
    if not profile.windows.reference:
        raise TrainingError(
            f"{profile.name}: its devices keep no whole windows to calibrate such a model by, and would refuse it: set "
            "reference = 60 in [windows] of the profile, here and on the devices"
        )
    version = lake.version("evidence")
    windows, left_out = load_sampled(lake, connection, profile, version)
    dataset = build_window_dataset(profile, windows, left_out, rules, seed, centered=trainer.centered)
    dataset.record.update(lake_version=version, spec_hash=profile.spec_hash)
    record["dataset"] = dataset.record
    progress(f"{dataset.record['usable']} whole windows of {dataset.record['assets']} assets: {dataset.record['splits']}")
    record["trainer"] = trainer.describe()
    record["versions"] = library_versions()
    train, held = dataset.part(TRAIN), dataset.part(TIME, DEVICE)
    weights = trainer.fit(train, dataset.part(VALIDATION), seed, progress)
    model = export_conv_int8(weights, representative_windows(train))
    n_channels = len(profile.channels)
    with native_silence():
        detector = WindowAutoencoder(model, DEFAULT_CLIP, n_channels=n_channels, share=trainer.share)
    judged, injected = evaluate_windows(held, weights, detector, seed, share=trainer.share, centered=trainer.centered)
    record["evaluation"] = judged
    progress(
        f"int8 model of {len(model)} bytes: AUC on injected faults {judged['auc']['int8']}, {judged['latency_us_median']} µs"
    )
    refuse_bad_windows(judged)
    golden = golden_windows(detector, held, list(injected.values()))
    manifest = {
        "input": "window",
        "n_features": profile.windowing.n_samples * n_channels,
        "n_channels": n_channels,
        "centered": trainer.centered,
        "share": trainer.share,
    }
    return WindowModel(model, golden, manifest)


def representative_windows(train: Floats) -> Floats:
    """The training windows, and a quarter of them stretched threefold, so that int8 does not saturate on faults."""
    return np.concatenate([train, train[::4] * np.float32(_STRETCH)])


def golden_windows(detector: WindowAutoencoder, normal: Floats, faulty: list[Floats]) -> Golden:
    """Normal windows from the most ordinary to the oddest, some of each fault, and one with a channel missing."""
    by_score = np.argsort(window_scores(detector, normal), kind="stable")
    chosen = normal[by_score[np.linspace(0, len(by_score) - 1, _N_GOLDEN_NORMAL).astype(int)]]
    gap = chosen[-1:].copy()
    gap[0, :, 0] = np.nan
    inputs = np.concatenate([chosen, *(z[:_N_GOLDEN_FAULTY] for z in faulty), gap]).astype(np.float32)
    return Golden(inputs.reshape(len(inputs), -1), window_scores(detector, inputs))
