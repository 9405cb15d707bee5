"""One connection to an MQTT broker, from CONNECT to its end; paho-mqtt's client, driven from a single thread.

Invariants:
1. The client is touched by the connection's own thread only. paho's `ack` sends from whichever thread calls it, and two
   threads that send can interleave their bytes; so acknowledgements are queued here, and the queue wakes the thread.
2. Every connection has a client of its own, and acknowledgements belong to the connection that brought their messages.
   A message id means nothing on another connection: an acknowledgement that comes too late is dropped, and the broker
   sends the message again.
3. The session outlives the connection (no clean session; in MQTT 5 it never expires), under a stable client id.
4. One round takes in at most MAX_MESSAGES messages or MAX_BYTES of payload, and whatever one more message holds. The
   rest waits in the socket. MQTT 3.1.1 has no way to refuse a large message (the broker's `message_size_limit` does);
   an MQTT 5 broker is told to withhold packets beyond MAX_BYTES.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.sources.config import MqttConfig
from agent.sources.link import Wake
from models.errors import LinkError

MAX_MESSAGES: Final = 500
MAX_BYTES: Final = 1024 * 1024
_CONNECT_S: Final = 5.0  # for TCP and TLS
_READY_S: Final = 15.0  # for the broker to answer CONNECT and SUBSCRIBE
_GOODBYE_S: Final = 0.3
_ROUND_S: Final = 1.0  # how often pings are thought of
_NEVER_EXPIRES: Final = 0xFFFFFFFF


class Connection:
    """`open` it, then call `round` until that raises LinkError, then `close` it."""

    def __init__(self, config: MqttConfig, client_id: str, filters: Sequence[str], wake: Wake) -> None:
        self._config = config
        self._filters = filters
        self._wake = wake
        self._inbox: list[paho.MQTTMessage] = []
        self._inbox_bytes = 0
        self._acks: deque[list[int]] = deque()
        self._n_open = 0
        self._failure = ""
        self._deadline_s = 0.0
        self.subscribed = False
        self._client = self._new_client(client_id)

    def open(self) -> None:
        """Connects and sends CONNECT. Raises LinkError."""
        config = self._config
        try:
            self._authenticate()
            if config.protocol == "5":
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
                properties.SessionExpiryInterval = _NEVER_EXPIRES
                properties.ReceiveMaximum = 2 * MAX_MESSAGES
                properties.MaximumPacketSize = MAX_BYTES
                self._client.connect(config.host, config.port, config.keepalive_s, clean_start=False, properties=properties)
            else:
                self._client.connect(config.host, config.port, config.keepalive_s)
        except (OSError, ValueError) as error:
            raise LinkError(f"{config.host}:{config.port}: {error}") from error
        self._deadline_s = time.monotonic() + _READY_S

    def round(self, timeout_s: float = _ROUND_S, read: bool = True) -> list[paho.MQTTMessage]:
        """Waits for something to do, at most `timeout_s`; does it; the messages that came. Raises LinkError when it is over.

        Order matters after a long pause: what has come is read first, so that an answer to a ping that waits in the
        socket is seen before its absence is held against the broker.
        """
        sock: Any = self._client.socket()
        if sock is not None:
            held = read and isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
            readers = [sock, self._wake] if read else [self._wake]
            writers = [sock] if self._client.want_write() else []
            readable, _, _ = select.select(readers, writers, [], 0.0 if held else timeout_s)
            if held or sock in readable:
                self._read()
            self._wake.clear()
            self._send()
        if self._client.socket() is None or self._failure:
            raise LinkError(f"{self._config.host}:{self._config.port}: {self._failure or 'connection lost'}")
        if not self.subscribed and time.monotonic() > self._deadline_s:
            raise LinkError(f"{self._config.host}:{self._config.port}: no answer to CONNECT within {_READY_S:.0f} s")
        messages, self._inbox, self._inbox_bytes = self._inbox, [], 0
        return messages

    def acknowledger(self, messages: Sequence[paho.MQTTMessage]) -> Callable[[], None] | None:
        """What acknowledges `messages`, once, from any thread; None where none of them asks for it."""
        mids = [message.mid for message in messages if message.qos == 1]
        if not mids:
            return None
        self._n_open += 1

        def acknowledge() -> None:
            self._acks.append(mids)
            self._wake.set()

        return acknowledge

    def publish(self, topic: str, payload: bytes) -> None:
        """Sends at QoS 0, with the next round at the latest; what a broken connection does not take is gone."""
        self._client.publish(topic, payload, qos=0)

    def settle(self, timeout_s: float) -> None:
        """Waits for outstanding acknowledgements and sends them, taking in nothing new. Raises LinkError."""
        deadline_s = time.monotonic() + timeout_s
        while self._n_open and (left_s := deadline_s - time.monotonic()) > 0:
            self.round(left_s, read=False)

    def close(self) -> None:
        """Says goodbye where there is somebody to say it to, and waits a moment until the broker hangs up.

        By then it has read every acknowledgement before the goodbye. A client that comes back sooner, under the same
        id, would make it throw away what it has not read, and those messages would come again. The session stays.
        """
        sock: Any = self._client.socket()
        if sock is None:
            return
        with socket.socket(fileno=os.dup(sock.fileno())) as wire:  # paho closes its own at once
            self._client.disconnect()
            self._client.loop_write()
            wire.settimeout(_GOODBYE_S)
            with suppress(OSError):
                deadline_s = time.monotonic() + _GOODBYE_S
                while time.monotonic() < deadline_s and wire.recv(65536):
                    pass
        sock.close()

    def _new_client(self, client_id: str) -> paho.Client:
        is_5 = self._config.protocol == "5"
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if is_5 else False,
            protocol=paho.MQTTv5 if is_5 else paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = _CONNECT_S
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_register_write = lambda *_: None  # its presence leaves all sending to `_send`
        return client

    def _authenticate(self) -> None:
        config = self._config
        if config.username is not None:
            lines = Path(config.password_file).read_text(encoding="utf-8").splitlines() if config.password_file else []
            self._client.username_pw_set(config.username, lines[0] if lines else None)
        if config.uses_tls:
            self._client.tls_set_context(ssl.create_default_context(cafile=config.ca_file))

    def _read(self) -> None:
        while len(self._inbox) < MAX_MESSAGES and self._inbox_bytes < MAX_BYTES:
            before = len(self._inbox)
            if self._client.loop_read() != paho.MQTT_ERR_SUCCESS or len(self._inbox) == before:
                return  # nothing more for now, or another kind of packet: the next round goes on

    def _send(self) -> None:
        while self._acks:
            mids = self._acks.popleft()
            self._n_open -= bool(mids)
            for mid in mids:
                self._client.ack(mid, qos=1)
            mids.clear()  # a second call of the same acknowledger must not release a later message of the same id
        self._client.loop_write()
        self._client.loop_misc()

    def _on_connect(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._failure = f"refused: {reason}"
        else:
            client.subscribe([(topic, 1) for topic in self._filters])

    def _on_subscribe(self, client: paho.Client, userdata: Any, mid: int, reasons: Any, properties: Any) -> None:
        refused = [topic for topic, reason in zip(self._filters, reasons, strict=False) if reason.is_failure]
        if refused:
            self._failure = f"subscription refused: {', '.join(refused)}"
        self.subscribed = not refused

    def _on_disconnect(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._failure = self._failure or f"connection lost: {reason}"

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        self._inbox.append(message)
        self._inbox_bytes += len(message.payload)
