"""Each actor against the real thing; and what all of them promise: a returned result, in time, for whatever goes wrong."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from agent.actions.actor import Actor
from agent.actions.config import MqttAction, ProgramAction, SerialAction, WebhookAction
from agent.actions.mqtt import MqttActor
from agent.actions.program import ProgramActor
from agent.actions.serial_command import SerialActor
from agent.actions.webhook import WebhookActor
from firmware_sim.links.broker import Broker
from tests.actions.conftest import Listener, NotingProgram, Received, alert_event, fault_event, gone
from tests.ports import own_port
from tests.waiting import wait_until

SHORT_S, LONG_S = 0.4, 90.0


# --- what all promise ---------------------------------------------------------------------------------------------


def nobody_there(tmp_path: Path) -> list[Actor]:
    return [
        MqttActor(MqttAction(port=own_port(), timeout_s=LONG_S), tmp_path),
        SerialActor(SerialAction(port=str(tmp_path / "ttyNone"), command="x", timeout_s=LONG_S), shared=False),
        SerialActor(SerialAction(port=str(tmp_path / "ttyNone"), command="x", timeout_s=LONG_S), shared=True),
        WebhookActor(WebhookAction(url=f"http://127.0.0.1:{own_port()}/", timeout_s=LONG_S), tmp_path, "1"),
        ProgramActor(ProgramAction(command=(str(tmp_path / "none"),), timeout_s=LONG_S)),
    ]


@pytest.mark.parametrize("i", range(5), ids=["mqtt", "serial", "serial shared", "webhook", "program"])
def test_where_nobody_is_the_result_says_so_at_once(tmp_path: Path, i: int) -> None:
    actor = nobody_there(tmp_path)[i]
    began_s = time.monotonic()
    result = actor.act(alert_event())
    assert not result.ok
    assert result.detail
    assert time.monotonic() - began_s < LONG_S / 2
    actor.close()


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("kind", ["mqtt", "webhook", "program", "serial"])
def test_what_takes_too_long_is_given_up_in_time(tmp_path: Path, mute: int, kind: str) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    actors: dict[str, Actor] = {
        "mqtt": MqttActor(MqttAction(port=mute, timeout_s=SHORT_S), tmp_path),
        "webhook": WebhookActor(WebhookAction(url=f"http://127.0.0.1:{mute}/", timeout_s=SHORT_S), tmp_path, "1"),
        "program": ProgramActor(ProgramAction(command=("sleep", "600"), timeout_s=SHORT_S)),
        # Nobody reads, and the terminal holds less than what is written.
        "serial": SerialActor(SerialAction(port=os.ttyname(slave), command="x" * 4096, timeout_s=SHORT_S), shared=False),
    }
    actor = actors[kind]
    began_s = time.monotonic()
    results = [actor.act(alert_event())]
    while kind == "serial" and results[-1].ok and len(results) < 100:
        results.append(actor.act(alert_event()))
    assert not results[-1].ok
    assert SHORT_S * 0.8 <= time.monotonic() - began_s < LONG_S / 2
    actor.close()
    for descriptor in (master, slave):
        os.close(descriptor)


def test_a_preview_does_nothing(tmp_path: Path, receiver: Received, program: NotingProgram) -> None:
    webhook = WebhookActor(WebhookAction(url=receiver.url, timeout_s=LONG_S), tmp_path, "1")
    told = [webhook.preview(alert_event()), ProgramActor(ProgramAction(command=program.command())).preview(alert_event())]
    assert told[0].startswith(f'POST to http://127.0.0.1:{receiver.port}: {{"device":"gw-1"')
    assert told[1].startswith(f"run {program.folder}/program.sh and its arguments with ")
    assert "an argument" not in told[1], "it may be secret, and of a dry run the hub is told this"
    assert (receiver.requests, program.runs) == ([], 0)


# --- MQTT ---------------------------------------------------------------------------------------------------------


def test_an_event_is_published_as_json_and_retained(tmp_path: Path, broker: Broker, listen: Callable[[], Listener]) -> None:
    assert MqttActor(MqttAction(port=broker.port, timeout_s=LONG_S), tmp_path).act(alert_event(3)).ok
    late = listen()
    told = wait_until(lambda: late.latest("tocsin/gw-1/rig-1/alert"))
    assert (told["event_id"], told["severity"], told["top"]) == ("rig-1-3", "warning", "flow 80%, pressure 20%")


def test_opening_and_closing_may_say_different_things(tmp_path: Path, broker: Broker, listen: Callable[[], Listener]) -> None:
    listener = listen()
    action = MqttAction(
        port=broker.port, timeout_s=LONG_S, topic="relay/{asset}/set", payload="ON {fault}", payload_closed="OFF", retain=False
    )
    actor = MqttActor(action, tmp_path)
    assert actor.act(fault_event()).ok
    assert actor.act(fault_event(closed_ns=9)).ok
    wait_until(lambda: listener.payloads("relay/rig-1/set") == [b"ON stuck", b"OFF"])
    assert not any(message.retain for message in listener.messages)


def test_a_topic_that_an_event_makes_illegal_is_a_failure(tmp_path: Path, broker: Broker) -> None:
    result = MqttActor(MqttAction(port=broker.port, timeout_s=LONG_S, topic="t/{detail}"), tmp_path).act(
        fault_event(detail="50 # of +")
    )
    assert not result.ok
    assert "topic" in result.detail


def test_what_failed_is_not_published_later(tmp_path: Path) -> None:
    from firmware_sim.links.broker import start_broker

    port = own_port()
    actor = MqttActor(MqttAction(port=port, timeout_s=LONG_S), tmp_path)
    assert not actor.act(alert_event(1)).ok
    with start_broker(port=port, directory=tmp_path / "broker"):
        listener = Listener(port)
        try:
            assert actor.act(alert_event(2)).ok
            wait_until(lambda: listener.messages)
            assert [m.payload.count(b"rig-1-2") for m in listener.messages] == [1]
        finally:
            listener.close()


# --- serial -------------------------------------------------------------------------------------------------------


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A serial port, and the descriptor of its other end."""
    master, slave = os.openpty()
    tty.setraw(slave)
    path = tmp_path / "ttyRelay"
    path.symlink_to(os.ttyname(slave))
    yield path, master
    for descriptor in (master, slave):
        os.close(descriptor)


