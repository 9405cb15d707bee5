"""An MQTT broker for the demo and for tests, with nothing to set up: bound to loopback, open to whoever is on this machine.

`mosquitto` where it is installed, else `amqtt`, which is pure Python, speaks no MQTT 5, carries some thousand messages a
second and forgets everything when it stops. Both keep QoS 1 messages for persistent sessions that are away.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Protocol, Self

from models.errors import LinkError

BrokerKind = Literal["mosquitto", "amqtt"]
_HOST: Final = "127.0.0.1"
_START_S: Final = 30.0
_STOP_S: Final = 15.0  # for a mosquitto to write down what it keeps
_ATTEMPTS: Final = 5


class Broker(Protocol):
    """A running broker. Leaving the `with` block, or `stop`, ends its process."""

    host: str
    port: int
    kind: BrokerKind
    pid: int

    def stop(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def start_broker(kind: BrokerKind | None = None, port: int = 0, directory: Path | None = None) -> Broker:
    """Start a broker and return once it accepts connections.

    `kind`: None = mosquitto where it is installed, else amqtt. `port`: 0 = any free one. `directory`: for its files; a
    mosquitto restarted on the same directory remembers its sessions; None = a temporary one.
    Raises LinkError where it cannot be started, with the last line that it said.
    """
    kind = kind or ("mosquitto" if mosquitto_path() else "amqtt")
    for attempt in range(_ATTEMPTS):
        try:
            return _ChildBroker(kind, port or free_port(), directory)
        except LinkError:  # the free port may have been taken meanwhile; a given one is not tried twice
            if port or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def mosquitto_path() -> str | None:
    """Where mosquitto is; Debian keeps it outside of an ordinary user's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class _ChildBroker:
    """A broker in a child process, its configuration and log in a directory."""

    def __init__(self, kind: BrokerKind, port: int, directory: Path | None) -> None:
        self.host = _HOST
        self.port = port
        self.kind = kind
        if _answers(port):
            raise self._failed("something else listens there")
        self._temporary = tempfile.mkdtemp(prefix="tocsin-broker-") if directory is None else None
        self._directory = Path(self._temporary or directory or ".").resolve()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._log = self._directory / "broker.log"
        commands: dict[BrokerKind, Callable[[], list[str]]] = {"mosquitto": self._mosquitto, "amqtt": self._amqtt}
        command = commands[kind]()
        try:
            with self._log.open("ab") as log:  # in a session of its own: Ctrl-C is for whoever started it to handle
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        except OSError as error:
            self._remove_files()
            raise self._failed(str(error)) from None
        self.pid = self._process.pid
        self._wait_until_ready()

    def stop(self) -> None:
        """Ask it to end, insist after a while, and remove its temporary files."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._remove_files()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_S
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._last_line()
                self.stop()
                raise self._failed(said)
            time.sleep(0.02)

    def _remove_files(self) -> None:
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _failed(self, why: str) -> LinkError:
        return LinkError(f"{self.kind} does not start on {self.host}:{self.port}: {why}")

    def _last_line(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1][:300]
        return "it said nothing"

    def _mosquitto(self) -> list[str]:
        config = self._directory / "mosquitto.conf"
        lines = [
            f"listener {self.port} {self.host}",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {self._directory}/",
            "max_queued_messages 1000000",
            "max_inflight_messages 1000",
            "set_tcp_nodelay true",
            "connection_messages false",
            "log_dest stderr",
        ]
        if os.geteuid() == 0:  # else it would become the user `mosquitto`, who may not write here
            lines.append("user root")
        config.write_text("\n".join(lines) + "\n")
        return [mosquitto_path() or "mosquitto", "-c", str(config)]

    def _amqtt(self) -> list[str]:
        return [sys.executable, "-m", "firmware_sim.links.amqtt_server", self.host, str(self.port)]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((_HOST, port)) == 0
