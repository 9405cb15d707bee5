"""Real things to act on: a broker, an HTTP server, a program that notes what it was told; and events to act upon."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agent.actions.config import ActionRule
from agent.actions.event import Event, event_of
from firmware_sim.links.broker import Broker, start_broker
from models.contract.items import Alert, SensorFault
from tests import builders
from tests.waiting import wait_until


def alert(n: int = 0, **changes: Any) -> Alert:
    return msgspec.structs.replace(builders.alert(n), **changes)


def alert_event(n: int = 0, **changes: Any) -> Event:
    return event_of(alert(n, **changes), "gw-1")


def fault_event(n: int = 0, **changes: Any) -> Event:
    fault: SensorFault = msgspec.structs.replace(builders.sensor_fault(n), **changes)
    return event_of(fault, "gw-1")


def rule(**changes: Any) -> ActionRule:
    """A rule as TOML would give it, checked like it."""
    given: dict[str, Any] = {"name": "siren", "on": "alert", "program": {"command": ["true"]}, **changes}
    return msgspec.convert(given, ActionRule)


@dataclass
class Received:
    """What a server was sent; `status` and `hold` say how it answers the next requests."""

    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    status: int = 204
    answer: bytes = b""
    hold: threading.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=secret"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.requests]


@pytest.fixture
def receiver() -> Iterator[Received]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.requests.append((self.path, dict(self.headers), body))
            with suppress(OSError):
                if received.hold is not None:  # drips a byte of the header now and then
                    while not received.hold.wait(0.05):
                        self.wfile.write(b"H")
                    return
                self.send_response(received.status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(received.answer)))
                self.end_headers()
                self.wfile.write(received.answer)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield received
    if received.hold is not None:
        received.hold.set()
    server.shutdown()
    server.server_close()
    thread.join(30)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with start_broker(directory=tmp_path / "broker") as broker:
        yield broker


class Listener:
    """Everything that is published on a broker, retained messages first; the latest by topic."""

    def __init__(self, port: int) -> None:
        self.messages: list[paho.MQTTMessage] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda *received: self.messages.append(received[2])
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self._subscribed = threading.Event()
        self.client.connect_timeout = 60.0
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("#", 1)
        self.client.loop_start()
        assert self._subscribed.wait(60)

    def payloads(self, topic: str) -> list[bytes]:
        return [message.payload for message in list(self.messages) if message.topic == topic]

    def latest(self, topic: str) -> Any:
        """The latest payload as JSON; None where there is none."""
        payloads = self.payloads(topic)
        return json.loads(payloads[-1]) if payloads else None

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def listen(broker: Broker) -> Iterator[Callable[[], Listener]]:
    listeners: list[Listener] = []

    def make() -> Listener:
        listeners.append(Listener(broker.port))
        return listeners[-1]

    yield make
    for listener in listeners:
        listener.close()


@dataclass
class NotingProgram:
    """A program that writes down what it got. `extra`: shell lines that it runs after that."""

    folder: Path

    def command(self, extra: str = "") -> tuple[str, ...]:
        path = self.folder / "program.sh"
        path.write_text(
            f'#!/bin/sh\nenv > "{self.folder}/env"\ncat > "{self.folder}/stdin"\necho done >> "{self.folder}/runs"\n{extra}\n'
        )
        path.chmod(0o755)
        return (str(path), "an argument; echo $HOME")

    @property
    def runs(self) -> int:
        path = self.folder / "runs"
        return len(path.read_text().splitlines()) if path.exists() else 0

    @property
    def stdin(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.folder / "stdin").read_bytes())
        return told

    @property
    def env(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in (self.folder / "env").read_text().splitlines() if "=" in line)


@pytest.fixture
def program(tmp_path: Path) -> NotingProgram:
    folder = tmp_path / "program"
    folder.mkdir()
    return NotingProgram(folder)


def gone(pid: int) -> None:
    """Waits until no process `pid` runs."""
    wait_until(
        lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2], what="to be gone"
    )
