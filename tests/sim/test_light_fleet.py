"""Light devices in processes of their own against a real hub process."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from firmware_sim.load.fleet import FleetRun, LoadFleet
from firmware_sim.load.plan import FleetEvent, FleetPlan, befallen, device_name
from firmware_sim.scenario import load_scenario
from firmware_sim.truth import read_fleet_truth
from hub.devices.issue import issue_token
from hub.registry.registry import Registry
from hub.settings import Hub, init_hub
from hub.state.database import open_state
from models.contract.config import load_profile
from models.errors import ConfigError, LinkError
from tests.builders import BundleParts
from tests.hub.test_api_serve import served
from tests.ports import own_port
from tests.waiting import wait_until

QUICK = "checkin_s = 0.5\nlake_commit_s = 0.2\nrollout_tick_s = 0.3\n"
BAD = "pump-v1-hurried"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    """With a bundle that is published, and held by nobody."""
    hub = init_hub(tmp_path_factory.mktemp("hub") / "hub", QUICK)
    engine = open_state(hub.state_url)
    repository = hub.repository()
    repository.tend(engine, time.time_ns())
    changes = {"profile": "pump", "spec_hash": load_profile("pump").spec_hash}
    archive = BundleParts(BAD, changes=changes).pack()
    Registry(engine, hub.paths.bundles, repository).publish(archive, now_ns=time.time_ns())
    engine.dispose()
    return hub


@pytest.fixture(scope="module")
def url(hub: Hub) -> Iterator[str]:
    with served(hub) as (_, url):
        yield url


class Operator:
    """What the hub's API says to whoever has the admin token."""

    def __init__(self, hub: Hub, url: str) -> None:
        verify = ssl.create_default_context(cafile=hub.tls.ca) if url.startswith("https") else True
        headers = {"Authorization": f"Bearer {hub.admin_token}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=30, verify=verify)

    def get(self, path: str) -> Any:
        return self._http.get(path).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._http.post(path, json=body).raise_for_status().json()


def token_of(hub: Hub, count: int) -> str:
    engine = open_state(hub.state_url)
    with engine.begin() as connection:
        made = issue_token(
            connection, hub, site="lab", profiles=["pump"], max_uses=count, ttl_h=1, actor="test", now_ns=time.time_ns()
        )
    engine.dispose()
    return str(made["token"])


@contextmanager
def playing(hub: Hub, url: str, plan: FleetPlan, prefix: str, speed: float = 1.0, **more: Any) -> Iterator[LoadFleet]:
    """The fleet, from its scenario's first second on."""
    t0_ns = time.time_ns() - round(60e9 * speed)
    run = FleetRun(plan, 1, speed, t0_ns, url, token_of(hub, plan.devices), prefix=prefix, settle=True, **more)
    with LoadFleet(run) as fleet:
        assert fleet.reach("ready", 120)
        fleet.go()
        yield fleet


def ledger_of(client: Operator, prefix: str, count: int) -> list[dict[str, Any]]:
    """All lanes of the devices of that prefix."""
    lanes = [client.get(f"/v1/devices/{device_name(prefix, n)}/ledger")["lanes"] for n in range(count)]
    return [lane for of_device in lanes for lane in of_device]


def test_a_bad_rollout_is_halted_by_the_evidence_of_light_devices_and_rolled_back(hub: Hub, url: str) -> None:
    fleet = load_scenario("bad-rollout").fleet
    assert fleet is not None
    plan = msgspec.structs.replace(fleet, sync_s=0.5, checkin_s=0.5)
    client = Operator(hub, url)
    with playing(hub, url, plan, "bad", speed=50.0):
        wait_until(lambda: _checked_in(client, "bad") == plan.devices, 60, "all have checked in")
        started = client.post("/v1/rollouts", {"bundle_id": BAD})
        place = f"/v1/rollouts/{started['rollout_id']}"
        wait_until(lambda: client.get(place)["state"] == "rolled_back", 60, "it is rolled back")
        found = client.get(place)
        assert "in alarm" in found["reason"] or "p <= 0.01" in found["reason"]
        halt = next(event for event in found["events"] if event["event"] == "halt")
        verdicts = {gate["gate"]: gate["verdict"] for gate in halt["figures"]["gates"]}
        assert verdicts["alarm_rate"] == "halt"
        # That it was well otherwise is not waited for: the flood may show before all have told that they hold it.
        assert {verdicts["presence"], verdicts["self_test"], verdicts["latency"]} <= {"pass", "wait"}
        assert halt["stage"] == "shadow"
        wait_until(lambda: not _holders(client), what="nobody holds it any more")


def _checked_in(client: Operator, prefix: str) -> int:
    return sum(
        device["device_id"].startswith(prefix) and bool(device["assets"]) for device in client.get("/v1/devices?limit=500")
    )


def _holders(client: Operator) -> list[str]:
    """Devices with the bad bundle in a slot that scores."""
    return [
        device["device_id"]
        for device in client.get("/v1/devices?limit=500")
        for slot in device["slots"]
        if slot["bundle_id"] == BAD and slot["slot"] != "previous"
    ]


def test_the_hub_names_the_copied_card_and_no_other(hub: Hub, url: str) -> None:
    plan = load_scenario("cloned-card").fleet
    assert plan is not None
    clone, reboot = (
        msgspec.structs.replace(event, start_s=start_s) for event, start_s in zip(plan.events, (20, 40), strict=True)
    )
    plan = msgspec.structs.replace(plan, sync_s=0.4, checkin_s=0.5, events=(clone, reboot))
    copied = {device_name("card", number) for number in befallen(plan, 1)[0]}
    client = Operator(hub, url)

    def named() -> set[str]:
        return {device["device_id"] for device in client.get("/v1/devices?limit=500") if device["cloned"]}

    with playing(hub, url, plan, "card", speed=10.0) as fleet:
        wait_until(lambda: named() >= copied, 60, "the copy is named")
        fleet.stop()
        summary = fleet.summary()
    assert named() == copied
    assert summary["items"]["waiting"] == 0
    lanes = ledger_of(client, "card", plan.devices)
    assert sum(lane["n_missing"] for lane in lanes) == 0


@pytest.mark.slow
def test_a_hub_that_was_away_gets_all_of_its_devices_back_and_misses_nothing(tmp_path: Path) -> None:
    hub = init_hub(tmp_path / "hub", QUICK + 'tls = "own"\n')
    away = FleetEvent(kind="power_cut", start_s=30, end_s=60, share=0.2)
    troubles = tuple(FleetEvent(kind=kind, start_s=0, severity=0.1) for kind in ("late", "damaged", "duplicated"))
    plan = FleetPlan(devices=40, sync_s=0.5, checkin_s=1, alerts_per_day=500, events=(away, *troubles))
    port = own_port()
    with served(hub, "https", port) as (process, url), playing(hub, url, plan, "herd", speed=20.0, processes=2) as fleet:
        wait_until(lambda: fleet.tally().items_confirmed > 100, 60, "the fleet is at work")
        process.kill()
        process.wait()
        wait_until(lambda: sum(fleet.tally().of("ingest").failed.values()) > 20, 60, "the fleet misses its hub")
        with served(hub, "https", port):
            before = fleet.tally().items_confirmed
            wait_until(lambda: fleet.tally().items_confirmed > before + 200, 60, "the fleet is back")
            fleet.stop()
            summary = fleet.summary()
            client = Operator(hub, url)
            lanes = ledger_of(client, "herd", plan.devices)
    assert summary["enrolled"] == 40
    assert summary["items"]["waiting"] == 0
    assert set(summary["exchanges"]["ingest"]["refused"]) <= {"400 bad-envelope", "401 bad-signature", "401 unknown-device"}
    assert sum(lane["n_missing"] for lane in lanes) == 0
    assert sum(lane["cursor"] for lane in lanes) == summary["items"]["confirmed"]


@pytest.mark.parametrize("real", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_command_plays_a_scenario_real_agents_among_them_and_sums_up_on_a_signal(
    hub: Hub, url: str, tmp_path: Path, real: int
) -> None:
    prefix, n = f"cli{real}", 12 + real
    command = [sys.executable, "-m", "tocsin", "sim", "fleet", "--hub", url, "--token", "-", "--scenario", "full-disk"]
    command += ["--real", str(real), "--devices", "12", "--sync-s", "0.5", "--checkin-s", "1"]
    command += ["--prefix", prefix, "--json", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None
        process.stdin.write(token_of(hub, n))
        process.stdin.close()
        process.stdin = None
        client = Operator(hub, url)
        wait_until(lambda: _checked_in(client, prefix) == n, 60, "all have checked in")
        process.send_signal(signal.SIGINT)
        said, complaints = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, complaints) == (0, "")
    summary = json.loads(said)
    assert (summary["enrolled"], summary["exchanges"]["checkin"]["refused"]) == (12, {})
    told = [(agent["device"], agent["enrolled"], agent["rejected"]) for agent in summary.get("real", [])]
    assert told == [(f"{prefix}-real-1", True, 0)][:real]
    assert {event.event for event in read_fleet_truth(tmp_path / "truth.jsonl")} == {"full_disk", "hub_unreachable"}


def test_what_cannot_be_played_is_told_before_or_with_the_first_refusal(hub: Hub, url: str) -> None:
    def refused(url: str, token: str, devices: int = 3) -> str:
        plan = FleetPlan(devices=devices)
        with pytest.raises((ConfigError, LinkError)) as error, LoadFleet(FleetRun(plan, 1, 1.0, 0, url, token, "no")) as fleet:
            fleet.reach("ready", 120)
        return str(error.value)

    token = token_of(hub, 2)
    assert "used up" in (told := refused(url, token))
    assert "--count" in told
    assert "2 of 3 light devices are in" in told
    assert "connection refused" in refused("http://127.0.0.1:9", token)
    assert "http://HOST:PORT" in refused("127.0.0.1:9", token)
    assert "cut off or mistyped" in refused(url, token[:-3])
