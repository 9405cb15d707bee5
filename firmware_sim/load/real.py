"""Real agents among the light devices: child processes `tocsin agent run`, each watching a machine of the scenario on a real
pseudo-terminal or broker.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from firmware_sim.demo.layout import Gateway, agent_toml
from firmware_sim.demo.processes import Processes
from firmware_sim.fleet_process import ProcessFleet
from firmware_sim.links.broker import Broker, start_broker
from firmware_sim.scenario import Scenario

_TOKEN_FILE: Final = "claim.token"  # noqa: S105  # the file's name
_STATUS_S: Final = 20.0


def copies_of(scenario: Scenario, n: int) -> Scenario:
    """`n` machines, by turns like those of the scenario, each with its faults; numbered."""
    assets, faults = [], []
    for i in range(n):
        like = scenario.assets[i % len(scenario.assets)]
        name = f"{like.name[:50]}-{i + 1}"
        assets.append(msgspec.structs.replace(like, name=name))
        faults += [msgspec.structs.replace(fault, asset=name) for fault in scenario.faults if fault.asset == like.name]
    return msgspec.structs.replace(scenario, assets=tuple(assets), faults=tuple(faults), duration_s=None, fleet=None)


class RealAgents:
    """From `with` to the end of it. Raises ConfigError, LinkError."""

    def __init__(self, scenario: Scenario, n: int, url: str, token: str, prefix: str, t0_ns: int) -> None:
        self._scenario = copies_of(scenario, n)
        self._url = url
        self._token = token
        self._prefix = prefix
        self._t0_ns = t0_ns
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._folder = Path(
                self._stack.enter_context(TemporaryDirectory(prefix="tocsin-real-", ignore_cleanup_errors=True))
            )
            broker: Broker | None = None
            if any(plan.link == "mqtt" for plan in self._scenario.assets):
                broker = self._stack.enter_context(start_broker(directory=self._folder))
            address = (broker.host, broker.port) if broker else None
            fleet = self._stack.enter_context(ProcessFleet(self._scenario, address, self._folder / "ports", self._t0_ns))
            processes = Processes(self._folder / "logs")
            self._stack.callback(processes.stop)
            for i, plan in enumerate(self._scenario.assets):
                device_id = f"{self._prefix}-real-{i + 1}"
                config = self._configured(Gateway(device_id, "simulated", (plan,)), broker, fleet)
                processes.start(device_id, "agent", "run", "--config", str(config))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def statuses(self) -> list[dict[str, Any]]:
        """What each says of itself: whether the hub has let it in, what it has sent, what waits; `error`: it says nothing."""
        names = [f"{self._prefix}-real-{i + 1}" for i in range(len(self._scenario.assets))]
        deadline_s = time.monotonic() + _STATUS_S
        return [self._status(name, max(1.0, deadline_s - time.monotonic())) for name in names]

    def _configured(self, gateway: Gateway, broker: Broker | None, fleet: ProcessFleet) -> Path:
        folder = self._folder / gateway.device_id
        folder.mkdir()
        token = folder / _TOKEN_FILE
        token.touch(mode=0o600)
        token.write_text(self._token)
        path = folder / "tocsin.toml"
        path.write_text(agent_toml(gateway, self._url, _TOKEN_FILE, broker, fleet.addresses()))
        return path

    def _status(self, name: str, timeout_s: float) -> dict[str, Any]:
        config = self._folder / name / "tocsin.toml"
        command = [sys.executable, "-m", "tocsin", "agent", "status", "--json", "--config", str(config)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            return {"device": name, "error": "no answer"}
        if done.returncode:
            return {"device": name, "error": done.stderr.strip()[-200:]}
        status = json.loads(done.stdout)
        hub = status["hub"] or {}
        told = {key: hub.get(key) for key in ("enrolled", "sent_items", "rejected", "sync_error")}
        return {"device": name, **told, "waiting": status["backlog_items"]}
