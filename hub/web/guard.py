"""Pages that look at who asks first. The right that each takes is in the table of `hub/operators/rights.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from hub.access import Access
from hub.operators.rights import Principal, right_of
from hub.web.render import PAGE_HEADERS

Endpoint = Callable[[Request], Awaitable[Response]]
SIGN_IN: Final = "/signin"


class PageGuard:
    """Makes routes. Raises LookupError where no right is stated for one."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def page(self, path: str, endpoint: Endpoint) -> Route:
        """A whole page: strangers are led to sign in."""
        return self._route("GET", path, endpoint, lambda: see_other(SIGN_IN))

    def part(self, path: str, endpoint: Endpoint) -> Route:
        """What scripts fetch: strangers are refused."""
        return self._route("GET", path, endpoint, lambda: refused(401, "sign in first"))

    def action(self, path: str, endpoint: Endpoint) -> Route:
        """What a form sends: strangers, and browsers that another site sent here, are refused."""
        return self._route("POST", path, endpoint, lambda: refused(401, "sign in first, and come from the hub's own page"))

    def _route(self, method: str, path: str, endpoint: Endpoint, stranger: Callable[[], Response]) -> Route:
        right = right_of(method, path)

        async def guarded(request: Request) -> Response:
            principal = await self._access.principal(request)
            if principal is None:
                return stranger()
            if not principal.may(right):
                return refused(403, f"this takes the role {right.role}")
            request.state.principal = principal
            return await endpoint(request)

        return Route(path, guarded, methods=[method])


def principal_of(request: Request) -> Principal:
    """Whoever was let in."""
    principal: Principal = request.state.principal
    return principal


def see_other(path: str) -> RedirectResponse:
    """To one of the hub's own pages: `path` never comes from a request."""
    return RedirectResponse(path, status_code=303, headers=PAGE_HEADERS)


def refused(status: int, why: str) -> Response:
    return PlainTextResponse(why, status_code=status, headers=PAGE_HEADERS)
