"""What all pages share: the state as it is read, who asks, the frame around a page, and its parts.

A room is a class with pages of one kind. It says which parts they have, which entry of the navigation leads there, and its
routes; `routes.py` puts the rooms together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlencode

from sqlalchemy import Connection, Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from hub.operators import rights
from hub.web.guard import PageGuard, principal_of
from hub.web.part import Look, Part
from hub.web.render import Templates

RIGHTS = tuple(right for right in vars(rights).values() if isinstance(right, rights.Right))


class Room(Protocol):
    """Pages of one kind. `nav`: (address, word) of their entries in the navigation."""

    @property
    def nav(self) -> Sequence[tuple[str, str]]: ...

    def parts(self) -> Mapping[str, Part]: ...

    def routes(self, guard: PageGuard) -> list[BaseRoute]: ...


@dataclass(slots=True)
class Desk:
    """`engine` only reads. `parts` and `nav` are those of all rooms. `stopping` tells open streams to end."""

    engine: Engine
    templates: Templates
    silent_after_ns: int
    clock: Callable[[], int]
    stopping: Callable[[], bool]
    parts: dict[str, Part] = field(default_factory=dict)
    nav: list[tuple[str, str]] = field(default_factory=list)

    def take_in(self, rooms: Iterable[Room]) -> None:
        for room in rooms:
            self.parts.update(room.parts())
            self.nav.extend(room.nav)

    def look(self, now_ns: int, query: Mapping[str, str] | None = None) -> Look:
        return Look(now_ns - self.silent_after_ns, query or {})

    def read(self, read: Callable[[Connection, int], Any]) -> Any:
        """`read` in one transaction that only reads, at the time as it is now. Blocks: call it from a worker thread."""
        with self.engine.begin() as connection:
            return read(connection, self.clock())

    async def page(
        self,
        request: Request,
        template: str,
        parts: Iterable[str] = (),
        more: Callable[[Connection, Look], Mapping[str, Any]] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Response:
        """A page with these parts, as `parts.<name>` = (view, digest) in its template, and with `more` values.

        `query`: what the parts look at instead of the address's own. A part in a scope that does not exist is a 404.
        """
        names = tuple(parts)

        def read(connection: Connection, now_ns: int) -> Response:
            look = self.look(now_ns, query if query is not None else dict(request.query_params))
            views = {name: self.parts[name].look(connection, look) for name in names}
            if any(view is None for view, _ in views.values()):
                return self.missing(look)
            values = dict(more(connection, look)) if more else {}
            events = self._events(names, look)
            return self.templates.page(template, parts=views, events=events, **self.frame(request, look, now_ns), **values)

        response: Response = await run_in_threadpool(self.read, read)
        return response

    async def part(self, request: Request, name: str) -> Response:
        """One part alone, for refreshing in place."""

        def read(connection: Connection, now_ns: int) -> Response:
            look = self.look(now_ns, dict(request.query_params))
            view, known = self.parts[name].look(connection, look)
            if view is None:
                return self.missing(look)
            return self.templates.page(f"parts/{name}.html", view=view, digest=known, **self.frame(request, look, now_ns))

        response: Response = await run_in_threadpool(self.read, read)
        return response

    def missing(self, look: Look) -> Response:
        return self.templates.page("missing.html", status_code=404, look=look)

    def frame(self, request: Request, look: Look, now_ns: int) -> dict[str, Any]:
        """What every page and part gets: who is signed in, what they may do, the time, and the navigation."""
        principal = principal_of(request)
        return {
            "who": principal,
            "may": {right.name: principal.may(right) for right in RIGHTS},
            "now_ns": now_ns,
            "look": look,
            "nav": self.nav,
            "here": request.url.path,
            "hub_url": str(request.base_url).rstrip("/"),
        }

    def _events(self, names: tuple[str, ...], look: Look) -> str:
        """The address of the stream that says when one of these parts has changed."""
        scope = {key: look.get(key) for name in names for key in self.parts[name].scope}
        return "/events?" + urlencode({"parts": ",".join(names), **scope})
