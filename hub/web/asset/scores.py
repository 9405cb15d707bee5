"""One asset over time, from the lake, as columns that plots are drawn from: how unusual each window was, and its channels.

1. What is sent is bounded by MAX_POINTS and MAX_VALUES. Where there are more windows, neighbours are drawn as one: by the most
   unusual of them, and by the lowest, mean and highest of each channel. A short alarm is never thinned away.
2. A gap is a gap: windows that were not judged (commissioning, at rest, a sensor fault) and spans without windows have no
   value. Which of them were there and not judged is told beside.
3. A channel is told by one feature of each window, in its own unit: its mean where the profile's spec holds that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hub.web.asset.alerts import AssetAlert
from hub.web.asset.kinds import Kind
from hub.web.asset.lake_windows import AssetWindows, Floats, Wanted, read_windows
from hub.web.asset.sensor_bands import FaultBand
from hub.web.queries import Tile
from hub.web.seams import Windows
from hub.web.time_range import TimeRange
from hub.web.words import NS_PER_S
from models.detectors.decision import P_SUSPICIOUS

MAX_POINTS: Final = 1500
MAX_VALUES: Final = 30_000  # numbers in one answer
MIN_P: Final = 1e-9  # drawn no further: below this a p-value is extrapolation
_GAP_WINDOWS: Final = 4.0  # so many windows' time without one is a gap
_NORMAL_SIGMAS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Marks:
    """What is drawn over the plots beside the windows themselves."""

    alerts: Sequence[AssetAlert] = ()
    faults: Sequence[FaultBand] = ()


def read_scores(
    lake: Windows, tile: Tile, within: TimeRange, marks: Marks, kind: Kind | None = None, feature: str = ""
) -> dict[str, Any]:
    """The asset's windows, oldest first, JSON-able.

    `from`, `to`: what was looked at, Unix s. `t`: end of window, Unix s. `decades`: -log10 of the deciding detector's p-value,
    0..9, None = not judged. `threshold`: decades from which a window is suspicious. `alerts`, `faults`: with `from`, `to` in
    Unix s, `to` None while open. `learning`: [[from, to], …] of commissioning; `unjudged`: of windows without a verdict, and of
    those that commissioning did not count. `channels`: see `_channels`; `feature`: what of
    each window they show, `features`:
    [name, words] of what else could be.
    """
    chosen = kind.feature_or_default(feature) if kind else ""
    shown = kind.channels_with(chosen) if kind else ()
    wanted = Wanted(kind.spec_hash, kind.n_features, [kind.position(each.name, chosen) for each in shown]) if kind else None
    windows = read_windows(lake, tile, within, wanted)
    n_points = max(200, min(MAX_POINTS, MAX_VALUES // (1 + 3 * len(shown))))
    starts = group_starts(len(windows), n_points)
    t, keep = with_gaps(windows.ends_s[_group_ends(starts, len(windows))])
    unusual = decades(np.where(windows.learning, np.nan, windows.p))
    seen = np.isfinite(windows.features).any()
    return {
        "from": windows.range.from_ns / NS_PER_S,
        "to": windows.range.to_ns / NS_PER_S,
        "t": t.tolist(),
        "decades": numbers(spread(np.fmax.reduceat(unusual, starts) if len(windows) else unusual, keep), 3),
        "threshold": float(decades(np.array([P_SUSPICIOUS]))[0]),
        "alerts": [_alert(alert) for alert in marks.alerts],
        "faults": [_fault(fault) for fault in marks.faults],
        "learning": _runs(windows.ends_s, windows.learning),
        "unjudged": _stretches(windows.ends_s, windows.partial | (np.isnan(windows.p) & ~windows.learning)),
        "feature": chosen if seen else "",
        "features": [[name, kind.measure(name)] for name in kind.features] if kind and seen else [],
        "channels": _channels(kind, chosen, windows, starts, keep) if kind and seen else [],
    }


def _channels(
    kind: Kind, feature: str, windows: AssetWindows, starts: NDArray[np.intp], keep: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """`low`, `high`: of the windows that were drawn as one, None where each is drawn by itself. `normal`: [from, to] in which
    the feature lay while commissioning (three scales on either side), None = not known."""
    found = []
    for at, channel in enumerate(kind.channels_with(feature)):
        values = windows.features[:, at]
        thinned = len(starts) < len(values)
        found.append(
            {
                "name": channel.name,
                "unit": kind.unit_of(channel, feature),
                "mean": numbers(spread(_means(values, starts), keep)),
                "low": numbers(spread(np.fmin.reduceat(values, starts), keep)) if thinned else None,
                "high": numbers(spread(np.fmax.reduceat(values, starts), keep)) if thinned else None,
                "normal": _normal(kind, channel.name, feature),
            }
        )
    return found


def _normal(kind: Kind, channel: str, feature: str) -> list[float] | None:
    known = kind.normal_of(channel, feature)
    if known is None:
        return None
    return [known[0] - _NORMAL_SIGMAS * known[1], known[0] + _NORMAL_SIGMAS * known[1]]


def decades(p: Floats) -> Floats:
    """-log10 of p-values, 0..9; NaN stays NaN."""
    return np.asarray(-np.log10(np.clip(p, MIN_P, 1.0)) + 0.0)


def group_starts(n: int, n_groups: int) -> NDArray[np.intp]:
    """Where each of at most `n_groups` runs of neighbours begins, of n values."""
    return np.arange(n) if n <= n_groups else np.linspace(0, n, n_groups, endpoint=False).astype(np.intp)


def _group_ends(starts: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    return np.append(starts[1:], n)[: len(starts)] - 1


def with_gaps(t: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Times with one more in each span that has none for much longer than usual, and which of them were there before."""
    if len(t) < 3:
        return t, np.ones(len(t), bool)
    steps = np.diff(t)
    before = np.flatnonzero(steps > _GAP_WINDOWS * np.median(steps)) + 1
    return np.insert(t, before, t[before] - steps[before - 1] / 2), np.insert(np.ones(len(t), bool), before, False)


