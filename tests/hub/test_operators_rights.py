"""Who may do what, over the whole app: each of its routes has a stated right, and asks for it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Mount

from hub.app import build_app
from hub.operators.rights import ROLES, ROUTES, SCOPES, Principal, Right, Role, Scope, right_of
from hub.settings import init_hub
from tests.hub.conftest import FAST, HubClient, running
from tests.hub.operating import sign_in, token_in, user_in
from tests.waiting import PATIENCE_S

GUARDED = sorted((wanted, right) for wanted, right in ROUTES.items() if right.role is not None)


def all_routes(app: FastAPI) -> Iterator[str]:
    """Method and path of everything that the app answers to, included routers unfolded."""
    waiting: list[Any] = list(app.routes)
    while waiting:
        route = waiting.pop()
        inner = getattr(route, "original_router", None)
        if inner is not None:
            waiting += inner.routes
        elif isinstance(route, Mount):
            yield f"GET {route.path}"
        else:
            yield from (f"{method} {route.path}" for method in route.methods if method != "HEAD")


def test_every_route_has_a_stated_right_and_every_stated_right_a_route(tmp_path_factory: pytest.TempPathFactory) -> None:
    app = build_app(init_hub(tmp_path_factory.mktemp("hub"), FAST))
    assert set(all_routes(app)) == set(ROUTES)


def test_a_route_without_one_cannot_be_built() -> None:
    with pytest.raises(LookupError, match="POST /v1/everything"):
        right_of("POST", "/v1/everything")


def test_roles_and_scopes_open_what_the_table_says() -> None:
    right = Right("x", "operator", frozenset({"rollout"}))
    assert [Principal("user:x", role).may(right) for role in ROLES] == [False, True, True]
    opening = {scope for scope in SCOPES if Principal("token:x", None, frozenset({scope})).may(right)}
    assert opening == {"rollout", "admin"}
    assert not Principal("token:x", None).may(right)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    with running(init_hub(tmp_path_factory.mktemp("hub"), FAST)) as found:
        yield found


def ask(http: httpx.Client, wanted: str, **how: Any) -> int:
    """The status of the answer to an empty request; the stream of events is not waited for."""
    method, path = wanted.split()
    with http.stream(method, re.sub(r"\{[^}]*\}", "nothing", path), **how) as response:
        return response.status_code


@pytest.mark.parametrize(("wanted", "right"), GUARDED, ids=[wanted for wanted, _ in GUARDED])
def test_strangers_get_nowhere(client: HubClient, wanted: str, right: Right) -> None:
    refused = (303, 401) if not wanted.split()[1].startswith("/v1/") else (401,)
    for headers in (
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer tocsin_x"},
        {"Cookie": "tocsin_session=x"},
    ):
        assert ask(client.http, wanted, headers=headers) in refused


@pytest.fixture(scope="module")
def browsers(client: HubClient) -> Iterator[dict[Role, httpx.Client]]:
    """One that is signed in for each role."""
    made: dict[Role, httpx.Client] = {}
    for role in ROLES:
        user_in(client.hub.state_url, f"a-{role}", role)
        made[role] = httpx.Client(base_url=client.http.base_url, timeout=PATIENCE_S)
        assert sign_in(made[role], f"a-{role}").status_code == 303
    yield made
    for browser in made.values():
        browser.close()


@pytest.mark.parametrize(("wanted", "right"), GUARDED, ids=[wanted for wanted, _ in GUARDED])
def test_each_role_gets_as_far_as_its_right(
    client: HubClient, browsers: dict[Role, httpx.Client], wanted: str, right: Right
) -> None:
    own = {"Origin": str(client.http.base_url).rstrip("/")}
    assert right.role is not None
    for role in ROLES:
        status = ask(browsers[role], wanted, headers=own)
        assert (status == 403) == (ROLES.index(role) < ROLES.index(right.role)), (role, status)
        assert status not in (401, 303, 500) or wanted.startswith("POST /rollouts")


@pytest.fixture(scope="module")
def scoped(client: HubClient) -> dict[Scope, str]:
    return {scope: token_in(client.hub.state_url, f"a-{scope}", scope, now_ns=time.time_ns()) for scope in SCOPES}


@pytest.mark.parametrize(("wanted", "right"), GUARDED, ids=[wanted for wanted, _ in GUARDED])
def test_each_scope_gets_as_far_as_its_right(client: HubClient, scoped: dict[Scope, str], wanted: str, right: Right) -> None:
    for scope, token in scoped.items():
        status = ask(client.http, wanted, headers={"Authorization": f"Bearer {token}"})
        assert (status == 403) == (scope not in right.scopes | {"admin"}), (scope, status)
        assert status not in (401, 500)
