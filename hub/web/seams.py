"""What the pages need of the rest of the hub, as small protocols: the lake's windows, and what the lake consists of."""

from __future__ import annotations

from typing import Protocol

import pyarrow.dataset as ds

from hub.lake.lake import LakeDay, TableState
from hub.lake.tables import TableName


class Windows(Protocol):
    """The part of `hub.lake.lake.Lake` that plots are drawn from."""

    def dataset(self, table: TableName, version: int | None = None) -> ds.Dataset: ...


class LakeLook(Windows, Protocol):
    """What the page of the data tells of it."""

    def state(self, table: TableName) -> TableState: ...

    def days(self, table: TableName) -> list[LakeDay]: ...

    def latest(self, table: TableName, limit: int = 300) -> dict[str, int]: ...
