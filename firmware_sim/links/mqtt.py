"""Publishing to a broker with QoS 1, over a connection of paho's own thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from firmware_sim.firmware.encoder import Message
from models.errors import LinkError

_MAX_INFLIGHT: Final = 500
_MAX_QUEUED: Final = 20_000
_POLL_S: Final = 0.01


class MqttLink:
    """One publisher. While the broker is away, up to `max_queued` messages wait for it; beyond that they are dropped.

    Unplugged, nothing is published. Several firmwares may share one link; all calls come from one thread.
    """

    def __init__(self, host: str, port: int, client_id: str = "", max_queued: int = _MAX_QUEUED) -> None:
        self.n_dropped = 0
        self._host = host
        self._port = port
        self._plugged = False
        self._connected = threading.Event()
        self._n_accepted = 0  # by the client here, for the broker
        self._n_acknowledged = 0  # by the broker
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        self._client.max_inflight_messages_set(_MAX_INFLIGHT)
        self._client.max_queued_messages_set(max_queued)
        self._client.reconnect_delay_set(min_delay=1, max_delay=10)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self.plug()

    @property
    def address(self) -> str:
        return f"mqtt://{self._host}:{self._port}"

    def connect(self, timeout_s: float) -> None:
        """Wait for the connection. Raises LinkError where there is none by then."""
        if not self._connected.wait(timeout_s):
            raise LinkError(f"no MQTT broker answers on {self._host}:{self._port} within {timeout_s:g} s")

    def write(self, messages: Sequence[Message]) -> None:
        """See `Link.write`."""
        if not self._plugged:
            self.n_dropped += len(messages)
            return
        for message in messages:
            # Without a connection the client says so and keeps the message all the same.
            if self._client.publish(message.topic, message.payload, qos=1).rc == mqtt.MQTT_ERR_QUEUE_SIZE:
                self.n_dropped += 1
            else:
                self._n_accepted += 1

    def flush(self, timeout_s: float) -> bool:
        """See `Link.flush`: until the broker has acknowledged everything."""
        deadline = time.monotonic() + timeout_s
        while self._n_acknowledged < self._n_accepted:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def unplug(self) -> None:
        """See `Link.unplug`."""
        if self._plugged:
            self._plugged = False
            self._client.disconnect()
            self._client.loop_stop()
            self._connected.clear()

    def plug(self) -> None:
        """See `Link.plug`. Returns at once; the connection comes when the broker does."""
        if not self._plugged:
            self._client.connect_async(self._host, self._port, keepalive=30)
            self._client.loop_start()
            self._plugged = True

    def close(self) -> None:
        self.unplug()

    def _on_connect(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            self._connected.set()

    def _on_disconnect(self, *_args: Any) -> None:
        self._connected.clear()

    def _on_publish(self, *_args: Any) -> None:
        self._n_acknowledged += 1
