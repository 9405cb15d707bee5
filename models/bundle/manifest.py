"""What a bundle says about itself, and the limits within which it is believed."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from models.contract.names import MAX_CHANNELS, MAX_FEATURES, MAX_WINDOW_VALUES, Hash, Name, Text
from models.features.drift import N_HORIZONS, FleetDrift

FORMAT: Final = 1
Architecture = Literal["dense-autoencoder", "cross-channel", "whitening", "pca", "regimes", "conv-autoencoder", "imported"]
Input = Literal["features", "window"]
Output = Literal["reconstruction", "score"]
Scaling = Literal["local", "none"]


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

    @property
    def is_law(self) -> bool:
        """Whether a p-value can be told from it: what serves divides by these."""
        ascending = all(low <= high for low, high in pairwise(self.quantiles))
        return bool(self.quantiles) and ascending and 0 < self.p_threshold <= 1 and self.scale > 0 and self.shape > 0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json` of a bundle.

    `calibration`: `local` = p-values come from each asset's own commissioning windows (the default, and what makes one
    model fit many machines); `fleet` = from `fleet_tail`, the scores of the training fleet.
    `fleet_drift`: where the profile's normal follows drift, how much members of the fleet drift.
    `input`: what the model takes: the feature vector, or the window's matrix itself, row by row, oldest first. `n_features`:
    how many values that is. `n_channels`: how many of them a row has; 0 = not a window.
    `scaling`: `local` = in units of the asset's own spread, each feature or each channel by itself; `none` = as measured.
    `centered`: each window less its own mean, channel by channel, so that levels say nothing.
    `output`: the input rebuilt, whose differences are the score, or the score itself.
    `share`: of the features, or of the channels of a window, those that are rebuilt worst and that the score is the mean of.
    `clip`: what the model takes is clipped to ±clip before it is quantized.
    `regime_centres`: of `regimes` alone, where each lies, in locally normalized features.
    `score_tolerance`: by how much golden scores may differ, relative to the largest of them; runtimes differ by some codes.
    """

    format: int = FORMAT
    bundle_id: Name
    profile: Name
    version: Annotated[int, Meta(ge=1)]
    created_ns: int
    spec_hash: Hash
    n_features: Annotated[int, Meta(ge=1, le=MAX_WINDOW_VALUES)]
    architecture: Architecture = "dense-autoencoder"
    input: Input = "features"
    output: Output = "reconstruction"
    scaling: Scaling = "local"
    centered: bool = False
    n_channels: Annotated[int, Meta(ge=0, le=MAX_CHANNELS)] = 0
    share: Annotated[float, Meta(gt=0, le=1)] = 1 / 8
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

    def contradiction(self) -> str | None:
        """What of it cannot be true together with the rest; None where all can."""
        if self.input == "features" and self.n_features > MAX_FEATURES:
            return f"{self.n_features} features; a profile has at most {MAX_FEATURES}"
        if (self.input == "window") != (self.n_channels > 0) or (self.n_channels and self.n_features % self.n_channels):
            return f"{self.n_channels} channels for {self.n_features} values of input {self.input!r}"
        if self.fleet_tail is not None and not self.fleet_tail.is_law:
            return "a fleet_tail that is no distribution"
        drift = self.fleet_drift
        if drift is not None and [len(row) for row in drift.scale] != [len(drift.wander)] * N_HORIZONS:
            return f"a fleet_drift that is not of {N_HORIZONS} horizons and as many features each"
        return "only windows can be centered" if self.centered and self.input == "features" else None
