"""A kind of asset as the pages tell of it: its channels, what is measured of them in each window, in which unit, and what is
normal there for one asset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hub.web import words
from models.contract.config import load_profile
from models.contract.items import unpack_floats
from models.contract.profile import Channel, Profile
from models.errors import ConfigError, ItemError
from models.features.spec import FeatureSpec

OWN_UNIT: Final = frozenset({"mean", "last", "std", "range", "roughness"})
MEASURES: Final[Mapping[str, str]] = {  # feature: what people call it
    "mean": "level",
    "last": "last value",
    "std": "spread",
    "range": "range",
    "slope": "trend",
    "roughness": "roughness",
    "skew": "skew",
    "kurtosis": "peakedness",
    "crest": "crest factor",
    "envelope": "strongest line of the envelope",
    "envelope_hz": "frequency of the envelope's strongest line",
}
MAX_SHOWN: Final = 16  # channels that a page draws


@dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """What an asset learned of its features: `location`, `scale` (n_features,), from `n_windows` that ended at `end_ns`."""

    location: NDArray[np.float32]
    scale: NDArray[np.float32]
    n_windows: int
    start_ns: int
    end_ns: int


class Kind:
    """A profile with its features compiled. `normal`: one asset's, None = not known, or learned under another spec."""

    def __init__(self, profile: Profile, normal: Normal | None = None) -> None:
        spec = FeatureSpec(profile)
        self.profile = profile
        self.spec_hash = profile.spec_hash
        self.n_features = spec.n_features
        self.names: Sequence[str] = spec.names
        self.features: Sequence[str] = profile.features.per_channel
        self.normal = normal
        self._positions = {name: at for at, name in enumerate(spec.names)}
        self._channels = {channel.name: channel for channel in profile.channels}

    def feature_or_default(self, wanted: str) -> str:
        """`wanted` where windows hold it, else the mean, else the first that they hold."""
        if wanted in self.features:
            return wanted
        return "mean" if "mean" in self.features else self.features[0]

    def channels_with(self, feature: str) -> Sequence[Channel]:
        """The channels that are drawn of that feature, at most MAX_SHOWN."""
        return [channel for channel in self.profile.channels if f"{channel.name}.{feature}" in self._positions][:MAX_SHOWN]

    def position(self, channel: str, feature: str) -> int:
        """Where the vectors hold it. Raises KeyError where they do not."""
        return self._positions[f"{channel}.{feature}"]

    def unit(self, channel: str, feature: str = "mean") -> str:
        found = self._channels.get(channel)
        return self.unit_of(found, feature) if found else ""

    @staticmethod
    def unit_of(channel: Channel, feature: str) -> str:
        """The unit of a channel's feature; "" = none."""
        unit = words.unit(channel.unit)
        if feature in OWN_UNIT:
            return unit
        if feature == "slope":
            return f"{unit}/s" if unit else "1/s"
        if feature.startswith("octave"):
            return f"log₁₀ ({unit})²" if unit else "log₁₀ of power"
        return {"envelope": "log₁₀", "envelope_hz": "Hz"}.get(feature, "")

    def normal_of(self, channel: str, feature: str) -> tuple[float, float] | None:
        """(location, scale) of a channel's feature; None where the asset has not learned it."""
        at = self._positions.get(f"{channel}.{feature}")
        if self.normal is None or at is None or not np.isfinite(self.normal.location[at]):
            return None
        return float(self.normal.location[at]), float(self.normal.scale[at])

    def measure(self, feature: str) -> str:
        """What people call a feature of this kind's channels."""
        if feature.startswith("octave"):
            low, high = self.octave_hz(int(feature.removeprefix("octave")))
            return f"power between {low:g} and {high:g} Hz"
        return MEASURES.get(feature, feature)

    def octave_hz(self, k: int) -> tuple[float, float]:
        """What octave k spans (models/features/window.py)."""
        rate_hz = self.profile.windowing.rate_hz
        return rate_hz / 2 ** (k + 1), rate_hz / 2**k


def kind_of(profile: str, profiles_dir: Path | None, commissioning: Any = None) -> Kind | None:
    """`commissioning`: the asset's row of that name. None where only the devices have the profile."""
    try:
        kind = Kind(load_profile(profile, profiles_dir))
    except ConfigError:
        return None
    kind.normal = normal_of(commissioning, kind)
    return kind


def normal_of(row: Any, kind: Kind) -> Normal | None:
    """What a row of `commissionings` tells; None for none, for one of another spec and for one that is damaged."""
    if row is None or row.spec_hash != kind.spec_hash:
        return None
    try:
        location, scale = unpack_floats(row.location), unpack_floats(row.scale)
    except ItemError:
        return None
    if len(location) != kind.n_features or len(scale) != kind.n_features:
        return None
    return Normal(location, scale, row.n_windows, row.start_ns, row.end_ns)
