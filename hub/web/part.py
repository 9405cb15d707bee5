"""A page's parts: each is read, rendered and refreshed on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from hub.operators.rights import READ, Right
from hub.web.live import digest


@dataclass(frozen=True, slots=True)
class Look:
    """What a view depends on beside the rows. `query`: the address's, as it came: a part checks what it takes of it."""

    heard_since_ns: int
    query: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        return self.query.get(name, "")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a page; its template is `parts/<name>.html`, which gets `view`, `digest`, `look` and what every page gets.

    `read`: the view, which holds no ages (see `queries.py`); None = there is no such thing, which is a 404.
    `scope`: names in the query that make it another part (an asset's), against those that only filter what is shown of it.
    `known`: digest of the unfiltered part, where that is cheaper to have than by reading it. `right`: who may see it.
    """

    read: Callable[[Connection, Look], Any]
    scope: tuple[str, ...] = ()
    known: Callable[[Connection, Look], str] | None = None
    right: Right = READ

    def digest(self, connection: Connection, look: Look) -> str:
        """What the stream knows the part by: the same for all who look at it, however they filter."""
        unfiltered = Look(look.heard_since_ns, {name: look.get(name) for name in self.scope})
        return self.known(connection, unfiltered) if self.known else digest(self.read(connection, unfiltered))

    def look(self, connection: Connection, look: Look) -> tuple[Any, str]:
        """The view, and its digest."""
        view = self.read(connection, look)
        filtered = any(value and name not in self.scope for name, value in look.query.items())
        return view, self.digest(connection, look) if filtered or self.known else digest(view)
