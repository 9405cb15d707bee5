"""What is usual for an asset's channels while nothing is wrong: noise, jumps, levels, and how they move together.

Learned from windows without a sensor fault, on the aligned grid; memory is bounded. It follows slow change: noise and
levels are those of the last `_RING` windows. The largest jump is kept for good, since what a machine did once without
harm it may do again; but no window raises it by more than half, unless the channel has shown that it does so by itself.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.contract.profile import Profile

_RING: Final = 64
_ENOUGH: Final = 12
_MAX_GROWTH: Final = 1.5
_MAX_WIDENING: Final = 0.1
_MAX_SIGMAS: Final = 3.0
_FORGETTING: Final = 1 / 256  # weight of the newest window in means and covariances, once there are many
_RIDGE: Final = 0.02
_QUANTILE: Final = 0.75  # of the steps from cell to cell: withstands spikes and jumps, and a coarse channel's rests

Array = NDArray[np.float64]


class Shape(NamedTuple):
    """Of one aligned window, by channel; NaN where that is blank."""

    noise: Array
    jump: Array
    mean: Array


def shape_of(matrix: Array) -> Shape:
    """Of (n_cells, n_channels)."""
    steps = np.abs(matrix[1:] - matrix[:-1])
    at = int(_QUANTILE * (len(steps) - 1))
    steps_by_size = np.partition(steps, at, axis=0)
    return Shape(steps_by_size[at], np.maximum.reduce(steps_by_size[at:]), np.add.reduce(matrix) / len(matrix))


class Relation(NamedTuple):
    """How one channel follows the others: `weights` (n,), 0 for itself; `r2`: the share of its variance they explain."""

    weights: Array
    r2: float


class UsualState(msgspec.Struct, frozen=True, kw_only=True):
    """What survives a restart, by channel. `noise`, `low`, `high`: NaN where it was never seen."""

    n: int
    noise: list[float]
    jump: list[float]
    low: list[float]
    high: list[float]
    mean: list[float]
    cov: list[list[float]]


class Usual:
    """`known` after a dozen windows; before that nothing is judged by it. `noise`, `jump`, `low`, `high`: (n,) by channel."""

    def __init__(self, profile: Profile) -> None:
        n = len(profile.channels)
        self._floor = np.array([channel.resolution for channel in profile.channels])
        self._n = 0
        self._noises = np.full((_RING, n), np.nan)
        self._means = np.full((_RING, n), np.nan)
        self.noise, self.jump = np.zeros(n), np.zeros(n)
        self.low, self.high = np.full(n, np.nan), np.full(n, np.nan)
        self._mean, self._cov = np.zeros(n), np.zeros((n, n))
        self.version = 0  # changes whenever what is usual does

    @property
    def known(self) -> bool:
        return self._n >= _ENOUGH

    def learn(self, matrix: Array, shape: Shape) -> None:
        """Take in a window without a fault. A channel that is blank (it is optional) is passed over."""
        row = self._n % _RING
        self._noises[row] = (
            np.fmin(shape.noise, np.maximum(self.noise, self._floor) * _MAX_GROWTH) if self.known else shape.noise
        )
        self._means[row] = np.clip(shape.mean, *self._reach()) if self.known else shape.mean
        jump = np.fmin(shape.jump, np.maximum(self.jump, self._floor) * _MAX_GROWTH) if self.known else shape.jump
        self.jump = np.fmax(self.jump, jump)
        self.noise = np.fmax.reduce(self._noises)
        self.low, self.high = np.fmin.reduce(self._means), np.fmax.reduce(self._means)
        self._n += 1
        self.version += 1
        self._learn_relations(matrix, shape.mean)

    def _reach(self) -> tuple[Array, Array]:
        """How far a window may move the levels that are usual; anywhere, where the channel was never seen."""
        margin = _MAX_WIDENING * (self.high - self.low) + self.noise
        low, high = self.low - margin, self.high + margin
        return np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)

    def _learn_relations(self, matrix: Array, mean: Array) -> None:
        weight = max(1 / self._n, _FORGETTING)
        mean = np.where(np.isnan(mean), self._mean, mean)
        self._mean += weight * (mean - self._mean)
        away = np.nan_to_num(matrix - self._mean)
        if self.known:  # one odd window must not make strangers relatives
            reach = _MAX_SIGMAS * np.sqrt(np.diag(self._cov)) + self._floor
            away = np.clip(away, -reach, reach)
        covariance = away.T @ away / len(matrix)
        self._cov += weight * (covariance - self._cov)

    def does(self, channel: int, jump: float) -> None:
        """The channel jumps so far by itself: from now on that is usual."""
        self.jump[channel] = max(self.jump[channel], jump)
        self.version += 1

    def relation(self, channel: int, blank: NDArray[np.bool_]) -> Relation:
        """How `channel` follows the channels that are not `blank`, by ridge regression on their covariances."""
        std = np.sqrt(np.diag(self._cov))
        others = np.flatnonzero((std > 0) & ~blank & (np.arange(len(std)) != channel))
        weights = np.zeros(len(std))
        if not len(others) or std[channel] <= 0:
            return Relation(weights, 0.0)
        correlation = self._cov / np.outer(np.where(std > 0, std, 1), np.where(std > 0, std, 1))
        own = correlation[others, channel]
        solved = np.linalg.solve(correlation[np.ix_(others, others)] + _RIDGE * np.eye(len(others)), own)
        weights[others] = solved * std[channel] / std[others]
        return Relation(weights, float(np.clip(own @ solved, 0.0, 1.0)))

    def state(self) -> UsualState:
        """To keep."""
        return UsualState(
            n=self._n, noise=self.noise.tolist(), jump=self.jump.tolist(), low=self.low.tolist(), high=self.high.tolist(),
            mean=self._mean.tolist(), cov=self._cov.tolist(),
        )  # fmt: skip

    def resume(self, state: UsualState) -> None:
        """Go on from `state`, whose channels are this profile's."""
        self._n = state.n
        self.version += 1
        self.noise, self.jump = np.array(state.noise), np.array(state.jump)
        self.low, self.high = np.array(state.low), np.array(state.high)
        self._mean, self._cov = np.array(state.mean), np.array(state.cov)
        self._noises[:] = self.noise
        self._means[0::2], self._means[1::2] = self.low, self.high
