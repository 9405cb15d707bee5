"""Accounts, tokens and the audit log over HTTP, and browsers' sessions against a real hub."""

from __future__ import annotations

import base64
import json
import re
import time

import httpx
import pytest

from hub.api.training import TrainingProcesses
from tests.hub.conftest import HubClient
from tests.hub.operating import PASSWORD, sign_in, token_in, user_in
from tests.hub.simulated_device import SimulatedDevice, aggregates, alert, item
from tests.hub.test_api_operators import add_bundle
from tests.waiting import PATIENCE_S, wait_until


def call(client: HubClient, method: str, path: str, status: int, body: object = None) -> httpx.Response:
    reply = client.http.request(method, f"/v1/{path}", json=body, headers=client.auth)
    assert reply.status_code == status, reply.text
    return reply


def actions(client: HubClient) -> list[tuple[str, str, str]]:
    return [(entry["actor"], entry["action"], entry["subject"]) for entry in client.get("/v1/audit")]


def test_an_account_is_made_changed_and_removed_and_the_log_tells_by_whom(client: HubClient) -> None:
    call(client, "POST", "users", 201, {"name": "ann", "role": "viewer", "password": PASSWORD})
    call(client, "POST", "users", 409, {"name": "ann", "role": "viewer", "password": PASSWORD})
    assert call(client, "PATCH", "users/ann", 200, {"role": "admin"}).json()["role"] == "admin"
    with httpx.Client(base_url=client.http.base_url, timeout=PATIENCE_S) as browser:
        assert sign_in(browser, "ann").status_code == 303
        assert browser.get("/v1/me").json() == {"name": "ann", "actor": "user:ann", "role": "admin", "scopes": []}
        assert call(client, "DELETE", "users/ann/sessions", 200).json() == {"sessions": 1}
        assert browser.get("/v1/me").status_code == 401
    assert [user["name"] for user in client.get("/v1/users")] == ["ann"]
    assert "password" not in json.dumps(client.get("/v1/users")).replace("password_ns", "")
    call(client, "DELETE", "users/ann", 204)
    call(client, "DELETE", "users/ann", 404)
    told = [entry for entry in actions(client) if entry[2] == "user:ann" and entry[0] == "token:admin"]
    assert [action for _, action, _ in told] == ["user.remove", "user.end-sessions", "user.set-role", "user.add"]


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "<script>", "a\x00b"])
def test_an_account_with_a_name_that_is_none_is_refused(client: HubClient, name: str) -> None:
    call(client, "POST", "users", 422, {"name": name, "role": "viewer", "password": PASSWORD})
    assert client.get("/v1/users") == []


def test_a_token_is_shown_once_and_its_use_is_noted(client: HubClient) -> None:
    made = call(client, "POST", "api-tokens", 201, {"name": "grafana", "scopes": ["metrics"], "ttl_s": 3600}).json()
    bearer = {"Authorization": f"Bearer {made['token']}"}
    assert client.http.get("/metrics", headers=bearer).status_code == 200
    assert client.http.get("/v1/devices", headers=bearer).status_code == 403
    [listed] = client.get("/v1/api-tokens")
    assert listed["last_used_ns"] is not None
    assert made["token"] not in json.dumps(listed)
    call(client, "DELETE", "api-tokens/grafana", 204)
    assert client.http.get("/metrics", headers=bearer).status_code == 401


