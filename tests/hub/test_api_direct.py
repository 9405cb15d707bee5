"""The short way of devices' calls: the same answers as by the long one, also to what nobody foresaw."""

from __future__ import annotations

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from hub.api.direct import DirectApp
from hub.api.problems import add_problem_handlers
from hub.ingest.service import Busy
from models.errors import EnvelopeError

ERRORS = {"busy": Busy("512 batches wait", 2.0), "bad": EnvelopeError("not an envelope"), "bug": ZeroDivisionError("a bug")}


@pytest.fixture
def answered() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def http(answered: list[tuple[str, int]]) -> httpx.AsyncClient:
    async def endpoint(request: Request) -> Response:
        body = (await request.body()).decode()
        if body in ERRORS:
            raise ERRORS[body]
        return PlainTextResponse(body)

    app = DirectApp({"/direct": endpoint}, lambda path, status: answered.append((path, status)))
    app.add_route("/direct", endpoint, methods=["POST"])
    app.add_route("/by-the-framework", endpoint, methods=["POST"])
    add_problem_handlers(app)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://hub")


@pytest.mark.anyio
@pytest.mark.parametrize(("body", "status"), [("fine", 200), ("busy", 429), ("bad", 400), ("bug", 500)])
async def test_both_ways_answer_alike(http: httpx.AsyncClient, answered: list[tuple[str, int]], body: str, status: int) -> None:
    async with http:
        direct, framework = [await http.post(path, content=body) for path in ("/direct", "/by-the-framework")]
    assert direct.status_code == framework.status_code == status
    assert direct.content == framework.content
    assert direct.headers == framework.headers
    assert answered == [("/direct", status)]


@pytest.mark.anyio
async def test_other_methods_take_the_long_way(http: httpx.AsyncClient, answered: list[tuple[str, int]]) -> None:
    async with http:
        assert (await http.get("/direct")).status_code == 405
    assert answered == []


@pytest.mark.anyio
async def test_a_bug_reaches_the_server_s_log(http: httpx.AsyncClient) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(http._transport.app), base_url="http://hub") as raising:  # type: ignore[attr-defined]
        with pytest.raises(ZeroDivisionError):
            await raising.post("/direct", content="bug")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
