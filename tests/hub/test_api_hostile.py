"""Names and addresses made to break out: of SQL, of paths, of headers, of pages. Each is answered as a name that nobody has."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from select import select as readable
from urllib.parse import quote

import pytest
from sqlalchemy import select

from hub.settings import init_hub
from hub.state.database import connect_state
from hub.state.schema import users
from tests.hub.conftest import FAST, HubClient, running
from tests.hub.operating import user_in
from tests.hub.simulated_device import SimulatedDevice, alert, item
from tests.waiting import PATIENCE_S, wait_until

HOSTILE = [
    "' OR '1'='1",
    "x'; DROP TABLE users; --",
    '" UNION SELECT password_hash FROM users --',
    "../../admin.token",
    "..%2f..%2fadmin.token",
    "/etc/passwd",
    "....//....//hub.db",
    "a\x00b",
    "a\r\nSet-Cookie: x=y",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "%00",
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe",
    "x" * 5000,
    "\N{PILE OF POO}",
    ";" * 64,
]
PATHS = ["/v1/devices/{}", "/v1/devices/{}/ledger", "/v1/bundles/{}", "/v1/rollouts/{}", "/v1/users/{}/sessions", "/parts/{}"]
PATHS += ["/assets/{}/{}", "/assets/{}/{}/scores.json", "/static/{}", "/v1/{}"]
QUERIES = [
    "/v1/alerts?device={}",
    "/v1/sensor-faults?device={}",
    "/v1/bundles?profile={}",
    "/v1/rollouts?profile={}",
    "/?state={}",
]
QUERIES += ["/v1/alerts?limit={}", "/v1/alerts?open={}", "/v1/audit?cursor={}", "/v1/users?cursor={}", "/parts/tiles?state={}"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    with running(init_hub(tmp_path_factory.mktemp("hub"), FAST)) as client:
        user_in(client.hub.state_url, "ann", "viewer")
        device = client.enrolled()
        client.ingest(device.batch([item(alert(), 1)]))
        wait_until(lambda: client.get("/v1/alerts"))
        yield client


def secrets_of(client: HubClient) -> list[str]:
    return [client.hub.admin_token, client.hub.join_token, "$argon2id$"]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_in_addresses_find_nothing_and_break_nothing(client: HubClient, name: str) -> None:
    for template in PATHS:
        for encoded in (quote(name, safe=""), quote(name)):
            reply = client.http.get(template.format(encoded, encoded), headers=client.auth)
            assert reply.status_code in (404, 405, 422), (template, reply.status_code, reply.text[:200])
            assert "set-cookie" not in reply.headers
            assert not any(secret in reply.text for secret in secrets_of(client))
            assert "<script>alert" not in reply.text or reply.headers["content-type"] == "application/problem+json"
    for template in QUERIES:
        reply = client.http.get(template.format(quote(name, safe="")), headers=client.auth)
        assert reply.status_code in (200, 422), (template, reply.status_code)
        assert reply.status_code == 422 or not template.startswith("/v1") or reply.json() == []
    with connect_state(client.hub.state_url).connect() as connection:
        assert connection.execute(select(users.c.name)).scalars().all() == ["ann"]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_in_bodies_are_refused(client: HubClient, name: str) -> None:
    for path, body in (
        ("users", {"name": name, "role": "viewer", "password": "a good long password"}),
        ("users", {"name": "x", "role": name, "password": "a good long password"}),
        ("api-tokens", {"name": name, "scopes": ["read"], "ttl_s": 60}),
        ("api-tokens", {"name": "x", "scopes": [name], "ttl_s": 60}),
        ("training-runs", {"profile": name}),
        ("rollouts", {"bundle_id": name}),
        ("rollouts/x/pause", {"bundle_id": name}),
    ):
        reply = client.http.post(f"/v1/{path}", json=body, headers=client.auth)
        assert reply.status_code in (400, 404, 409, 422), (path, reply.status_code, reply.text[:200])
        assert reply.headers["content-type"] == "application/problem+json"
    with connect_state(client.hub.state_url).connect() as connection:
        assert connection.execute(select(users.c.name)).scalars().all() == ["ann"]


@pytest.mark.parametrize("escape", [r"\ud800", r"\u0000", r"\udfff\ud800"])
def test_text_that_no_encoding_holds_is_refused(client: HubClient, escape: str) -> None:
    headers = client.auth | {"Content-Type": "application/json"}
    for path, body in (
        ("users", f'{{"name": "{escape}", "role": "viewer", "password": "a good long password"}}'),
        ("users", f'{{"name": "x", "role": "viewer", "password": "{escape}"}}'),
        ("users", f'{{"name": "x", "role": "viewer", "password": "{escape * 12}"}}'),
        ("rollouts", f'{{"bundle_id": "{escape}"}}'),
        ("training-runs", f'{{"profile": "{escape}"}}'),
    ):
        if escape * 12 in body and escape == r"\u0000":
            continue  # control characters make a password like any others
        reply = client.http.post(f"/v1/{path}", content=body, headers=headers)
        assert reply.status_code in (400, 409, 422), (body, reply.status_code, reply.text[:200])


def test_a_hostile_device_id_is_refused_before_it_is_stored(client: HubClient) -> None:
    for name in HOSTILE:
        reply = client.http.post("/v1/enrol", content=SimulatedDevice(name).enrol(client.hub.join_token))
        assert 400 <= reply.status_code < 500, (name, reply.status_code)
    assert [device["device_id"] for device in client.get("/v1/devices")] == ["gw-01"]


@pytest.mark.parametrize("path", ["//evil.example/", "//evil.example/..", "/\\evil.example", "/signin/", "/v1/devices/"])
def test_nobody_is_sent_to_an_address_that_a_request_names(client: HubClient, path: str) -> None:
    host, port = client.http.base_url.host, client.http.base_url.port
    with socket.create_connection((host, port), timeout=PATIENCE_S) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := raw.recv(4096):
            answer += chunk
    assert answer.split(b" ", 2)[1] in (b"404", b"400")
    assert b"location:" not in answer.lower()


def test_signing_in_leads_to_the_overview_whatever_the_address_says(client: HubClient) -> None:
    own = {"Origin": str(client.http.base_url).rstrip("/")}
    where = {"next": "//evil.example", "url": "https://evil.example", "return_to": "/\\evil.example"}
    reply = client.http.post("/signin", params=where, data={"token": client.hub.admin_token, **where}, headers=own)
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
    client.http.cookies.clear()


def test_a_body_that_trickles_in_holds_nobody_else_up(client: HubClient) -> None:
    host, port = client.http.base_url.host, client.http.base_url.port
    bearer = f"Authorization: Bearer {client.hub.admin_token}"
    head = f"POST /v1/rollouts HTTP/1.1\r\nHost: hub\r\n{bearer}\r\nContent-Length: 5000\r\n\r\n"
    slow = [socket.create_connection((host, port), timeout=PATIENCE_S) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(head.encode() + b"{")
        assert client.get("/v1/summary")["devices"] == 1
        assert readable(slow, [], [], 0)[0] == [], "not because a slow one was given up"
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("path", ["/v1/ingest", "/v1/enrol", "/v1/rollouts", "/signin"])
def test_a_body_that_never_ends_is_given_up(client: HubClient, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.api.bodies.MAX_BODY_S", 0.2)
    host, port = client.http.base_url.host, client.http.base_url.port
    head = f"POST {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {client.hub.admin_token}\r\nContent-Length: 4000"
    with socket.create_connection((host, port), timeout=PATIENCE_S) as slow:
        slow.sendall(f"{head}\r\n\r\nx".encode())
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_name_that_looks_like_a_path_leaves_the_disk_as_it_was(client: HubClient, tmp_path: Path) -> None:
    before = sorted(path.name for path in client.hub.paths.root.parent.iterdir())
    client.http.post("/v1/training-runs", json={"profile": "..\\..\\x"}, headers=client.auth)
    client.http.get(f"/v1/bundles/{'a' * 63}%2e", headers=client.auth)
    assert sorted(path.name for path in client.hub.paths.root.parent.iterdir()) == before
    assert not any(path.stem == "x" for path in client.hub.paths.logs.iterdir())
