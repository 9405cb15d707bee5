"""A hub's state and lake on disk, and its pages on a socket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from hub.lake.lake import DeltaLake, open_lake
from hub.state.database import open_state
from tests.waiting import PATIENCE_S
from tests.web.browsing import Tab, launched
from tests.web.seeding import seed_fleet
from tests.web.serving import TOKEN, served, state_url


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A migrated, empty state database."""
    engine = open_state(state_url(tmp_path))
    yield engine
    engine.dispose()


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLake:
    """An empty lake."""
    return open_lake(str(tmp_path / "lake"))


@pytest.fixture
def now_ns() -> int:
    return time.time_ns()


@pytest.fixture
def fleet(engine: Engine, now_ns: int) -> Engine:
    """The state database with the seeded fleet."""
    with engine.begin() as connection:
        seed_fleet(connection, now_ns)
    return engine


@pytest.fixture
def url(engine: Engine, lake: DeltaLake, now_ns: int) -> Iterator[str]:
    """The pages' address. Their clock stands at `now_ns`: what is told of times, days and ages is the same however long a
    test takes, and whenever it is run."""
    with served(engine, lake, clock=lambda: now_ns) as url:
        yield url


@pytest.fixture
def stranger(url: str) -> Iterator[httpx.Client]:
    """A browser-like client that has not signed in."""
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture
def operator(stranger: httpx.Client) -> httpx.Client:
    """The same, signed in."""
    response = stranger.post("/signin", data={"token": TOKEN}, headers={"Origin": str(stranger.base_url).rstrip("/")})
    assert response.status_code == 303
    return stranger


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from launched()


@pytest.fixture
def tab(browser: Any) -> Iterator[Tab]:
    """A desktop tab that must not complain."""
    tab = Tab(browser)
    yield tab
    tab.close()
    assert tab.complaints == []
