"""Rules as a person reads them back, to see whether they say what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.actions.config import ActionRule


def rule_lines(rules: Sequence[ActionRule]) -> Iterator[str]:
    """One line a rule."""
    for rule in rules:
        yield f"action {rule.name}: {_cause(rule)} -> {_effect(rule)}; {_limits(rule)}{', DRY RUN' if rule.dry_run else ''}"


def _cause(rule: ActionRule) -> str:
    what = "alert" if rule.on == "alert" else f"{' or '.join(rule.faults)} sensor fault" if rule.faults else "sensor fault"
    severity = "critical " if rule.severity == "critical" else ""
    return f"{severity}{what} {' or '.join(rule.when)} of {', '.join(rule.assets) or 'any asset'}"


def _effect(rule: ActionRule) -> str:
    if rule.mqtt is not None:
        return f"mqtt {rule.mqtt.host}:{rule.mqtt.port} {rule.mqtt.topic}"
    if rule.serial is not None:
        return f"serial {rule.serial.port} {rule.serial.command!r}"
    if rule.webhook is not None:
        return f"webhook {rule.webhook.url.split('?')[0]}{', signed' if rule.webhook.secret_file else ''}"
    assert rule.program is not None  # ActionRule sees to it
    return f"program {' '.join(rule.program.command)}"


def _limits(rule: ActionRule) -> str:
    per = " for each asset" if rule.per == "asset" else ""
    age = f", not after {rule.max_age_s:g} s" if rule.max_age_s is not None else ""
    return f"never twice within {rule.min_interval_s:g} s{per}, at most {rule.max_per_hour} an hour{age}"
