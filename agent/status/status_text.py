"""The status as a person reads it: the machines first, then what feeds them, then what leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from agent.status.words import MARKS, open_alerts, size, span, told_alert, unjudged

_DAY_S = 86_400.0
_OUTCOMES = ("done", "failed", "dry_run", "suppressed")


def status_lines(status: Mapping[str, Any]) -> Iterator[str]:
    """One line after the other; no colour, so that it reads the same in a log."""
    now_ns = status["now_ns"]
    up = f"up {span(status['uptime_s'])}, {size(status['rss_bytes'])} resident"
    yield f"{status['device']}  tocsin {status['version']}, {up}"
    yield ""
    for name, asset in status["assets"].items():
        yield _asset_line(name, asset, now_ns)
        if readings := by_reading(asset):
            yield f"    {readings}"
    for fault in status["faults"]:
        since = span((now_ns - fault["since_ns"]) / 1e9)
        yield f"  ! {fault['where']}: {fault['fault']} for {since} {fault['detail']}".rstrip()
    yield ""
    for name, source in status["sources"].items():
        yield f"  source {name}: {source['link']} {source['detail']}".rstrip() + f", {source.get('readings', 0)} readings"
    yield from rest_lines(status)


def rest_lines(status: Mapping[str, Any]) -> Iterator[str]:
    """What stands below assets and sources: models, actions, what leaves and what does not."""
    for profile, slots in status["slots"].items():
        yield f"  model {profile}: active {slots['active'] or 'none, the baseline decides'}, shadow {slots['shadow'] or 'none'}"
    for bundle, reason in status["refused_bundles"].items():
        yield f"  ! refused {bundle}: {reason}"
    yield from _action_lines(status.get("actions") or {})
    if status.get("page"):
        yield f"  page: {status['page']}"
    yield from _outbox_lines(status, status["now_ns"])


def status_line(status: Mapping[str, Any]) -> str:
    """All of it in one line, for `systemctl status`: `2 normal, 1 alarm; 1 sensor fault; outbox 12 items, 3.4 kB`."""
    states = Counter(asset["state"] for asset in status["assets"].values())
    parts = [", ".join(f"{count} {state}" for state, count in sorted(states.items()))]
    if status["faults"]:
        parts.append(f"{len(status['faults'])} sensor fault{'s' if len(status['faults']) > 1 else ''}")
    parts.append(f"outbox {status['backlog_items']} items, {size(status['backlog_bytes'])}")
    if status.get("storage"):
        parts.append("cannot store")
    return "; ".join(parts)


def _asset_line(name: str, asset: Mapping[str, Any], now_ns: int) -> str:
    mark = MARKS.get(asset["state"], "?")
    told = asset["since_ns"] and asset["state"] != "silent"  # since when it is silent, its fault tells
    since = f" for {span((now_ns - asset['since_ns']) / 1e9)}" if told else ""
    learned = f"{asset.get('learns', 'windows')} {asset['commissioned']}"
    detail = f"p={asset['p_value']:.2g}" if asset["p_value"] is not None else learned
    if asset.get("rest"):
        detail = unjudged(asset["state"], asset["rest"], learned)
    for alert in open_alerts(asset):
        detail += f", {alert['severity']}: {told_alert(alert)}"
    drifted = "".join(f", {feature} drifted {spreads:+.1f} spreads" for feature, spreads in asset.get("drifted", [])[:1])
    return f"  {mark} {name} ({asset['profile']}): {asset['state']}{since}, {detail}{drifted}"


def by_reading(asset: Mapping[str, Any]) -> str:
    """Which channels are watched reading by reading, and how far those are that are not judged yet."""
    told = [channel if _is_done(learned) else f"{channel} {learned} readings learned"
            for channel, learned in (asset.get("streaming") or {}).items()]  # fmt: skip
    return f"reading by reading: {', '.join(told)}" if told else ""


def _is_done(learned: str) -> bool:
    so_far, _, needed = learned.partition("/")
    return so_far == needed


def _action_lines(actions: Mapping[str, Any]) -> Iterator[str]:
    for name, rule in actions.get("rules", {}).items():
        counts = ", ".join(f"{rule[outcome]} {outcome.replace('_', ' ')}" for outcome in _OUTCOMES if rule.get(outcome))
        last = f"; last: {rule['last'][:120]}" if rule["last"] else ""
        yield f"  action {name} ({rule['actor']}): {counts or 'not called for yet'}{last}"
    if actions.get("home_assistant"):
        yield f"  home assistant: {actions['home_assistant']}"


def _outbox_lines(status: Mapping[str, Any], now_ns: int) -> Iterator[str]:
    survival = status["survival"]
    waiting = ", ".join(f"{lane} {each['items']}" for lane, each in survival["lanes"].items() if each["items"])
    yield f"  outbox: {status['backlog_items']} items, {size(status['backlog_bytes'])}" + (f" ({waiting})" if waiting else "")
    if status.get("storage"):
        yield f"  ! not stored: {status['held_items']} items in memory, {status['lost_items']} lost; {status['storage']}"
    for asset in status.get("lost_states", ()):
        yield f"  ! {asset}: what it had learned was damaged on disk and is lost"
    if survival["oldest"]:
        yield f"  oldest unsent: {survival['oldest']['kind'].replace('_', ' ')}, {span(survival['oldest']['age_s'])} old"
    yield from _alone_lines(survival)
    if status.get("clock_source") == "hub":
        yield "  clock: by the hub's time; no time server is heard"
    elif not status["clock_synced"]:
        yield "  ! clock: no time server has set it yet; times are provisional"
    yield from _hub_lines(status["hub"], now_ns)


def _alone_lines(survival: Mapping[str, Any]) -> Iterator[str]:
    """How long it lasts, and how long its card does."""
    over = "the last day" if survival["measured_s"] >= _DAY_S else f"the {span(survival['measured_s'])} since the start"
    if survival["days"] is not None:
        per_day = size(survival["bytes_per_day"])
        yield f"  without a hub: lasts {survival['days']:,g} days; {per_day} a day, as in {over}"
    flash = survival["flash"]
    if flash["agent_bytes_per_day"] is None:
        return
    by_all = flash["device_bytes_per_day"]
    everyone = f", {flash['disk']} gets {size(by_all)} in all" if by_all is not None else ""
    line = f"  flash: the agent writes {size(flash['agent_bytes_per_day'])} a day{everyone}"
    if flash["years"] is not None:
        line += f"; a new card of {flash['endurance_bytes'] / 1e12:g} TB lasts {flash['years']:,g} years"
    yield line


def _hub_lines(hub: Mapping[str, Any] | None, now_ns: int) -> Iterator[str]:
    if hub is None:
        yield "  hub: none configured"
        return
    last = f"last sync {span((now_ns - hub['last_sync_ns']) / 1e9)} ago" if hub["last_sync_ns"] else "not synced yet"
    checked_in = hub.get("checkin_age_s")
    last += f", last check-in {span(checked_in)} ago" if checked_in is not None else ""
    error = hub["sync_error"] or hub["checkin_error"] or hub["update_error"]
    yield f"  hub: {'enrolled' if hub['enrolled'] else 'not enrolled'}, {last}" + (f"; {error}" if error else "")
    if hub.get("rotating"):
        yield "  hub: a new key is made; the hub hears of it at the next contact"
    if hub["set_aside"]:
        yield f"  ! items that the hub refuses, set aside in the state directory's folder set-aside: {hub['set_aside']}"
