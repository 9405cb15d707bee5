"""Firing a rule by hand, to see that the siren is wired before it is needed."""

from __future__ import annotations

import time

from agent.actions.config import ActionRule
from agent.actions.construct import make_actor
from agent.actions.event import Edge, Event, event_of
from agent.config import LoadedConfig
from models.contract.items import BASELINE, Alert, SensorFault
from models.contract.names import stable_id
from models.errors import ConfigError
from models.version import VERSION


def fire(loaded: LoadedConfig, name: str, asset: str | None, edge: Edge, really: bool) -> tuple[bool, str]:
    """(whether it went well, what was done or would have been). Raises ConfigError where there is no such rule or asset."""
    rule = next((rule for rule in loaded.config.actions if rule.name == name), None)
    if rule is None:
        known = ", ".join(rule.name for rule in loaded.config.actions) or "none so far: add [[actions]]"
        raise ConfigError(f"{loaded.path}: actions", f"one of the rules {known}; not {name!r}")
    if asset is not None and asset not in loaded.profiles:
        raise ConfigError(f"{loaded.path}: assets", f"one of {', '.join(loaded.profiles)}; not {asset!r}")
    chosen = asset or (rule.assets[0] if rule.assets else next(iter(loaded.profiles)))
    event = made_up(rule, loaded, chosen, edge, time.time_ns())
    actor = make_actor(rule, loaded, VERSION)
    if not really:
        return True, f"{name}: would {actor.preview(event)}"
    try:
        result = actor.act(event)
    finally:
        actor.close()
    return result.ok, f"{name}: {'done' if result.ok else 'failed'} {result.detail}".rstrip()


def made_up(rule: ActionRule, loaded: LoadedConfig, asset: str, edge: Edge, now_ns: int) -> Event:
    """An event that the rule would answer, with values that could be real."""
    profile = loaded.profiles[asset]
    channel = profile.channel_names[0]
    closed_ns = now_ns if edge == "closed" else None
    body: Alert | SensorFault
    if rule.on == "alert":
        body = Alert(
            alert_id=stable_id("test", asset, now_ns), asset=asset, profile=profile.name, detector=BASELINE,
            severity="critical", opened_ns=now_ns, closed_ns=closed_ns, p_value=1e-9, score=10.0, top=[(channel, 1.0)],
        )  # fmt: skip
    else:
        fault = rule.faults[0] if rule.faults else "stuck"
        body = SensorFault(
            fault_id=stable_id("test", asset, now_ns), source="", asset=asset, channel=channel, fault=fault,
            opened_ns=now_ns, closed_ns=closed_ns, detail="a test",
        )  # fmt: skip
    return event_of(body, loaded.config.device.id, test=True)
