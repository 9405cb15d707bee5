"""What the page answers to what is asked. Pure but for the files that it shows.

1. There is nothing to change: GET and HEAD alone, no query, no body, no cookie is looked at.
2. Who asks under a name that is not this device's is refused (421): a site whose name was turned to this address cannot read
   the page by way of somebody's browser (DNS rebinding).
3. Nothing is loaded from elsewhere and nothing inline runs (Content-Security-Policy); no other site may frame or embed it.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from ipaddress import ip_address
from typing import Any, Final

from agent.page.config import PageConfig
from agent.page.view import page, part

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STATIC: Final = {"/page.css": "text/css", "/page.js": "text/javascript", "/bell.svg": "image/svg+xml"}
_RENDERED: Final[Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]]] = {
    "/": ("text/html; charset=utf-8", page),
    "/part": ("text/html; charset=utf-8", part),
    "/status.json": ("application/json", partial(json.dumps, indent=1)),
}
_HOST: Final = re.compile(r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_FRESH_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes


class Answers:
    """`status`: how the agent is. It is asked, and made into a page, at most twice a second, however many ask here. Safe from
    any thread."""

    def __init__(self, config: PageConfig, status: Callable[[], Mapping[str, Any]]) -> None:
        self._names = _own_names(config)
        self._status = status
        self._lock = threading.Lock()
        self._asked_s = -1e9
        self._known: Mapping[str, Any] = {}
        self._bodies: dict[str, bytes] = {}  # of what is known now

    def answer(self, method: str, target: str, hosts: Sequence[str]) -> Answer:
        """`target`: as in the request line. `hosts`: every Host header that came."""
        if method not in ("GET", "HEAD"):
            return _plain(405, "GET and HEAD only: nothing can be changed here")
        if len(hosts) != 1:
            return _plain(400, "one Host header was expected")
        if not is_own(hosts[0], self._names):
            return _plain(421, "not by that name: use an address, or name it in page.names of tocsin.toml")
        return self._shown(target.partition("?")[0]) or _plain(404, "there are / and /status.json")

    def _shown(self, path: str) -> Answer | None:
        if path in _STATIC:
            return Answer(200, f"{_STATIC[path]}; charset=utf-8", (files("agent.page") / "static" / path[1:]).read_bytes())
        if path not in _RENDERED:
            return None
        content_type, rendered = _RENDERED[path]
        with self._lock:
            if time.monotonic() - self._asked_s >= _FRESH_S:
                self._known, self._asked_s = self._status(), time.monotonic()
                self._bodies.clear()
            body = self._bodies.get(path) or rendered(self._known).encode()
            self._bodies[path] = body
        return Answer(200, content_type, body)


def is_own(host: str, names: Collection[str]) -> bool:
    """Whether a Host header says an address, or one of `names` (lower case). Any port will do: a tunnel has one of its own."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match["host"].strip("[]").lower().rstrip(".")
    if name in names:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True  # a page that is asked for by address is nobody else's site


def _own_names(config: PageConfig) -> frozenset[str]:
    remote = (socket.gethostname(), f"{socket.gethostname()}.local") if config.allow_remote else ()
    return frozenset(name.lower().rstrip(".") for name in ("localhost", *remote, *config.names))


def _plain(status: int, text: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())
