"""What really goes over a broker, against Home Assistant's documented schema; and that it refuses what is not so."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.actions.config import HomeAssistantConfig
from agent.actions.home_assistant import ShownState, discovery, unique_id
from agent.actions.home_assistant_link import HomeAssistantLink
from firmware_sim.links.broker import Broker
from tests import builders
from tests.actions.conftest import Listener, alert
from tests.actions.home_assistant_schema import BinarySensor, Sensor, read_discovery, shown_by
from tests.actions.test_home_assistant import window
from tests.agent.agent_process import CONFIG, AgentProcess
from tests.agent.conftest import empty_outbox  # noqa: F401  # a fixture
from tests.waiting import wait_until


def test_a_real_agent_introduces_its_asset_as_documented(
    broker: Broker,
    listen: Callable[[], Listener],
    tmp_path: Path,
    empty_outbox: Path,  # noqa: F811
) -> None:
    agent = AgentProcess(tmp_path, empty_outbox, f"{CONFIG}\n[home_assistant]\nport = {broker.port}\n")
    topic = f"homeassistant/device/{unique_id('dev-1', 'here')}/config"
    try:
        listener = listen()  # before the agent: the first state that it hears is the first that is told
        agent.start()
        kept = (topic, "tocsin/dev-1/here/state", "tocsin/dev-1/availability")
        wait_until(lambda: all(map(listener.payloads, kept)), what="all that is retained")
        found = read_discovery(topic, listener.payloads(topic)[0])
        assert (found.device.name, found.device.serial_number) == ("here", "dev-1/here")
        assert found.state_topic == "tocsin/dev-1/here/state"
        [availability] = found.availability
        assert listener.payloads(availability.topic)[-1] == availability.payload_available.encode()
        for component in found.components.values():
            assert shown_by(component, listener.payloads(found.state_topic)[0]) is None, "nothing has been heard yet"
    finally:
        agent.close()
    wait_until(
        lambda: listener.payloads(availability.topic)[-1] == availability.payload_not_available.encode(), what="the last will"
    )


def test_every_state_on_the_broker_means_something_to_every_entity(
    broker: Broker, listen: Callable[[], Listener], tmp_path: Path
) -> None:
    link = HomeAssistantLink(HomeAssistantConfig(port=broker.port), tmp_path, "gw-1", {"rig-1": builders.rig()}, "1.2")
    listener = listen()
    link.start()
    try:
        topic = f"homeassistant/device/{unique_id('gw-1', 'rig-1')}/config"
        state_topic = "tocsin/gw-1/rig-1/state"
        wait_until(lambda: listener.payloads(topic) and listener.payloads(state_topic), what="the discovery and a first state")
        found = read_discovery(topic, listener.payloads(topic)[0])
        seen = []
        for bodies in (
            [window(p_value=None)],
            [window(1, p_value=0.1)],
            [alert(severity="critical"), window(2, 1e-9, alarm=True)],
        ):
            before = len(listener.payloads(state_topic))
            link.notice(bodies, time.monotonic_ns())
            wait_until(lambda: len(listener.payloads(state_topic)) > before, what="a state")  # noqa: B023
            state = listener.payloads(state_topic)[-1]
            seen.append([shown_by(found.components[name], state) for name in ("score", "problem", "connectivity")])
    finally:
        link.stop()
    assert seen == [[None, False, True], [1.0, False, True], [9.0, True, True]]


# --- the schema itself --------------------------------------------------------------------------------------------


def introduced() -> tuple[str, dict[str, Any]]:
    topic, payload = discovery(HomeAssistantConfig(), "gw-1", "pump-1", builders.rig(), "1.2")
    return topic, copy.deepcopy(payload)


def test_both_platforms_are_there_and_no_third() -> None:
    found = read_discovery(introduced()[0], msgspec.json.encode(introduced()[1]))
    assert {type(component) for component in found.components.values()} == {Sensor, BinarySensor}


@pytest.mark.parametrize(
    ("path", "value"),
    [(("device", "identifiers"), []), (("device", "colour"), "red"), (("origin",), None), (("origin", "name"), ""),
     (("availability", 0, "topic"), "tocsin/+/availability"), (("availability_topic",), "also"), (("qos",), 3),
     (("state_topic",), None), (("components",), {}), (("components", "score", "platform"), "senser"),
     (("components", "score", "unique_id"), None), (("components", "score", "state_class"), "mean"),
     (("components", "score", "icon"), "chart"), (("components", "score", "entity_category"), "config"),
     (("components", "score", "expire_after"), -1), (("components", "score", "payload_on"), "1"),
     (("components", "problem", "device_class"), "trouble"), (("components", "problem", "state_class"), "measurement"),
     (("components", "connectivity", "unique_id"), f"{unique_id('gw-1', 'pump-1')}-problem")],
)  # fmt: skip
def test_what_is_not_documented_is_refused(path: tuple[str | int, ...], value: object) -> None:
    topic, payload = introduced()
    at: Any = payload
    for step in path[:-1]:
        at = at[step]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    with pytest.raises((ValueError, msgspec.ValidationError)):
        read_discovery(topic, json.dumps(payload).encode())


@pytest.mark.parametrize(
    "topic", ["homeassistant/sensor/x/config", "homeassistant/device/a.b/config", "homeassistant/device/x"]
)
def test_another_topic_is_no_device_discovery(topic: str) -> None:
    with pytest.raises(ValueError, match="no topic"):
        read_discovery(topic, msgspec.json.encode(introduced()[1]))


def test_a_state_that_means_nothing_would_be_noticed() -> None:
    found = read_discovery(introduced()[0], msgspec.json.encode(introduced()[1]))
    state = json.loads(msgspec.json.encode(ShownState(problem="ON")))
    assert shown_by(found.components["problem"], json.dumps(state).encode()) is True
    with pytest.raises(ValueError, match="neither on nor off"):
        shown_by(found.components["problem"], json.dumps({**state, "problem": "yes"}).encode())
    with pytest.raises(ValueError, match="could not convert"):
        shown_by(found.components["score"], json.dumps({**state, "score": "high"}).encode())
