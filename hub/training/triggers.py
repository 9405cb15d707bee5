"""When a profile is trained anew without anybody asking for it. Pure.

    schedule   the latest run began so long ago
    drift      so large a share of its assets has moved away from its normal since the latest trigger
    feedback   so many alerts have been judged by operators since the latest run

Each is off until its setting is above 0. So that nothing trains for ever:
1. After a run has begun, by whomever and however it ended, nothing is due for `rest_h`.
2. Drift is measured against what it was at the latest trigger, or the least since: a share that stays where it was starts
   nothing, and one that has gone and comes again does.
3. Feedback counts from the latest run on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from models.contract.clock import NS_PER_S

TriggerName = Literal["schedule", "drift", "feedback"]
_NS_PER_H: Final = 3600 * NS_PER_S
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class TriggerSettings:
    """0 = off. `every_h`: hours. `drift_share`: of the assets that were looked at. `n_feedback`: alerts. `rest_h`: hours."""

    every_h: float = 0.0
    drift_share: float = 0.0
    n_feedback: int = 0
    rest_h: float = 24.0

    @property
    def any_on(self) -> bool:
        return bool(self.every_h or self.drift_share or self.n_feedback)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a profile. `last_run_ns`: when its latest run began; None = never. `n_assets`: with enough windows to
    tell; `n_drifted`: of those. `drift_before`: the least share since the latest trigger. `n_feedback`: alerts judged since
    the latest run."""

    profile: str
    last_run_ns: int | None = None
    n_assets: int = 0
    n_drifted: int = 0
    drift_before: float = 0.0
    n_feedback: int = 0

    @property
    def drift_share(self) -> float:
        return self.n_drifted / self.n_assets if self.n_assets else 0.0


@dataclass(frozen=True, slots=True)
class Due:
    """A run that is due, and why, for people."""

    name: TriggerName
    reason: str


def due(settings: TriggerSettings, facts: Facts, now_ns: int) -> Due | None:
    """What asks for a run of this profile now; None where nothing does."""
    since_h = None if facts.last_run_ns is None else (now_ns - facts.last_run_ns) / _NS_PER_H
    if since_h is not None and since_h < settings.rest_h:
        return None
    if settings.n_feedback and facts.n_feedback >= settings.n_feedback:
        return Due("feedback", f"{facts.n_feedback} alerts were judged since the latest run; {settings.n_feedback} are enough")
    grown = facts.drift_share - facts.drift_before
    if settings.drift_share and facts.n_assets and grown >= settings.drift_share - _ROUNDING:
        told = f"{facts.n_drifted} of {facts.n_assets} assets have moved from their normal"
        return Due("drift", f"{told}, {grown:.0%} more than before; {settings.drift_share:.0%} are enough")
    if settings.every_h and (since_h is None or since_h >= settings.every_h):
        told = "it was never trained" if since_h is None else f"the latest run began {since_h:.0f} h ago"
        return Due("schedule", f"{told}; it is due every {settings.every_h:g} h")
    return None
