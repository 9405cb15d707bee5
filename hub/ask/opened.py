"""Asking the hub in a directory: beside a running hub or without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from hub.ask.answer import Ask
from hub.ask.endpoint import Endpoint
from hub.ask.engine import Windows
from hub.lake.lake import open_lake
from hub.settings import Hub
from hub.state.database import open_state


def endpoint_of(hub: Hub) -> Endpoint | None:
    """The endpoint of `hub.toml`; None where none is configured. Raises ConfigError."""
    config = hub.config
    if not config.ask_endpoint_url:
        return None
    key_file = hub.paths.root / config.ask_endpoint_key_file if config.ask_endpoint_key_file else None
    return Endpoint(config.ask_endpoint_url, config.ask_endpoint_model, key_file, config.ask_endpoint_timeout_s)


def ask_of(hub: Hub, engine: Engine, lake: Windows) -> Ask:
    """What answers, as `hub.toml` says. Raises ConfigError."""
    return Ask(
        engine,
        lake,
        offline_after_s=3 * hub.config.checkin_s,
        zone=hub.config.ask_time_zone,
        profiles_dir=hub.profiles_dir,
        endpoint=endpoint_of(hub),
    )


@contextmanager
def open_ask(hub: Hub) -> Iterator[Ask]:
    """Raises StorageError, ConfigError."""
    engine = open_state(hub.state_url)
    try:
        yield ask_of(hub, engine, open_lake(hub.lake_url))
    finally:
        engine.dispose()
