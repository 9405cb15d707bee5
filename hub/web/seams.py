"""What the pages need of the rest of the hub, as small protocols: who may look, and the lake's windows."""

from __future__ import annotations

from typing import Protocol

import pyarrow.dataset as ds
from starlette.requests import Request

from hub.lake.tables import TableName


class Access(Protocol):
    """Who may look at the pages."""

    def allows(self, request: Request) -> bool:
        """Whether the request carries the admin token, as a cookie or as a bearer token."""
        ...

    def cookie_for(self, token: str) -> str | None:
        """The value of the sign-in cookie for this token; None where it is not the admin token."""
        ...


class Windows(Protocol):
    """The part of `hub.lake.lake.Lake` that plots are drawn from."""

    def dataset(self, table: TableName, version: int | None = None) -> ds.Dataset: ...
