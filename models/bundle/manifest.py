"""What a bundle says about itself, and the limits within which it is believed."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from models.contract.names import MAX_FEATURES, Hash, Name, Text
from models.features.drift import FleetDrift

FORMAT: Final = 1
Architecture = Literal["dense-autoencoder", "cross-channel", "whitening", "regimes"]


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """A score distribution: its body as sorted quantiles, its tail as a generalized Pareto law above the last of them.

    `quantiles`: scores at the probabilities 0, 1/(k-1), ..., 1 of the part below `threshold`, ascending.
    `p_threshold`: share of scores above `threshold`. `shape`, `scale`: of the tail, Pickands-Balkema-de Haan.
    """

    quantiles: list[float]
    threshold: float
    p_threshold: float
    scale: float
    shape: float
    n: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json` of a bundle.

    `calibration`: `local` = p-values come from each asset's own commissioning windows (the default, and what makes one
    model fit many machines); `fleet` = from `fleet_tail`, the scores of the training fleet.
    `fleet_drift`: where the profile's normal follows drift, how much members of the fleet drift.
    `regime_centres`: of `regimes` alone, where each lies, in locally normalized features.
    `clip`: locally normalized features are clipped to ±clip before they are quantized.
    `score_tolerance`: by how much golden scores may differ, relative to the largest of them; runtimes differ by some codes.
    """

    format: int = FORMAT
    bundle_id: Name
    profile: Name
    version: Annotated[int, Meta(ge=1)]
    created_ns: int
    spec_hash: Hash
    n_features: Annotated[int, Meta(ge=1, le=MAX_FEATURES)]
    architecture: Architecture = "dense-autoencoder"
    clip: Annotated[float, Meta(gt=0)] = 8.0
    model_sha256: Hash
    golden_sha256: Hash
    score_tolerance: Annotated[float, Meta(gt=0, le=0.5)] = 0.05
    calibration: Literal["local", "fleet"] = "local"
    fleet_tail: Tail | None = None
    fleet_drift: FleetDrift | None = None
    regime_centres: list[list[float]] = []
    min_runtime: str = "2.14"
    description: Text = ""
