"""Odd windows that come back are how a machine runs: each morning's heating, a flush each hour. One stretch of them is none.

The rule, over windows in the order of time:

1. Odd windows with fewer than a fiftieth of all between them are one *episode*; one that lasts for a single window is none.
2. Two odd windows are of one kind where they lie less than half as far from each other as from normal.
3. A window recurs where its kind is in three episodes or more, the first and the last of which lie half of all windows apart.

So whatever is wrong for a while, and be it the whole last half of a commissioning, does not recur; a fault that comes and goes
does, and is then part of normal. Nothing shorter than three of its periods can show that something comes back.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_EPISODES: Final = 3
_SPREAD: Final = 0.5  # of all windows
_APART: Final = 0.02  # of all windows
_NEAR: Final = 0.5


def recurring(
    points: NDArray[np.floating], odd: NDArray[np.bool_], asked: NDArray[np.intp], shortest: int = 2
) -> NDArray[np.bool_]:
    """(len(asked),) which of the odd windows `asked`, by index, recur.

    `points`: (n, n_values) windows in the order of time, less normal and in units of its spread, NaN = absent. `odd`: (n,).
    `shortest`: windows that make an episode.
    """
    found = np.zeros(len(asked), dtype=bool)
    at = np.flatnonzero(odd)
    if not len(at):
        return found
    n = len(points)
    episode = np.append(0, np.cumsum(np.diff(at) > max(1, round(_APART * n))))
    lasting = np.bincount(episode)[episode] >= shortest
    at, episode = at[lasting], episode[lasting]
    if len(at) == 0 or at[-1] - at[0] < _SPREAD * n or len(np.unique(episode)) < _EPISODES:
        return found
    others = np.nan_to_num(points[at])
    for k, i in enumerate(asked):
        present = np.isfinite(points[i])
        size = float(np.sum(points[i][present] ** 2))
        distance = np.sum((others[:, present] - points[i][present]) ** 2, axis=1)
        kind = distance < _NEAR**2 * size
        spread = np.ptp(np.append(at[kind], i)) if kind.any() else 0
        found[k] = len(np.unique(episode[kind])) >= _EPISODES and spread >= _SPREAD * n
    return found
