"""The operators' API: who may, what it answers, and that every error is a problem with a reason."""

from __future__ import annotations

import hashlib
import re
import socket

import pytest
from sqlalchemy import insert

from hub.state.database import connect_state
from hub.state.schema import bundles
from tests.holding import HeldRuns
from tests.hub.conftest import HubClient
from tests.hub.simulated_device import NOW_NS, SPEC, SimulatedDevice, aggregates, alert, item
from tests.waiting import PATIENCE_S, wait_until

GETS = ["summary", "devices", "devices/x", "devices/x/ledger", "ledger", "alerts", "sensor-faults", "quarantine", "bundles"]
GETS += ["bundles/x", "training-runs", "rollouts", "rollouts/x"]
POSTS = ["bundles", "training-runs", "rollouts", "rollouts/x/pause"]


def test_reading_needs_the_admin_token(client: HubClient) -> None:
    for path in GETS:
        check_reading(client, path)


def check_reading(client: HubClient, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {client.hub.admin_token}"}):
        reply = client.http.get(f"/v1/{path}", headers=headers)
        assert (reply.status_code, reply.json()["type"]) == (401, "urn:tocsin:unauthorized")
        assert reply.headers["www-authenticate"] == "Bearer"
    assert client.http.get(f"/v1/{path}", headers=client.auth).status_code == (
        404 if path.endswith("x") or "/x/" in path else 200
    )


def test_changing_needs_the_admin_token(client: HubClient) -> None:
    for path in POSTS:
        assert client.http.post(f"/v1/{path}", content=b"{}").status_code == 401
        assert client.http.post(f"/v1/{path}", content=b"", headers=client.auth).status_code in (404, 422)


def test_a_strangers_body_is_not_taken_in(client: HubClient) -> None:
    """The answer comes though the body never does, of however many bytes it was to be."""
    address = (client.http.base_url.host, client.http.base_url.port)
    for path in POSTS:
        head = (
            f"POST /v1/{path} HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nContent-Length: 9999999999\r\n\r\n{{"
        )
        with socket.create_connection(address, timeout=PATIENCE_S) as stranger:
            stranger.sendall(head.encode())
            assert stranger.recv(100).startswith(b"HTTP/1.1 401 ")


def test_an_operators_body_has_a_limit_whether_or_not_its_length_is_stated(client: HubClient) -> None:
    headers = client.auth | {"Content-Type": "application/json"}
    chunks = (b" " * 2**20 for _ in range(9))
    assert client.http.post("/v1/rollouts", content=chunks, headers=headers).status_code == 413
    assert client.http.post("/v1/rollouts", content=b" " * 9 * 2**20, headers=headers).status_code == 413


def test_a_storage_error_tells_neither_statement_nor_values(client: HubClient) -> None:
    device = client.enrolled()
    engine = connect_state(client.hub.state_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ledger RENAME TO elsewhere")
    reply = client.http.post("/v1/ingest", content=device.batch(aggregates(1, 1)))
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
    assert reply.json()["detail"] == "no such table: ledger"
    ready = client.http.get("/readyz")
    assert (ready.status_code, ready.json()["failures"]) == (503, {"ingest": "OperationalError: no such table: ledger"})
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO ledger")
    engine.dispose()
    assert client.ingest(device.batch(aggregates(1, 1))).cursors == {"aggregates": 1}
    assert client.http.get("/readyz").status_code == 200


def test_the_page_link_signs_in_and_the_cookie_reads_the_api(client: HubClient) -> None:
    reply = client.http.get("/", params={"token": client.hub.admin_token})
    assert reply.status_code == 303
    assert "HttpOnly" in reply.headers["set-cookie"]
    assert client.hub.admin_token not in reply.headers["set-cookie"]
    assert client.http.get("/v1/summary").status_code == 200


def test_the_cookie_changes_things_only_from_the_hubs_own_page(client: HubClient) -> None:
    client.http.get("/", params={"token": client.hub.admin_token})
    own = str(client.http.base_url).rstrip("/")
    for origin, status in ((None, 401), ("http://127.0.0.1:1", 401), ("https://evil.example", 401), (own, 404)):
        headers = {"Origin": origin} if origin else {}
        assert client.http.post("/v1/rollouts/x/pause", headers=headers).status_code == status


def test_the_probes_need_no_token(client: HubClient) -> None:
    assert client.http.get("/healthz").status_code == 200
    assert client.http.get("/readyz").json() == {"ready": True, "failures": {}}


def test_the_summary_counts_the_fleet(client: HubClient) -> None:
    device = client.enrolled()
    client.enrolled(SimulatedDevice("gw-02"))
    client.http.post("/v1/checkin", content=device.checkin())
    client.ingest(device.batch([item(alert(), 1), item(alert("a2", closed_ns=NOW_NS + 1), 2)]))
    wait_until(lambda: client.get("/v1/summary")["ingest_pending"] == {"projector": 0, "lake": 0})
    found = client.get("/v1/summary")
    assert (found["devices"], found["devices_online"], found["assets"]) == (2, 2, {"normal": 1})
    assert (found["alerts_open"], found["failures"]) == ({"warning": 1}, {})


def test_alerts_are_listed_newest_first_and_filtered(client: HubClient) -> None:
    device = client.enrolled()
    client.ingest(device.batch([item(alert(f"a{n}", closed_ns=None if n % 2 else NOW_NS), n) for n in range(1, 6)]))
    wait_until(lambda: len(client.get("/v1/alerts")) == 5)
    assert {row["alert_id"] for row in client.get("/v1/alerts", open=True)} == {"a1", "a3", "a5"}
    assert len(client.get("/v1/alerts", limit=2)) == 2
    assert client.get("/v1/alerts", device="gw-99") == []
    reply = client.http.get("/v1/alerts?limit=0", headers=client.auth)
    assert (reply.status_code, reply.headers["content-type"]) == (422, "application/problem+json")
    assert "limit" in reply.json()["detail"]


def test_a_published_bundle_that_is_none_is_refused_with_its_reason(client: HubClient) -> None:
    reply = client.http.post("/v1/bundles", content=b"no archive", headers=client.auth)
    assert (reply.status_code, reply.json()["type"]) == (422, "urn:tocsin:bad-bundle")
    assert client.get("/v1/bundles") == []
    assert list(client.hub.paths.bundles.iterdir()) == []
    assert client.http.post("/v1/bundles", content=bytes(8 * 2**20 + 1), headers=client.auth).status_code == 413


def test_a_rollout_is_started_steered_and_ended(client: HubClient) -> None:
    add_bundle(client)
    device = client.enrolled()
    client.http.post("/v1/checkin", content=device.checkin(slots=[]))
    started = client.http.post("/v1/rollouts", json={"bundle_id": "pump-7"}, headers=client.auth)
    assert started.status_code == 201, started.text
    rollout_id = started.json()["rollout_id"]
    again = client.http.post("/v1/rollouts", json={"bundle_id": "pump-7"}, headers=client.auth)
    assert (again.status_code, again.json()["type"]) == (409, "urn:tocsin:rollout")
    for step, state in (("pause", "paused"), ("resume", "running"), ("abort", "aborted")):
        reply = client.http.post(f"/v1/rollouts/{rollout_id}/{step}", headers=client.auth)
        assert (reply.status_code, reply.json()["state"]) == (200, state)
    assert client.http.post(f"/v1/rollouts/{rollout_id}/resume", headers=client.auth).status_code == 409
    assert client.http.post(f"/v1/rollouts/{rollout_id}/explode", headers=client.auth).status_code == 422
    assert [found["rollout_id"] for found in client.get("/v1/rollouts")] == [rollout_id]
    assert client.get("/v1/bundles/pump-7")["version"] == 7


def test_training_starts_in_a_process_of_its_own_and_once_per_profile(
    client: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = HeldRuns(monkeypatch)
    started = client.http.post("/v1/training-runs", json={"profile": "pump"}, headers=client.auth)
    assert started.status_code == 202
    again = client.http.post("/v1/training-runs", json={"profile": "pump"}, headers=client.auth)
    assert (again.status_code, again.json()["type"]) == (409, "urn:tocsin:training")
    assert str(started.json()["pid"]) in again.json()["detail"]
    held.let_go()
    bad = client.http.post("/v1/training-runs", json={"profile": "../pump"}, headers=client.auth)
    assert bad.status_code == 422
    unknown = client.http.post("/v1/training-runs", json={"profile": "submarine"}, headers=client.auth)
    assert (unknown.status_code, unknown.json()["type"]) == (400, "urn:tocsin:bad-request")
    assert ", fan, host, " in unknown.json()["detail"]


def test_the_api_describes_itself(client: HubClient) -> None:
    described = client.http.get("/v1/openapi.json").json()
    assert {f"/v1/{name}" for name in ("summary", "devices", "ledger", "alerts", "rollouts")} <= described["paths"].keys()
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", described["info"]["version"])


def test_what_is_not_there_is_a_problem_too(client: HubClient) -> None:
    client.enrolled().batch(aggregates(1, 1))
    for method, path, status in (("GET", "/v1/nowhere", 404), ("GET", "/v1/ingest", 405), ("DELETE", "/v1/devices", 405)):
        reply = client.http.request(method, path, headers=client.auth)
        assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")


def add_bundle(client: HubClient) -> None:
    engine = connect_state(client.hub.state_url)
    row = {"bundle_id": "pump-7", "profile": "pump", "version": 7, "spec_hash": SPEC, "size": 10}
    sha256 = hashlib.sha256(b"x").hexdigest()
    with engine.begin() as connection:
        connection.execute(insert(bundles).values(**row, sha256=sha256, created_ns=1, signed_ns=1, manifest={}, card={}))
    engine.dispose()


def test_an_operator_says_what_an_alert_was(client: HubClient) -> None:
    device = client.enrolled()
    client.ingest(device.batch([item(alert("a1"), 1)]))
    path = f"/v1/alerts/{device.device_id}/a1/feedback"
    said = {"label": "confirm", "note": "bearing"}
    wait_until(lambda: len(client.get("/v1/alerts")) == 1)
    assert client.http.post(path, json=said).status_code == 401
    assert client.http.post(path, json=said, headers=client.auth).status_code == 204
    assert client.http.post(path, json={"label": "perhaps"}, headers=client.auth).status_code == 422
    missing = client.http.post(path.replace("a1", "a2"), json=said, headers=client.auth)
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")


def test_a_bundle_that_is_not_there_has_neither_card_nor_approval(client: HubClient) -> None:
    assert client.http.get("/v1/bundles/x/card.html", headers=client.auth).status_code == 404
    assert client.http.post("/v1/bundles/x/approval", json={"by": "A"}, headers=client.auth).status_code == 404
    assert client.http.get("/v1/bundles/x/card.html").status_code == 401
