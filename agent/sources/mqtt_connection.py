"""One connection to an MQTT broker, from CONNECT to its end; paho-mqtt's client, driven from a single thread.

Invariants:
1. The client and its wire (`mqtt_wire`) are touched by the connection's own thread only. What is to be acknowledged is
   queued in the session, and the queue wakes the thread.
2. Every connection has a client of its own. The session (`mqtt_session`) outlives it, here and at the broker: no clean
   session; in MQTT 5 it never expires; under a stable client id.
3. One round takes in what the socket holds, `mqtt_wire.FILL_BYTES` at most; the rest waits there. Rounds are LINGER_S apart
   at least, unless the session is crowded: a thousand single messages a second would else be a thousand rounds.
4. An MQTT 5 broker may send RECEIVE_MAXIMUM messages ahead of acknowledgements and none larger than MAX_BYTES; what a
   3.1.1 broker sends that is larger is read past, counted and acknowledged.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.sources.config import MqttConfig
from agent.sources.link import Wake
from agent.sources.mqtt_session import Session
from agent.sources.mqtt_wire import Message, Wire
from models.errors import LinkError

MAX_BYTES: Final = 1024 * 1024
RECEIVE_MAXIMUM: Final = 65_535
LINGER_S: Final = 0.005
_CONNECT_S: Final = 5.0  # for TCP and TLS
_READY_S: Final = 15.0  # for the broker to answer CONNECT and SUBSCRIBE
_GOODBYE_S: Final = 0.3
_ROUND_S: Final = 1.0  # how often pings are thought of
_NEVER_EXPIRES: Final = 0xFFFFFFFF
_UNSUPPORTED_VERSION: Final = 0x84  # MQTT 5.0, 3.2.2.2; paho says the 1 of MQTT 3.1.1 so, too


class _Client(paho.Client):
    """paho's client on a wire that keeps the messages for itself."""

    wire: Wire

    def _create_socket(self) -> Any:
        sock: Any = super()._create_socket()
        self.wire = Wire(sock, self.protocol == paho.MQTTv5, MAX_BYTES)
        return self.wire


