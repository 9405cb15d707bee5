"""What a light device's items say: numbers of the right size, in the right places, by chance and not by physics.

Windows are a pure function of (seed, asset, window): an item that is sent again is the same item, and nothing of it has to be
kept. Drawn in blocks, for to begin a generator takes longer than to draw a window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.config import load_profile
from models.contract.items import (
    BASELINE,
    Aggregate,
    Alert,
    Commissioning,
    Evidence,
    SensorFault,
    Severity,
    SlotScore,
    pack_floats,
)

_BLOCK: Final = 64  # windows
_RUN: Final = 8  # windows in which a detector that rings too often rings or does not
_MAX_DETECTORS: Final = 3  # active, baseline, shadow
_IN_ALARM: Final = 1e-5  # how much less likely a window in alarm is
_LEAST_P: Final = 1e-12
_EVIDENCE_WINDOWS: Final = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a profile, as far as a light device needs it. `hop_ns`: from one window to the next; `window_ns`: its length."""

    profile: str
    spec_hash: str
    hop_ns: int
    window_ns: int
    rate_hz: float
    n_features: int
    n_samples: int
    channels: tuple[str, ...]
    commissioning: int


@cache
def shape_of(name: str) -> Shape:
    """Raises ConfigError where there is no such profile."""
    profile = load_profile(name)
    channels, windowing = tuple(profile.channel_names), profile.windowing
    pairs = math.comb(len(channels), 2) if "correlation" in profile.features.cross else 0
    return Shape(
        profile=name,
        spec_hash=profile.spec_hash,
        hop_ns=round(windowing.hop * NS_PER_S),
        window_ns=round(windowing.window_s * NS_PER_S),
        rate_hz=windowing.rate_hz,
        n_features=len(channels) * len(profile.features.per_channel) + pairs,
        n_samples=windowing.n_samples,
        channels=channels,
        commissioning=profile.commissioning.windows,
    )


@dataclass(frozen=True, slots=True)
class Look:
    """What windows show for now. `detectors`: that score each, the one that decides first, with the share of windows in which
    it rings for no reason. `alarm`: the asset with an open alert. `faulty`: (asset, channel) of an open sensor fault."""

    detectors: tuple[tuple[str, float], ...] = ((BASELINE, 0.0),)
    alarm: int | None = None
    faulty: tuple[int, int] | None = None


def asset_name(device_id: str, asset: int) -> str:
    return f"{device_id[:60]}-{asset + 1}"


def aggregate(shape: Shape, device_id: str, seed: int, asset: int, window: int, look: Look, boot_ns: int) -> Aggregate:
    """The window of that number since 1970. `boot_ns`: the device's boot, by its own clock."""
    features, chances, runs = _block(seed, asset, window // _BLOCK, shape.n_features)
    at = window % _BLOCK
    end_ns = (window + 1) * shape.hop_ns
    chance, rings = chances[at], runs[at // _RUN]
    ill = look.alarm == asset
    scores = [
        _score(detector, float(chance[i]), alarm=ill or float(rings[i]) < share)
        for i, (detector, share) in enumerate(look.detectors)
    ]
    blanked = look.faulty is not None and look.faulty[0] == asset
    return Aggregate(
        asset=asset_name(device_id, asset),
        profile=shape.profile,
        spec_hash=shape.spec_hash,
        start_ns=end_ns - shape.window_ns,
        end_ns=end_ns,
        features=features[at].tobytes(),
        n_readings=shape.n_samples * len(shape.channels),
        scores=scores,
        top=list(shape.channels[:2]) if scores[0].alarm else [],
        faulty=[shape.channels[look.faulty[1]]] if blanked and look.faulty else [],
        alarm=scores[0].alarm,
        end_mono_ns=max(0, end_ns - boot_ns),
    )


def _score(detector: str, chance: float, *, alarm: bool) -> SlotScore:
    p_value = max(_LEAST_P, (1.0 - chance) * (_IN_ALARM if alarm else 1.0))
    return SlotScore(detector=detector, score=-math.log(p_value), p_value=p_value, alarm=alarm)


def commissioning(shape: Shape, device_id: str, seed: int, asset: int, window: int) -> Commissioning:
    """What was learned of an asset before that window."""
    location, scale = _normal(seed, asset, shape.n_features)
    end_ns = window * shape.hop_ns
    return Commissioning(
        asset=asset_name(device_id, asset),
        profile=shape.profile,
        spec_hash=shape.spec_hash,
        n_windows=shape.commissioning,
        start_ns=end_ns - shape.commissioning * shape.hop_ns,
        end_ns=end_ns,
        location=pack_floats(location),
        scale=pack_floats(scale),
    )


def evidence(shape: Shape, device_id: str, seed: int, asset: int, window: int, alert_id: str) -> Evidence:
    """The three windows up to the end of that one."""
    n = _EVIDENCE_WINDOWS * shape.n_samples
    values = np.random.default_rng((seed, asset, window, 1)).normal(size=(n, len(shape.channels)))
    return Evidence(
        alert_id=alert_id,
        asset=asset_name(device_id, asset),
        start_ns=(window + 1) * shape.hop_ns - _EVIDENCE_WINDOWS * shape.window_ns,
        rate_hz=shape.rate_hz,
        channels=list(shape.channels),
        values=pack_floats(values),
    )


def alert(shape: Shape, device_id: str, asset: int, detector: str, severity: Severity, alert_id: str, opened_ns: int) -> Alert:
    """As it opens, laid on the first channels."""
    return Alert(
        alert_id=alert_id,
        asset=asset_name(device_id, asset),
        profile=shape.profile,
        detector=detector,
        severity=severity,
        opened_ns=opened_ns,
        p_value=_IN_ALARM,
        score=-math.log(_IN_ALARM),
        top=list(zip(shape.channels[:2], (0.7, 0.3), strict=False)),
    )


def sensor_fault(shape: Shape, device_id: str, asset: int, fault_id: str, opened_ns: int) -> SensorFault:
    """As it opens, on the first channel."""
    return SensorFault(
        fault_id=fault_id,
        source="line",
        asset=asset_name(device_id, asset),
        channel=shape.channels[0],
        fault="stuck",
        opened_ns=opened_ns,
        detail="does not move",
    )


Block = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]


@lru_cache(512)
def _block(seed: int, asset: int, block: int, n_features: int) -> Block:
    """Features (windows, features), chances (windows, detectors), and whether it rings (runs, detectors)."""
    rng = np.random.default_rng((seed, asset, block))
    location, scale = _normal(seed, asset, n_features)
    features = (location + scale * rng.standard_normal((_BLOCK, n_features))).astype("<f4")
    return features, rng.random((_BLOCK, _MAX_DETECTORS)), rng.random((_BLOCK // _RUN, _MAX_DETECTORS))


@lru_cache(64)
def _normal(seed: int, asset: int, n_features: int) -> Sequence[NDArray[np.float64]]:
    """Location and scale of each feature."""
    location = 10.0 ** np.random.default_rng((seed, asset)).uniform(-1, 2, n_features)
    return location, 0.02 * location
