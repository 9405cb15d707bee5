"""The status as a person reads it: the machines first, then what feeds them, then what leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

_MARKS = {"normal": "●", "alarm": "▲", "commissioning": "◌", "silent": "○"}
_OUTCOMES = ("done", "failed", "dry_run", "suppressed")


def status_lines(status: Mapping[str, Any]) -> Iterator[str]:
    """One line after the other; no colour, so that it reads the same in a log."""
    now_ns = status["now_ns"]
    up = f"up {_span(status['uptime_s'])}, {_bytes(status['rss_bytes'])} resident"
    yield f"{status['device']}  tocsin {status['version']}, {up}"
    yield ""
    for name, asset in status["assets"].items():
        yield _asset_line(name, asset, now_ns)
    for fault in status["faults"]:
        since = _span((now_ns - fault["since_ns"]) / 1e9)
        yield f"  ! {fault['where']}: {fault['fault']} for {since} {fault['detail']}".rstrip()
    yield ""
    for name, source in status["sources"].items():
        yield f"  source {name}: {source['link']} {source['detail']}".rstrip() + f", {source.get('readings', 0)} readings"
    for profile, slots in status["slots"].items():
        yield f"  model {profile}: active {slots['active'] or 'none, the baseline decides'}, shadow {slots['shadow'] or 'none'}"
    for bundle, reason in status["refused_bundles"].items():
        yield f"  ! refused {bundle}: {reason}"
    yield from _action_lines(status.get("actions") or {})
    yield from _outbox_lines(status, now_ns)


def status_line(status: Mapping[str, Any]) -> str:
    """All of it in one line, for `systemctl status`: `2 normal, 1 alarm; 1 sensor fault; outbox 12 items, 3.4 kB`."""
    states = Counter(asset["state"] for asset in status["assets"].values())
    parts = [", ".join(f"{count} {state}" for state, count in sorted(states.items()))]
    if status["faults"]:
        parts.append(f"{len(status['faults'])} sensor fault{'s' if len(status['faults']) > 1 else ''}")
    parts.append(f"outbox {status['backlog_items']} items, {_bytes(status['backlog_bytes'])}")
    return "; ".join(parts)


def _asset_line(name: str, asset: Mapping[str, Any], now_ns: int) -> str:
    mark = _MARKS.get(asset["state"], "?")
    told = asset["since_ns"] and asset["state"] != "silent"  # since when it is silent, its fault tells
    since = f" since {_span((now_ns - asset['since_ns']) / 1e9)} ago" if told else ""
    detail = f"p={asset['p_value']:.2g}" if asset["p_value"] is not None else f"windows {asset['commissioned']}"
    if asset["alert"]:
        top = ", ".join(f"{channel} {share:.0%}" for channel, share in asset["alert"]["top"])
        detail += f", {asset['alert']['severity']}: {top}"
    drifted = "".join(f", {feature} drifted {spreads:+.1f} spreads" for feature, spreads in asset.get("drifted", [])[:1])
    return f"  {mark} {name} ({asset['profile']}): {asset['state']}{since}, {detail}{drifted}"


def _action_lines(actions: Mapping[str, Any]) -> Iterator[str]:
    for name, rule in actions.get("rules", {}).items():
        counts = ", ".join(f"{rule[outcome]} {outcome.replace('_', ' ')}" for outcome in _OUTCOMES if rule.get(outcome))
        last = f"; last: {rule['last'][:120]}" if rule["last"] else ""
        yield f"  action {name} ({rule['actor']}): {counts or 'not called for yet'}{last}"
    if actions.get("home_assistant"):
        yield f"  home assistant: {actions['home_assistant']}"


def _outbox_lines(status: Mapping[str, Any], now_ns: int) -> Iterator[str]:
    days = status["survival_days"]
    alone = f", survives {days:g} days alone" if days is not None else ""
    yield f"  outbox: {status['backlog_items']} items, {_bytes(status['backlog_bytes'])}{alone}"
    hub = status["hub"]
    if hub is None:
        yield "  hub: none configured"
        return
    last = f"last sync {_span((now_ns - hub['last_sync_ns']) / 1e9)} ago" if hub["last_sync_ns"] else "not synced yet"
    error = hub["sync_error"] or hub["checkin_error"]
    yield f"  hub: {'enrolled' if hub['enrolled'] else 'not enrolled'}, {last}" + (f"; {error}" if error else "")


def _span(seconds: float) -> str:
    """A duration in its two largest units."""
    s = max(0, round(seconds))
    for size, unit, next_size, next_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if s >= size:
            return f"{s // size} {unit} {s % size // next_size} {next_unit}"
    return f"{s} s"


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} GB"
