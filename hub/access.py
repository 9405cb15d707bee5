"""Who may operate the hub: whoever has the admin token, as a bearer token or as the cookie that signing in sets.

Invariants:
1. Tokens are compared in constant time.
2. The cookie is derived from the token, not the token itself: what leaks from a browser opens this hub's page, and is
   void when the token is replaced.
3. A request that changes something and comes with the cookie only must come from the hub's own page: other pages on the
   same host, on another port, share its cookies.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

COOKIE: Final = "tocsin_admin"
_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")


class Access:
    """Judges requests; holds nothing but the token."""

    def __init__(self, admin_token: str) -> None:
        self._token = admin_token.encode()
        self._cookie = hmac.new(self._token, b"tocsin session", hashlib.sha256).hexdigest()

    def allows(self, request: HTTPConnection) -> bool:
        """Whether the request may see, and, by its method, change things."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return hmac.compare_digest(token.strip().encode(), self._token)
        cookie = request.cookies.get(COOKIE, "")
        return hmac.compare_digest(cookie.encode(), self._cookie.encode()) and _may_use_cookie(request)

    def cookie_for(self, token: str) -> str | None:
        """The value of the sign-in cookie for this token; None where it is not the admin token."""
        return self._cookie if hmac.compare_digest(token.encode(), self._token) else None


def _may_use_cookie(request: HTTPConnection) -> bool:
    if request.scope.get("method", "GET") in _SAFE_METHODS:
        return True
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")
