"""Who asks: a request becomes a principal, or nobody.

Invariants:
1. A bearer token decides alone: where one is sent, cookies are not looked at. Secrets are compared in constant time or found by
   their hash.
2. The cookie holds a session's random id. Over TLS it is `Secure` and carries the `__Host-` prefix: no other host, nor a page
   over plain HTTP, can set it.
3. A request that changes something and comes with the cookie only must come from the hub's own page: its Origin is the host
   that was asked. Other pages on the same host, on another port, share its cookies; a form of another site sends its own
   Origin, and a browser that hides it sends `null`.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import Response

from hub.operators.rights import Principal
from hub.operators.sessions import ADMIN_ACTOR, Sessions
from hub.operators.tokens import principal_of_token

COOKIE: Final = "tocsin_session"
_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
_ADMIN: Final = Principal(ADMIN_ACTOR, "admin")
_MAX_SECRET: Final = 200  # characters; longer ones are nobody's


class Access:
    """Judges requests; safe for all of them at once."""

    def __init__(self, engine: Engine, admin_token: str, sessions: Sessions, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._engine = engine
        self._admin_token = admin_token.encode()
        self._sessions = sessions
        self._now_ns = now_ns

    async def principal(self, request: HTTPConnection) -> Principal | None:
        """Whoever sent it; None for a stranger, and for a browser led here by another site."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self._of_bearer(token.strip())
        secret = session_secret(request)
        if not secret or not _may_use_cookie(request):
            return None
        return await run_in_threadpool(self._sessions.find, secret, self._now_ns())

    async def _of_bearer(self, token: str) -> Principal | None:
        if hmac.compare_digest(token.encode(), self._admin_token):
            return _ADMIN
        if len(token) > _MAX_SECRET:
            return None
        return await run_in_threadpool(principal_of_token, self._engine, token, self._now_ns())


def session_secret(request: HTTPConnection) -> str:
    """What the browser's cookie holds; "" without one."""
    secret = request.cookies.get(_cookie_name(request), "")
    return secret if len(secret) <= _MAX_SECRET else ""


def set_session(request: HTTPConnection, response: Response, secret: str, max_age_s: int) -> None:
    """Let the browser keep the session's id, out of reach of scripts and of requests that other sites make."""
    response.set_cookie(
        _cookie_name(request), secret, max_age=max_age_s, path="/", httponly=True, samesite="lax", secure=_is_tls(request)
    )


def drop_session(request: HTTPConnection, response: Response) -> None:
    response.delete_cookie(_cookie_name(request), path="/", httponly=True, samesite="lax", secure=_is_tls(request))


def from_own_page(request: HTTPConnection) -> bool:
    """Whether a browser sent this from one of the hub's own pages; clients that say nothing about it are no browsers."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _may_use_cookie(request: HTTPConnection) -> bool:
    if request.scope.get("method", "GET") in _SAFE_METHODS:
        return True
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")


def _cookie_name(request: HTTPConnection) -> str:
    return f"__Host-{COOKIE}" if _is_tls(request) else COOKIE


def _is_tls(request: HTTPConnection) -> bool:
    return request.url.scheme in ("https", "wss")
