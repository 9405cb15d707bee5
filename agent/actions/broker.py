"""One connection to an MQTT broker for publishing, driven by whoever calls; nothing happens between calls.

Every wait has a deadline, and what is not acknowledged by then dies with the connection: paho would keep it and publish it
whenever the broker is back, and a command that comes hours late is worse than one that is known to have failed.
"""

from __future__ import annotations

import select
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.actions.config import BrokerConfig
from agent.sources.link import Wake
from models.errors import LinkError

KEEPALIVE_S: Final = 30
_ROUND_S: Final = 0.2


class BrokerSession:
    """`open` it, then `publish` and `settle`, then `close`. `will`: (topic, payload), published retained by the broker when
    this connection is lost. `folder`: what the paths of `config` are relative to. Used by one thread."""

    def __init__(self, config: BrokerConfig, folder: Path, client_id: str = "", will: tuple[str, bytes] | None = None) -> None:
        self._config = config
        self._folder = folder
        self._failure = ""
        self._connected = False
        self._open_mids: set[int] = set()
        self.messages: list[paho.MQTTMessage] = []  # what came on subscribed topics; the caller takes them out
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False)
        if will is not None:
            self._client.will_set(will[0], will[1], qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_message = lambda *received: self.messages.append(received[2])

    @property
    def _where(self) -> str:
        return f"{self._config.host}:{self._config.port}"

    def open(self, timeout_s: float) -> None:
        """Connects; returns once the broker has accepted. Raises LinkError."""
        deadline_s = time.monotonic() + timeout_s
        try:
            self._authenticate()
            self._client.connect_timeout = timeout_s
            self._client.connect(self._config.host, self._config.port, KEEPALIVE_S)
        except (OSError, ValueError) as error:
            raise LinkError(f"{self._where}: {error}") from error
        while not self._connected:
            self._turn(deadline_s, "no answer to CONNECT")

    def publish(self, topic: str, payload: bytes, retain: bool) -> None:
        """Hands over one message with QoS 1; `settle` tells whether it arrived. Raises LinkError, also for a bad topic."""
        try:
            info = self._client.publish(topic, payload, qos=1, retain=retain)
        except ValueError as error:
            raise LinkError(f"{self._where}: topic {topic!r}: {error}") from None
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise LinkError(f"{self._where}: {self._failure or paho.error_string(info.rc)}")
        self._open_mids.add(info.mid)

    def subscribe(self, topic: str) -> None:
        self._client.subscribe(topic, 0)

    def settle(self, timeout_s: float) -> None:
        """Returns once the broker has acknowledged everything that was published. Raises LinkError."""
        deadline_s = time.monotonic() + timeout_s
        while self._open_mids:
            self._turn(deadline_s, "no acknowledgement")

    def round(self, timeout_s: float, wake: Wake | None = None) -> None:
        """Waits for something to do, or for `wake`, at most `timeout_s`, and does it. Raises LinkError when it is over."""
        sock: Any = self._client.socket()
        if sock is not None:
            writers = [sock] if self._client.want_write() else []
            held = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
            readable, _, _ = select.select([sock, wake] if wake else [sock], writers, [], 0.0 if held else timeout_s)
            if held or sock in readable:
                self._client.loop_read()
            if wake is not None:
                wake.clear()
            self._client.loop_write()
            self._client.loop_misc()
        if self._client.socket() is None or self._failure:
            raise LinkError(f"{self._where}: {self._failure or 'connection lost'}")

    def close(self) -> None:
        """Says goodbye, so that the will is not published, and hangs up."""
        self._client.disconnect()
        sock: Any = self._client.socket()
        if sock is not None:
            with suppress(OSError):
                self._client.loop_write()
            sock.close()

    def _turn(self, deadline_s: float, otherwise: str) -> None:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise LinkError(f"{self._where}: {otherwise} in time")
        self.round(min(left_s, _ROUND_S))

    def _authenticate(self) -> None:
        config = self._config
        if config.username is not None:
            lines = (self._folder / config.password_file).read_text("utf-8").splitlines() if config.password_file else []
            self._client.username_pw_set(config.username, lines[0] if lines else None)
        if config.tls or config.ca_file is not None:
            ca_file = str(self._folder / config.ca_file) if config.ca_file else None
            self._client.tls_set_context(ssl.create_default_context(cafile=ca_file))

    def _on_connect(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._connected = not reason.is_failure
        if reason.is_failure:
            self._failure = f"refused: {reason}"

    def _on_disconnect(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._failure = self._failure or f"connection lost: {reason}"

    def _on_publish(self, client: paho.Client, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        self._open_mids.discard(mid)
