"""The self-test that a bundle must pass on the very machine that will serve it, before it takes a slot."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.bundle.archive import Bundle
from models.bundle.manifest import Input, Manifest
from models.contract.profile import Profile
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.regimes import TfliteRegimes
from models.detectors.scoring_model import TfliteScore
from models.detectors.window_model import WindowAutoencoder
from models.errors import BundleIncompatible, SelfTestFailed
from models.features.spec import FeatureSpec


@dataclass(frozen=True, slots=True)
class SelfTest:
    """`worst`: largest difference of a golden score, relative to the largest golden score. `score_us`: median, µs."""

    runtime: str
    worst: float
    score_us: float


_VALUES: Final[dict[Input, str]] = {"features": "features", "window": "values of a window"}
TfliteDetector = TfliteAutoencoder | TfliteScore


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a device has for models of a profile: `n_features` of a vector, and of a window `n_samples` of `n_channels`.

    `keeps_windows`: whether it keeps commissioning windows whole, without which no model over windows can be calibrated.
    """

    n_features: int
    n_samples: int
    n_channels: int
    keeps_windows: bool

    @classmethod
    def of(cls, profile: Profile) -> Sizes:
        n_features, n_samples = FeatureSpec(profile).n_features, profile.windowing.n_samples
        return cls(n_features, n_samples, len(profile.channels), profile.windows.reference > 0)


def load_detector(bundle: Bundle, spec_hash: str, sizes: Sizes | None = None) -> TfliteDetector:
    """The bundle's detector. `sizes`: of the profile, where it is known here.

    Raises BundleIncompatible: another feature spec or another size, or a model that this runtime cannot run.
    """
    manifest = bundle.manifest
    if manifest.spec_hash != spec_hash:
        raise BundleIncompatible(
            f"{manifest.bundle_id} needs feature spec {manifest.spec_hash}; this device computes {spec_hash}"
        )
    if sizes is not None:
        _check_sizes(manifest, sizes)
    detector = _detector_of(bundle)
    if detector.n_features != manifest.n_features:
        raise BundleIncompatible(
            f"{manifest.bundle_id}: model of {detector.n_features} inputs for {manifest.n_features} {_VALUES[manifest.input]}"
        )
    return detector


def _check_sizes(manifest: Manifest, sizes: Sizes) -> None:
    has = sizes.n_features if manifest.input == "features" else sizes.n_samples * sizes.n_channels
    if manifest.n_features != has or (manifest.input == "window" and manifest.n_channels != sizes.n_channels):
        of = f" of {manifest.n_channels} channels" if manifest.input == "window" else ""
        what = f"values: {sizes.n_samples} samples of {sizes.n_channels} channels" if manifest.input == "window" else "features"
        raise BundleIncompatible(
            f"{manifest.bundle_id} takes {manifest.n_features} {_VALUES[manifest.input]}{of}; this profile has {has} {what}"
        )
    if manifest.input == "window" and not sizes.keeps_windows:
        raise BundleIncompatible(
            f"{manifest.bundle_id} takes whole windows, and this device keeps none to calibrate it by: set reference = 60 in "
            f"[windows] of profile {manifest.profile}"
        )


def _detector_of(bundle: Bundle) -> TfliteDetector:
    manifest, model = bundle.manifest, bundle.model
    whole = manifest.n_channels if manifest.input == "window" else None
    if manifest.output == "score":
        return TfliteScore(model, manifest.clip, manifest.bundle_id, n_channels=whole)
    if manifest.architecture == "regimes":
        return TfliteRegimes(model, manifest.clip, manifest.regime_centres, manifest.bundle_id)
    if whole is None:
        return TfliteAutoencoder(model, manifest.clip, manifest.bundle_id, manifest.share)
    return WindowAutoencoder(model, manifest.clip, manifest.bundle_id, n_channels=whole, share=manifest.share)


def self_test(bundle: Bundle, detector: TfliteDetector) -> SelfTest:
    """Score the golden vectors here. Raises SelfTestFailed where one is outside the manifest's tolerance."""
    scores = np.empty(len(bundle.golden.scores))
    took_us = np.empty(len(scores))
    for i, z in enumerate(bundle.golden.inputs):
        started = time.perf_counter_ns()
        scores[i] = detector.score(z).score
        took_us[i] = (time.perf_counter_ns() - started) / 1000
    differences = np.abs(scores - bundle.golden.scores) / max(float(np.abs(bundle.golden.scores).max()), 1e-9)
    worst = float(differences.max())
    if not worst <= bundle.manifest.score_tolerance:
        at = int(np.nanargmax(differences)) if np.isfinite(differences).any() else 0
        raise SelfTestFailed(
            f"{bundle.manifest.bundle_id}: golden vector {at} scores {scores[at]:.4g} on {detector.runtime}, "
            f"expected {bundle.golden.scores[at]:.4g} ±{bundle.manifest.score_tolerance:.0%} of the largest"
        )
    return SelfTest(detector.runtime, worst, float(np.median(took_us)))
