"""Long lists, a page at a time: the body is the list itself, and where it goes on is told by a Link header (RFC 8288).

    GET /v1/alerts?limit=100
    Link: </v1/alerts?limit=100&cursor=WzE3…>; rel="next"        not there on the last page

Pages are cut by key, not by number: rows that are added meanwhile shift nothing. A cursor is the key of the page's last row;
clients take it as it is. One that was made up is refused (422), and can ask for nothing that the list would not show anyway.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Final, NamedTuple, TypeVar
from urllib.parse import urlencode

import msgspec
from fastapi import Depends, Query, Request, Response
from msgspec import Meta

from hub.api.problems import Problem

MAX_LIMIT: Final = 5000
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="rows on a page at most")]
Cursor = Annotated[str, Query(max_length=1000, description="where the page begins: from the `next` link of the one before")]

Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Word = Annotated[str, Meta(max_length=200)]


class NameKey(NamedTuple):
    name: Word


class NumberKey(NamedTuple):
    number: Number


class TimedKey(NamedTuple):
    at_ns: Number
    identity: Word


class EventKey(NamedTuple):
    at_ns: Number
    device_id: Word
    identity: Word


class BundleKey(NamedTuple):
    created_ns: Number
    version: Number
    bundle_id: Word


class ItemKey(NamedTuple):
    at_ns: Number
    device_id: Word
    epoch: Word
    lane: Word
    seq: Number


Row = TypeVar("Row")
Key = TypeVar("Key")


class Page:
    """What a request asks for, and its answer's Link header."""

    def __init__(self, request: Request, response: Response, limit: Limit = 200, cursor: Cursor = "") -> None:
        self._request = request
        self._response = response
        self._limit = limit
        self._cursor = cursor

    @property
    def wanted(self) -> int:
        """How many rows to read: one more than is shown, so that the last page is known as such."""
        return self._limit + 1

    def after(self, shape: type[Key]) -> Key | None:
        """The key that the page begins after; None for the first. Raises Problem 422 where the cursor is not of this list."""
        if not self._cursor:
            return None
        try:
            raw = urlsafe_b64decode(self._cursor.encode("ascii") + b"=" * (-len(self._cursor) % 4))
            return msgspec.json.decode(raw, type=shape)
        except (ValueError, msgspec.MsgspecError):
            raise Problem(422, "bad-request", "query.cursor: not from the next link of this list") from None

    def cut(self, rows: Sequence[Row], key: Callable[[Row], Sequence[object]]) -> list[Row]:
        """The rows of this page; where there are more, the answer gets its link. `key`: of a row, as `after` takes it."""
        shown = list(rows[: self._limit])
        if len(rows) > self._limit:
            cursor = urlsafe_b64encode(msgspec.json.encode(list(key(shown[-1])))).decode("ascii").rstrip("=")
            asked = [(name, value) for name, value in self._request.query_params.multi_items() if name != "cursor"]
            address = f"{self._request.url.path}?{urlencode([*asked, ('cursor', cursor)])}"
            self._response.headers["Link"] = f'<{address}>; rel="next"'
        return shown


Paged = Annotated[Page, Depends(Page)]
LINK_HEADER: Final = {
    "Link": {
        "description": 'the next page, as `<address>; rel="next"`; not there on the last one',
        "schema": {"type": "string"},
    }
}
