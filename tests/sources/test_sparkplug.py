"""Sessions of Sparkplug edge nodes: births, aliases, sequence numbers, deaths, and what is read in between."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.backoff import Backoff
from agent.sources.config import MqttConfig, SparkplugAsset
from agent.sources.decode import Decoded, channels_by_asset
from agent.sources.mqtt import MqttSource
from agent.sources.sparkplug import MAX_BIRTH_BYTES, REBIRTH_EVERY_S, SparkplugDecoder
from firmware_sim.firmware.encoder import Message, Samples
from firmware_sim.firmware.sparkplug import DOUBLE, EdgeNode, metric, payload
from firmware_sim.links.sparkplug import SparkplugEdge
from models.errors import FrameError
from tests.sources.conftest import KNOWN, NOW_NS, Broker, Recorder, rows_of
from tests.sources.test_mqtt import publish_to
from tests.waiting import wait_until

S = 1_000_000_000
ASSETS = (
    SparkplugAsset(id="plant/edge-1/press-7", asset="pump-1"),
    SparkplugAsset(id="plant/edge-1/fan", asset="fan-1", metrics={"Drive/Speed (rpm)": "speed"}),
)
DEVICES = {"press-7": ("Hydraulics/flow", "Hydraulics/pressure"), "fan": ("Drive/Speed (rpm)",), "lamp": ("on",)}


class Bench:
    """A decoder and an edge node, with no broker between them."""

    def __init__(self, rebirth: bool = True, hold: bool = False, device_time: bool = True) -> None:
        self.decoder = SparkplugDecoder(ASSETS, channels_by_asset(KNOWN), device_time, rebirth, hold)
        self.node = EdgeNode("plant", "edge-1", DEVICES)
        self.node.will()

    def hear(self, *messages: Message, now_ns: int = NOW_NS) -> list[Decoded]:
        return [self.decoder.decode(message.topic, message.payload, now_ns) for message in messages]

    def rows(self, *messages: Message, now_ns: int = NOW_NS) -> list[tuple[str, str, int, float]]:
        return rows_of([r for decoded in self.hear(*messages, now_ns=now_ns) for r in decoded.readings])

    def born(self) -> Bench:
        self.decoder.connected()
        self.decoder.commands(NOW_NS)
        self.hear(*self.node.births(NOW_NS))
        return self

    def flow(self, value: float, at_ns: int = NOW_NS, **changes: Any) -> Message:
        return self.node.data("press-7", at_ns, {"Hydraulics/flow": value}, **changes)


def test_a_birth_says_what_its_aliases_mean() -> None:
    bench = Bench()
    births = bench.node.births(NOW_NS)
    rows = bench.rows(*births)
    assert [(asset, channel) for asset, channel, *_ in rows] == [("pump-1", "flow"), ("pump-1", "pressure"), ("fan-1", "speed")]
    assert all(math.isnan(value) for *_, value in rows)  # null: the node has no values yet
    data = bench.flow(2.5, NOW_NS + S), bench.node.data("fan", NOW_NS + S, {"Drive/Speed (rpm)": 1450.0})
    assert bench.rows(*data) == [
        ("pump-1", "flow", NOW_NS + S, 2.5),
        ("fan-1", "speed", NOW_NS + S, 1450.0),
    ]
    assert bench.decoder.counters["births"] == 4
    assert bench.decoder.detail == ""


def test_an_alias_before_its_birth_is_left_out_and_the_birth_asked_for() -> None:
    bench = Bench()
    bench.node.births(NOW_NS)  # nobody listened
    assert bench.rows(bench.flow(1.0)) == []
    assert bench.decoder.counters["left_out"] == 1
    ((topic, command),) = bench.decoder.commands(NOW_NS)
    assert topic == "spBv1.0/plant/NCMD/edge-1"
    assert b"Node Control/Rebirth" in command
    assert bench.decoder.detail == "plant/edge-1 not born yet"
    bench.hear(*bench.node.births(NOW_NS))
    assert bench.rows(bench.flow(2.0)) == [("pump-1", "flow", NOW_NS, 2.0)]


def test_a_gap_is_counted_and_aliases_wait_for_the_next_births() -> None:
    bench = Bench().born()
    bench.flow(1.0), bench.flow(2.0)  # lost on the way
    (decoded,) = bench.hear(bench.flow(3.0))
    assert decoded.n_lost == 2
    assert decoded.readings == []
    assert bench.decoder.counters["lost_messages"] == 2
    assert bench.decoder.detail == "plant/edge-1 waits for its births"
    assert bench.decoder.commands(NOW_NS + REBIRTH_EVERY_S * S)
    bench.hear(*bench.node.births(NOW_NS))
    assert bench.rows(bench.flow(4.0)) == [("pump-1", "flow", NOW_NS, 4.0)]


def test_aliases_wait_for_births_after_a_reconnection_too() -> None:
    bench = Bench().born()
    bench.decoder.connected()
    assert bench.rows(bench.flow(1.0)) == []  # in step, by chance or not: a birth may have been missed
    bench.hear(*bench.node.births(NOW_NS))
    assert bench.rows(bench.flow(2.0)) == [("pump-1", "flow", NOW_NS, 2.0)]


def test_metrics_with_names_are_read_after_a_gap_all_the_same() -> None:
    bench = Bench().born()
    named = Message(
        bench.node.topic("DDATA", "press-7"), payload([metric("Hydraulics/flow", value=7.0)], NOW_NS // 10**6, 99), 0
    )
    assert bench.rows(named) == [("pump-1", "flow", NOW_NS, 7.0)]


def test_who_only_listens_asks_nothing_and_believes_aliases_after_a_gap() -> None:
    bench = Bench(rebirth=False).born()
    bench.flow(1.0)
    assert bench.rows(bench.flow(2.0)) == [("pump-1", "flow", NOW_NS, 2.0)]
    assert bench.decoder.counters["lost_messages"] == 1
    assert bench.decoder.commands(NOW_NS + 100 * S) == []


def test_sequence_numbers_go_round_and_devices_that_nobody_wants_are_in_step() -> None:
    bench = Bench().born()
    for i in range(300):
        flow, lamp = bench.flow(float(i)), bench.node.data("lamp", NOW_NS, {"on": 1.0})
        assert [decoded.n_lost for decoded in bench.hear(flow, lamp)] == [0, 0]
    assert bench.decoder.counters["lost_messages"] == 0


def test_requests_are_spaced_and_a_clock_that_jumps_back_does_not_hold_them_up() -> None:
    bench = Bench()
    bench.decoder.connected()
    assert len(bench.decoder.commands(NOW_NS)) == 1
    bench.hear(bench.flow(1.0))
    assert bench.decoder.commands(NOW_NS + S) == []
    assert len(bench.decoder.commands(NOW_NS + REBIRTH_EVERY_S * S)) == 1
    bench.hear(bench.flow(1.0))
    assert len(bench.decoder.commands(NOW_NS - 1000 * S)) == 1
    assert bench.decoder.counters["rebirths"] == 3


def test_the_death_of_a_node_makes_its_channels_absent_at_its_own_time() -> None:
    bench = Bench().born()
    hour = 3600 * S
    bench.hear(bench.flow(1.0, NOW_NS + hour))  # its clock is an hour ahead
    rows = bench.rows(bench.node.death(), now_ns=NOW_NS + 5 * S)
    assert {(asset, channel, at_ns) for asset, channel, at_ns, _ in rows} == {
        ("pump-1", "flow", NOW_NS + hour + 5 * S),
        ("pump-1", "pressure", NOW_NS + hour + 5 * S),
        ("fan-1", "speed", NOW_NS + hour + 5 * S),
    }
    assert all(math.isnan(value) for *_, value in rows)
    assert bench.decoder.detail == "plant/edge-1 dead"
    assert bench.rows(bench.flow(2.0)) == []
    assert bench.decoder.counters["deaths"] == 1


def test_a_late_death_of_an_earlier_session_changes_nothing() -> None:
    bench = Bench().born()
    late = bench.node.death()
    bench.node.will()
    bench.born()
    assert bench.rows(late) == []
    assert bench.decoder.counters["deaths"] == 0
    assert bench.rows(bench.flow(1.0)) == [("pump-1", "flow", NOW_NS, 1.0)]


def test_the_death_of_a_device_leaves_the_others_alive() -> None:
    bench = Bench().born()
    rows = bench.rows(bench.node.device_death("press-7", NOW_NS))
    assert [(asset, channel) for asset, channel, *_ in rows] == [("pump-1", "flow"), ("pump-1", "pressure")]
    assert bench.rows(bench.flow(1.0)) == []
    assert len(bench.rows(bench.node.data("fan", NOW_NS, {"Drive/Speed (rpm)": 1.0}))) == 1
    bench.hear(bench.node.device_birth("press-7", NOW_NS))
    assert bench.rows(bench.flow(2.0)) == [("pump-1", "flow", NOW_NS, 2.0)]


def test_historical_values_have_their_own_time_and_are_never_the_current_ones() -> None:
    bench = Bench(hold=True).born()
    bench.hear(bench.flow(10.0))
    past = NOW_NS - 60 * S
    assert bench.rows(bench.flow(1.0, past, historical=True)) == [("pump-1", "flow", past, 1.0)]
    both = bench.node.data("press-7", NOW_NS + S, {"Hydraulics/pressure": 3.0})
    assert bench.rows(both) == [("pump-1", "pressure", NOW_NS + S, 3.0), ("pump-1", "flow", NOW_NS + S, 10.0)]
    assert bench.decoder.counters["historical"] == 1


def test_historical_values_are_left_out_where_device_times_are_not_believed() -> None:
    bench = Bench(device_time=False).born()
    assert bench.rows(bench.flow(1.0, NOW_NS - 60 * S, historical=True)) == []
    assert bench.rows(bench.flow(2.0, NOW_NS - 60 * S)) == [("pump-1", "flow", NOW_NS, 2.0)]
    assert bench.decoder.counters["left_out"] == 1


def test_many_values_of_one_metric_in_a_message_are_one_block_oldest_first() -> None:
    bench = Bench().born()
    alias = 10
    values = [metric(alias=alias, at_ms=NOW_NS // 10**6 + i, value=float(i), historical=i < 2) for i in (2, 0, 1)]
    message = Message(bench.node.topic("DDATA", "press-7"), payload(values, NOW_NS // 10**6, 4), 0)
    (decoded,) = bench.hear(message)
    assert len(decoded.readings) == 1
    assert [(at, value) for _, _, at, value in rows_of(list(decoded.readings))] == [(NOW_NS + i * 10**6, i) for i in range(3)]


@pytest.mark.parametrize(("quality", "expected"), [(192, 5.0), (500, math.nan), (0, math.nan)])
def test_a_value_without_good_quality_is_absent(quality: int, expected: float) -> None:
    bench = Bench().born()
    message = Message(bench.node.topic("DDATA", "press-7"), payload([metric(alias=10, value=5.0, quality=quality)], 1, 4), 0)
    ((*_, value),) = bench.rows(message)
    assert repr(value) == repr(expected)
    assert bench.decoder.counters["stale"] == (quality != 192)


def test_metrics_of_one_ending_are_neither_until_the_configuration_says_which() -> None:
    bench = Bench()
    birth = [metric(name, alias, None, DOUBLE, 1.0) for alias, name in enumerate(["A/flow", "B/flow", "B/pressure"])]
    bench.hear(bench.node.births(NOW_NS)[0])
    message = Message(bench.node.topic("DBIRTH", "press-7"), payload(birth, NOW_NS // 10**6, 1), 0)
    assert bench.rows(message) == [("pump-1", "pressure", NOW_NS, 1.0)]
    assert bench.decoder.detail == "plant/edge-1: ambiguous metrics A/flow, B/flow"


def test_an_unreadable_birth_ends_what_was_known() -> None:
    bench = Bench().born()
    with pytest.raises(FrameError):
        bench.decoder.decode(bench.node.topic("NBIRTH"), b"\xff", NOW_NS)
    assert bench.rows(bench.flow(1.0)) == []
    assert bench.decoder.commands(NOW_NS + 100 * S)


@pytest.mark.parametrize(
    ("topic", "data", "says"),
    [
        ("spBv1.0/plant/NOTHING/edge-1", b"", "no Sparkplug message type"),
        ("spBv1.0/plant/DDATA/edge-1", b"", "no Sparkplug message type"),
        ("spBv1.0/plant/NDATA/edge-1/press-7", b"", "no Sparkplug message type"),
        ("spBv1.0/plant/DDATA/edge-1/a/b", b"", "no Sparkplug message type"),
        ("spBv1.0/plant/NDATA/edge-1", b"\0" * (MAX_BIRTH_BYTES + 1), "at most"),
        ("spBv1.0/plant/DBIRTH/edge-1/press-7", payload([], 2**60, 1), "after 2200"),
    ],
)
def test_what_is_no_sparkplug_is_a_frame_error(topic: str, data: bytes, says: str) -> None:
    with pytest.raises(FrameError, match=says):
        Bench().born().decoder.decode(topic, data, NOW_NS)


@pytest.mark.parametrize("topic", ["spBv1.0/plant/NCMD/edge-1", "spBv1.0/other/NDATA/edge-1", "spBv1.0", ""])
def test_what_is_not_meant_for_us_is_passed_over(topic: str) -> None:
    assert Bench().decoder.decode(topic, b"\xff", NOW_NS) == Decoded()


@given(st.lists(st.tuples(st.sampled_from(["NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH"]), st.binary(max_size=60))))
def test_garbage_on_sparkplug_topics_never_raises_anything_else(messages: list[tuple[str, bytes]]) -> None:
    bench = Bench()
    for kind, data in messages:
        try:
            bench.decoder.decode(bench.node.topic(kind, "press-7" if kind[0] == "D" else ""), data, NOW_NS)
        except FrameError:
            continue


@given(st.lists(st.booleans(), max_size=60))
def test_whatever_is_lost_but_a_nodes_birth_no_value_is_read_under_another_name(kept: list[bool]) -> None:
    """Births swap the aliases each time; a decoder that trusted an old one would mix flow and pressure up."""
    bench = Bench()
    sent: list[Message] = []
    for i, _ in enumerate(kept):
        if i % 7 == 0:
            names = ("Hydraulics/flow", "Hydraulics/pressure")
            bench.node = EdgeNode("plant", "edge-1", {"press-7": names if i % 2 else names[::-1]})
            sent += bench.node.births(NOW_NS)
        sent.append(bench.node.data("press-7", NOW_NS, {"Hydraulics/flow": 1.0, "Hydraulics/pressure": 2.0}))
    for message, keep in zip(sent, kept, strict=False):
        if keep or "NBIRTH" in message.topic:
            for _, channel, _, value in bench.rows(message):
                assert math.isnan(value) or value == {"flow": 1.0, "pressure": 2.0}[channel]


def test_samples_become_data_messages() -> None:
    node = EdgeNode("plant", "edge-1", {"pump-1": ("flow", "pressure")})
    decoder = SparkplugDecoder(
        [SparkplugAsset(id="plant/edge-1/pump-1", asset="pump-1")], channels_by_asset(KNOWN), True, True, False
    )
    times = NOW_NS + np.arange(3, dtype=np.int64) * S
    samples = Samples("pump-1", ("flow", "pressure"), times, np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]]))
    for message in node.births(NOW_NS):
        decoder.decode(message.topic, message.payload, NOW_NS)
    rows = [row for m in node.encode(samples) for row in rows_of(list(decoder.decode(m.topic, m.payload, 0).readings))]
    assert [value for _, channel, _, value in rows if channel == "flow"] == [1.0, 3.0, 5.0]
    assert [at for _, channel, at, _ in rows if channel == "flow"] == times.tolist()


# --- over a broker ---------------------------------------------------------------------------------------------------


@pytest.fixture
def edge(broker: Broker) -> Iterator[SparkplugEdge]:
    edge = SparkplugEdge(EdgeNode("plant", "edge-1", DEVICES), "127.0.0.1", broker.port, lambda: NOW_NS)
    yield edge
    edge.close()


@pytest.fixture
def source(broker: Broker) -> Iterator[MqttSource]:
    config = MqttConfig(name="cell", port=broker.port, payload="sparkplug", sparkplug=ASSETS)
    source = MqttSource(config, lambda: NOW_NS, KNOWN, "gw-1", Backoff(0.02, 0.1))
    yield source
    source.stop()


def start(source: MqttSource, recorder: Recorder) -> None:
    source.start(recorder)
    wait_until(lambda: source.state.link == "up", what=source.state.detail)


def send_flow(edge: SparkplugEdge, value: float) -> None:
    edge.send("press-7", NOW_NS, {"Hydraulics/flow": value})


def test_a_node_that_was_there_before_us_is_asked_for_its_births(
    edge: SparkplugEdge, source: MqttSource, recorder: Recorder
) -> None:
    edge.connect()
    send_flow(edge, 1.0)
    edge.flush(60)
    start(source, recorder)
    wait_until(lambda: [v for v in recorder.values if v == 1.0])  # the current value, with the birth
    assert edge.n_rebirths == 1
    send_flow(edge, 2.0)
    wait_until(lambda: recorder.rows[-1] == ("pump-1", "flow", NOW_NS, 2.0))
    assert source.state.counters["births"] == 4
    assert source.state.counters["frame_errors"] == 0


def test_a_node_that_dies_without_a_word_shows_and_comes_back(
    edge: SparkplugEdge, source: MqttSource, recorder: Recorder
) -> None:
    start(source, recorder)
    edge.connect()
    send_flow(edge, 1.0)
    wait_until(lambda: 1.0 in recorder.values)
    edge.die()
    wait_until(lambda: "plant/edge-1 dead" in source.state.detail)
    wait_until(lambda: source.state.counters["deaths"] == 1)
    wait_until(lambda: math.isnan(recorder.values[-1]))
    edge.connect()
    send_flow(edge, 2.0)
    wait_until(lambda: recorder.values[-1:] == [2.0])
    assert "dead" not in source.state.detail


def test_a_node_that_is_not_reborn_when_asked_shows(edge: SparkplugEdge, source: MqttSource, recorder: Recorder) -> None:
    edge.obeys = False
    edge.connect()
    start(source, recorder)
    send_flow(edge, 1.0)
    wait_until(lambda: source.state.counters["left_out"] == 1)
    assert "plant/edge-1 not born yet" in source.state.detail
    assert recorder.rows == []


def test_retained_and_poisoned_messages_are_counted_and_left_out(
    broker: Broker, edge: SparkplugEdge, source: MqttSource, recorder: Recorder
) -> None:
    old = EdgeNode("plant", "edge-1", DEVICES).births(NOW_NS - S)[0]
    publish_to(broker.port, old.topic, old.payload, retain=True)
    start(source, recorder)
    wait_until(lambda: source.state.counters["retained"] == 1)
    assert "not born yet" in source.state.detail
    publish_to(broker.port, "spBv1.0/plant/NDATA/edge-1", b"\xff")
    wait_until(lambda: recorder.frame_errors == 1)
    edge.connect()
    send_flow(edge, 3.0)
    wait_until(lambda: 3.0 in recorder.values)