def spread(values: Floats, keep: NDArray[np.bool_]) -> Floats:
    """The values at the places that were there before, NaN at those that stand for a gap."""
    found = np.full(len(keep), np.nan)
    found[keep] = values
    return found


def numbers(values: Floats, digits: int | None = None) -> list[float | None]:
    """JSON has no NaN. `digits` after the point, or six that count."""
    if digits is not None:
        return [None if np.isnan(value) else value for value in values.round(digits).tolist()]
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


def _means(values: Floats, starts: NDArray[np.intp]) -> Floats:
    there = np.isfinite(values)
    n = np.add.reduceat(there.astype(np.float64), starts)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.add.reduceat(np.where(there, values, 0.0), starts) / np.where(n > 0, n, np.nan))


def _alert(alert: AssetAlert) -> dict[str, Any]:
    return {
        "id": alert.alert_id,
        "from": alert.opened_ns / NS_PER_S,
        "to": alert.closed_ns and alert.closed_ns / NS_PER_S,
        "severity": alert.severity,
        "top": [[share.channel, share.share] for share in alert.top],
    }


def _fault(fault: FaultBand) -> dict[str, Any]:
    return {
        "from": fault.opened_ns / NS_PER_S,
        "to": fault.closed_ns and fault.closed_ns / NS_PER_S,
        "channel": fault.channel,
        "fault": fault.fault,
    }


def _runs(t: Floats, marked: NDArray[np.bool_]) -> list[list[float]]:
    """The spans [first, last] over which the mark is set."""
    edges = np.diff(np.concatenate([[0], marked.astype(np.int8), [0]]))
    firsts, lasts = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return [[float(t[first]), float(t[last])] for first, last in zip(firsts, lasts, strict=True)]


def _stretches(t: Floats, marked: NDArray[np.bool_]) -> list[list[float]]:
    """The spans over which the mark is set, each from the beginning of its first window."""
    step = float(np.median(np.diff(t))) if len(t) > 1 else 0.0
    return [[first - step, last] for first, last in _runs(t, marked)]
