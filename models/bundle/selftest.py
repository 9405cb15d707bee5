"""The self-test that a bundle must pass on the very machine that will serve it, before it takes a slot."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from models.bundle.archive import Bundle
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.regimes import TfliteRegimes
from models.errors import BundleIncompatible, SelfTestFailed


@dataclass(frozen=True, slots=True)
class SelfTest:
    """`worst`: largest difference of a golden score, relative to the largest golden score. `score_us`: median, µs."""

    runtime: str
    worst: float
    score_us: float


def load_detector(bundle: Bundle, spec_hash: str) -> TfliteAutoencoder:
    """The bundle's detector. Raises BundleIncompatible: another feature spec, or a model that this runtime cannot run."""
    manifest = bundle.manifest
    if manifest.spec_hash != spec_hash:
        raise BundleIncompatible(
            f"{manifest.bundle_id} needs feature spec {manifest.spec_hash}; this device computes {spec_hash}"
        )
    if manifest.architecture == "regimes":
        detector: TfliteAutoencoder = TfliteRegimes(bundle.model, manifest.clip, manifest.regime_centres, manifest.bundle_id)
    else:
        detector = TfliteAutoencoder(bundle.model, manifest.clip, manifest.bundle_id)
    if detector.n_features != manifest.n_features:
        raise BundleIncompatible(
            f"{manifest.bundle_id}: model of {detector.n_features} inputs for {manifest.n_features} features"
        )
    return detector


def self_test(bundle: Bundle, detector: TfliteAutoencoder) -> SelfTest:
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
