"""The MQTT actor: publishes to a topic, with QoS 1, and knows whether the broker has taken it.

It connects for each action. On a local broker that costs a few milliseconds, and between alerts, which is nearly always,
there is no connection to keep up and nothing that could be published late.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec

from agent.actions.actor import Result
from agent.actions.broker import BrokerSession
from agent.actions.config import MqttAction
from agent.actions.event import Event, fill
from models.contract.items import ActorKind
from models.errors import LinkError


class MqttActor:
    """See `actor.Actor`."""

    kind: Final[ActorKind] = "mqtt"

    def __init__(self, config: MqttAction, folder: Path) -> None:
        self._config = config
        self._folder = folder

    @property
    def target(self) -> str:
        return f"{self._config.host}:{self._config.port} {self._config.topic}"

    def preview(self, event: Event) -> str:
        """See `actor.Actor`."""
        topic, payload = self._message(event)
        retained = ", retained" if self._config.retain else ""
        return f"publish to {topic} on {self._config.host}:{self._config.port}{retained}: {payload.decode()}"

    def act(self, event: Event) -> Result:
        """See `actor.Actor`."""
        deadline_s = time.monotonic() + self._config.timeout_s
        session = BrokerSession(self._config, self._folder)
        try:
            session.open(self._config.timeout_s)
            session.publish(*self._message(event), self._config.retain)
            session.settle(deadline_s - time.monotonic())
        except LinkError as error:
            return Result(False, str(error))
        finally:
            session.close()
        return Result(True)

    def close(self) -> None:
        """Nothing is held between actions, and a running one ends by its time-out."""

    def _message(self, event: Event) -> tuple[str, bytes]:
        config = self._config
        text = config.payload
        if event.edge == "closed" and config.payload_closed is not None:
            text = config.payload_closed
        payload = msgspec.json.encode(event) if text is None else fill(text, event).encode()
        return fill(config.topic, event), payload
