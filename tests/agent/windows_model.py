"""A bundle over whole windows of the rig, as a hub would train and export it; made once a session."""

from __future__ import annotations

from functools import cache

import numpy as np

from hub.training.conv import export_conv_int8
from hub.training.framework import native_silence
from hub.training.keras_conv import KerasConv
from hub.training.window_job import golden_windows, representative_windows
from models.bundle.archive import digest, pack_bundle, read_bundle
from models.bundle.manifest import Manifest
from models.bundle.selftest import Sizes, TfliteDetector, load_detector
from models.contract.profile import Profile, WindowsPlan
from models.detectors.window_model import WindowAutoencoder
from models.features.window_normal import WindowNormal
from tests.builders import RATE_HZ, T0_NS, WINDOW_S, rig, running

N_SAMPLES = round(RATE_HZ * WINDOW_S)


def with_windows(profile: Profile, reference: int = 20, sample_share: float = 0.0) -> Profile:
    """The profile, that keeps windows and sends some."""
    import msgspec

    return msgspec.structs.replace(profile, windows=WindowsPlan(reference=reference, sample_share=sample_share))


def rig_windows(n: int, seed: int = 0) -> np.ndarray:
    """(n, 50, 3) float32 of a healthy rig."""
    return running(n * WINDOW_S, seed).reshape(n, N_SAMPLES, 3).astype(np.float32)


@cache
def window_bundle(bundle_id: str = "rig-w1", profile_name: str = "rig") -> bytes:
    windows = np.concatenate([rig_windows(60, seed) for seed in range(3)])
    z = WindowNormal.fit(windows, centered=False).apply(windows).reshape(windows.shape)
    trainer = KerasConv(max_epochs=12)
    weights = trainer.fit(z[:150], z[150:], 1, lambda line: None)
    model = export_conv_int8(weights, representative_windows(z))
    with native_silence():
        detector = WindowAutoencoder(model, 8.0, n_channels=3)
    golden = golden_windows(detector, z[150:], [z[:4] + np.float32(3)])
    profile = rig(name=profile_name)
    manifest = Manifest(
        bundle_id=bundle_id, profile=profile_name, version=1, created_ns=T0_NS, spec_hash=profile.spec_hash,
        n_features=N_SAMPLES * 3, n_channels=3, input="window", architecture="conv-autoencoder", score_tolerance=0.1,
        model_sha256=digest(model), golden_sha256="0" * 64,
    )  # fmt: skip
    return pack_bundle(manifest, model, golden, {})


def window_detector() -> TfliteDetector:
    return load_detector(read_bundle(window_bundle()), rig().spec_hash, Sizes.of(with_windows(rig())))
