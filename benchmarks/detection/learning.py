"""From commissioning windows to a signed-format bundle, by the hub's own trainer and exporter: what a device would be sent.

Nothing here sees a label, or a row after commissioning. Each member's windows are measured as its device would measure them,
each from the level of shortly before; the network learns what those have in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.judges import Serving, serving_of
from hub.training.exporter import export_int8
from hub.training.framework import native_silence
from hub.training.job import representative
from hub.training.linear import CrossChannel
from hub.training.trainer import DenseWeights, RegimeWeights, detector_of, float_scored
from models.bundle.archive import Golden, digest, pack_bundle, read_bundle
from models.bundle.manifest import Architecture, Manifest
from models.bundle.selftest import load_detector, self_test
from models.contract.profile import Profile
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.commissioning import learn_in_order
from models.detectors.detector import DEFAULT_CLIP, Scored
from models.features.drift import DriftModel, FleetDrift, fleet_drift, pace_of
from models.features.spec import FeatureSpec

_VALIDATION_SHARE: Final = 0.15
_N_GOLDEN: Final = 16
Vectors = NDArray[np.float32]


def train_bundle(profile: Profile, members: Mapping[str, Vectors], seed: int, *, fleet: bool) -> tuple[bytes, DenseWeights]:
    """(archive, float weights) from (n, n_features) commissioning vectors of each member.

    `fleet`: bring what the fleet knows of drift along; else an asset keeps to its own. Scores are calibrated on the asset.
    """
    pace = pace_of(profile)
    assert pace is not None, "this profile's normal must follow drift"
    references = {name: learn_in_order(vectors).reference for name, vectors in members.items()}
    common = fleet_drift([DriftModel.learn(v, pace) for v in references.values()]) if fleet else None
    models = {name: DriftModel.learn(v, pace, common) for name, v in references.items()}
    z = [models[name].own_z(v) for name, v in references.items()]
    cut = [round(len(each) * (1 - _VALIDATION_SHARE)) for each in z]
    train = np.concatenate([each[:n] for each, n in zip(z, cut, strict=True)])
    validation = np.concatenate([each[n:] for each, n in zip(z, cut, strict=True)])
    trainer = CrossChannel(FeatureSpec(profile).related)
    weights = trainer.fit(train, validation, seed, lambda _line: None)
    return packed(profile, trainer.architecture, weights, train, common), weights


def packed(
    profile: Profile, architecture: Architecture, weights: DenseWeights, train: Vectors, common: FleetDrift | None = None
) -> bytes:
    """The archive of the int8 export of `weights`, quantized and told by (n, n_features) normalized training windows."""
    model = export_int8(weights, representative(train))
    with native_silence():
        detector = detector_of(model, weights)
    golden = _golden(detector, train)
    manifest = Manifest(
        bundle_id=f"{profile.name}-v1-{digest(model)[:8]}",
        profile=profile.name,
        version=1,
        created_ns=0,
        spec_hash=profile.spec_hash,
        n_features=train.shape[1],
        clip=DEFAULT_CLIP,
        model_sha256=digest(model),
        golden_sha256=digest(golden.encode()),
        score_tolerance=0.1,
        architecture=architecture,
        fleet_drift=common,
        regime_centres=weights.centres if isinstance(weights, RegimeWeights) else [],
    )
    return pack_bundle(manifest, model, golden, {"title": f"{architecture} for {profile.name}"})


class FloatDetector:
    """The same weights, not quantized: what int8 is compared with. No device serves it."""

    detector_id = "float"

    def __init__(self, weights: DenseWeights) -> None:
        self._weights = weights

    def score(self, z: Vectors) -> Scored:
        """See `Detector.score`."""
        return float_scored(self._weights, z)


def load(archive: bytes, profile: Profile) -> Serving:
    """As a device does it: read, check, load, self-test."""
    bundle = read_bundle(archive)
    with native_silence():
        detector = load_detector(bundle, profile.spec_hash)
    self_test(bundle, detector)
    return serving_of(bundle, detector)


def _golden(detector: TfliteAutoencoder, train: Vectors) -> Golden:
    inputs = train[np.linspace(0, len(train) - 1, _N_GOLDEN).astype(int)]
    return Golden(inputs, np.array([detector.score(z).score for z in inputs]))