class Connection:
    """`open` it, then call `round` until that raises LinkError, then `close` it. `is_5`: MQTT 5, else 3.1.1."""

    def __init__(
        self, config: MqttConfig, client_id: str, filters: Sequence[str], session: Session, wake: Wake, is_5: bool
    ) -> None:
        self._config = config
        self._filters = filters
        self._session = session
        self._wake = wake
        self._is_5 = is_5
        self._failure = ""
        self._deadline_s = 0.0
        self._next_s = 0.0
        self.answered: bool | None = None  # whether the broker knows this version of MQTT; None = it has not said a word
        self.subscribed = False
        self._client = self._new_client(client_id)

    def open(self) -> None:
        """Connects and sends CONNECT. Raises LinkError."""
        config = self._config
        try:
            self._authenticate()
            if self._is_5:
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
                properties.SessionExpiryInterval = _NEVER_EXPIRES
                properties.ReceiveMaximum = RECEIVE_MAXIMUM
                properties.MaximumPacketSize = MAX_BYTES
                self._client.connect(config.host, config.port, config.keepalive_s, clean_start=False, properties=properties)
            else:
                self._client.connect(config.host, config.port, config.keepalive_s)
        except (OSError, ValueError) as error:
            raise LinkError(f"{config.host}:{config.port}: {error}") from error
        self._deadline_s = time.monotonic() + _READY_S

    def round(self, timeout_s: float = _ROUND_S) -> list[Message]:
        """Waits for something to do, at most `timeout_s`; does it; the messages that came. Raises LinkError when it is over.

        Order matters after a long pause: what has come is read first, so that an answer to a ping that waits in the
        socket is seen before its absence is held against the broker.
        """
        messages: list[Message] = []
        if self._client.socket() is not None:
            wire = self._client.wire
            if not self._session.crowded:
                self._linger()
            self._client.loop_write()
            if self._wait(wire, timeout_s):
                messages = self._read(wire)
            while wire.has_others and self._client.loop_read() == paho.MQTT_ERR_SUCCESS:
                pass
            self._wake.clear()
            self._send()
            self._next_s = time.monotonic() + LINGER_S
        if self._client.socket() is None or self._failure:
            raise LinkError(f"{self._config.host}:{self._config.port}: {self._failure or 'connection lost'}")
        if not self.subscribed and time.monotonic() > self._deadline_s:
            raise LinkError(f"{self._config.host}:{self._config.port}: no answer to CONNECT within {_READY_S:.0f} s")
        return messages

    def _read(self, wire: Wire) -> list[Message]:
        try:
            wire.fill()
        except LinkError as error:
            self._failure = str(error)
        return wire.take()

    def _linger(self) -> None:
        """Let messages gather; acknowledgements and the end of the source do not wait for that."""
        pause_s = self._next_s - time.monotonic()
        if pause_s > 0:
            select.select([self._wake], [], [], pause_s)

    def _wait(self, wire: Wire, timeout_s: float) -> bool:
        """Whether there is something to read."""
        if wire.pending():
            return True
        line, wake = wire.fileno(), self._wake.fileno()
        readable, _, _ = select.select([line, wake], [line] if wire.wants_write else [], [], timeout_s)
        return line in readable

    def publish(self, topic: str, payload: bytes) -> None:
        """Sends at QoS 0, with the next round at the latest; what a broken connection does not take is gone."""
        self._client.publish(topic, payload, qos=0)

    def settle(self) -> None:
        """Sends what may be acknowledged by now, taking in nothing new."""
        if self._client.socket() is not None:
            self._send()

    def close(self) -> None:
        """Says goodbye where there is somebody to say it to, and waits a moment until the broker hangs up.

        By then it has read every acknowledgement before the goodbye. A client that comes back sooner, under the same
        id, would make it throw away what it has not read, and those messages would come again. The session stays.
        """
        wire: Any = self._client.socket()
        if wire is None:
            return
        with socket.socket(fileno=os.dup(wire.fileno())) as line:  # paho closes its own at once
            self._client.disconnect()
            self._client.loop_write()
            wire.flush()
            line.settimeout(_GOODBYE_S)
            with suppress(OSError):
                deadline_s = time.monotonic() + _GOODBYE_S
                while time.monotonic() < deadline_s and line.recv(65536):
                    pass
        wire.close()

    def _new_client(self, client_id: str) -> _Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if self._is_5 else False,
            protocol=paho.MQTTv5 if self._is_5 else paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = _CONNECT_S
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_socket_register_write = lambda *_: None  # its presence leaves all sending to `_send`
        return client

    def _authenticate(self) -> None:
        config = self._config
        if config.username is not None:
            lines = Path(config.password_file).read_text(encoding="utf-8").splitlines() if config.password_file else []
            self._client.username_pw_set(config.username, lines[0] if lines else None)
        if config.uses_tls:
            self._client.tls_set_context(ssl.create_default_context(cafile=config.ca_file))

    def _send(self) -> None:
        wire = self._client.wire
        wire.acknowledge(self._session.due())
        self._client.loop_misc()
        if self._client.socket() is not None:  # a missed ping ends the connection
            self._client.loop_write()
        wire.flush()

    def _on_connect(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.answered = reason.value != _UNSUPPORTED_VERSION
        if reason.is_failure:
            self._failure = f"refused: {reason}"
        else:
            self._session.opened(bool(flags.session_present), time.monotonic())
            client.subscribe([(topic, 1) for topic in self._filters])

    def _on_subscribe(self, client: paho.Client, userdata: Any, mid: int, reasons: Any, properties: Any) -> None:
        refused = [topic for topic, reason in zip(self._filters, reasons, strict=False) if reason.is_failure]
        if refused:
            self._failure = f"subscription refused: {', '.join(refused)}"
        self.subscribed = not refused

    def _on_disconnect(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._failure = self._failure or f"connection lost: {reason}"
