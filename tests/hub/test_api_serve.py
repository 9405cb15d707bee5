"""`tocsin hub …` as real processes: serving, being killed, and looking into a hub from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from hub.settings import Hub
from models.contract.envelope import Ack
from tests.hub.conftest import running
from tests.hub.simulated_device import SimulatedDevice, aggregates, alert, item, poison
from tests.waiting import PATIENCE_S, wait_until

COMMAND = [sys.executable, "-m", "tocsin", "hub"]


def tocsin(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False)


@contextmanager
def served(hub: Hub, scheme: str = "http", port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A hub process and its address; killed at the end if it still runs."""
    command = [*COMMAND, "serve", "--data", str(hub.paths.root), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith(f"Tocsin hub at {scheme}://127.0.0.1:"), line or process.communicate()
        yield process, line.split(" at ")[1].split(";")[0]
    finally:
        process.kill()
        process.communicate()


def send(url: str, path: str, sealed: bytes) -> None:
    httpx.post(f"{url}{path}", content=sealed, timeout=PATIENCE_S).raise_for_status()


def complaints(process: subprocess.Popen[str]) -> list[str]:
    """What it has said of troubles, once it has ended."""
    _, said = process.communicate(timeout=PATIENCE_S)
    return [line for line in said.splitlines() if " INFO hub.audit: " not in line]


def test_a_signal_ends_it_cleanly_and_what_was_acknowledged_is_in_the_lake(hub: Hub) -> None:
    device = SimulatedDevice()
    for number, first in ((signal.SIGTERM, 1), (signal.SIGINT, 11)):
        with served(hub) as (process, url):
            send(url, "/v1/enrol", device.enrol(hub.join_token))
            send(url, "/v1/ingest", device.batch(aggregates(first, first + 9)))
            process.send_signal(number)
            said = complaints(process)
            assert (process.returncode, said) == (0, [])
    answer = tocsin("query", "SELECT count(*) AS n, max(seq) AS last FROM aggregates", "--data", hub.paths.root, "--json")
    assert json.loads(answer.stdout) == [{"n": 20, "last": 20}]


def test_a_round_that_is_due_while_the_one_before_goes_on_is_nothing_to_warn_of(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    may_end, others = threading.Event(), threading.Event()
    monkeypatch.setattr("hub.app.RolloutService.tick", lambda *_: may_end.wait(PATIENCE_S))  # due every half second
    monkeypatch.setattr("hub.app.Eraser.run", lambda *_: others.set())  # every two seconds
    with running(hub):
        assert others.wait(PATIENCE_S)
        may_end.set()
    assert [one.message for one in caplog.records if one.levelname != "INFO"] == []


def test_a_page_that_is_watching_does_not_hold_up_the_end(hub: Hub) -> None:
    with served(hub) as (process, url):
        headers = {"Authorization": f"Bearer {hub.admin_token}"}
        with httpx.stream("GET", f"{url}/events", headers=headers, timeout=PATIENCE_S) as stream:
            assert stream.status_code == 200
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=PATIENCE_S)
    assert process.returncode == 0


def test_killed_in_the_middle_of_ingest_nothing_acknowledged_is_lost_or_doubled(hub: Hub) -> None:
    devices = [SimulatedDevice(f"gw-{n}") for n in range(4)]
    acked = dict.fromkeys((device.device_id for device in devices), 0)

    def deliver(device: SimulatedDevice, url: str, last: int) -> None:
        """Like an agent: from the cursor on, until the hub is gone or `last` is confirmed."""
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as http:
            try:
                http.post("/v1/enrol", content=device.enrol(hub.join_token)).raise_for_status()
                while acked[device.device_id] < last:
                    first = acked[device.device_id] + 1
                    reply = http.post("/v1/ingest", content=device.batch(aggregates(first, first + 4)))
                    reply.raise_for_status()
                    acked[device.device_id] = msgspec.msgpack.decode(reply.content, type=Ack).cursors["aggregates"]
            except httpx.TransportError:
                return

    def deliver_all(url: str, last: int) -> list[threading.Thread]:
        threads = [threading.Thread(target=deliver, args=(device, url, last)) for device in devices]
        for thread in threads:
            thread.start()
        return threads

    for round_ in range(3):
        with served(hub) as (process, url):
            threads = deliver_all(url, 10**6)
            enough = sum(acked.values()) + 60 + 40 * round_
            wait_until(lambda enough=enough: sum(acked.values()) >= enough, what="some batches acknowledged")
            process.kill()
            for thread in threads:
                thread.join()
    confirmed = max(acked.values())
    with served(hub) as (process, url):
        for thread in deliver_all(url, confirmed + 20):
            thread.join()
        headers = {"Authorization": f"Bearer {hub.admin_token}"}

        def settled() -> dict[str, int] | None:
            ledger = httpx.get(f"{url}/v1/ledger", headers=headers, timeout=PATIENCE_S).json()
            return ledger if ledger["lake_pending"] == 0 else None

        ledger = wait_until(settled)
    assert ledger["missing"] == 0
    assert ledger["received"] == ledger["lake_rows"] == sum(acked.values())
    assert ledger["lake_duplicates"] == 0


def test_a_taken_port_is_one_clear_line_and_nothing_is_started(hub: Hub) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        answer = tocsin("serve", "--data", hub.paths.root, "--port", str(port))
    assert answer.returncode == 1
    assert answer.stderr == f"tocsin: 127.0.0.1:{port} is taken; choose another with --port\n"
    assert not hub.paths.ingest.exists()


def test_a_directory_is_served_once(hub: Hub) -> None:
    with served(hub):
        answer = tocsin("serve", "--data", hub.paths.root, "--port", "0")
    assert answer.returncode == 1
    assert answer.stderr.endswith("is served by another process already\n")


def test_a_directory_without_a_hub_is_a_configuration_error(tmp_path: Path) -> None:
    answer = tocsin("serve", "--data", tmp_path)
    assert answer.returncode == 78
    assert answer.stderr.startswith(f"tocsin: {tmp_path}/hub.toml: no such file")
    assert answer.stderr.count("\n") == 1


def test_init_tells_where_the_tokens_are_and_never_what_they_are(tmp_path: Path) -> None:
    answer = tocsin("init", "--data", tmp_path / "hub", "--json")
    told = json.loads(answer.stdout)
    assert Path(told["admin_token"]).read_text().strip() not in answer.stdout
    assert Path(told["ca"]).read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
    assert (tmp_path / "hub" / "hub.db").is_file()
    assert "join_token" not in told
    assert not (tmp_path / "hub" / "join.token").exists()
    lab = json.loads(tocsin("init", "--join-token", "--data", tmp_path / "hub", "--json").stdout)
    assert Path(lab["join_token"]).stat().st_mode & 0o777 == 0o600
    assert "serve --data" in tocsin("init", "--data", tmp_path / "hub").stdout


@pytest.mark.parametrize("command", ["devices", "ledger", "alerts", "quarantine"])
def test_commands_look_into_a_hub_that_is_running(hub: Hub, command: str) -> None:
    device = SimulatedDevice()
    with served(hub) as (_, url):
        send(url, "/v1/enrol", device.enrol(hub.join_token))
        items = [*aggregates(1, 3), poison(4), *aggregates(7, 7), item(alert(), 1)]
        send(url, "/v1/ingest", device.batch(items))
        wait_until(lambda: json.loads(tocsin("alerts", "--data", hub.paths.root, "--json").stdout))
        rows = json.loads(tocsin(command, "--data", hub.paths.root, "--json").stdout)
        assert rows[0]["device_id"] == "gw-01"
        table = subprocess.run(
            [*COMMAND, command, "--data", hub.paths.root],
            capture_output=True,
            text=True,
            env=os.environ | {"COLUMNS": "200"},
            check=True,
        ).stdout
        assert "gw-01" in table
        if command == "ledger":
            assert "5..6" in table
            assert {lane["n_missing"] for lane in rows[0]["lanes"]} == {0, 2}


@pytest.mark.parametrize("command", ["ledger", "forget"])
def test_asking_for_an_unknown_device_says_so(hub: Hub, command: str) -> None:
    answer = tocsin(command, "nobody", "--data", hub.paths.root)
    assert answer.returncode == 1
    assert "no device nobody" in answer.stderr


def test_a_query_that_is_no_sql_says_so(hub: Hub) -> None:
    answer = tocsin("query", "SELEC 1", "--data", hub.paths.root)
    assert answer.returncode == 1
    assert answer.stderr.startswith("tocsin: Parser Error")
    assert "Traceback" not in answer.stderr
