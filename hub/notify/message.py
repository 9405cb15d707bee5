"""What a message says, as text for people and as a document for programs. Pure.

Names come from devices: whatever would break a line or be obeyed by a terminal is replaced before it gets into a text.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from hub.notify.plan import RECOVERED, WORSE, Member, Situation
from hub.terminal import plain

MAX_ALERTS: Final = 20  # of an incident that are told one by one
TEST: Final = "test"
NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Message:
    """`delivery`: the same however often it is tried, so that who receives can tell a repetition. `document`: JSON."""

    delivery: str
    subject: str
    text: str
    document: dict[str, Any]


def message(delivery: str, step: str, rule: str, situation: Situation, hub_url: str) -> Message:
    members, first = situation.members, situation.members[0]
    n_open = sum(member.closed_ns is None for member in members)
    severity = "critical" if situation.is_critical else "warning"
    place = first.device_id if len({member.device_id for member in members}) == 1 else first.site
    what = first.asset if len(members) == 1 else f"{len(members)} alerts together"
    subject = plain(f"{_word(step, severity)}: {place or 'no site'}: {what}")
    link = f"{hub_url}/alerts?" + urlencode({"q": place, **({"tab": "closed"} if step == RECOVERED else {})}) if hub_url else ""
    told = [_line(situation, n) for n in range(min(len(members), MAX_ALERTS))]
    if len(members) > MAX_ALERTS:
        told.append(f"and {len(members) - MAX_ALERTS} more")
    text = "\n".join([subject, "", *told, *(["", link] if link else [])])
    document = {
        "delivery": delivery,
        "step": step,
        "rule": rule,
        "incident": situation.incident,
        "severity": severity,
        "place": place,
        "opened_ns": first.opened_ns,
        "n_alerts": len(members),
        "n_open": n_open,
        "acknowledged_by": situation.taken_by,
        "alerts": [_alert(situation, n) for n in range(min(len(members), MAX_ALERTS))],
        "text": text,
        "url": link,
    }
    return Message(delivery, subject, text, document)


def trial_message(delivery: str, target: str, hub_id: str) -> Message:
    """So that somebody may see that messages arrive."""
    subject = f"test: hub {hub_id} reaches {target}"
    text = f"{subject}\n\nNothing has happened. Incidents are told like this."
    return Message(delivery, subject, text, {"delivery": delivery, "step": TEST, "hub": hub_id, "text": text})


def _word(step: str, severity: str) -> str:
    if step == RECOVERED:
        return "recovered"
    if step.startswith("escalation"):
        return f"{severity}, nobody is on it"
    return f"now {severity}" if step == WORSE else severity


def _line(situation: Situation, n: int) -> str:
    member = situation.members[n]
    channels = ", ".join(channel for channel, _ in member.top[:3])
    end = f", closed {_clock(member.closed_ns)}" if member.closed_ns is not None else ""
    where = f"{member.asset} on {member.device_id}" + (f" ({member.site})" if member.site else "")
    what = f"{channels}, {member.detail}" if member.detail else channels
    return plain(f"- {where}: {member.severity} since {_clock(member.opened_ns)}{end}, p = {member.p_value:.2g}: {what}")


def _alert(situation: Situation, n: int) -> dict[str, Any]:
    """All that is known of it, but who has it in hand: that is told of the incident."""
    return {
        field.name: getattr(situation.members[n], field.name) for field in fields(Member) if field.name != "acknowledged_by"
    }


def _clock(at_ns: int) -> str:
    try:
        return datetime.fromtimestamp(at_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "an unknown time"
