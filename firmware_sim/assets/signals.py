"""What the machines share: how their load varies, and what a sensor makes of the truth.

The load is a sum of sinusoids with periods that have no common multiple: it never repeats in practice, is bounded, looks
the same over any ten minutes (so that a short commissioning sees all of it), and its passage through a first-order lag
has a closed form. Slow parts (20-120 s) move a window's mean and slope; fast ones (4-9 s) give every window some
movement, so that the channels of one machine are correlated in each window, not only in some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.noise import NoiseField
from firmware_sim.operation.operation import USUAL, Operation, Rest
from models.contract.profile import Channel

_SLOW_PERIODS_S: Final = ((21.0, 29.0), (35.0, 47.0), (55.0, 75.0), (85.0, 115.0))
_FAST_PERIODS_S: Final = ((2.6, 3.2), (4.1, 5.0), (6.2, 7.6))
_SLOW_AMPLITUDE: Final = 0.11
_FAST_AMPLITUDE: Final = 0.16


class Load:
    """How hard a machine is driven, as a deviation from its usual: -1..1, mean 0, standard deviation about 0.3; less by up to
    0.8 where its schedule asks for less."""

    def __init__(self, rng: np.random.Generator, operation: Operation = USUAL) -> None:
        self._operation = operation
        periods = [rng.uniform(low, high) for low, high in _SLOW_PERIODS_S + _FAST_PERIODS_S]
        usual = [_SLOW_AMPLITUDE] * len(_SLOW_PERIODS_S) + [_FAST_AMPLITUDE] * len(_FAST_PERIODS_S)
        self._omega = 2 * np.pi / np.array(periods)
        self._amplitude = np.array(usual) * rng.uniform(0.85, 1.0, len(usual))
        self._phase = rng.uniform(0, 2 * np.pi, len(usual))

    def at(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) the load at each time."""
        swing = np.asarray(self._amplitude @ np.sin(np.outer(self._omega, t_s) + self._phase[:, None]))
        return self._operation.loaded(swing, t_s)

    def lagged(self, t_s: NDArray[np.float64], tau_s: float) -> NDArray[np.float64]:
        """(n,) the load after a first-order lag of `tau_s`, long after any transient."""
        w_tau = self._omega * tau_s
        phase = self._phase - np.arctan(w_tau)
        gain = self._amplitude / np.sqrt(1 + w_tau**2)
        return self._operation.loaded(np.asarray(gain @ np.sin(np.outer(self._omega, t_s) + phase[:, None])), t_s, tau_s)


class Sensors:
    """The sensors of one machine: white noise of a given spread, the channel's physical range, its resolution. `rest`: what is
    there for them to measure while the machine stands still."""

    def __init__(
        self,
        channels: tuple[Channel, ...],
        noise_std: dict[str, float],
        rate_hz: float,
        seed: int,
        operation: Operation = USUAL,
        rest: Mapping[str, Rest] | None = None,
    ) -> None:
        self._channels = channels
        self._noise_std = [noise_std[channel.name] for channel in channels]
        self._rate_hz = rate_hz
        self._noise = NoiseField(seed, len(channels))
        self._operation, self._rest = operation, rest or {}

    def measure(self, t_s: NDArray[np.float64], truth: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """What the sensors say of `truth`, which is of the running machine, in the channels' order; `t_s` on the grid of the
        sampling rate, ascending."""
        truth = self._operation.rested(truth, self._rest, t_s)
        noise = self._noise.at(sample_index(t_s, self._rate_hz))
        measured = {}
        for channel, std, row in zip(self._channels, self._noise_std, noise, strict=True):
            measured[channel.name] = quantize(truth[channel.name] + std * row, channel)
        return measured


def sample_index(t_s: NDArray[np.float64], rate_hz: float) -> NDArray[np.int64]:
    """(n,) which sample each time is, at `rate_hz` from time 0."""
    return np.rint(t_s * rate_hz).astype(np.int64)


def quantize(values: NDArray[np.float64], channel: Channel) -> NDArray[np.float64]:
    """`values` in whole steps of the channel's resolution, within its range. Rounded, so that they print short."""
    values = np.clip(values, channel.min, channel.max) if channel.min is not None or channel.max is not None else values
    if not channel.resolution:
        return values
    decimals = max(0, int(np.ceil(-np.log10(channel.resolution))))
    return np.round(np.round(values / channel.resolution) * channel.resolution, decimals)
