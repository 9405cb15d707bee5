"""A device is erased: nothing of it is left, all of the others is, and the audit log says what went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import event

from hub.audit.log import read_entries
from hub.cli import hub as hub_command
from hub.erasure.erasure import Eraser, ask, is_asked
from hub.ingest.log import SqliteIngestLog
from hub.lake.lake import open_lake
from hub.lake.query import LakeCounter
from hub.ledger.ledger import load_device
from hub.serve import only_one
from hub.settings import Hub
from hub.state.database import open_state
from tests.hub.conftest import HubClient, running
from tests.hub.simulated_device import (
    NOW_NS,
    SimulatedDevice,
    aggregates,
    alert,
    eviction,
    evidence,
    fault,
    health,
    item,
    poison,
)
from tests.waiting import wait_until

SENT = [
    *aggregates(1, 5), item(health(), 6), poison(7), item(eviction(2), 9, first_seq=8, lane="aggregates"),
    item(alert(), 1), item(fault(), 2), item(evidence(), 1),
]  # fmt: skip


def fleet(client: HubClient) -> list[SimulatedDevice]:
    """Two devices that sent the same, one of each kind."""
    devices = [client.enrolled(SimulatedDevice(name)) for name in ("secret-device", "gw-02")]
    for device in devices:
        client.ingest(device.batch(SENT))
        assert client.http.post("/v1/checkin", content=device.checkin()).status_code == 200
    client.settled_ledger()
    return devices


def run(*arguments: str) -> str:
    result = CliRunner().invoke(hub_command, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def files_with(root: Path, text: bytes) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_file() and text in path.read_bytes()}


def erased_entry(hub: Hub) -> dict[str, Any]:
    engine = open_state(hub.state_url)
    with engine.connect() as connection:
        [entry] = [entry for entry in read_entries(connection) if entry.action == "data.erase"]
    engine.dispose()
    assert (entry.subject, entry.actor[:4]) == ("secret-device", "cli:")
    details: dict[str, Any] = json.loads(entry.details)
    return details


def test_a_running_hub_erases_what_the_command_asks_for(hub: Hub) -> None:
    with only_one(hub.paths.lock), running(hub) as client:
        gone, kept = fleet(client)
        before = client.get("/v1/devices/gw-02/ledger")
        told = json.loads(run("erase", gone.device_id, "--yes", "--json", "--data", str(hub.paths.root)))
        assert (told["lake_rows"], told["device"]) == (7, "secret-device")
        assert client.http.post("/v1/ingest", content=gone.batch([])).status_code == 401
        assert client.http.get("/v1/devices/secret-device", headers=client.auth).status_code == 404
        assert client.get("/v1/devices/gw-02/ledger") == before
        assert {row["device_id"] for row in client.get("/v1/alerts")} == {"gw-02"}
        assert client.ingest(kept.batch(aggregates(10, 12))).cursors["aggregates"] == 12
        assert client.settled_ledger()["lake_rows"] == 7 + 3
    before_version, after_version = erased_entry(hub)["lake_versions"]["aggregates"]
    assert 1 <= before_version < after_version


def test_an_admin_may_ask_a_running_hub_for_it_by_the_api(hub: Hub) -> None:
    with running(hub) as client:
        fleet(client)
        assert client.http.delete("/v1/devices/secret-device").status_code == 401
        assert client.http.delete("/v1/devices/nobody", headers=client.auth).status_code == 404
        reply = client.http.delete("/v1/devices/secret-device", headers=client.auth)
        assert (reply.status_code, reply.json()) == (202, {"device_id": "secret-device", "state": "asked"})
        gone = lambda: client.http.get("/v1/devices/secret-device", headers=client.auth).status_code == 404  # noqa: E731
        wait_until(gone, what="the device to be gone")
        erased = lambda: [e for e in client.get("/v1/audit") if e["action"] == "data.erase"]  # noqa: E731
        [entry] = wait_until(erased, what="the proof")
        assert (entry["actor"], entry["subject"]) == ("token:admin", "secret-device")


def test_without_a_running_hub_the_command_does_it_and_no_byte_of_the_data_is_left(hub: Hub) -> None:
    with running(hub) as client:
        fleet(client)
    assert len(files_with(hub.paths.root, b"secret-device")) > 3
    run("erase", "secret-device", "--yes", "--data", str(hub.paths.root))
    details = erased_entry(hub)
    assert (details["lake_rows"], details["state_rows"] > 5) == (7, True)
    assert files_with(hub.paths.lake, b"secret-device") <= {path.name for path in hub.paths.lake.rglob("_delta_log/*")}
    assert files_with(hub.paths.root, b"secret-device") <= {"hub.db", *files_with(hub.paths.lake, b"secret-device")}
    engine = open_state(hub.state_url)
    with engine.connect() as connection:
        assert not is_asked(connection, "secret-device")
    engine.dispose()


def test_nothing_of_what_a_device_said_of_itself_is_left_on_the_disk(hub: Hub) -> None:
    """Also with an SQLite that does not write over what was deleted unless it is told to."""
    with running(hub) as client:
        device = client.enrolled(SimulatedDevice("secret-device"))
        client.ingest(device.batch(SENT))
        sealed = device.checkin(sources={"s": "a-secret-of-its-own"})
        assert client.http.post("/v1/checkin", content=sealed).status_code == 200
        client.settled_ledger()
    engine, lake = open_state(hub.state_url), open_lake(hub.lake_url)
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA secure_delete=OFF"))
    engine.dispose()  # what was opened before
    n_ledger: list[int] = []

    def forget(device_id: str) -> None:
        with engine.begin() as connection:
            n_ledger.append(len(load_device(connection, device_id)))

    with engine.begin() as connection:
        ask(connection, "secret-device", "cli:x", NOW_NS)
    log = SqliteIngestLog(hub.paths.ingest)
    Eraser(engine, log, lake, forget_key=forget).run(NOW_NS)
    log.close()
    assert (n_ledger[0] > 0, n_ledger[-1]) == (True, 0)  # who remembers accounts is told when they are gone
    engine.dispose()
    assert files_with(hub.paths.root, b"a-secret-of-its-own") == set()


def test_erasing_a_stranger_says_so_and_changes_nothing(hub: Hub) -> None:
    result = CliRunner().invoke(hub_command, ["erase", "nobody", "--yes", "--data", str(hub.paths.root)])
    assert result.exit_code != 0
    assert "nothing is known of a device nobody" in result.output


@pytest.mark.parametrize("dies_at", ["log", "state", "aggregates", "health", "vacuum", "audit"])
def test_an_erasure_that_is_cut_off_anywhere_is_carried_on_and_costs_the_others_nothing(
    hub: Hub, dies_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(hub) as client:
        fleet(client)
    engine, log, lake = open_state(hub.state_url), SqliteIngestLog(hub.paths.ingest), open_lake(hub.lake_url)
    with engine.begin() as connection:
        ask(connection, "secret-device", "cli:root", NOW_NS)

    class PowerCut(BaseException):
        """Not caught by anything on the way."""

    def cut(*_: object, **__: object) -> None:
        raise PowerCut

    lake_delete = lake.delete
    with monkeypatch.context() as patch:
        if dies_at == "log":
            patch.setattr(log, "erase", cut)
        elif dies_at == "state":
            patch.setattr(Eraser, "_erase_state", cut)
        elif dies_at == "vacuum":
            patch.setattr(lake, "vacuum", cut)
        elif dies_at == "audit":
            patch.setattr("hub.erasure.erasure.record", cut)
        else:
            patch.setattr(lake, "delete", lambda table, where: cut() if table == dies_at else lake_delete(table, where))
        with pytest.raises(PowerCut):
            Eraser(engine, log, lake).run(NOW_NS)
    again = open_lake(hub.lake_url)
    assert Eraser(engine, log, again).run(NOW_NS) == 1
    assert Eraser(engine, log, again).run(NOW_NS) == 0
    count = LakeCounter(again).count()
    assert (count.n_rows, count.n_duplicates) == (7, 0)
    assert set(again.dataset("aggregates").to_table(columns=["device_id"])["device_id"].to_pylist()) == {"gw-02"}
    assert erased_entry(hub)
    log.close()
    engine.dispose()
