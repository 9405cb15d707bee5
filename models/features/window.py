"""A window's matrix, and what features of a channel are made of: moments, steps, spectrum, envelope; each once a window.

Invariants:
1. Everything is worked out for all channels at once, and only when a feature asks for it.
2. A channel that is NaN anywhere gives NaN, and harms no other.
3. Spectral features are told relative to the sampling rate: octave k spans rate / 2^(k+1) to rate / 2^k, so a profile
   of another rate sees other frequencies under the same name, and has another spec hash.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

N_OCTAVES: Final = 6
_FLOOR: Final = 1e-12  # of power: what is silent is told as its logarithm, -12
Matrix = NDArray[np.float64]


class Window:
    """`x`: (n_samples, n_channels) float64, oldest first, a row each 1 / `rate_hz`."""

    def __init__(self, x: Matrix, rate_hz: float) -> None:
        self.x = x
        self.rate_hz = rate_hz

    @cached_property
    def d(self) -> Matrix:
        """(n_samples, n_channels): deviation from the mean."""
        return np.asarray(self.x - self.x.mean(axis=0))

    @cached_property
    def std(self) -> Matrix:
        """(n_channels,): standard deviation; 0 for the rounding noise of a constant."""
        std = np.sqrt(np.mean(self.d * self.d, axis=0))
        tiny = 1e-12 * np.maximum(np.abs(self.x).max(axis=0), 1.0)
        return np.asarray(np.where(std <= tiny, 0.0 * std, std))  # 0 * NaN stays NaN

    @cached_property
    def power(self) -> Matrix:
        """(n_samples // 2 + 1, n_channels): one-sided power spectrum under a Hann window; its sum is about the variance."""
        taper = np.hanning(len(self.x) + 2)[1:-1]
        moving = np.where(self.std == 0, 0.0, self.d)
        spectrum = np.abs(np.fft.rfft(moving * taper[:, np.newaxis], axis=0)) ** 2
        return np.asarray(2 * spectrum / (len(self.x) * (taper @ taper)))

    @cached_property
    def envelope_line(self) -> tuple[Matrix, Matrix]:
        """((n_channels,) log10 of how far the strongest line of the envelope's spectrum stands above the mean of all; its Hz).

        A bearing with a pit rings at each pass: the ringing is fast, but how its size comes and goes tells the passes
        (McFadden and Smith, 1984). Successive differences lift the ringing out of what is slow; the envelope is the analytic
        signal's size. 0 and 0 for a channel that does not move.
        """
        steps = self.x[1:] - self.x[:-1]
        n = len(steps)
        weights = np.zeros(n)
        weights[0], weights[1 : (n + 1) // 2] = 1.0, 2.0
        if n % 2 == 0:
            weights[n // 2] = 1.0
        envelope = np.abs(np.fft.ifft(np.fft.fft(steps, axis=0) * weights[:, np.newaxis], axis=0))
        lines = np.abs(np.fft.rfft(envelope - envelope.mean(axis=0), axis=0))[1:] ** 2
        strongest, usual = lines.max(axis=0), lines.mean(axis=0)
        still = usual <= _FLOOR * np.maximum(self.std**2, _FLOOR)
        height = np.where(still, 0.0 * usual, np.log10(np.where(still, 1.0, strongest / np.where(still, 1.0, usual))))
        hertz = (np.argmax(lines, axis=0) + 1) * self.rate_hz / n
        return height, np.asarray(np.where(still, 0.0 * usual, hertz + 0.0 * usual))


def slope(window: Window) -> Matrix:
    """Least-squares slope, unit per second."""
    n = len(window.x)
    t = (np.arange(n) - (n - 1) / 2) / window.rate_hz
    return np.asarray(t @ window.x / (t @ t)) if n > 1 else np.zeros(window.x.shape[1])


def roughness(window: Window) -> Matrix:
    """Root mean square of successive differences: high-frequency content without a spectrum (von Neumann, 1941)."""
    steps = window.x[1:] - window.x[:-1]
    return np.sqrt(np.mean(steps * steps, axis=0)) if len(window.x) > 1 else np.zeros(window.x.shape[1])


def standard_moment(window: Window, power: int) -> Matrix:
    """The moment of that power about the mean, in units of the standard deviation's; 0 for a constant."""
    return np.asarray(np.mean(window.d**power, axis=0) / np.where(window.std > 0, window.std, 1.0) ** power)


def octave(window: Window, k: int) -> Matrix:
    """log10 of the power between rate / 2^(k+1) and rate / 2^k; never below -12."""
    n = len(window.x)
    lines = window.power[int(n / 2 ** (k + 1)) + 1 : int(n / 2**k) + 1]
    return np.asarray(np.log10(lines.sum(axis=0) + _FLOOR))


def samples_for(feature: str) -> int:
    """How many samples a window needs for that feature to mean something: a spectral one wants a line of its own."""
    if feature.startswith("octave"):
        return int(2 ** (int(feature.removeprefix("octave")) + 1))
    return 16 if feature.startswith("envelope") else 1
