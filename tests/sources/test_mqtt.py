"""The MQTT source against a real broker."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.backoff import Backoff
from agent.sources import mqtt_connection, mqtt_session
from agent.sources.config import MqttConfig
from agent.sources.mqtt import MqttSource
from models.contract.names import MAX_PAYLOAD_BYTES
from tests.sources.conftest import KNOWN, NOW_NS, Broker, Recorder, Relay
from tests.waiting import wait_until

Start = Callable[..., MqttSource]
Publish = Callable[..., None]
MakeBroker = Callable[[str], Broker]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds for which this process is held up are not taken for a broker that waits for acknowledgements."""
    monkeypatch.setattr(mqtt_session, "STALL_S", 3600.0)


@pytest.fixture
def start() -> Iterator[Start]:
    sources: list[MqttSource] = []

    def start(port: int, deliver: Recorder, up: bool = True, **changes: object) -> MqttSource:
        config = MqttConfig(
            **{"name": "plant", "port": port, "topics": ("plant/{asset}/{channel}", "plant/{asset}"), **changes}
        )
        source = MqttSource(config, lambda: NOW_NS, KNOWN, "gw-1", Backoff(0.02, 0.1))
        sources.append(source)
        source.start(deliver)
        if up:
            wait_until(lambda: source.state.link == "up", what=source.state.detail)
        return source

    yield start
    for source in sources:
        source.stop()


@pytest.fixture
def publish(broker: Broker) -> Publish:
    def publish(topic: str, *payloads: bytes | str, qos: int = 1, retain: bool = False) -> None:
        publish_to(broker.port, topic, *payloads, qos=qos, retain=retain)

    return publish


def publish_to(port: int, topic: str, *payloads: bytes | str, qos: int = 1, retain: bool = False) -> None:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect_timeout = 60.0
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        for sent in [client.publish(topic, payload, qos=qos, retain=retain) for payload in payloads]:
            sent.wait_for_publish(60)
            assert sent.is_published()
    finally:
        client.disconnect()
        client.loop_stop()


def make_certificate(folder: Path) -> None:
    """A self-signed certificate of 127.0.0.1, in `cert.pem` and `key.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


def test_topics_and_payloads_become_readings(broker: Broker, recorder: Recorder, start: Start, publish: Publish) -> None:
    source = start(broker.port, recorder)
    publish("plant/pump-1/flow", b"1.5", b'{"value": 2, "t": 1700000000}')
    publish("plant/pump-1", b'[{"n": "pressure", "v": 3}]', b'{"flow": 4, "mode": "auto"}')
    publish("plant/nobody/flow", b"5")
    wait_until(lambda: source.state.counters["messages"] == 5 and len(recorder.rows) >= 4)
    assert recorder.rows == [
        ("pump-1", "flow", NOW_NS, 1.5),
        ("pump-1", "flow", 1_700_000_000_000_000_000, 2.0),
        ("pump-1", "pressure", NOW_NS, 3.0),
        ("pump-1", "flow", NOW_NS, 4.0),
    ]
    assert source.state.counters["unknown"] == 2
    assert source.state.counters["readings"] == 4
    assert source.state.detail == f"127.0.0.1:{broker.port} as tocsin-gw-1-plant"


def test_mqtt_5_works_alike(broker: Broker, recorder: Recorder, start: Start, publish: Publish) -> None:
    source = start(broker.port, recorder, protocol="5")
    publish("plant/pump-1/flow", b"1")
    wait_until(lambda: recorder.values == [1])
    source.stop()
    publish("plant/pump-1/flow", b"2")
    start(broker.port, recorder, protocol="5")
    wait_until(lambda: recorder.values == [1, 2])  # the session was kept


def test_what_was_published_while_away_comes_after_the_return(broker: Broker, start: Start, publish: Publish) -> None:
    before, after = Recorder(), Recorder()
    start(broker.port, before).stop()
    publish("plant/pump-1/flow", *(str(i) for i in range(50)))
    start(broker.port, after)
    wait_until(lambda: len(after.values) == 50)
    assert after.values == list(range(50))
    assert before.values == []


def test_unacknowledged_messages_that_come_again_after_an_abrupt_loss_are_recognized(
    relay: Relay, recorder: Recorder, start: Start, publish: Publish
) -> None:
    recorder.acknowledge = False
    source = start(relay.port, recorder)
    publish("plant/pump-1/flow", b"1", b"2")
    wait_until(lambda: recorder.values == [1, 2])
    relay.cut()
    wait_until(lambda: source.state.counters["repeated"] == 2)
    for burst in recorder.bursts:
        assert burst.acknowledge is not None
        burst.acknowledge()  # of the connection that is gone; the messages are under way on the new one
    publish("plant/pump-1/flow", b"3")
    wait_until(lambda: recorder.values == [1, 2, 3])
    source.stop()
    start(relay.port, recorder)
    wait_until(lambda: recorder.values == [1, 2, 3, 3])  # and what was acknowledged does not come again


def test_what_was_acknowledged_while_there_was_no_connection_is_acknowledged_when_it_comes_again(
    relay: Relay, recorder: Recorder, start: Start, publish: Publish
) -> None:
    recorder.acknowledge = False
    source = start(relay.port, recorder)
    publish("plant/pump-1/flow", b"1")
    wait_until(lambda: recorder.values == [1])
    relay.refuse()
    relay.cut()
    wait_until(lambda: source.state.link == "down")
    (burst,) = recorder.bursts
    assert burst.acknowledge is not None
    burst.acknowledge()
    relay.accept()
    wait_until(lambda: source.state.counters["repeated"] == 1)
    source.stop()
    start(relay.port, recorder)
    publish("plant/pump-1/flow", b"2")
    wait_until(lambda: recorder.values == [1, 2])


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_broker_that_waits_for_acknowledgements_is_told_so_in_time(
    broker: Broker, recorder: Recorder, start: Start, publish: Publish, protocol: str
) -> None:
    """Half of what the broker allows is held; then a burst can't wait, and what it had to say goes on coming."""
    recorder.acknowledge = False
    start(broker.port, recorder, protocol=protocol, max_inflight=20)
    publish("plant/pump-1/flow", *(str(i) for i in range(9)))
    wait_until(lambda: len(recorder.values) == 9)
    assert all(burst.can_wait for burst in recorder.bursts)
    publish("plant/pump-1/flow", b"9")
    wait_until(lambda: not recorder.bursts[-1].can_wait)
    for burst in recorder.bursts:
        assert burst.acknowledge is not None
        burst.acknowledge()
    publish("plant/pump-1/flow", b"10")
    wait_until(lambda: recorder.bursts[-1].can_wait)


