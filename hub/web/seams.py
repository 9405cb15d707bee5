"""What the pages need of the rest of the hub, as a small protocol: the lake's windows."""

from __future__ import annotations

from typing import Protocol

import pyarrow.dataset as ds

from hub.lake.tables import TableName


class Windows(Protocol):
    """The part of `hub.lake.lake.Lake` that plots are drawn from."""

    def dataset(self, table: TableName, version: int | None = None) -> ds.Dataset: ...
