"""What is to be told of an incident, to whom, by now. Pure: rules, what is known of the incident, what was told, and the time.

    opened ──> worse (a warning that has become critical) ──> escalation-1, -2, … (nobody is on it) ──> recovered

1. A step goes to a target once: what was decided before is given in `told`, and never decided again.
2. Nothing is decided in quiet hours; when they end, what is open then is told, and what has closed meanwhile is not.
3. An escalation counts from when the incident was first told, not from when it began: nobody could have acknowledged sooner.
4. Recovery is told to those who were told of the incident, and to nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from hub.notify.config import Quiet, Rule

NS_PER_S: Final = 1_000_000_000
OPENED: Final = "opened"
WORSE: Final = "worse"
RECOVERED: Final = "recovered"
_FIRST_WAIT_S: Final = 15
_LONGEST_WAIT_S: Final = 1800
_HOUR_NS: Final = 3600 * NS_PER_S
StepKey = tuple[str, str]  # step, target


@dataclass(frozen=True, slots=True)
class Member:
    """An alert of an incident, as far as telling depends on it."""

    device_id: str
    alert_id: str
    asset: str
    profile: str
    site: str
    severity: str
    opened_ns: int
    closed_ns: int | None
    p_value: float
    top: tuple[tuple[str, float], ...]
    acknowledged_by: str | None
    detail: str = ""  # in the device's words, where there is more to say than channels


@dataclass(frozen=True, slots=True)
class Situation:
    """An incident as it stands. `noticed_ns`: when the hub first knew of it; `members`: at least one, by when they opened."""

    incident: str
    noticed_ns: int
    members: tuple[Member, ...]

    @property
    def is_over(self) -> bool:
        return all(member.closed_ns is not None for member in self.members)

    @property
    def is_critical(self) -> bool:
        return any(member.severity == "critical" for member in self.members)

    @property
    def taken_by(self) -> str | None:
        """Who has acknowledged one of its alerts."""
        return next((member.acknowledged_by for member in self.members if member.acknowledged_by), None)


@dataclass(frozen=True, slots=True)
class Told:
    """A step that was decided. `critical`: what the incident was then. `state`: waiting, sent, dropped, failed."""

    at_ns: int
    critical: bool
    state: str


def concerns(rule: Rule, situation: Situation) -> bool:
    """Whether one of its alerts passes all of the rule's filters."""
    return any(
        (not rule.severities or member.severity in rule.severities)
        and (not rule.sites or member.site in rule.sites)
        and (not rule.profiles or member.profile in rule.profiles)
        for member in situation.members
    )


def due(
    rule: Rule, situation: Situation, told: Mapping[StepKey, Told], *, gather_s: float, over_since_ns: int | None, now_ns: int
) -> list[StepKey]:
    """The steps of this rule that are due and were not decided before. `over_since_ns`: when the hub first saw that nothing of
    it is open any more, None while something is."""
    if not concerns(rule, situation) or _hushed(rule.quiet, situation, now_ns):
        return []
    gathered_ns = int(gather_s * NS_PER_S)
    if situation.is_over:
        over = over_since_ns is not None and now_ns >= over_since_ns + gathered_ns
        heard = sorted({target for (step, target), was in told.items() if step != RECOVERED and was.state == "sent"})
        wanted = [(RECOVERED, target) for target in heard] if rule.recovered and over else []
        return [step for step in wanted if step not in told]
    wanted = [(OPENED, target) for target in rule.to] if now_ns >= situation.noticed_ns + gathered_ns else []
    first = {target: told[OPENED, target] for target in rule.to if (OPENED, target) in told}
    if situation.is_critical:
        wanted += [(WORSE, target) for target, was in first.items() if not was.critical and was.state == "sent"]
    if situation.taken_by is None and first:
        begun_ns = min(was.at_ns for was in first.values())
        for number, step in enumerate(rule.escalate, 1):
            if now_ns >= begun_ns + int(step.after_min * 60 * NS_PER_S):
                wanted += [(f"escalation-{number}", target) for target in step.to]
    return [step for step in wanted if step not in told]


def pointless(step: str, situation: Situation) -> str:
    """Why a step that was decided need not be told any more; "" where it must be."""
    if step != RECOVERED and situation.is_over:
        return "over before it could be told"
    if step.startswith("escalation") and situation.taken_by is not None:
        return "acknowledged before it could be told"
    if step == RECOVERED and not situation.is_over:
        return "rings again"
    return ""


def is_quiet(quiet: Quiet, now_ns: int) -> bool:
    """Whether it is between `start` and `end` by the clocks of the zone: those on the wall, whatever summer time does."""
    here = datetime.fromtimestamp(now_ns // NS_PER_S, UTC).astimezone(ZoneInfo(quiet.zone)).strftime("%H:%M")
    if quiet.start < quiet.end:
        return quiet.start <= here < quiet.end
    return here >= quiet.start or here < quiet.end


def retry_after_ns(n_attempts: int) -> int:
    """How long after its `n_attempts`-th failure a delivery is tried again: 15 s, doubling up to half an hour."""
    doubled: int = _FIRST_WAIT_S << min(n_attempts - 1, 20)
    return min(doubled, _LONGEST_WAIT_S) * NS_PER_S


def free_at_ns(sent_ns: Sequence[int], per_hour: int, now_ns: int) -> int:
    """When a target that got messages at `sent_ns` may get the next one: now, or when enough of them are an hour old."""
    lately = sorted(at_ns for at_ns in sent_ns if at_ns > now_ns - _HOUR_NS)
    return now_ns if len(lately) < per_hour else lately[len(lately) - per_hour] + _HOUR_NS


def _hushed(quiet: Quiet | None, situation: Situation, now_ns: int) -> bool:
    if quiet is None or (situation.is_critical and quiet.critical_passes):
        return False
    return is_quiet(quiet, now_ns)
