"""The state of the hub in a directory, for commands: beside a running hub or without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from hub.settings import Hub, load_hub
from hub.state.database import open_state, reading


@contextmanager
def snapshot(data: Path) -> Iterator[Connection]:
    """As it is now; disturbs nobody."""
    engine = open_state(load_hub(data).state_url)
    try:
        with reading(engine).begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def writing(data: Path) -> Iterator[tuple[Hub, Connection]]:
    """The hub, and one transaction on its state."""
    hub = load_hub(data)
    engine = open_state(hub.state_url)
    try:
        with engine.begin() as connection:
            yield hub, connection
    finally:
        engine.dispose()
