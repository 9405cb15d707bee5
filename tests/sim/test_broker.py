"""The embedded broker, both kinds, with paho on both sides."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from firmware_sim.firmware.encoder import Message
from firmware_sim.links.broker import Broker, BrokerKind, mosquitto_path, start_broker
from firmware_sim.links.mqtt import MqttLink
from models.errors import LinkError
from tests.ports import own_port
from tests.waiting import wait_until

needs_mosquitto = pytest.mark.skipif(mosquitto_path() is None, reason="mosquitto is not installed")
KINDS = [pytest.param("mosquitto", marks=needs_mosquitto), "amqtt"]


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    with start_broker(request.param) as running:
        yield running


@contextmanager
def subscriber(broker: Broker, got: list[bytes], client_id: str = "reader") -> Iterator[None]:
    """A persistent session on plant/#; returns once it is subscribed."""
    ready = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
    client.on_connect = lambda c, *_: c.subscribe("plant/#", qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _c, _d, message: got.append(message.payload)
    client.connect_timeout = 60.0
    client.connect(broker.host, broker.port)
    client.loop_start()
    assert ready.wait(60)
    yield
    client.disconnect()
    client.loop_stop()


def publish(broker: Broker, payloads: list[bytes]) -> None:
    link = MqttLink(broker.host, broker.port)
    link.connect(60)
    link.write([Message("plant/pump-1", payload, 0) for payload in payloads])
    assert link.flush(120)
    assert link.n_dropped == 0
    link.close()


def test_what_is_published_arrives_once_and_in_order(broker: Broker) -> None:
    got: list[bytes] = []
    sent = [b"%d" % i for i in range(500)]
    with subscriber(broker, got):
        publish(broker, sent)
        wait_until(lambda: len(got) >= len(sent))
    assert got == sent


def test_persistent_session_gets_what_was_published_while_it_was_away(broker: Broker) -> None:
    got: list[bytes] = []
    with subscriber(broker, got):
        pass
    publish(broker, [b"%d" % i for i in range(2000)])
    with subscriber(broker, got):
        wait_until(lambda: len(got) >= 2000)
    assert got == [b"%d" % i for i in range(2000)]


def test_broker_listens_on_loopback_only(broker: Broker) -> None:
    listening = [c.laddr.ip for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == broker.port]
    assert listening == ["127.0.0.1"]


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_broker_leaves_no_process_and_no_port(kind: BrokerKind) -> None:
    before = {child.pid for child in psutil.Process().children()}
    with start_broker(kind, own_port()) as broker:
        started = {child.pid for child in psutil.Process().children()} - before
        assert len(started) == 1
    assert not started & set(psutil.pids())
    with socket.socket() as probe:
        assert probe.connect_ex((broker.host, broker.port)) != 0


@pytest.mark.parametrize("kind", KINDS)
def test_taken_port_is_named_and_no_files_are_left(kind: BrokerKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LinkError, match=f"{kind} does not start on 127.0.0.1:{port}: something else listens there"):
            start_broker(kind, port)
    assert list(tmp_path.iterdir()) == []


@needs_mosquitto
def test_mosquitto_restarted_on_its_directory_remembers_sessions(tmp_path: Path) -> None:
    got: list[bytes] = []
    with start_broker("mosquitto", own_port(), tmp_path) as broker:
        with subscriber(broker, got):
            pass
        publish(broker, [b"kept"])
    with start_broker("mosquitto", broker.port, tmp_path) as again, subscriber(again, got):
        wait_until(lambda: got == [b"kept"])


def test_publisher_waits_for_a_broker_that_comes_later_and_keeps_within_its_bound() -> None:
    port = own_port()
    link = MqttLink("127.0.0.1", port, max_queued=50)
    link.write([Message("plant/pump-1", b"%d" % i, 0) for i in range(80)])
    assert link.n_dropped > 0
    kept = 80 - link.n_dropped
    with start_broker(port=port):
        assert link.flush(120)
        link.close()
    assert 0 < kept <= 51


def test_unplugged_publisher_is_silent_and_speaks_again_when_plugged() -> None:
    got: list[bytes] = []
    with start_broker() as broker, subscriber(broker, got):
        link = MqttLink(broker.host, broker.port)
        link.connect(60)
        link.unplug()
        link.write([Message("plant/pump-1", b"lost", 0)])
        assert link.n_dropped == 1
        link.plug()
        link.connect(60)
        link.write([Message("plant/pump-1", b"heard", 0)])
        wait_until(lambda: got)
        link.close()
    assert got == [b"heard"]


def test_missing_broker_is_named() -> None:
    port = own_port()
    link = MqttLink("127.0.0.1", port)
    with pytest.raises(LinkError, match=f"no MQTT broker answers on 127.0.0.1:{port}"):
        link.connect(0.2)
    link.close()
