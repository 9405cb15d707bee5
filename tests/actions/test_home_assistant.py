"""Home Assistant: what it is told, against its documentation, and over a real broker."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from agent.actions.config import HomeAssistantConfig
from agent.actions.home_assistant import ShownState, availability_topic, discovery, fold, score_of, state_topic, unique_id
from agent.actions.home_assistant_link import HomeAssistantLink
from firmware_sim.links.broker import Broker, start_broker
from models.contract.items import Aggregate
from tests import builders
from tests.actions.conftest import Listener, alert
from tests.ports import own_port
from tests.waiting import wait_until

CONFIG = HomeAssistantConfig()
PLATFORM_KEYS = {  # what the documentation of sensor.mqtt and binary_sensor.mqtt lists, as far as it is used here
    "sensor": {"platform", "unique_id", "name", "icon", "state_class", "suggested_display_precision", "value_template",
               "json_attributes_topic", "device_class", "entity_category"},
    "binary_sensor": {"platform", "unique_id", "name", "device_class", "entity_category", "value_template"},
}  # fmt: skip


def window(n: int = 0, p_value: float | None = 1e-3, alarm: bool = False) -> Aggregate:
    score = builders.aggregate(n).scores[0]
    made: Aggregate = msgspec.structs.replace(
        builders.aggregate(n), alarm=alarm, scores=[msgspec.structs.replace(score, p_value=p_value)], top=["flow"]
    )
    return made


# --- what is said -------------------------------------------------------------------------------------------------


def test_the_discovery_is_as_home_assistant_documents_it() -> None:
    topic, payload = discovery(CONFIG, "gw-1", "pump-1", builders.rig(), "1.2")
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", topic)
    assert {"device", "origin", "components"} <= set(payload)
    assert payload["device"]["identifiers"] == [unique_id("gw-1", "pump-1")]
    assert (payload["device"]["name"], payload["device"]["model"]) == ("pump-1", "rig")
    assert payload["origin"] == {"name": "Tocsin", "sw_version": "1.2"}
    assert payload["availability"] == [{"topic": "tocsin/gw-1/availability"}]
    assert payload["state_topic"] == "tocsin/gw-1/pump-1/state"
    for component in payload["components"].values():
        assert set(component) <= PLATFORM_KEYS[component["platform"]]
    classes = {name: (c["platform"], c.get("device_class")) for name, c in payload["components"].items()}
    assert classes == {
        "score": ("sensor", None), "problem": ("binary_sensor", "problem"), "connectivity": ("binary_sensor", "connectivity")
    }  # fmt: skip


def test_every_template_finds_its_value_in_the_state() -> None:
    _, payload = discovery(CONFIG, "gw-1", "pump-1", builders.rig(), "1.2")
    state = json.loads(msgspec.json.encode(ShownState()))
    templates = [component["value_template"] for component in payload["components"].values()]
    assert [re.fullmatch(r"\{\{ value_json\.(\w+) \}\}", template)[1] in state for template in templates] == [True] * 3  # type: ignore[index]


def test_ids_are_legal_and_distinct_for_names_that_look_alike() -> None:
    pairs = [("gw", "a.b"), ("gw", "a_b"), ("gw-a", "b"), ("gw", "a-b"), ("g" * 64, "a" * 64), ("g" * 64, "a" * 63 + "b")]
    ids = {unique_id(*pair) for pair in pairs}
    assert len(ids) == len(pairs)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", made) for made in ids)


def test_the_prefixes_are_the_users() -> None:
    config = HomeAssistantConfig(discovery_prefix="ha/disc", topic_prefix="plant/edge")
    assert discovery(config, "gw", "p", builders.rig(), "1")[0].startswith("ha/disc/device/")
    assert (availability_topic(config, "gw"), state_topic(config, "gw", "p")) == (
        "plant/edge/gw/availability",
        "plant/edge/gw/p/state",
    )


@pytest.mark.parametrize(
    ("p_value", "score"), [(1.0, 0.0), (0.1, 1.0), (1e-6, 6.0), (1e-320, 300.0), (0.0, 300.0), (None, None)]
)
def test_the_score_counts_the_zeros_of_the_p_value(p_value: float | None, score: float | None) -> None:
    assert score_of(p_value) == score
    assert str(score_of(1.0)) == "0.0"  # not -0.0, which people would ask about


def test_a_state_follows_windows_and_alerts() -> None:
    state = fold(ShownState(), window(p_value=None))
    assert (state.score, state.problem) == (None, "OFF")
    state = fold(fold(state, alert(severity="critical")), window(p_value=1e-6, alarm=True))
    assert (state.score, state.problem, state.severity, state.top) == (6.0, "ON", "critical", "flow")
    state = fold(fold(state, alert(closed_ns=9)), window(p_value=0.5))
    assert (state.score, state.problem, state.severity) == (0.3, "OFF", "")
    assert fold(state, builders.health()) == state


# --- over a broker ------------------------------------------------------------------------------------------------


@pytest.fixture
def make_link(tmp_path: Path) -> Iterator[Callable[[HomeAssistantConfig], HomeAssistantLink]]:
    links: list[HomeAssistantLink] = []

    def make(config: HomeAssistantConfig) -> HomeAssistantLink:
        link = HomeAssistantLink(config, tmp_path, "gw-1", {"rig-1": builders.rig(), "rig-2": builders.rig()}, "1.2")
        links.append(link)
        link.start()
        return link

    yield make
    for link in links:
        link.stop()


def monotonic_ns() -> int:
    import time

    return time.monotonic_ns()


TOPIC = f"homeassistant/device/{unique_id('gw-1', 'rig-1')}/config"
STATE = "tocsin/gw-1/rig-1/state"
AVAILABILITY = "tocsin/gw-1/availability"


def test_assets_appear_with_their_states_and_stay_for_who_comes_late(
    broker: Broker, listen: Callable[[], Listener], make_link: Callable[[HomeAssistantConfig], HomeAssistantLink]
) -> None:
    link, listener = make_link(HomeAssistantConfig(port=broker.port)), listen()
    wait_until(lambda: listener.latest(STATE) == {**json.loads(msgspec.json.encode(ShownState()))})
    link.notice([window(p_value=1e-4)], monotonic_ns())
    wait_until(lambda: (listener.latest(STATE) or {}).get("score") == 4.0)
    assert listener.latest(STATE)["connected"] == "ON"
    link.notice([alert(severity="critical"), window(1, p_value=1e-9, alarm=True)], monotonic_ns())
    late = listen()
    wait_until(lambda: (late.latest(STATE) or {}).get("problem") == "ON")
    kept = (TOPIC, AVAILABILITY, "tocsin/gw-1/rig-2/state")
    wait_until(lambda: all(late.payloads(topic) for topic in kept), what="all that is retained, in whatever order it comes")
    assert late.latest(TOPIC)["components"]["problem"]["device_class"] == "problem"
    assert late.payloads(AVAILABILITY) == [b"online"]
    assert late.latest("tocsin/gw-1/rig-2/state")["connected"] is None
    assert link.state().startswith("up 127.0.0.1")


def test_a_state_that_has_not_changed_is_not_said_again(
    broker: Broker, listen: Callable[[], Listener], make_link: Callable[[HomeAssistantConfig], HomeAssistantLink]
) -> None:
    link, listener = make_link(HomeAssistantConfig(port=broker.port)), listen()
    for n in range(20):
        link.notice([window(n, p_value=0.1)], monotonic_ns())
    wait_until(lambda: (listener.latest(STATE) or {}).get("score") == 1.0)
    link.notice([window(21, p_value=0.01)], monotonic_ns())
    wait_until(lambda: (listener.latest(STATE) or {}).get("score") == 2.0)
    assert [json.loads(p)["score"] for p in listener.payloads(STATE)] in ([None, 1.0, 2.0], [1.0, 2.0])


def test_an_asset_that_falls_silent_is_disconnected(
    broker: Broker, listen: Callable[[], Listener], make_link: Callable[[HomeAssistantConfig], HomeAssistantLink]
) -> None:
    link, listener = make_link(HomeAssistantConfig(port=broker.port, silent_after_s=0.5)), listen()

    def seen_connected() -> bool:
        """It may be silent again before it is looked at."""
        link.notice([window()], monotonic_ns())
        return "ON" in [json.loads(payload)["connected"] for payload in listener.payloads(STATE)]

    wait_until(seen_connected)
    wait_until(lambda: listener.latest(STATE)["connected"] == "OFF")
    wait_until(lambda: listener.latest("tocsin/gw-1/rig-2/state")["connected"] == "OFF", what="who never said a word")


def test_a_restart_neither_clears_a_problem_nor_makes_one(
    broker: Broker, listen: Callable[[], Listener], make_link: Callable[[HomeAssistantConfig], HomeAssistantLink]
) -> None:
    first, listener = make_link(HomeAssistantConfig(port=broker.port)), listen()
    first.notice([alert(), window(alarm=True)], monotonic_ns())
    wait_until(lambda: (listener.latest(STATE) or {}).get("problem") == "ON")
    first.stop()
    again = make_link(HomeAssistantConfig(port=broker.port))
    again.notice([alert(severity="critical")], monotonic_ns())  # open since before the restart
    wait_until(lambda: listener.latest(STATE)["severity"] == "critical")
    assert {json.loads(payload)["problem"] for payload in listener.payloads(STATE)} <= {None, "ON"}
    assert "OFF" not in {json.loads(payload)["connected"] for payload in listener.payloads(STATE)}


def test_a_stopped_agent_says_goodbye(
    broker: Broker, listen: Callable[[], Listener], make_link: Callable[[HomeAssistantConfig], HomeAssistantLink]
) -> None:
    link, listener = make_link(HomeAssistantConfig(port=broker.port)), listen()
    wait_until(lambda: listener.payloads(AVAILABILITY) == [b"online"])
    link.stop()
    wait_until(lambda: listener.payloads(AVAILABILITY) == [b"online", b"offline"])


def test_home_assistants_birth_has_the_devices_introduced_again(
    broker: Broker, listen: Callable[[], Listener], make_link: Callable[[HomeAssistantConfig], HomeAssistantLink]
) -> None:
    listener = listen()
    make_link(HomeAssistantConfig(port=broker.port))
    wait_until(lambda: listener.payloads(AVAILABILITY) and len(listener.payloads(TOPIC)) == 1)
    listener.client.publish("homeassistant/status", "online", qos=1)
    wait_until(lambda: len(listener.payloads(TOPIC)) == 2)


def test_a_broker_that_comes_late_and_forgets_everything_is_told_everything_each_time(
    tmp_path: Path, make_link: Callable[[HomeAssistantConfig], HomeAssistantLink]
) -> None:
    port = own_port()
    link = make_link(HomeAssistantConfig(port=port))
    link.notice([window(p_value=1e-5)], monotonic_ns())
    for _ in range(2):
        with start_broker(port=port):  # a new folder each time: nothing is remembered
            listener = Listener(port)
            try:
                # The link's waits have grown by now; and retained messages come in any order.
                wait_until(lambda: (listener.latest(STATE) or {}).get("score") == 5.0 and listener.latest(TOPIC), 120)  # noqa: B023
                assert listener.latest(TOPIC)["device"]["name"] == "rig-1"
            finally:
                listener.close()
        wait_until(lambda: link.state().startswith("down"))


def test_a_link_that_dies_without_a_word_is_told_by_the_brokers_last_will(
    broker: Broker, listen: Callable[[], Listener], make_link: Callable[[HomeAssistantConfig], HomeAssistantLink]
) -> None:
    listener, wire = listen(), Wire(broker.port)
    make_link(HomeAssistantConfig(port=wire.port))
    wait_until(lambda: listener.payloads(AVAILABILITY)[-1:] == [b"online"])
    wire.cut()
    wait_until(lambda: listener.payloads(AVAILABILITY)[-1:] == [b"offline"])
    wire.close()


class Wire:
    """A TCP relay of one connection, which can be cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        self._listener.close()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for thread in self._threads:
            thread.join(30)
        for end in self._ends:
            end.close()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        self._ends = [near, socket.create_connection(("127.0.0.1", self._target))]
        self._threads += [threading.Thread(target=self._copy, args=pair) for pair in (self._ends, self._ends[::-1])]
        for thread in self._threads[1:]:
            thread.start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
