"""Synthetic faults in feature space, to grade a detector where no labelled faults exist.

Each window gets one fault on one channel:
- shift: the channel's level moves by 3-6 of the asset's own sigmas;
- variance: what tells its spread grows by 3-6 sigmas, its level stays;
- correlation: the channel's features are those of another window, so each is normal by itself, but they do not belong
  together. No threshold on single features sees this; a model can, where channels are related.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Fault = Literal["shift", "variance", "correlation"]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
_SIGMAS: Final = (3.0, 6.0)
_LEVEL: Final = ("mean",)
_SPREAD: Final = ("std", "range", "roughness")


class FeatureMap:
    """Which features belong to which channel, told from the spec's feature names (`channel.feature`, `a~b.correlation`)."""

    def __init__(self, names: list[str]) -> None:
        self._parts = [name.rpartition(".")[::2] for name in names]
        self.channels = sorted({channel for channel, _ in self._parts if "~" not in channel})

    def of(self, channel: str, features: tuple[str, ...] | None = None) -> NDArray[np.intp]:
        """Positions of the channel's own features, or of those among `features`; all of its own where it has none of them."""
        own = [i for i, (whose, _) in enumerate(self._parts) if whose == channel]
        some = [i for i in own if features is None or self._parts[i][1] in features]
        return np.array(some or own, dtype=np.intp)


def inject(z: Floats, fault: Fault, features: FeatureMap, rng: np.random.Generator) -> Floats:
    """A copy of (n, n_features) normalized windows with a fault in each; the channel is drawn anew for each window."""
    faulty = z.copy()
    others = rng.permutation(len(z))
    for row, channel in enumerate(rng.choice(features.channels, size=len(z))):
        sigmas = rng.uniform(*_SIGMAS)
        if fault == "shift":
            faulty[row, features.of(channel, _LEVEL)] += sigmas * rng.choice([-1.0, 1.0])
        elif fault == "variance":
            faulty[row, features.of(channel, _SPREAD)] += sigmas
        else:
            own = features.of(channel)
            faulty[row, own] = z[others[row], own]
    return faulty