@pytest.mark.parametrize("shared", [False, True])
def test_a_command_arrives_byte_for_byte(line: tuple[Path, int], shared: bool) -> None:
    path, master = line
    actor = SerialActor(SerialAction(port=str(path), command="\u0002STOP {asset}\u00ff\r\n", command_closed="GO\n"), shared)
    assert actor.act(alert_event()).ok
    assert os.read(master, 100) == b"\x02STOP rig-1\xff\r\n"
    assert actor.act(alert_event(closed_ns=1)).ok
    assert os.read(master, 100) == b"GO\n"
    actor.close()


def test_writing_to_a_shared_port_takes_nothing_from_who_reads_it(line: tuple[Path, int]) -> None:
    import serial

    path, master = line
    with serial.Serial(str(path), 115_200, timeout=60, exclusive=True) as source:
        os.write(master, b"half a fra")
        wait_until(lambda: source.in_waiting == 10)
        assert SerialActor(SerialAction(port=str(path), command="STOP\n"), shared=True).act(alert_event()).ok
        os.write(master, b"me\n")
        assert source.readline() == b"half a frame\n"
    assert os.read(master, 100) == b"STOP\n"


def test_a_port_that_was_pulled_and_put_back_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "ttyRelay"
    actor = SerialActor(SerialAction(port=str(path), command="STOP\n"), shared=False)
    for _ in range(2):
        master, slave = os.openpty()
        tty.setraw(slave)
        path.symlink_to(os.ttyname(slave))
        os.close(slave)
        assert actor.act(alert_event()).ok
        assert os.read(master, 100) == b"STOP\n"
        os.close(master)
        path.unlink()
    actor.close()


# --- webhook ------------------------------------------------------------------------------------------------------


def test_a_webhook_is_signed_over_the_bytes_that_were_sent(tmp_path: Path, receiver: Received) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    action = WebhookAction(url=receiver.url, secret_file="secret", signature_header="X-Hub-Signature-256", timeout_s=LONG_S)
    result = WebhookActor(action, tmp_path, "9.9").act(alert_event(4))
    assert (result.ok, result.detail) == (True, "204")
    path, headers, body = receiver.requests[0]
    assert path == "/hook?token=secret"
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == "tocsin/9.9"
    assert headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert receiver.bodies[0]["event_id"] == "rig-1-4"


@pytest.mark.parametrize(("status", "answer"), [(500, b"no such channel"), (404, b""), (302, b"")])
def test_any_other_answer_is_a_failure_with_what_was_said(
    tmp_path: Path, receiver: Received, status: int, answer: bytes
) -> None:
    receiver.status, receiver.answer = status, answer
    result = WebhookActor(WebhookAction(url=receiver.url, timeout_s=LONG_S), tmp_path, "1").act(alert_event())
    assert not result.ok
    assert result.detail == f"http://127.0.0.1:{receiver.port}: {status} {answer.decode()}".strip()
    assert len(receiver.requests) == 1  # a redirect is not followed


