"""Disagreement: channels that measure the same thing and do not say the same.

A group's members are compared by their means over the window, each with the median of all. With a `tolerance` that is the
limit; without one, the usual differences are learned from the first windows, and the limit is eight times their spread
around them. Of three or more, those beyond the limit are at fault as long as they are fewer than half; otherwise, and of
two, nobody can tell which, and all are named. It is told once it has lasted for two windows; the channels are blanked at once.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.profile import Profile, Redundant
from models.quality.finding import Finding, amount

_TOLD_AFTER_WINDOWS: Final = 2
_LEARN_FROM: Final = 12
_SPREADS: Final = 8.0

Array = NDArray[np.float64]


class GroupState(msgspec.Struct, frozen=True, kw_only=True):
    """What a group without a tolerance has learned: usual difference from the median, and limit, by member."""

    usual: list[float]
    limit: list[float]


class Group:
    """One set of redundant channels of an asset."""

    def __init__(self, plan: Redundant, profile: Profile) -> None:
        self._members = np.array([profile.channel_names.index(name) for name in plan.channels])
        self._channels = [profile.channels[i] for i in self._members]
        self._window_ns = round(profile.windowing.window_s * NS_PER_S)
        n = len(self._members)
        self._usual = np.zeros(n)
        self._limit = np.full(n, np.nan if plan.tolerance is None else plan.tolerance)
        if plan.tolerance is not None and n == 2:
            self._limit = self._limit / 2  # each is half their difference away from the median of two
        self._seen: list[Array] = []
        self._off_since: dict[int, int] = {}

    def check(self, mean: Array, end_ns: int) -> tuple[list[Finding], list[int]]:
        """(findings, channels to blank). `mean`: (n_channels,) of the window, NaN = blank."""
        away = mean[self._members] - np.nanmedian(mean[self._members]) if self._comparable(mean) else self._usual
        off = np.flatnonzero(np.abs(away - self._usual) > self._limit).tolist()
        if off and 2 * len(off) >= len(self._members):
            off = [k for k in range(len(self._members)) if np.isfinite(away[k])]
        start_ns = end_ns - self._window_ns
        self._off_since = {k: min(self._off_since.get(k, start_ns), start_ns) for k in off}
        return [self._finding(k, away, mean, end_ns) for k in off], [int(self._members[k]) for k in off]

    def forget_times(self) -> None:
        """The asset's clock has jumped: since when they disagree, nobody knows."""
        self._off_since = {}

    def learn(self, mean: Array) -> None:
        """Take in a window without a fault, until the usual differences are known."""
        if not np.isnan(self._limit).any() or not np.isfinite(mean[self._members]).all():
            return
        self._seen.append(mean[self._members] - np.median(mean[self._members]))
        if len(self._seen) >= _LEARN_FROM:
            seen = np.array(self._seen)
            self._usual = np.median(seen, axis=0)
            spread = 1.4826 * np.median(np.abs(seen - self._usual), axis=0)
            floor = np.array([channel.resolution for channel in self._channels])
            self._limit = _SPREADS * np.maximum.reduce([np.full(len(floor), spread.max()), floor, np.full(len(floor), 1e-9)])
            self._seen = []

    def state(self) -> GroupState:
        """To keep; empty lists where there is nothing to keep."""
        known = not np.isnan(self._limit).any()
        return GroupState(usual=self._usual.tolist() if known else [], limit=self._limit.tolist() if known else [])

    def resume(self, state: GroupState) -> None:
        """Go on from `state`; a tolerance of the profile's own stays."""
        if np.isnan(self._limit).any() and len(state.limit) == len(self._members):
            self._usual, self._limit = np.array(state.usual), np.array(state.limit)

    def _comparable(self, mean: Array) -> bool:
        return int(np.isfinite(mean[self._members]).sum()) >= 2

    def _finding(self, k: int, away: Array, mean: Array, end_ns: int) -> Finding:
        channel, since_ns = self._channels[k], self._off_since[k]
        others = ", ".join(
            f"{c.name} {amount(float(mean[m]), c.unit)}"
            for j, (c, m) in enumerate(zip(self._channels, self._members, strict=True))
            if j != k and np.isfinite(mean[m])
        )
        detail = f"{amount(float(mean[self._members[k]]), channel.unit)}, but {others}"
        told = end_ns - since_ns >= _TOLD_AFTER_WINDOWS * self._window_ns
        return Finding(channel.name, "disagreement", detail, since_ns, told)
