"""What Home Assistant is told, by its MQTT discovery. Pure.

The discovery is device-based (https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload, 2024.12 or newer):

<discovery_prefix>/device/<id>/config      once a connection, retained: the device with its three entities
<topic_prefix>/<device>/availability       online, or offline: the broker says so when this agent is gone (last will)
<topic_prefix>/<device>/<asset>/state      retained, JSON; changes with each window

Anomaly score  sensor                      -log10 of the p-value: 1 = one window in ten is as odd, 6 = one in a million
Problem        binary_sensor, problem      on while an alert is open
Connectivity   binary_sensor, connectivity on while readings come; unavailable, as all of them, while the agent is gone
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import msgspec

from agent.actions.config import HomeAssistantConfig
from models.contract.items import Aggregate, Alert, Body
from models.contract.names import stable_id
from models.contract.profile import Profile

ONLINE: Final = b"online"
OFFLINE: Final = b"offline"
_MAX_SCORE: Final = 300.0  # about where a p-value leaves the range of a float


class ShownState(msgspec.Struct, frozen=True, kw_only=True):
    """One asset as Home Assistant sees it; None is "unknown" there. `score`: None while commissioning. `problem`, `connected`:
    None until something has been heard since the start, so that a restart neither clears a problem nor makes one."""

    score: float | None = None
    problem: Literal["ON", "OFF"] | None = None
    connected: Literal["ON", "OFF"] | None = None
    commissioning: bool = False
    severity: str = ""
    top: str = ""
    detector: str = ""
    faulty: str = ""


def fold(state: ShownState, body: Body) -> ShownState:
    """`state` after `body`, which is of the same asset; kinds that do not show leave it as it is."""
    if isinstance(body, Aggregate):
        deciding = body.scores[0] if body.scores else None
        return msgspec.structs.replace(
            state,
            score=score_of(deciding.p_value) if deciding else None,
            problem="ON" if body.alarm else "OFF",
            severity=state.severity if body.alarm else "",
            commissioning=body.commissioning,
            detector=deciding.detector if deciding else "",
            top=", ".join(body.top),
            faulty=", ".join(body.faulty),
        )
    if isinstance(body, Alert):
        is_open = body.closed_ns is None
        return msgspec.structs.replace(state, problem="ON" if is_open else "OFF", severity=body.severity if is_open else "")
    return state


def score_of(p_value: float | None) -> float | None:
    """-log10(p), >= 0, high = anomalous, to a tenth: comparable between detectors, which raw scores are not."""
    if p_value is None:
        return None
    return round(min(_MAX_SCORE, -math.log10(p_value)) if p_value > 0 else _MAX_SCORE, 1) + 0.0


def availability_topic(config: HomeAssistantConfig, device: str) -> str:
    return f"{config.topic_prefix}/{device}/availability"


def state_topic(config: HomeAssistantConfig, device: str, asset: str) -> str:
    return f"{config.topic_prefix}/{device}/{asset}/state"


def discovery(
    config: HomeAssistantConfig, device: str, asset: str, profile: Profile, version: str
) -> tuple[str, dict[str, Any]]:
    """(topic, payload) that makes `asset` a device in Home Assistant. Send it retained."""
    asset_id = unique_id(device, asset)
    origin = {"name": "Tocsin", "sw_version": version}
    payload = {
        "device": {
            "identifiers": [asset_id],
            "name": asset,
            "manufacturer": "Tocsin",
            "model": profile.title or profile.name,
            "sw_version": version,
            "serial_number": f"{device}/{asset}",
        },
        "origin": origin,
        "availability": [{"topic": availability_topic(config, device)}],
        "state_topic": state_topic(config, device, asset),
        "qos": 1,
        "components": _components(asset_id, state_topic(config, device, asset)),
    }
    return f"{config.discovery_prefix}/device/{asset_id}/config", payload


def unique_id(device: str, asset: str) -> str:
    """Distinct for distinct pairs, of letters, digits, `_` and `-`: more is not allowed in a discovery topic."""
    return stable_id(f"tocsin-{asset}", device, asset).replace(".", "_")


def _components(asset_id: str, attributes_topic: str) -> dict[str, dict[str, Any]]:
    return {
        "score": {
            "platform": "sensor",
            "unique_id": f"{asset_id}-score",
            "name": "Anomaly score",
            "icon": "mdi:chart-bell-curve",
            "state_class": "measurement",
            "suggested_display_precision": 1,
            "value_template": "{{ value_json.score }}",
            "json_attributes_topic": attributes_topic,
        },
        "problem": {
            "platform": "binary_sensor",
            "unique_id": f"{asset_id}-problem",
            "name": "Problem",
            "device_class": "problem",
            "value_template": "{{ value_json.problem }}",
        },
        "connectivity": {
            "platform": "binary_sensor",
            "unique_id": f"{asset_id}-connectivity",
            "name": "Connectivity",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "value_template": "{{ value_json.connected }}",
        },
    }