def test_a_server_that_drips_its_answer_is_cut_off(tmp_path: Path, receiver: Received) -> None:
    receiver.hold = threading.Event()
    began_s = time.monotonic()
    result = WebhookActor(WebhookAction(url=receiver.url, timeout_s=SHORT_S), tmp_path, "1").act(alert_event())
    assert not result.ok
    assert "no answer in time" in result.detail
    assert time.monotonic() - began_s < LONG_S / 2


def test_the_secret_of_the_address_is_told_nowhere(tmp_path: Path, receiver: Received) -> None:
    receiver.status = 500
    actor = WebhookActor(WebhookAction(url=receiver.url, timeout_s=LONG_S), tmp_path, "1")
    assert "secret" not in actor.target + actor.act(alert_event()).detail + actor.preview(alert_event())


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_without_its_secret_nothing_is_sent(tmp_path: Path, receiver: Received, content: str | None) -> None:
    if content is not None:
        (tmp_path / "secret").write_text(content)
    result = WebhookActor(WebhookAction(url=receiver.url, secret_file="secret"), tmp_path, "1").act(alert_event())
    assert not result.ok
    assert receiver.requests == []


# --- program ------------------------------------------------------------------------------------------------------


def test_a_program_gets_the_event_on_its_input_and_in_a_small_environment(
    program: NotingProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    event = fault_event(detail="it's; $(reboot) `x`\0y")
    result = ProgramActor(ProgramAction(command=program.command("echo first; echo all well"), timeout_s=LONG_S)).act(event)
    assert (result.ok, result.detail) == (True, "all well")
    assert program.stdin == msgspec.to_builtins(event)
    env = program.env
    assert (env["TOCSIN_ASSET"], env["TOCSIN_FAULT"], env["TOCSIN_EDGE"]) == ("rig-1", "stuck", "opened")
    assert env["TOCSIN_DETAIL"] == "it's; $(reboot) `x` y"
    assert (env["TOCSIN_CLOSED_NS"], env["TOCSIN_TEST"]) == ("", "false")
    assert "NOTIFY_SOCKET" not in env


def test_a_programs_failure_is_told_with_its_last_word(program: NotingProgram) -> None:
    result = ProgramActor(ProgramAction(command=program.command("echo no relay here >&2; exit 3"), timeout_s=LONG_S)).act(
        alert_event()
    )
    assert (result.ok, result.detail) == (False, f"{program.folder}/program.sh: exit code 3: no relay here")


def test_a_program_that_hangs_is_killed_with_all_its_children(program: NotingProgram) -> None:
    script = f'trap "" TERM\nsleep 300 &\necho $! > "{program.folder}/child"\necho $$ > "{program.folder}/leader"\nsleep 300'
    for timeout_s in (1.0, 5.0, 25.0, 125.0):  # until it has got so far
        result = ProgramActor(ProgramAction(command=program.command(script), timeout_s=timeout_s)).act(alert_event())
        assert not result.ok
        assert f"killed, still running after {timeout_s:g} s" in result.detail
        if (program.folder / "leader").exists() and (program.folder / "leader").read_text():
            break
    for who in ("child", "leader"):
        gone(int((program.folder / who).read_text()))


def test_a_chatty_program_is_neither_blocked_nor_remembered_in_full(program: NotingProgram) -> None:
    script = "i=0; while [ $i -lt 20000 ]; do echo line $i of a very long story; i=$((i+1)); done; echo the end"
    result = ProgramActor(ProgramAction(command=program.command(script), timeout_s=300)).act(alert_event())
    assert (result.ok, result.detail) == (True, "the end")


def test_a_program_that_reads_nothing_is_no_trouble() -> None:
    assert ProgramActor(ProgramAction(command=("true",), timeout_s=LONG_S)).act(alert_event()).ok


def test_a_running_program_ends_when_the_actor_is_closed(program: NotingProgram) -> None:
    actor = ProgramActor(ProgramAction(command=program.command("sleep 300"), timeout_s=300))
    thread = threading.Thread(target=actor.act, args=(alert_event(),))
    thread.start()
    wait_until(lambda: program.runs == 1)
    actor.close()
    thread.join(60)
    assert not thread.is_alive()
