"""What has changed on an asset, in words and figures: its latest windows beside the normal that it learned."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np

from hub.web.asset.kinds import Kind
from hub.web.asset.lake_windows import AssetWindows

_RATIOS: Final = frozenset({"mean", "last", "std", "range", "roughness", "crest"})
_TOLD_FROM: Final = 1.2  # a ratio nearer to one is told as a difference
_N_NOW: Final = 6  # windows that stand for now
_WORTH_TELLING: Final = 3.0  # sigmas


@dataclass(frozen=True, slots=True)
class Change:
    """A channel's feature that lies farthest from normal. `now`: median of the latest windows, `usual`: what was learned, both
    in `unit`; `sigmas`: how far apart, in units of the asset's own spread. `measure`: what the feature is called."""

    channel: str
    feature: str
    measure: str
    unit: str
    now: float
    usual: float
    sigmas: float

    @property
    def compared(self) -> str:
        """ "3.2× its normal", or "2.1 °C above its normal"."""
        octave = self.feature.startswith(("octave", "envelope")) and self.feature != "envelope_hz"
        if octave:
            return f"{figure(10 ** (self.now - self.usual))}× its normal"
        if self.feature in _RATIOS and self.usual > 0 and self.now > 0:
            ratio = self.now / self.usual
            if not 1 / _TOLD_FROM < ratio < _TOLD_FROM:
                return f"{figure(ratio)}× its normal"
        unit = f" {self.unit}" if self.unit else ""
        return f"{figure(abs(self.now - self.usual))}{unit} {'above' if self.now > self.usual else 'below'} its normal"

    @property
    def figures(self) -> str:
        """ "8.1 mm/s, usually 2.5"."""
        unit = f" {self.unit}" if self.unit else ""
        return f"{figure(self.now)}{unit}, usually {figure(self.usual)}"

    @property
    def text(self) -> str:
        return f"{self.channel} {self.measure} {self.compared}"

    @property
    def is_far(self) -> bool:
        return abs(self.sigmas) >= _WORTH_TELLING


def what_changed(kind: Kind, windows: AssetWindows, first: str = "", since_s: float | None = None) -> tuple[Change, ...]:
    """One change a channel, the channel `first` before all, then by how far out they are; () where normal is not known.

    `windows` with all of the kind's features. `since_s`: only windows that ended then or later, Unix s.
    """
    if kind.normal is None or not len(windows):
        return ()
    rows = ~windows.learning & ~windows.partial  # what stands is far from normal, and no news
    latest = windows.features[rows if since_s is None else rows & (windows.ends_s >= since_s)][-_N_NOW:]
    if not len(latest):
        return ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a feature that is absent from all of them
        now = np.nanmedian(latest, axis=0)
    sigmas = (now - kind.normal.location) / kind.normal.scale
    found = [change for channel in kind.profile.channel_names if (change := _farthest(kind, channel, now, sigmas))]
    return tuple(sorted(found, key=lambda change: (change.channel != first, -abs(change.sigmas))))


def _farthest(kind: Kind, channel: str, now: np.ndarray, sigmas: np.ndarray) -> Change | None:
    own = [(feature, kind.position(channel, feature)) for feature in kind.features]
    known = [(abs(sigmas[at]), feature, at) for feature, at in own if np.isfinite(sigmas[at])]
    if not known or kind.normal is None:
        return None
    _, feature, at = max(known)
    usual = float(kind.normal.location[at])
    unit = kind.unit(channel, feature)
    return Change(channel, feature, kind.measure(feature), unit, float(now[at]), usual, float(sigmas[at]))


def figure(value: float) -> str:
    """A number with three digits that count, without an exponent where people read it easily."""
    if not np.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        return f"{value:.1e}".replace("-", "−")
    digits = max(0, 2 - int(np.floor(np.log10(size))))
    return (f"{value:,.{digits}f}" if size < 100 else f"{value:,.0f}").replace("-", "−")
