"""Signing in and out of the pages: by name and password, or with the admin token, in the form or in the address.

Where the browser goes afterwards is the overview, always: no address is taken from a request.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hub.access import Access, drop_session, from_own_page, session_secret, set_session
from hub.api.bodies import read_body
from hub.api.problems import Problem
from hub.operators.passwords import SignInBusy
from hub.operators.signin import Outcome, SignIn
from hub.web.guard import SIGN_IN, Endpoint, refused, see_other
from hub.web.render import Templates

_MAX_FORM_BYTES: Final = 4096
_WRONG_LOGIN: Final = "That name and password do not go together."
_WRONG_TOKEN: Final = "That is not this hub's token."  # noqa: S105 (a sentence)


class SignInPages:
    """The endpoints and what they share. `max_age_s`: how long the browser keeps the cookie; the hub forgets sooner."""

    def __init__(self, access: Access, signin: SignIn, templates: Templates, max_age_s: int) -> None:
        self._access = access
        self._signin = signin
        self._templates = templates
        self._max_age_s = max_age_s

    def routes(self) -> list[BaseRoute]:
        return [
            Route(SIGN_IN, self.form),
            Route(SIGN_IN, self.sign_in, methods=["POST"]),
            Route("/signout", self.sign_out, methods=["POST"]),
        ]

    def or_by_address(self, endpoint: Endpoint) -> Endpoint:
        """`endpoint`, but an address with `?token=` signs in, and the token leaves the address."""

        async def either(request: Request) -> Response:
            token = request.query_params.get("token")
            return await endpoint(request) if token is None else await self._by_token(request, token)

        return either

    async def form(self, request: Request) -> Response:
        if await self._access.principal(request) is not None:
            return see_other("/")
        return await self._form()

    async def sign_in(self, request: Request) -> Response:
        if not from_own_page(request):
            return refused(403, "sign in from the hub's own page")
        try:
            body = await read_body(request, _MAX_FORM_BYTES)
        except Problem as problem:
            return refused(problem.status, str(problem))
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
        if "token" in fields:
            return await self._by_token(request, fields["token"][0].strip())
        name, password = fields.get("name", [""])[0].strip(), fields.get("password", [""])[0]
        try:
            outcome = await self._signin.by_password(name[:64], password, _address(request), session_secret(request))
        except SignInBusy as error:
            outcome = Outcome(wait_s=error.retry_after_s or 1.0)
        return await self._answer(request, outcome, _WRONG_LOGIN, name)

    async def sign_out(self, request: Request) -> Response:
        if not from_own_page(request):
            return refused(403, "sign out from the hub's own page")
        secret, principal = session_secret(request), await self._access.principal(request)
        if secret and principal is not None:
            await run_in_threadpool(self._signin.end, principal, secret)
        response = see_other(SIGN_IN)
        drop_session(request, response)
        return response

    async def _by_token(self, request: Request, token: str) -> Response:
        outcome = await self._signin.by_token(token, _address(request), session_secret(request))
        return await self._answer(request, outcome, _WRONG_TOKEN)

    async def _answer(self, request: Request, outcome: Outcome, wrong: str, name: str = "") -> Response:
        if outcome.wait_s:
            seconds = int(outcome.wait_s) + 1
            response = await self._form(429, f"Too many attempts. Try again in {seconds} s.", wrong == _WRONG_TOKEN, name)
            response.headers["Retry-After"] = str(seconds)
            return response
        if outcome.secret is None:
            return await self._form(403, wrong, wrong == _WRONG_TOKEN, name)
        response = see_other("/")
        set_session(request, response, outcome.secret, self._max_age_s)
        return response

    async def _form(self, status: int = 200, wrong: str = "", by_token: bool = False, name: str = "") -> Response:
        accounts = await run_in_threadpool(self._signin.any_accounts)
        by_token = by_token or not accounts
        return self._templates.page("signin.html", status, wrong=wrong, by_token=by_token, name=name[:64])


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"