def test_what_operators_change_is_in_the_log_with_who_it_was(client: HubClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingProcesses, "start", lambda self, profile: 4711)
    add_bundle(client)
    client.http.post("/v1/checkin", content=client.enrolled().checkin(slots=[]))
    user_in(client.hub.state_url, "olga", "operator")
    own = {"Origin": str(client.http.base_url).rstrip("/")}
    with httpx.Client(base_url=client.http.base_url, headers=own, timeout=PATIENCE_S) as olga:
        sign_in(olga, "olga")
        assert olga.post("/v1/training-runs", json={"profile": "pump"}).status_code == 202
        rollout_id = olga.post("/v1/rollouts", json={"bundle_id": "pump-7"}).json()["rollout_id"]
        assert olga.post(f"/rollouts/{rollout_id}/pause").headers["location"] == f"/rollouts/{rollout_id}"
        assert olga.post(f"/rollouts/{rollout_id}/pause").status_code == 409
        assert olga.post(f"/rollouts/{rollout_id}/explode").status_code == 409
        assert olga.post(f"/v1/rollouts/{rollout_id}/abort").status_code == 200
        assert olga.get("/v1/audit").status_code == 403
    token = token_in(client.hub.state_url, "ci", "rollout", "read", now_ns=time.time_ns())
    bearer = {"Authorization": f"Bearer {token}"}
    again = client.http.post("/v1/rollouts", json={"bundle_id": "pump-7"}, headers=bearer)
    assert again.status_code == 201
    assert actions(client)[:7] == [
        ("token:ci", "rollout.started", again.json()["rollout_id"]),
        ("cli:test", "token.create", "token:ci"),
        ("user:olga", "rollout.aborted", rollout_id),
        ("user:olga", "rollout.paused", rollout_id),
        ("user:olga", "rollout.started", rollout_id),
        ("user:olga", "training.start", "pump"),
        ("user:olga", "user.sign-in", "user:olga"),
    ]


def walk(client: HubClient, path: str) -> list[dict[str, object]]:
    """All rows, by the links from page to page."""
    rows: list[dict[str, object]] = []
    link: str | None = path
    while link is not None:
        reply = client.http.get(link, headers=client.auth)
        assert reply.status_code == 200, reply.text
        rows += reply.json()
        found = re.fullmatch(r'<(/v1/[^>]+)>; rel="next"', reply.headers.get("link", ""))
        link = found and found[1]
    return rows


def test_pages_hold_every_row_once_and_in_order(client: HubClient) -> None:
    for n in range(7):
        device = client.enrolled(SimulatedDevice(f"gw-{n}"))
        client.ingest(device.batch([*aggregates(1, 1), *(item(alert(f"a{k}"), k) for k in range(1, 4))]))
    wait_until(lambda: len(client.get("/v1/alerts")) == 21)
    for path, key in (("devices", "device_id"), ("alerts", "alert_id")):
        whole = client.get(f"/v1/{path}")
        for limit in (1, 2, 7, 20):
            assert walk(client, f"/v1/{path}?limit={limit}") == whole
        assert len({(row["device_id"], row[key]) for row in whole}) == len(whole)
    assert len(walk(client, "/v1/alerts?device=gw-3&limit=2")) == 3
    assert client.http.get("/v1/alerts?limit=21", headers=client.auth).headers.get("link") is None


LISTS = [
    "devices",
    "alerts",
    "sensor-faults",
    "quarantine",
    "bundles",
    "training-runs",
    "rollouts",
    "audit",
    "users",
    "api-tokens",
]


@pytest.mark.parametrize("forged", ["x", "é", "W10", "WzFd", "////", "_" * 1001, "WyInOyBEUk9QIFRBQkxFIHVzZXJzOyAtLSJd"])
def test_a_made_up_cursor_is_refused_or_harmless(client: HubClient, forged: str) -> None:
    for name in LISTS:
        reply = client.http.get(f"/v1/{name}", params={"cursor": forged}, headers=client.auth)
        assert reply.status_code in (200, 422), (name, reply.text)
        assert reply.status_code == 422 or reply.json() == []


def test_numbers_beyond_what_the_database_holds_are_refused_in_a_cursor(client: HubClient) -> None:
    for raw in (b'[99999999999999999999,"x","y"]', b'[1e400,"x","y"]', b'[1,"\\ud800","y"]', b'[null,"x","y"]'):
        cursor = base64.urlsafe_b64encode(raw).decode()
        assert client.http.get("/v1/alerts", params={"cursor": cursor}, headers=client.auth).status_code == 422
