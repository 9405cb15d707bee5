"""Signing in by name and password, what each role is shown, and cookies that keep to this hub."""

from __future__ import annotations

import asyncio
import re
from http.cookies import SimpleCookie

import httpx
import pytest
from sqlalchemy import Engine, select

from hub.audit.log import read_entries
from hub.lake.lake import DeltaLake
from hub.operators.accounts import set_enabled
from hub.operators.rights import ROLES, Role
from hub.state.schema import rollouts, sessions
from tests.hub.operating import PASSWORD, add_user, sign_in
from tests.waiting import PATIENCE_S
from tests.web.serving import TOKEN, pages_app

HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def ann(engine: Engine, stranger: httpx.Client) -> httpx.Client:
    """A browser whose user has an account and has not signed in yet."""
    add_user(engine, "ann", "operator")
    return stranger


def own(client: httpx.Client) -> dict[str, str]:
    return {"Origin": str(client.base_url).rstrip("/")}


def test_a_name_and_its_password_sign_in_and_the_page_says_who_it_is(ann: httpx.Client, fleet: Engine) -> None:
    assert sign_in(ann, "ann").headers["location"] == "/"
    assert re.search(r'signed-in">ann <span class="role">operator', ann.get("/").text)
    assert "ann" in ann.get("/assets/gw-lyon-01/pump-2").text
    assert ann.get("/signin").headers["location"] == "/"


@pytest.mark.parametrize(("name", "password"), [("ann", "wrong"), ("bob", PASSWORD), (HOSTILE, PASSWORD), ("", "")])
def test_a_wrong_name_and_a_wrong_password_are_told_the_same(ann: httpx.Client, name: str, password: str) -> None:
    reply = sign_in(ann, name, password)
    assert reply.status_code == 403
    assert "That name and password do not go together." in reply.text
    assert "set-cookie" not in reply.headers
    assert "<script>alert" not in reply.text


def test_too_many_attempts_are_told_when_to_come_back(ann: httpx.Client) -> None:
    for _ in range(5):
        sign_in(ann, "ann", "wrong")
    reply = sign_in(ann, "ann")
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "31")
    assert "Too many attempts" in reply.text


def test_a_session_that_was_there_before_is_over_once_somebody_signs_in(ann: httpx.Client, engine: Engine) -> None:
    sign_in(ann, "ann")
    before = dict(ann.cookies)
    sign_in(ann, "ann")
    assert dict(ann.cookies) != before
    assert httpx.get(f"{ann.base_url}/", cookies=before, timeout=PATIENCE_S).headers["location"] == "/signin"
    with engine.begin() as connection:
        assert len(connection.execute(select(sessions)).all()) == 1


def test_signing_out_ends_the_session_itself_not_only_the_cookie(ann: httpx.Client) -> None:
    sign_in(ann, "ann")
    copied = dict(ann.cookies)
    ann.post("/signout", headers=own(ann))
    assert dict(ann.cookies) == {}
    assert httpx.get(f"{ann.base_url}/", cookies=copied, timeout=PATIENCE_S).headers["location"] == "/signin"


def over(scheme: str, engine: Engine, lake: DeltaLake, cookie: str = "") -> tuple[str, int]:
    """The cookie that signing in sets over `scheme`, and how the overview answers to `cookie`."""

    async def browse() -> tuple[str, int]:
        transport = httpx.ASGITransport(pages_app(engine, lake))
        url = f"{scheme}://hub.example"
        async with httpx.AsyncClient(transport=transport, base_url=url) as client:
            form = {"name": "ann", "password": PASSWORD}
            reply = await client.post("/signin", data=form, headers={"Origin": url})
            client.cookies.clear()
            return reply.headers["set-cookie"], (await client.get("/", headers={"Cookie": cookie})).status_code

    return asyncio.run(browse())


@pytest.mark.parametrize(("scheme", "name"), [("https", "__Host-tocsin_session"), ("http", "tocsin_session")])
def test_over_tls_the_cookie_is_secure_and_of_this_host_only(engine: Engine, lake: DeltaLake, scheme: str, name: str) -> None:
    add_user(engine, "ann")
    told, _ = over(scheme, engine, lake)
    [(told_name, cookie)] = SimpleCookie(told).items()
    assert (told_name, bool(cookie["secure"])) == (name, scheme == "https")
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "lax", "/", "")
    assert over(scheme, engine, lake, f"{name}={cookie.value}")[1] == 200
    other = "http" if scheme == "https" else "https"
    assert (
        over(other, engine, lake, f"{name}={cookie.value}")[1] == 303
    )  # what a page over plain HTTP planted counts for nothing


@pytest.fixture
def browser(engine: Engine, stranger: httpx.Client, request: pytest.FixtureRequest) -> tuple[Role, httpx.Client]:
    role: Role = request.param
    add_user(engine, "someone", role)
    assert sign_in(stranger, "someone").status_code == 303
    return role, stranger


@pytest.mark.parametrize("browser", ROLES, indirect=True)
def test_rollouts_are_steered_by_operators_only(browser: tuple[Role, httpx.Client], fleet: Engine) -> None:
    role, client = browser
    with fleet.begin() as connection:
        rollout_id = connection.execute(select(rollouts.c.rollout_id).where(rollouts.c.state == "running")).scalar_one()
    offered = f'formaction="/rollouts/{rollout_id}/pause"'
    for page in ("/", "/parts/rollouts"):
        assert (offered in client.get(page).text) == (role != "viewer")
    foreign = client.post(f"/rollouts/{rollout_id}/pause", headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 401
    reply = client.post(f"/rollouts/{rollout_id}/pause", headers=own(client))
    assert reply.status_code == (403 if role == "viewer" else 303)
    with fleet.begin() as connection:
        where = rollouts.c.rollout_id == rollout_id
        state = connection.execute(select(rollouts.c.state).where(where)).scalar_one()
        newest = read_entries(connection, limit=1)[0]
    assert state == ("running" if role == "viewer" else "paused")
    assert (newest.actor, newest.action) == ("user:someone", "user.sign-in" if role == "viewer" else "rollout.paused")


def test_without_accounts_the_form_asks_for_the_token_and_with_them_for_a_name(engine: Engine, stranger: httpx.Client) -> None:
    assert re.search(r'<input id="token"[^>]* autofocus', stranger.get("/signin").text)
    add_user(engine, "ann")
    text = stranger.get("/signin").text
    assert re.search(r'<input id="name"[^>]* autofocus', text)
    assert text.count("autofocus") == 1
    assert stranger.post("/signin", data={"token": TOKEN}, headers=own(stranger)).status_code == 303
    assert re.search(r'signed-in">admin <span class="role">token', stranger.get("/").text)


@pytest.mark.parametrize(
    "body", [b"", b"name=ann", b"name=%ff&password=%00", b"&" * 100, b"name=a&name=b&password=x", b"\xff\xfe"]
)
def test_a_form_that_is_none_signs_nobody_in(ann: httpx.Client, body: bytes) -> None:
    headers = {**own(ann), "Content-Type": "application/x-www-form-urlencoded"}
    assert ann.post("/signin", content=body, headers=headers).status_code == 403


def test_a_stream_ends_soon_after_its_session(ann: httpx.Client, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.web.live_pages.STREAM_CHECK_S", 0.0)
    sign_in(ann, "ann")
    with ann.stream("GET", "/events") as response:
        lines = response.iter_lines()
        assert next(lines) == "retry: 2000"
        with engine.begin() as connection:
            set_enabled(connection, "ann", False, actor="cli:test", now_ns=1)
        assert len(list(lines)) < 20  # it ends
