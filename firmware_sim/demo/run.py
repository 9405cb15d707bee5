"""The running demo: its broker, machines, devices and hub, and the questions that the story asks of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from firmware_sim.demo.hub_client import HubClient
from firmware_sim.demo.layout import HUB_TOML, Gateway, agent_toml, gateways
from firmware_sim.demo.processes import Processes
from firmware_sim.demo.screen import Screen
from firmware_sim.fleet_process import ProcessFleet
from firmware_sim.links.broker import Broker, BrokerKind, start_broker
from firmware_sim.links.cut import CuttableLink
from firmware_sim.scenario import Scenario
from models.errors import LinkError

T = TypeVar("T")
_TURN_S: Final = 0.4
_CATCH_UP_S: Final = 240.0  # so long the demo may run before the machines' time passes the clock's
_ADDRESS: Final = re.compile(r"Tocsin hub at (http://[^/\s;]+)")


def _head_start(scenario: Scenario) -> int:
    """Event time to begin at, so that machines that live faster than the clock do not soon live in the future."""
    return time.time_ns() - round(_CATCH_UP_S * (scenario.speed - 1) * 1e9)


class DemoRun:
    """Everything that runs, from `with` to the end of it."""

    def __init__(
        self,
        directory: Path,
        scenario: Scenario,
        screen: Screen,
        port: int = 0,
        broker: BrokerKind | None = None,
        more: Callable[[Broker], str] = lambda _: "",
    ) -> None:
        """`more`: what else stands in each device's configuration."""
        self.directory = directory
        self.scenario = scenario
        self.screen = screen
        self.gateways = gateways(scenario)
        self.facts: dict[str, Any] = {}  # what chapters found out, for the summary
        self._port = port
        self._broker_kind = broker
        self._more = more
        self._stack = ExitStack()
        self.processes = Processes(directory / "logs")

    # --- life ----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self._stack.callback(self.screen.still)
            self.broker = self._stack.enter_context(start_broker(self._broker_kind, directory=self._folder("broker")))
            self.fleet = ProcessFleet(self.scenario, (self.broker.host, self.broker.port), t0_ns=_head_start(self.scenario))
            self._stack.callback(self.fleet.stop)
            self.hub, self.page = self._start_hub()
            self._start_fleet_and_devices()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop every process that was started."""
        self.processes.stop()
        self._stack.close()

    def _folder(self, name: str) -> Path:
        folder = self.directory / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _start_hub(self) -> tuple[HubClient, str]:
        data = str(self.directory / "hub")
        self._tocsin("hub", "init", "--data", data)
        (self.directory / "hub" / "hub.toml").write_text(HUB_TOML)
        self.processes.start("hub", "hub", "serve", "--data", data, "--port", str(self._port))
        log = self.processes.log("hub")
        self.wait(lambda: _ADDRESS.search(log.read_text()), 60, "the hub to answer")
        found = _ADDRESS.search(log.read_text())
        assert found
        token = (self.directory / "hub" / "admin.token").read_text().strip()
        hub = HubClient(found[1], token)
        self.wait(hub.alive, 30, "the hub to be ready")
        return hub, f"{found[1]}/?token={token}"

    def _start_fleet_and_devices(self) -> None:
        """The last gateway with machines reaches the hub by a link that can be cut."""
        host, port = self.page.split("/")[2].split(":")
        self.link = CuttableLink((host, int(port)))
        self._stack.callback(self.link.stop)
        self.fleet.start()
        for gateway in self.gateways:
            far = gateway is self.remote
            url = f"http://127.0.0.1:{self.link.port}" if far else f"http://{host}:{port}"
            text = agent_toml(gateway, url, "claim.token", self.broker, self.fleet.addresses())
            (self._folder(gateway.device_id) / "claim.token").write_text(self._claim_token(gateway))
            (self._folder(gateway.device_id) / "tocsin.toml").write_text(text + self._more(self.broker))
            self.processes.start(gateway.device_id, "agent", "run", "--config", str(self._config(gateway.device_id)))

    def _claim_token(self, gateway: Gateway) -> str:
        """What lets this device in, once, for what it watches where it stands."""
        made = self.hub.post("/v1/claim-tokens", {"site": gateway.site, "profiles": gateway.profiles, "ttl_h": 1})
        return str(made["token"])

    @property
    def remote(self) -> Gateway:
        """The device that is cut off in the story."""
        return [gateway for gateway in self.gateways if gateway.assets][-1]

    @property
    def machines(self) -> list[str]:
        """The simulated assets."""
        return [plan.name for plan in self.scenario.assets]

    @property
    def pump_devices(self) -> int:
        return sum(any(plan.profile == "pump" for plan in gateway.assets) for gateway in self.gateways)

    # --- waiting and asking --------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], T], timeout_s: float, what: str) -> T:
        """The first true value of `condition`. Raises LinkError: a process has ended, or the time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.processes.check()
            value = condition()
            if value:
                self.screen.still()
                return value
            if time.monotonic() > deadline:
                raise LinkError(f"waited {timeout_s:.0f} s in vain for {what}; the logs are in {self.directory / 'logs'}")
            self.screen.waiting(f"waiting for {what}")
            time.sleep(_TURN_S)

    def let_pass(self, event_s: float, what: str) -> None:
        """Let `event_s` seconds of the machines' time pass."""
        until_ns = self.fleet.now_ns() + round(event_s * 1e9)
        self.wait(lambda: self.fleet.now_ns() >= until_ns, event_s / self.scenario.speed + 10, what)

    def status(self, device_id: str) -> dict[str, Any]:
        """`tocsin agent status --json` of a device, once it answers: on a busy machine it may be held up. Raises LinkError."""

        def told() -> str:
            with suppress(LinkError):
                return self._tocsin("agent", "status", "--json", "--config", str(self._config(device_id)))
            return ""

        answer: dict[str, Any] = json.loads(self.wait(told, 60, f"{device_id} to say how it is"))
        return answer

    def assets(self) -> dict[str, dict[str, Any]]:
        """Each asset as the hub last heard of it, with its device."""
        return {
            asset["asset"]: {**asset, "device": device["device_id"]}
            for device in self.hub.get("/v1/devices")
            for asset in device["assets"]
        }

    def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.hub.get("/v1/alerts?limit=5000")
        return found

    def open_alerts(self, assets: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The open alert of each of `assets` that has one."""
        wanted = set(assets)
        return {alert["asset"]: alert for alert in self.alerts() if alert["asset"] in wanted and alert["closed_ns"] is None}

    def active_bundles(self, profile: str) -> dict[str, str]:
        """Which bundle each device has active for a profile, as it said at its last check-in."""
        return {
            device["device_id"]: slot["bundle_id"]
            for device in self.hub.get("/v1/devices")
            for slot in device["slots"]
            if slot["profile"] == profile and slot["slot"] == "active"
        }

    def _config(self, device_id: str) -> Path:
        return self.directory / device_id / "tocsin.toml"

    def _tocsin(self, *arguments: str) -> str:
        done = subprocess.run([sys.executable, "-m", "tocsin", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LinkError(f"tocsin {' '.join(arguments[:2])}: {done.stderr.strip()}")
        return done.stdout
