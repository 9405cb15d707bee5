"""An edge node's connection to its broker: its will is its death, it is born at each connection and whenever it is asked.

Data go at QoS 0, as Sparkplug has it. All public calls come from one thread; births that a host asks for are sent by paho's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from firmware_sim.firmware.encoder import Message
from firmware_sim.firmware.sparkplug import REBIRTH, EdgeNode, edge_node
from models.errors import LinkError


class SparkplugEdge:
    """`n_rebirths`: requests that were answered. `obeys`: False = requests are ignored, as some firmware does."""

    def __init__(self, node: EdgeNode, host: str, port: int, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.node = node
        self.n_rebirths = 0
        self.obeys = True
        self._host = host
        self._port = port
        self._now_ns = now_ns
        self._lock = threading.Lock()  # a birth comes from paho's thread; its messages stay together
        self._born = threading.Event()
        self._client: mqtt.Client | None = None

    def connect(self, timeout_s: float = 10.0) -> None:
        """A new session. Returns once the broker has its births. Raises LinkError where the broker does not answer."""
        self._born.clear()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"{self.node.group}-{self.node.node}")
        will = self.node.will()
        client.will_set(will.topic, will.payload, qos=1)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        try:
            client.connect(self._host, self._port, keepalive=30)
        except OSError as error:
            raise LinkError(f"{self._host}:{self._port}: {error}") from error
        self._client = client
        client.loop_start()
        if not self._born.wait(timeout_s):
            raise LinkError(f"{self._host}:{self._port}: not born within {timeout_s:g} s")
        self.flush(timeout_s)

    def send(self, device: str, at_ns: int, values: Mapping[str, float], historical: bool = False) -> None:
        """Data of a device, by metric name. Numbered as they are sent: births may come in between from the other thread."""
        with self._lock:
            self._publish([self.node.data(device, at_ns, values, historical)])

    def write(self, messages: Sequence[Message]) -> None:
        """Publish messages that are numbered already, in order, at QoS 0."""
        with self._lock:
            self._publish(messages)

    def flush(self, timeout_s: float) -> None:
        """Wait until the broker has all that was written: it acknowledges what comes after that, at QoS 1."""
        assert self._client is not None
        self._client.publish(f"flushed/{self.node.node}", b"", qos=1).wait_for_publish(timeout_s)

    def leave(self) -> None:
        """Go in good order: the node tells its own death."""
        self.write([self.node.death()])
        self._end(mqtt.Client.disconnect)

    def die(self) -> None:
        """Drop the connection with no word: the broker publishes the will."""
        self._end(_drop)

    def close(self) -> None:
        if self._client is not None:
            self.leave()

    def _publish(self, messages: Sequence[Message]) -> None:
        assert self._client is not None
        for message in messages:
            self._client.publish(message.topic, message.payload, qos=0)

    def _end(self, end: Callable[[mqtt.Client], Any]) -> None:
        client, self._client = self._client, None
        if client is not None:
            end(client)
            client.loop_stop()

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, _reason: Any, _properties: Any) -> None:
        client.subscribe(self.node.topic("NCMD"), 1)
        self._give_birth(client)
        self._born.set()

    def _on_message(self, client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if self.obeys and REBIRTH.encode() in message.payload:
            self.n_rebirths += 1
            self._give_birth(client)

    def _give_birth(self, client: mqtt.Client) -> None:
        with self._lock:
            for message in self.node.births(self._now_ns()):
                client.publish(message.topic, message.payload, qos=0)


class SparkplugLink:
    """One machine's edge node at a broker. Its messages come as JSON objects (`firmware.mqtt.ObjectMessages`) and are numbered
    as they are sent, since births may come in between. While the broker is away, what is sent is lost: so Sparkplug has it.
    """

    def __init__(self, asset: str, channels: Sequence[str], host: str, port: int) -> None:
        """Raises LinkError where no broker answers."""
        self.n_dropped = 0
        self.address = f"mqtt://{host}:{port}"
        self._asset = asset
        self._newest_ns = 0
        self._edge = SparkplugEdge(edge_node(asset, channels), host, port, lambda: self._newest_ns or time.time_ns())
        self._plugged = False
        self.plug()

    def write(self, messages: Sequence[Message]) -> None:
        """See `Link.write`."""
        if not self._plugged:
            self.n_dropped += len(messages)
            return
        for message in messages:
            values = msgspec.json.decode(message.payload, type=dict[str, float])
            values.pop("t")
            self._newest_ns = message.at_ns
            self._edge.send(self._asset, message.at_ns, values)

    def flush(self, timeout_s: float) -> bool:
        """See `Link.flush`."""
        if self._plugged:
            self._edge.flush(timeout_s)
        return True

    def unplug(self) -> None:
        """See `Link.unplug`: the broker publishes the node's death."""
        if self._plugged:
            self._plugged = False
            self._edge.die()

    def plug(self) -> None:
        """See `Link.plug`. Raises LinkError where no broker answers."""
        if not self._plugged:
            self._edge.connect()
            self._plugged = True

    def close(self) -> None:
        if self._plugged:
            self._plugged = False
            self._edge.leave()


def _drop(client: mqtt.Client) -> None:
    client.loop_stop()
    if (sock := client.socket()) is not None:
        sock.close()
