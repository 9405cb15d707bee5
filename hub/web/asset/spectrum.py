"""Spectra of fast channels: of an alert's raw samples by FFT, and of windows by the octaves that their features hold."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hub.web.asset.kinds import Kind
from hub.web.asset.lake_windows import AssetWindows, Floats
from models.features.window import N_OCTAVES

FAST_HZ: Final = 20.0  # below this, what a spectrum shows of a machine is its control loop at best
SEGMENT: Final = 1024  # samples: a line every rate / SEGMENT
MIN_SAMPLES: Final = 64
_N_NOW: Final = 6
_SIGMAS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Octave:
    """Power of a band, in dB of the channel's unit squared: in the latest windows, and where it lay while commissioning
    (`low`..`high`, three scales on either side)."""

    name: str
    now_db: float
    low_db: float
    high_db: float

    @property
    def outside(self) -> bool:
        return not self.low_db <= self.now_db <= self.high_db


@dataclass(frozen=True, slots=True)
class Octaves:
    """A channel's bands, lowest frequency first, within `floor_db`..`top_db`."""

    channel: str
    unit: str
    bands: tuple[Octave, ...]
    floor_db: float
    top_db: float

    def share(self, db: float) -> float:
        """Where a level lies between floor and top, 0..1."""
        return min(1.0, max(0.0, (db - self.floor_db) / (self.top_db - self.floor_db)))


def octaves(kind: Kind, windows: AssetWindows) -> tuple[Octaves, ...]:
    """Of each channel whose windows hold octaves; `windows` with all of the kind's features."""
    latest = windows.features[~windows.learning & ~windows.partial][-_N_NOW:]
    if kind.normal is None or not len(latest):
        return ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a channel that is absent from all of them
        now = np.nanmedian(latest, axis=0)
    found = []
    for channel in kind.profile.channels:
        bands = [band for k in range(N_OCTAVES, 0, -1) if (band := _octave(kind, channel.name, k, now))]
        if bands:
            lowest = min(min(band.low_db, band.now_db) for band in bands)
            highest = max(max(band.high_db, band.now_db) for band in bands)
            unit = kind.unit(channel.name) or "1"
            found.append(Octaves(channel.name, unit, tuple(bands), lowest - 3, max(highest, lowest + 1) + 3))
    return tuple(found)


def _octave(kind: Kind, channel: str, k: int, now: Floats) -> Octave | None:
    known = kind.normal_of(channel, f"octave{k}")
    if known is None:
        return None
    level, (usual, scale) = float(now[kind.position(channel, f"octave{k}")]), known
    if not np.isfinite(level):
        return None
    low_hz, high_hz = kind.octave_hz(k)
    name = f"{low_hz:g}–{high_hz:g} Hz"
    return Octave(name, 10 * level, 10 * (usual - _SIGMAS * scale), 10 * (usual + _SIGMAS * scale))


def amplitude_spectrum(values: Floats, rate_hz: float) -> dict[str, Any] | None:
    """`hz`, `amplitude`: of (n,) samples, by Welch's method with Hann windows that overlap by half; a sine of amplitude A on a
    line of it stands A high there, in the samples' own unit. The mean is taken out. None where there are too few samples.

    `step_hz`: from line to line; `segments`: how many were averaged.
    """
    samples = values[np.isfinite(values)]
    if len(samples) < MIN_SAMPLES or len(samples) < len(values):  # FFT knows no gaps
        return None
    n = min(SEGMENT, len(samples))
    taper = np.hanning(n + 1)[:-1]
    starts = range(0, len(samples) - n + 1, max(1, n // 2))
    power = np.zeros(n // 2 + 1)
    for start in starts:
        segment = samples[start : start + n]
        power += np.abs(np.fft.rfft((segment - segment.mean()) * taper)) ** 2
    amplitude = 2 * np.sqrt(power / len(starts)) / taper.sum()
    hz = np.fft.rfftfreq(n, 1 / rate_hz)
    return {
        "hz": [float(f"{value:.6g}") for value in hz[1:].tolist()],
        "amplitude": [float(f"{value:.4g}") for value in amplitude[1:].tolist()],
        "step_hz": rate_hz / n,
        "segments": len(starts),
    }
