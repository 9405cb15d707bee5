"""Which rule acts on which event, and what holds it back. Pure: times are arguments.

For each rule that an event matches, one decision, by the first of these that holds:

    suppressed   commissioning   the asset is still learning its normal; for a fault of a whole source: any asset is. An alert
                                 by a single reading does not rest on that normal, and is not held back
    suppressed   too old         it happened longer than `max_age_s` ago, by a clock that is known to be right
    suppressed   interlock       the rule has acted within `min_interval_s`
    suppressed   rate limit      it has acted `max_per_hour` times within the last sixty minutes
    dry_run      the rule says so
    act

Invariants:
1. Between two decisions to act of one rule (per asset where the rule counts so) there are at least `min_interval_s`.
2. In any span of an hour a rule acts at most `max_per_hour` times: the times are kept, not an average rate.
3. A dry run counts like the action itself, so that it shows what would have happened. What was suppressed counts nothing.
4. All of this survives a restart. After a reboot nobody knows how long the device was off: then as if it had been no time.
5. Memory is bounded: `max_per_hour` times a rule, and one time an asset.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from agent.actions.config import ActionRule
from agent.actions.event import Event
from models.contract.clock import NS_PER_S
from models.contract.items import STREAMING, Action

_HOUR_NS: Final = 3600 * NS_PER_S
Verdict = Literal["act", "dry_run", "suppressed"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What `rule` does about `event`. `reason`: why it is suppressed."""

    rule: str
    event: Event
    verdict: Verdict
    reason: str = ""


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule must not forget. `acted_ns`: monotonic times of the boot `boot_id`, oldest first. `last_ns`: the latest,
    by asset where the rule counts so, else under "". `begun`: an action that has no record yet, as it is to be recorded where
    nobody comes back from it."""

    boot_id: str
    acted_ns: list[int] = []
    last_ns: dict[str, int] = {}
    begun: Action | None = None


class RuleBook:
    """Some rules. Called from one thread only; `now_ns` is monotonic and never goes back."""

    def __init__(self, rules: Sequence[ActionRule]) -> None:
        self._rules = {rule.name: rule for rule in rules}
        self._acted: dict[str, deque[int]] = {rule.name: deque(maxlen=rule.max_per_hour) for rule in rules}
        self._last: dict[str, dict[str, int]] = {rule.name: {} for rule in rules}

    def decide(self, event: Event, commissioning: Collection[str], now_ns: int, wall_ns: int | None = None) -> list[Decision]:
        """One decision for each rule that matches, in the order of the configuration. `wall_ns`: Unix time; None where the
        clock is not known to be right, and then nothing is too old."""
        matching = [rule for rule in self._rules.values() if matches(rule, event)]
        return [self._decide(rule, event, _early_hindrance(rule, event, commissioning, wall_ns), now_ns) for rule in matching]

    def _decide(self, rule: ActionRule, event: Event, hindrance: str, now_ns: int) -> Decision:
        reason = hindrance or self._own_hindrance(rule, event, now_ns)
        if reason:
            return Decision(rule.name, event, "suppressed", reason)
        self._acted[rule.name].append(now_ns)
        self._last[rule.name][_counted_by(rule, event)] = now_ns
        return Decision(rule.name, event, "dry_run" if rule.dry_run else "act")

    def _own_hindrance(self, rule: ActionRule, event: Event, now_ns: int) -> str:
        """What the rule's own past says against it."""
        last_ns = self._last[rule.name].get(_counted_by(rule, event))
        if last_ns is not None and now_ns - last_ns < rule.min_interval_s * NS_PER_S:
            return f"interlock: acted {(now_ns - last_ns) / NS_PER_S:.1f} s ago, min_interval_s is {rule.min_interval_s:g}"
        acted = self._acted[rule.name]
        if len(acted) == rule.max_per_hour and now_ns - acted[0] < _HOUR_NS:
            return f"rate limit: acted {rule.max_per_hour} times within the hour"
        return ""

    def past(self, rule: str, boot_id: str) -> Past:
        """What to keep of `rule` for after a restart."""
        return Past(boot_id=boot_id, acted_ns=list(self._acted[rule]), last_ns=dict(self._last[rule]))

    def restore(self, rule: str, past: Past, boot_id: str, now_ns: int) -> None:
        """Go on from `past`. Times of another boot, or of the future, are moved so that the newest is now."""
        newest = max([*past.acted_ns, *past.last_ns.values()], default=now_ns)
        shift = now_ns - newest if past.boot_id != boot_id or newest > now_ns else 0
        self._acted[rule].extend(sorted(at + shift for at in past.acted_ns))
        self._last[rule].update({key: at + shift for key, at in past.last_ns.items()})


def matches(rule: ActionRule, event: Event) -> bool:
    """Whether `event` is what `rule` is about. An alert that worsens is new only to a rule that did not care for it before."""
    return (
        event.kind == rule.on
        and event.edge in rule.when
        and (event.severity == "critical" if rule.severity == "critical" else not event.worsened)
        and (not rule.assets or event.asset in rule.assets)
        and (not rule.faults or event.fault in rule.faults)
    )


def _early_hindrance(rule: ActionRule, event: Event, commissioning: Collection[str], wall_ns: int | None) -> str:
    """What the event itself says against acting on it."""
    if event.detector == STREAMING:
        commissioning = ()
    if event.asset in commissioning or (not event.asset and commissioning):
        return f"commissioning: {event.asset or ', '.join(sorted(commissioning))} is still learning its normal"[:500]
    age_s = (wall_ns - event.at_ns) / NS_PER_S if wall_ns is not None else 0.0
    if rule.max_age_s is not None and age_s > rule.max_age_s:
        return f"too old: of {age_s:.0f} s ago, max_age_s is {rule.max_age_s:g}"
    return ""


def _counted_by(rule: ActionRule, event: Event) -> str:
    return event.asset if rule.per == "asset" else ""
