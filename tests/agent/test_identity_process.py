"""A device and its hub from the first token to the end of its key: real processes, by TLS, as a person types it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.settings import Hub, init_hub
from tests.agent.agent_process import CONFIG, ROOT, AgentProcess, tocsin
from tests.hub.test_api_serve import served
from tests.waiting import wait_until

HUB = '\n[hub]\nurl = "{url}"\nsync_s = 0.2\ncheckin_s = 0.2\n'


class Plant:
    """A hub by TLS, a device that is not enrolled yet, and what an operator asks."""

    def __init__(self, hub: Hub, url: str, agent: AgentProcess) -> None:
        self.hub, self.url, self.agent = hub, url, agent

    def operator(self, *words: str) -> str:
        done = tocsin("hub", *words, "--data", self.hub.paths.root)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def enrol(self, token: str, *more: str) -> subprocess.CompletedProcess[str]:
        """The token by standard input, so that no list of processes shows it."""
        command = [sys.executable, "-m", "tocsin", "agent", "enrol", self.url, "-", "--config", str(self.agent.config), *more]
        return subprocess.run(command, input=token, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    def device(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.hub.admin_token}"}
        answer = httpx.get(f"{self.url}/v1/devices/dev-1", headers=headers, verify=str(self.hub.tls.ca), timeout=20)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def link(self) -> dict[str, Any]:
        found: dict[str, Any] = (self.agent.status() or {})["hub"]
        return found


@pytest.fixture
def plant(tmp_path: Path, empty_outbox: Path) -> Iterator[Plant]:
    hub = init_hub(tmp_path / "hub", 'tls = "own"\nport = 0\ncheckin_s = 0.1\n', join_token=False)
    with served(hub, "https") as (_, url):
        agent = AgentProcess(tmp_path, empty_outbox, CONFIG + HUB.format(url=url))
        yield Plant(hub, url, agent)
        agent.close()


@pytest.mark.slow
def test_from_the_token_over_a_new_key_to_suspension_and_back(plant: Plant, empty_outbox: Path) -> None:
    made = json.loads(plant.operator("token", "--site", "lyon", "--profile", "host", "--json"))

    torn = plant.enrol(made["token"][:-3])
    assert (torn.returncode, "cut off or mistyped" in torn.stderr) == (78, True)
    done = plant.enrol(made["token"])
    assert (done.returncode, done.stdout) == (0, "dev-1 is enrolled at hub hub, site lyon; its CA is pinned\n"), done.stderr
    assert "is enrolled already, at hub hub" in plant.enrol(made["token"]).stdout
    assert (plant.agent.state / "ca.pem").read_bytes() == plant.hub.tls.ca.read_bytes()
    everything = [path.read_bytes() for path in plant.agent.state.rglob("*") if path.is_file()]
    assert all(made["token"].encode() not in content for content in everything)

    plant.agent.start()
    wait_until(lambda: plant.device()["assets"], 60, "a check-in")
    assert plant.device()["site"] == "lyon"

    first_key = plant.link()["key"]
    assert "a new key is made" in plant.agent.asked("rotate-key").stdout
    wait_until(lambda: plant.link()["key"] != first_key, what="the new key to sign")
    wait_until(lambda: plant.device()["key_since_ns"], what="the hub to have it")
    seen_ns = plant.device()["last_seen_ns"]
    wait_until(lambda: plant.device()["last_seen_ns"] > seen_ns, what="a check-in by the new key")

    plant.operator("device", "suspend", "dev-1", "--reason", "seen in a pub")
    said = wait_until(lambda: plant.link()["checkin_error"], what="the device to hear of it")
    assert said == "POST /v1/checkin: 403 device dev-1 is suspended: seen in a pub"
    readings = (plant.agent.status() or {})["readings"]
    wait_until(lambda: (plant.agent.status() or {})["readings"] > readings, what="it goes on by itself")
    assert "suspended" in plant.operator("devices")
    plant.operator("device", "resume", "dev-1")
    assert plant.agent.signal(signal.SIGTERM) == 0
    plant.agent.start()  # it would ask again after five minutes
    wait_until(lambda: not plant.link()["checkin_error"] and plant.link()["last_sync_ns"], 60, "it is let in again")

    plant.operator("device", "revoke", "dev-1")
    assert plant.agent.signal(signal.SIGTERM) == 0
    refused = plant.enrol(json.loads(plant.operator("token", "--site", "lyon", "--json"))["token"], "--again")
    assert refused.returncode == 1
    assert "403 device dev-1 is revoked" in refused.stderr

    plant.operator("audit", "verify")
    actions = [entry["action"] for entry in json.loads(plant.operator("audit", "list", "--json"))]
    assert actions == [
        "token.create", "device.revoke", "device.resume", "device.suspend", "device.rotate_key", "device.enrol", "token.create",
    ]  # fmt: skip
    assert made["token"] not in plant.agent.log.read_text()


class OtherMachine(AgentProcess):
    """An agent that sees another boot than this machine's, as a copied card in another device does."""

    def start(self) -> None:
        boot = self.config.with_name("boot_id")
        boot.write_text(f"{uuid.uuid4()}\n")
        run = f"exec {shlex.quote(sys.executable)} -m tocsin agent run --config {shlex.quote(str(self.config))}"
        script = f"mount --bind {shlex.quote(str(boot))} /proc/sys/kernel/random/boot_id && {run}"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(["unshare", "-m", "sh", "-c", script], cwd=ROOT, stdout=log, stderr=log)
        wait_until(self.status, 60, "the copy to answer")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="takes root, to show a process another boot")
