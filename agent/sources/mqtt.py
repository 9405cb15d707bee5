"""The MQTT source: topics of a broker, at QoS 1, each message acknowledged once what it led to is stored.

- A burst is what one round of the connection brought. Its acknowledgement may wait until the windows that its readings
  belong to have closed and are stored; the broker keeps the messages until then, so that nothing of them needs to be
  written here. Where the session is crowded (`mqtt_session`), the burst says that it can't wait: the pipeline then writes
  the readings into its journal and acknowledges all that it holds of this source.
- What the broker sends again is recognized, and counted in `repeated`. After a restart it is delivered as what may have
  come before, and the readings' own times tell (`models/windows.py`). Without a time of their own they are dated by their
  arrival, so what was under way at a crash counts where it came again. Publishers that matter should send their time.
- Whatever cannot be read (not in its format, not text, larger than MAX_PAYLOAD_BYTES) is counted and acknowledged with
  its burst: a poison message comes once.
- A retained message without a time of its own is left out and counted in `retained`: it may be a second old or a year.
- Messages that waited at the broker while the device was away come all at once.
- `protocol = "auto"` speaks MQTT 5, and 3.1.1 to a broker that does not know it. In 5 a broker is told how much it may send
  ahead; in 3.1.1 it decides by itself (mosquitto: 20), which makes every ten messages a write to the journal.
- While `deliver` blocks, nothing is read and no ping is sent. paho pings after `keepalive_s` of silence and a broker
  gives up after 1.5 of it, so a block of up to `keepalive_s` / 2 never costs the connection (30 s by default). After a
  longer one the broker may have closed it; the session is still there and unacknowledged messages come again.
- Sparkplug has a session of its own above all this (`sparkplug`): its topics follow from its nodes, its retained messages
  are left out, and requests for births are published from here.
- A broker that has lost the session has lost what it had queued, too. What had been delivered and waited for its window
  goes into the journal then: nobody else has it any more.
- What is not acknowledged at `stop` comes again after the next start.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from agent.backoff import Backoff
from agent.sources.config import MqttConfig
from agent.sources.decode import Channels, Decoded, Tally, channels_by_asset
from agent.sources.link import Link
from agent.sources.mqtt_connection import RECEIVE_MAXIMUM, Connection
from agent.sources.mqtt_session import Session
from agent.sources.mqtt_wire import Message
from agent.sources.payload import PayloadDecoder
from agent.sources.source import Burst, SourceState
from agent.sources.topics import compile_topics
from models.contract.names import MAX_PAYLOAD_BYTES
from models.errors import FrameError, LinkError

if TYPE_CHECKING:
    from agent.sources.sparkplug import SparkplugDecoder

_BACKOFF: Final = Backoff()
_UNKNOWN: Final = Decoded(n_unknown=1)
_USUAL_LIMIT: Final = 20  # messages ahead of acknowledgements, where MQTT 3.1.1 says nothing: mosquitto's default


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
        self._link = Link(config.name, now_ns, backoff, jitter, extra=("messages", "retained", "repeated"))
        self._is_5 = config.protocol != "3.1.1"
        self._has_answered = False  # whether the broker ever did, in the version that is spoken now
        self._held = Session(self._link.wake.set, self._limit())

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

    def _limit(self) -> int:
        return self._config.max_inflight or (RECEIVE_MAXIMUM if self._is_5 else _USUAL_LIMIT)

    def _session(self, deliver: Callable[[Burst], None]) -> None:
        """From connecting to losing the connection. Raises LinkError."""
        filters = self._topics.filters if self._sparkplug is None else self._sparkplug.filters
        connection = Connection(self._config, self._client_id, filters, self._held, self._link.wake, self._is_5)
        connection.open()
        try:
            self._connected(connection, deliver)
        except LinkError:
            if self._config.protocol == "auto" and self._speaks_another(connection.answered):
                self._is_5 = not self._is_5
                self._held.limit = self._limit()
            raise
        finally:
            self._has_answered = self._has_answered if connection.answered is None else connection.answered

    def _speaks_another(self, answered: bool | None) -> bool:
        """Whether the broker seems to speak another version: it says so, or has hung up on this one and never answered it.

        What listens in front of a broker that is down may accept and hang up, too: that is no reason to leave a version
        that worked.
        """
        return answered is False or (answered is None and not self._has_answered)

    def _connected(self, connection: Connection, deliver: Callable[[Burst], None]) -> None:
        if self._sparkplug is not None:
            self._sparkplug.connected()
        try:
            while not self._link.stopping:
                messages = connection.round()
                if connection.subscribed:
                    self._link.up(f"{self._config.host}:{self._config.port} as {self._client_id}")
                    for topic, command in self._sparkplug.commands(self._now_ns()) if self._sparkplug is not None else ():
                        connection.publish(topic, command)
                if not self._link.stopping:
                    self._pass_on(messages, deliver)
            connection.settle()
        finally:
            connection.close()

    def _pass_on(self, messages: Sequence[Message], deliver: Callable[[Burst], None]) -> None:
        """Deliver what has not been delivered before, or say that what is held can't wait any longer."""
        now_s = time.monotonic()
        if self._held.abandoned() or (not messages and self._held.overdue(now_s)):
            deliver(Burst(self.name, can_wait=False))
        if not messages:
            return
        known = self._held.n_repeated
        fresh = self._held.fresh(messages, now_s)
        self._link.count(repeated=self._held.n_repeated - known)
        for again in (True, False):
            those = [message for message in fresh if message.dup == again]
            if those:
                deliver(self._burst(those, self._held.hold(those), again))

    def _burst(self, messages: Sequence[Message], acknowledge: Callable[[], None] | None, again: bool) -> Burst:
        tally = Tally()
        n_retained = sum([self._take(message, tally) for message in messages])
        n_bytes = sum([message.size for message in messages])
        self._link.count(
            readings=tally.n_readings,
            bytes=n_bytes,
            frame_errors=tally.frame_errors,
            unknown=tally.n_unknown,
            messages=len(messages),
            retained=n_retained,
        )
        can_wait = not self._held.crowded
        return Burst(self.name, tally.readings, n_bytes, tally.frame_errors, tally.last_error, acknowledge, can_wait, again)

    def _take(self, message: Message, tally: Tally) -> bool:
        """Adds to `tally` what `message` says; True where it was retained, undated, and therefore left out."""
        try:
            decoded = self._decoded(message)
        except FrameError as error:
            tally.add_error(str(error))
            return False
        if decoded is None or (message.retain and decoded.readings and not decoded.timed):
            return message.retain
        tally.add(decoded)
        return False

    def _decoded(self, message: Message) -> Decoded | None:
        """None for what is left out because it was retained. Raises FrameError."""
        if message.payload is None:
            raise FrameError(f"payload of {message.size} bytes; at most {MAX_PAYLOAD_BYTES}")
        topic = _text(message.topic)
        try:
            if self._sparkplug is not None:
                return None if message.retain else self._sparkplug.decode(topic, message.payload, self._now_ns())
            place = self._topics.match(topic)
            return _UNKNOWN if place is None else self._payloads.decode(message.payload, place, self._now_ns())
        except FrameError as error:
            raise FrameError(f"{topic}: {error}") from None


def _text(topic: bytes) -> str:
    """Raises FrameError."""
    try:
        return topic.decode()
    except UnicodeDecodeError:
        raise FrameError("a topic that is not UTF-8") from None


def _sparkplug(config: MqttConfig, channels: Channels, device_time: bool) -> SparkplugDecoder:
    from agent.sources.sparkplug import SparkplugDecoder

    return SparkplugDecoder(config.sparkplug, channels, device_time, config.rebirth, config.hold)
