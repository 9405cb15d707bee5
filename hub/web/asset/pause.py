"""Whether an asset's newest windows were left unjudged, since when, and what of its profile explains that: inferred.

A device marks such windows `partial` and sends no scores with them; why, it does not say. Where the hub has the profile, the
channel by which the machine tells that it runs is shown beside the value from which it does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hub.web.asset.changes import figure
from hub.web.asset.kinds import Kind
from hub.web.asset.lake_windows import AssetWindows
from hub.web.words import NS_PER_S


@dataclass(frozen=True, slots=True)
class Pause:
    """`since_ns`: end of the last window that counted, None = none of those that were looked at did. `at_rest`: whether the
    channel that tells is so low; False = it is as high as while the machine runs, which has just started, then; None = the hub
    cannot say. `channel`: that one, "" = not known; `now`: its latest level, `runs_from`: at which it runs, with units."""

    since_ns: int | None
    at_rest: bool | None = None
    channel: str = ""
    now: str = ""
    runs_from: str = ""


def read_pause(kind: Kind, windows: AssetWindows) -> Pause | None:
    """None where the newest window counts, or is cut short only by itself: a clock that jumped is no pause."""
    counted = np.flatnonzero(~windows.partial)
    n_paused = len(windows) - (int(counted[-1]) + 1 if len(counted) else 0)
    if n_paused < 2 or kind.profile.running is None:
        return None
    since_ns = int(windows.ends_s[counted[-1]] * NS_PER_S) if len(counted) else None
    plan = kind.profile.running
    level = _level(kind, windows, plan.channel)
    if level is None:
        return Pause(since_ns)
    unit = kind.unit(plan.channel)
    told = [f"{figure(value)} {unit}".strip() for value in (level, plan.above)]
    at_rest = True if level < plan.lower else False if level >= plan.above else None  # in between it does as it did
    return Pause(since_ns, at_rest, plan.channel, *told)


def _level(kind: Kind, windows: AssetWindows, channel: str) -> float | None:
    """Of the channel in the newest window; None where windows do not hold it."""
    feature = next((each for each in ("mean", "last") if each in kind.features), None)
    if feature is None:
        return None
    value = float(windows.features[-1, kind.position(channel, feature)])
    return value if np.isfinite(value) else None