def test_mqtt_5_lets_tens_of_thousands_of_messages_wait_for_their_acknowledgement(
    make_broker: MakeBroker, recorder: Recorder, start: Start
) -> None:
    broker = make_broker("allow_anonymous true\nmax_queued_messages 0\n")
    recorder.acknowledge = False
    start(broker.port, recorder)
    publish_to(broker.port, "plant/pump-1/flow", *(str(i) for i in range(4000)))
    wait_until(lambda: len(recorder.values) == 4000)
    assert recorder.values == list(range(4000))
    assert all(burst.can_wait for burst in recorder.bursts)


def test_a_broker_that_knows_only_3_1_1_is_spoken_to_in_it(recorder: Recorder, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        source = start(listener.getsockname()[1], recorder, up=False)
        with listener.accept()[0] as client:
            assert client.recv(1000)[6:9] == b"TT\x05"
            client.sendall(b"\x20\x02\x00\x01")  # unacceptable protocol version, in the words of 3.1.1
            assert client.recv(1000) == b""
        with listener.accept()[0] as client:
            assert client.recv(1000)[6:9] == b"TT\x04"
            client.sendall(b"\x20\x02\x00\x00")
            assert client.recv(1000)[0] == 0x82
            client.sendall(b"\x90\x04\x00\x01\x01\x01")
            wait_until(lambda: source.state.link == "up")
            client.sendall(b"\x32\x16\x00\x11plant/pump-1/flow\x00\x077")
            wait_until(lambda: recorder.values == [7])
            assert client.recv(1000) == b"\x40\x02\x00\x07"


def test_a_broker_that_has_spoken_mqtt_5_is_not_taken_for_an_older_one_when_it_hangs_up(
    recorder: Recorder, start: Start
) -> None:
    """As a proxy does in front of a broker that is being restarted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        source = start(listener.getsockname()[1], recorder, up=False)
        for greeted in (True, False, False, True):
            with listener.accept()[0] as client:
                assert client.recv(1000)[6:9] == b"TT\x05"
                if greeted:
                    client.sendall(b"\x20\x03\x00\x00\x00")
                    assert client.recv(1000)[0] == 0x82
        source.stop()


def test_a_poison_message_is_counted_and_comes_once(broker: Broker, recorder: Recorder, start: Start, publish: Publish) -> None:
    source = start(broker.port, recorder)
    poison = [b"\xff\xff", b'{"value": "on"}', b"[" * 60_000, b"x" * (MAX_PAYLOAD_BYTES + 1)]
    publish("plant/pump-1/flow", *poison, b"7")
    wait_until(lambda: recorder.values == [7])
    assert recorder.frame_errors == 4
    assert "payload of 65537 bytes" in "".join(burst.last_error for burst in recorder.bursts)
    source.stop()
    start(broker.port, recorder)
    publish("plant/pump-1/flow", b"8")
    wait_until(lambda: recorder.values == [7, 8])
    assert recorder.frame_errors == 4


def test_messages_without_readings_are_acknowledged_too(
    broker: Broker, recorder: Recorder, start: Start, publish: Publish
) -> None:
    source = start(broker.port, recorder)
    publish("plant/nobody/flow", *[b"1"] * 100)  # more than a broker sends ahead of acknowledgements
    publish("plant/pump-1/flow", b"2")
    wait_until(lambda: recorder.values == [2])
    assert source.state.counters["unknown"] == 100


def test_acknowledging_twice_does_no_more_than_once(broker: Broker, recorder: Recorder, start: Start, publish: Publish) -> None:
    recorder.acknowledge = False
    source = start(broker.port, recorder)
    for i in range(3):
        publish("plant/pump-1/flow", str(i))
        wait_until(lambda seen=i + 1: len(recorder.values) == seen)
    first = recorder.bursts[0].acknowledge
    assert first is not None
    first()
    first()
    source.stop()
    recorder.acknowledge = True
    start(broker.port, recorder)
    wait_until(lambda: recorder.values == [0, 1, 2, 1, 2])


def test_acknowledgements_may_come_from_any_thread_while_messages_keep_coming(
    broker: Broker, recorder: Recorder, start: Start, publish: Publish
) -> None:
    recorder.acknowledge = False
    source = start(broker.port, recorder)
    done = threading.Event()

    def acknowledge_all() -> None:
        n = 0
        while not done.is_set() or n < len(recorder.bursts):
            for burst in recorder.bursts[n:]:
                assert burst.acknowledge is not None
                burst.acknowledge()
                n += 1
            done.wait(0.001)

    threads = [threading.Thread(target=acknowledge_all) for _ in range(3)]
    for thread in threads:
        thread.start()
    publish("plant/pump-1/flow", *(str(i) for i in range(2000)))
    wait_until(lambda: len(recorder.values) >= 2000)
    done.set()
    for thread in threads:
        thread.join(60)
    assert recorder.values == list(range(2000))
    assert source.state.counters["reconnects"] == 0


def test_a_retained_message_without_a_time_is_left_out(
    broker: Broker, recorder: Recorder, start: Start, publish: Publish
) -> None:
    publish("plant/pump-1/flow", b"1", retain=True)
    publish("plant/pump-1/pressure", b'{"t": 1700000000, "value": 2}', retain=True)
    source = start(broker.port, recorder)
    publish("plant/pump-1/flow", b"3", retain=True)  # fresh, although it will be retained for others
    wait_until(lambda: len(recorder.values) == 2)
    assert recorder.values == [2, 3]
    assert source.state.counters["retained"] == 1


def test_what_waits_in_the_socket_comes_as_one_burst(make_broker: MakeBroker, start: Start) -> None:
    broker = make_broker("allow_anonymous true\nmax_queued_messages 0\n")
    recorder = Recorder()
    recorder.gate.clear()
    start(broker.port, recorder)
    publish_to(broker.port, "plant/pump-1/flow", b"0")
    wait_until(lambda: len(recorder.bursts) == 1)
    publish_to(broker.port, "plant/pump-1/flow", *(str(i) for i in range(1, 1201)))
    recorder.gate.set()
    wait_until(lambda: len(recorder.values) == 1201)
    assert recorder.values == list(range(1201))
    assert len(recorder.bursts) <= 3


def test_a_restarted_broker_is_found_again(broker: Broker, recorder: Recorder, start: Start, publish: Publish) -> None:
    source = start(broker.port, recorder)
    broker.stop()
    wait_until(lambda: source.state.link == "down")
    wait_until(lambda: "refused" in source.state.detail)
    broker.start()
    wait_until(lambda: source.state.link == "up")
    publish("plant/pump-1/flow", b"1")
    wait_until(lambda: recorder.values == [1])
    assert source.state.counters["reconnects"] == 1


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([None], "no answer to CONNECT"),
        ([b""], "connection lost"),
        ([b"\xff" * 8], "a packet length of more than four bytes"),
        ([b"\x20\x03\x00\x88\x00"], "refused: Server unavailable"),
        ([b"\x20\x03\x00\x00\x00", b"\x90\x05\x00\x01\x00\x01\x80"], "subscription refused: plant/+"),
    ],
)
def test_a_broker_that_does_not_let_us_in_is_said_to_and_tried_again(
    answers: list[bytes | None], says: str, recorder: Recorder, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_connection, "_READY_S", 0.1 if answers == [None] else 60.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        source = start(listener.getsockname()[1], recorder, up=False, protocol="5")
        for _ in range(2):
            with listener.accept()[0] as client:
                client.settimeout(60)
                for answer in answers:
                    assert client.recv(1000)
                    if answer is not None:
                        client.sendall(answer)
                if answers != [b""]:
                    with suppress(ConnectionResetError):
                        while client.recv(1000):
                            pass
            wait_until(lambda: says in source.state.detail, what=says)
            assert source.state.link == "connecting"
        source.stop()


def test_wrong_credentials_are_said_and_right_ones_are_read_anew(
    make_broker: MakeBroker, recorder: Recorder, start: Start, tmp_path: Path
) -> None:
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(tmp_path / "passwd"), "gateway", "correct"], check=True)
    (tmp_path / "passwd").chmod(0o644)
    broker = make_broker(f"allow_anonymous false\npassword_file {tmp_path / 'passwd'}\n")
    secret = tmp_path / "secret"
    source = start(broker.port, recorder, up=False, username="gateway", password_file=str(secret))
    wait_until(lambda: "secret" in source.state.detail)  # no such file
    secret.write_text("wrong\n")
    wait_until(lambda: "refused: Not authorized" in source.state.detail)
    secret.write_text("correct\n")
    wait_until(lambda: source.state.link == "up")
    assert "correct" not in repr(source.state)


def test_tls_brokers_are_trusted_by_their_ca_only(
    make_broker: MakeBroker, recorder: Recorder, start: Start, tmp_path: Path
) -> None:
    make_certificate(tmp_path)
    broker = make_broker(f"allow_anonymous true\ncertfile {tmp_path / 'cert.pem'}\nkeyfile {tmp_path / 'key.pem'}\n")
    stranger = start(broker.port, recorder, up=False, name="stranger", tls=True)
    wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in stranger.state.detail)
    stranger.stop()
    source = start(broker.port, recorder, ca_file=str(tmp_path / "cert.pem"))
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.tls_set(ca_certs=str(tmp_path / "cert.pem"))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for i in range(1500):
        client.publish("plant/pump-1/flow", str(i), qos=1)
    wait_until(lambda: len(recorder.values) == 1500)
    client.disconnect()
    client.loop_stop()
    assert recorder.values == list(range(1500))
    assert source.state.counters["reconnects"] == 0


@pytest.mark.slow
def test_a_pipeline_that_is_busy_longer_than_the_broker_waits_costs_the_connection_and_no_message(
    broker: Broker, recorder: Recorder, start: Start, publish: Publish
) -> None:
    source = start(broker.port, recorder, keepalive_s=5)
    recorder.gate.clear()
    publish("plant/pump-1/flow", b"1")
    wait_until(lambda: recorder.values == [1])
    publish("plant/pump-1/flow", b"2", b"3")
    wait_until(lambda: "timeout" in broker.log, timeout_s=60)
    recorder.gate.set()
    wait_until(lambda: recorder.values[-2:] == [2, 3])
    assert set(recorder.values) == {1, 2, 3}
    wait_until(lambda: source.state.counters["reconnects"] == 1)


def test_retransmission_is_by_value_and_order(broker: Broker, recorder: Recorder, start: Start, publish: Publish) -> None:
    start(broker.port, recorder)
    publish("plant/pump-1", *(json.dumps({"t_ms": 1_700_000_000_000 + i, "flow": i}) for i in range(300)))
    wait_until(lambda: len(recorder.values) == 300)
    assert recorder.rows == [("pump-1", "flow", (1_700_000_000_000 + i) * 1_000_000, float(i)) for i in range(300)]