def test_a_copied_card_is_named_loses_nothing_and_is_shut_out_by_a_new_key(
    plant: Plant, tmp_path: Path, empty_outbox: Path
) -> None:
    assert plant.enrol(json.loads(plant.operator("token", "--site", "lyon", "--json"))["token"]).returncode == 0
    plant.agent.start()
    wait_until(lambda: plant.link()["last_sync_ns"], 60, "something has been sent")
    assert plant.agent.signal(signal.SIGTERM) == 0
    shutil.copytree(plant.agent.state, tmp_path / "other" / "state")
    copy = OtherMachine(tmp_path / "other", empty_outbox, plant.agent.config.read_text())
    try:
        plant.agent.start()
        copy.start()
        cloned = wait_until(lambda: plant.device()["cloned"], 60, "the hub to notice")
        assert plant.device()["checkin"]["epoch"] == cloned["epoch"]
        wait_until(lambda: json.loads(plant.operator("quarantine", "--json")), 60, "what the second one sends")
        reasons = {row["reason"] for row in json.loads(plant.operator("quarantine", "--json"))}
        assert reasons == {"another item is already stored under this number"}
        told = plant.operator("devices")
        assert "CLONED" in told
        assert "`tocsin agent rotate-key`, which shuts the copy out" in told

        plant.agent.asked("rotate-key")
        refused = wait_until(lambda: ((copy.status() or {})["hub"])["checkin_error"], 60, "the copy to be shut out")
        assert "401 not signed by dev-1" in refused
        wait_until(lambda: not plant.link()["rotating"] and not plant.link()["checkin_error"], 60, "the other to go on")
        plant.operator("device", "resume", "dev-1")
        assert plant.device()["cloned"] is None
    finally:
        copy.close()


@pytest.mark.parametrize("url", ["https://127.0.0.1:9", "http://hub.plant:8700", "ftp://x"])
def test_a_hub_that_is_not_there_or_in_clear_is_told_in_one_line(url: str, tmp_path: Path, empty_outbox: Path) -> None:
    from models.contract.claim import claim_text, new_claim

    config = tmp_path / "tocsin.toml"
    config.write_text(CONFIG)
    token = tmp_path / "token"
    token.write_text(claim_text(new_claim("https://hub.plant:8700", bytes(32))))
    done = tocsin("agent", "enrol", url, token, "--config", config)
    assert done.returncode == (1 if url.startswith("https") else 78)
    [line] = done.stderr.splitlines()
    assert url in line
    assert token.read_text() not in done.stderr
    assert not (tmp_path / "state" / "enrolment.json").exists()
