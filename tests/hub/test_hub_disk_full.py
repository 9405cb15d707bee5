"""A hub whose disk fills up: nothing is acknowledged that is not kept, it says so, and goes on by itself once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.settings import Hub, init_hub
from tests.hub.conftest import FAST, HubClient, running
from tests.hub.simulated_device import SimulatedDevice, aggregates, alert, evidence, item, poison
from tests.waiting import wait_until


@pytest.fixture
def small_hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub alone on a file system of 12 MB."""
    if os.geteuid():
        pytest.skip("mounting a small file system takes root")
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(mount)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    yield init_hub(mount / "hub", FAST)
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on `disk`."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return ballast


def sent_until_refused(client: HubClient, device: SimulatedDevice, first: int) -> int:
    """How many aggregates from `first` on were acknowledged before one batch was refused for want of room."""
    n_acked = 0
    while n_acked < 20_000:
        start = first + n_acked
        reply = client.http.post("/v1/ingest", content=device.batch(aggregates(start, start + 49)))
        if reply.status_code != 200:
            assert (reply.status_code, reply.json()["type"]) == (503, "urn:tocsin:storage"), reply.text
            assert int(reply.headers["retry-after"]) >= 1
            return n_acked
        n_acked += 50
    raise AssertionError("the disk is never full")


def test_a_full_disk_acknowledges_nothing_is_told_and_ends_without_a_restart(small_hub: Hub) -> None:
    with running(small_hub) as client:
        device = client.enrolled()
        client.ingest(device.batch([item(alert(), 1), poison(1), item(evidence(), 1)]))
        client.settled_ledger()
        ballast = fill(small_hub.paths.root.parent)
        newcomer = SimulatedDevice("gw-02")
        other = client.http.post("/v1/enrol", content=newcomer.enrol(small_hub.join_token))
        last = 1 + sent_until_refused(client, device, 2)
        assert other.status_code in (200, 503)
        ready = client.http.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert "full" in ready.json()["failures"]["ingest"]
        assert client.http.get("/healthz").status_code == 200
        assert client.get("/v1/devices/gw-01/ledger")["lanes"]  # and one can still look

        ballast.unlink()
        ack = client.ingest(device.batch(aggregates(last + 1, last + 50)))
        assert ack.cursors == {"alerts": 1, "aggregates": last + 50, "evidence": 1}
        wait_until(lambda: client.http.get("/readyz").status_code == 200, what="ready again")
        ledger = client.settled_ledger()
        counts = (ledger["missing"], ledger["lake_rows"], ledger["lake_duplicates"], ledger["rejected"])
        assert counts == (0, last + 50 - 1 + 1, 0, 1)  # without the poison, with the evidence


def test_a_lake_that_cannot_be_written_keeps_what_was_acknowledged_in_the_log(small_hub: Hub, tmp_path: Path) -> None:
    """The lake on a disk of its own, full: ingest goes on, readiness names the lake, and the rows come when there is room."""
    elsewhere = tmp_path / "elsewhere"
    hub = init_hub(elsewhere, FAST + f'lake_url = "{small_hub.paths.root.parent / "lake"}"\n')
    with running(hub) as client:
        device = client.enrolled()
        ballast = fill(small_hub.paths.root.parent)
        assert client.ingest(device.batch(aggregates(1, 20))).cursors == {"aggregates": 20}
        ready = wait_until(lambda: (found := client.http.get("/readyz")).status_code == 503 and found, what="it is told")
        assert set(ready.json()["failures"]) == {"lake"}
        assert client.ingest(device.batch(aggregates(21, 40))).cursors == {"aggregates": 40}
        ballast.unlink()
        wait_until(lambda: client.http.get("/readyz").status_code == 200, what="ready again")
        ledger = client.settled_ledger()
        assert (ledger["lake_rows"], ledger["lake_duplicates"], ledger["missing"]) == (40, 0, 0)
