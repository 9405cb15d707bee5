"""The model card (Mitchell et al., 2019): what a bundle was made from, how it was judged, and what it is not for."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any, Final

from models.bundle.manifest import Architecture
from models.contract.profile import Profile

_TITLES: Final[dict[Architecture, str]] = {
    "dense-autoencoder": "Dense autoencoder",
    "cross-channel": "Cross-channel regression",
    "conv-autoencoder": "Convolutional autoencoder over whole windows",
    "imported": "Imported model",
    "regimes": "Operating regimes (a Hotelling's T2 each)",
    "whitening": "Whitening (Hotelling's T2)",
    "pca": "Principal components",
}
_LIMITS = (
    "Knows the machines of its profile and feature spec only. Scores are comparable only within this model; p-values come "
    "from each asset's own commissioning. Faults in the evaluation are synthetic, in feature space: they rank models, they "
    "do not promise a detection rate in the field. Slow drift that was already there while commissioning is its normal."
)


def library_versions() -> dict[str, str]:
    """What the result depends on besides data and seed."""
    names = ("tocsin", "numpy", "keras")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def model_card(
    profile: Profile,
    *,
    architecture: Architecture,
    dataset: dict[str, Any],
    evaluation: dict[str, Any],
    trainer: dict[str, Any],
    lineage: dict[str, Any],
    model_bytes: int,
    n_features: int,
) -> dict[str, Any]:
    """JSON-able. `dataset`, `evaluation`: the records of those steps; `lineage`: run, lake version, seed, versions."""
    return {
        "title": f"{_TITLES[architecture]} for {profile.title or profile.name}",
        "intended_use": f"Anomaly scores for windows of {profile.windowing.window_s:g} s of assets of profile {profile.name}.",
        "limits": _LIMITS,
        "model": {"architecture": architecture, "features": n_features, "int8_bytes": model_bytes},
        "data": dataset,
        "training": trainer,
        "evaluation": evaluation,
        "lineage": lineage,
    }
