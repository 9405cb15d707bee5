"""The MQTT source: topics of a broker, at QoS 1, each message acknowledged once what it led to is stored.

- A burst is what one round of the connection brought: the pipeline commits once a burst, whatever its size. How many
  messages a broker sends ahead of acknowledgements is its own limit (mosquitto: `max_inflight_messages`, 20 by default,
  which bounds the rate to 20 a commit; raise it on busy brokers).
- Whatever cannot be read (not in its format, not text, larger than MAX_PAYLOAD_BYTES) is counted and acknowledged with
  its burst: a poison message comes once.
- A retained message without a time of its own is left out and counted in `retained`: it may be a second old or a year.
- Messages that waited at the broker while the device was away come all at once. Those without a time of their own are
  dated by their arrival; publishers that matter should send their time.
- While `deliver` blocks, nothing is read and no ping is sent. paho pings after `keepalive_s` of silence and a broker
  gives up after 1.5 of it, so a block of up to `keepalive_s` / 2 never costs the connection (30 s by default). After a
  longer one the broker may have closed it; the session is still there and unacknowledged messages come again.
- Sparkplug has a session of its own above all this (`sparkplug`): its topics follow from its nodes, its retained messages
  are left out, and requests for births are published from here.
- At `stop`, bursts that the pipeline has not acknowledged within a second come again after the next start.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from paho.mqtt.client import MQTTMessage

from agent.backoff import Backoff
from agent.sources.config import MqttConfig
from agent.sources.decode import Channels, Tally, channels_by_asset
from agent.sources.link import Link
from agent.sources.mqtt_connection import Connection
from agent.sources.payload import PayloadDecoder
from agent.sources.source import Burst, SourceState
from agent.sources.topics import compile_topics
from models.errors import FrameError

if TYPE_CHECKING:
    from agent.sources.sparkplug import SparkplugDecoder

_BACKOFF: Final = Backoff()
_SETTLE_S: Final = 1.0


class MqttSource:
    """See `source.Source`. Raises ConfigError for a topic template that could never work.

    `known`: channels by asset. `now_ns`: Unix ns, for what carries no time of its own.
    """

    def __init__(
        self,
        config: MqttConfig,
        now_ns: Callable[[], int],
        known: Mapping[str, Sequence[str]],
        device_id: str,
        backoff: Backoff = _BACKOFF,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = config.name
        self._config = config
        self._now_ns = now_ns
        self._client_id = config.client_id or f"tocsin-{device_id}-{config.name}"
        self._topics = compile_topics(config.topics, f"source {config.name}")
        channels, device_time = channels_by_asset(known), config.timestamps == "device"
        self._payloads = PayloadDecoder(config.payload, channels, device_time)
        self._sparkplug = None if config.payload != "sparkplug" else _sparkplug(config, channels, device_time)
        self._link = Link(config.name, now_ns, backoff, jitter, extra=("messages", "retained"))

    def start(self, deliver: Callable[[Burst], None]) -> None:
        self._link.start(lambda: self._session(deliver))

    def stop(self) -> None:
        self._link.stop()

    @property
    def state(self) -> SourceState:
        state, sparkplug = self._link.state, self._sparkplug
        if sparkplug is None:
            return state
        detail = f"{state.detail}; {sparkplug.detail}" if state.link == "up" and sparkplug.detail else state.detail
        return SourceState(state.link, detail, state.since_ns, state.counters | sparkplug.counters)

    def _session(self, deliver: Callable[[Burst], None]) -> None:
        """From connecting to losing the connection. Raises LinkError."""
        filters = self._topics.filters if self._sparkplug is None else self._sparkplug.filters
        connection = Connection(self._config, self._client_id, filters, self._link.wake)
        connection.open()
        if self._sparkplug is not None:
            self._sparkplug.connected()
        try:
            while not self._link.stopping:
                messages = connection.round()
                if connection.subscribed:
                    self._link.up(f"{self._config.host}:{self._config.port} as {self._client_id}")
                    for topic, command in self._sparkplug.commands(self._now_ns()) if self._sparkplug is not None else ():
                        connection.publish(topic, command)
                if messages and not self._link.stopping:
                    deliver(self._burst(messages, connection.acknowledger(messages)))
            connection.settle(_SETTLE_S)
        finally:
            connection.close()

    def _burst(self, messages: Sequence[MQTTMessage], acknowledge: Callable[[], None] | None) -> Burst:
        tally = Tally()
        n_retained = sum(self._take(message, tally) for message in messages)
        n_bytes = sum(len(message.payload) for message in messages)
        self._link.count(
            readings=tally.n_readings,
            bytes=n_bytes,
            frame_errors=tally.frame_errors,
            unknown=tally.n_unknown,
            messages=len(messages),
            retained=n_retained,
        )
        return Burst(self.name, tally.readings, n_bytes, tally.frame_errors, tally.last_error, acknowledge)

    def _take(self, message: MQTTMessage, tally: Tally) -> bool:
        """Adds to `tally` what `message` says; True where it was retained, undated, and therefore left out."""
        try:
            topic = message.topic
        except UnicodeDecodeError:
            tally.add_error("a topic that is not UTF-8")
            return False
        if self._sparkplug is not None:
            if not message.retain:
                self._take_sparkplug(self._sparkplug, topic, bytes(message.payload), tally)
            return message.retain
        place = self._topics.match(topic)
        if place is None:
            tally.n_unknown += 1
            return False
        try:
            decoded = self._payloads.decode(bytes(message.payload), place, self._now_ns())
        except FrameError as error:
            tally.add_error(f"{topic}: {error}")
            return False
        if message.retain and decoded.readings and not decoded.timed:
            return True
        tally.add(decoded)
        return False

    def _take_sparkplug(self, sparkplug: SparkplugDecoder, topic: str, payload: bytes, tally: Tally) -> None:
        try:
            tally.add(sparkplug.decode(topic, payload, self._now_ns()))
        except FrameError as error:
            tally.add_error(f"{topic}: {error}")


def _sparkplug(config: MqttConfig, channels: Channels, device_time: bool) -> SparkplugDecoder:
    from agent.sources.sparkplug import SparkplugDecoder

    return SparkplugDecoder(config.sparkplug, channels, device_time, config.rebirth, config.hold)
