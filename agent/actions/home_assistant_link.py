"""Keeps Home Assistant's view of the assets current: one connection, one thread, the latest state of each asset.

Invariants:
1. Memory is bounded by the number of assets: while the broker is away only the latest state of each is kept.
2. After each connect everything is said anew (availability, discovery, states), so a broker that forgot is made good.
3. Home Assistant's birth message on `<discovery_prefix>/status` has the discovery sent again.
4. The availability is `offline` as soon as the agent is gone: said by itself when it stops, else by the broker (last will).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from agent.actions.broker import BrokerSession
from agent.actions.config import HomeAssistantConfig
from agent.actions.home_assistant import OFFLINE, ONLINE, ShownState, availability_topic, discovery, fold, state_topic
from agent.backoff import Backoff
from agent.clock import mono_ns
from agent.sources.link import Link
from models.contract.clock import NS_PER_S
from models.contract.items import Aggregate, Body
from models.contract.profile import Profile

_CONNECT_S: Final = 10.0
_SETTLE_S: Final = 10.0
_ROUND_S: Final = 1.0
_WINDOWS: Final = 3.0
_SILENT_S: Final = 30.0


class HomeAssistantLink:
    """See `dispatch.StateShow`. `folder`: what the paths of `config` are relative to. `profiles`: by asset."""

    def __init__(
        self, config: HomeAssistantConfig, folder: Path, device: str, profiles: Mapping[str, Profile], version: str
    ) -> None:
        self._config = config
        self._folder = folder
        self._device = device
        self._profiles = profiles
        self._version = version
        self._lock = threading.Lock()  # guards _states and _heard_ns
        self._states = dict.fromkeys(profiles, ShownState())
        self._heard_ns: dict[str, int] = {}
        self._began_ns = mono_ns()
        self._link = Link("home-assistant", time.time_ns, Backoff(), random.random)

    def start(self) -> None:
        self._link.start(self._session)

    def notice(self, bodies: Sequence[Body], now_ns: int) -> None:
        """Take in what was stored; `now_ns` is monotonic. Never waits for the network."""
        with self._lock:
            for body in bodies:
                asset = getattr(body, "asset", "")
                if asset in self._states:
                    self._states[asset] = fold(self._states[asset], body)
                    if isinstance(body, Aggregate):
                        self._heard_ns[asset] = now_ns
        if bodies:
            self._link.wake.set()

    def stop(self) -> None:
        self._link.stop()

    def state(self) -> str:
        """One line for people."""
        shown = self._link.state
        return f"{shown.link} {shown.detail}".strip()

    def _session(self) -> None:
        """From connecting to losing the broker, or to `stop`. Raises LinkError."""
        availability = availability_topic(self._config, self._device)
        session = BrokerSession(self._config, self._folder, f"tocsin-ha-{self._device}", will=(availability, OFFLINE))
        try:
            session.open(_CONNECT_S)
            session.subscribe(f"{self._config.discovery_prefix}/status")
            session.publish(availability, ONLINE, retain=True)
            self._introduce(session)
            self._link.up(f"{self._config.host}:{self._config.port}, {len(self._profiles)} assets shown")
            said: dict[str, ShownState] = {}
            while not self._link.stopping:
                self._tell(session, said)
                session.round(_ROUND_S, self._link.wake)
                self._hear(session)
            session.publish(availability, OFFLINE, retain=True)
            session.settle(1.0)
        finally:
            session.close()

    def _introduce(self, session: BrokerSession) -> None:
        for asset, profile in self._profiles.items():
            topic, payload = discovery(self._config, self._device, asset, profile, self._version)
            session.publish(topic, msgspec.json.encode(payload), retain=True)
        session.settle(_SETTLE_S)

    def _tell(self, session: BrokerSession, said: dict[str, ShownState]) -> None:
        """Publish each state that differs from what was said on this connection; raises LinkError."""
        for asset, state in self._current(mono_ns()).items():
            if said.get(asset) != state:
                session.publish(state_topic(self._config, self._device, asset), msgspec.json.encode(state), retain=True)
                said[asset] = state
        session.settle(_SETTLE_S)

    def _hear(self, session: BrokerSession) -> None:
        born = any(message.payload == ONLINE for message in session.messages)
        session.messages.clear()
        if born:
            self._introduce(session)

    def _current(self, now_ns: int) -> dict[str, ShownState]:
        with self._lock:
            return {
                asset: msgspec.structs.replace(state, connected=self._connected(asset, now_ns))
                for asset, state in self._states.items()
            }

    def _connected(self, asset: str, now_ns: int) -> Literal["ON", "OFF"] | None:
        heard_ns = self._heard_ns.get(asset)
        is_recent = now_ns - (heard_ns or self._began_ns) < self._silent_s(asset) * NS_PER_S
        if heard_ns is None and is_recent:
            return None
        return "ON" if is_recent else "OFF"

    def _silent_s(self, asset: str) -> float:
        profile = self._profiles[asset]
        next_window_s = max(profile.windowing.hop, profile.period_s)
        return self._config.silent_after_s or max(_SILENT_S, _WINDOWS * next_window_s + profile.windowing.lateness_s)
