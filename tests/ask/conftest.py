"""The seeded fleet, opened once for all tests of this folder: nothing here writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from hub.ask.answer import Ask
from hub.ask.engine import AskEngine
from hub.ask.names import Names, read_names
from hub.lake.lake import DeltaLake, open_lake
from hub.state.database import open_state
from tests.ask.seeding import NOW_NS, ZONE, seed, seed_lake

OFFLINE_AFTER_S = 90.0


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, DeltaLake]]:
    folder = tmp_path_factory.mktemp("fleet")
    engine, lake = open_state(f"sqlite:///{folder / 'hub.db'}"), open_lake(str(folder / "lake"))
    with engine.begin() as connection:
        seed(connection)
    seed_lake(lake)
    yield engine, lake
    engine.dispose()


@pytest.fixture(scope="session")
def runner(fleet: tuple[Engine, DeltaLake]) -> AskEngine:
    return AskEngine(*fleet, OFFLINE_AFTER_S, now_ns=lambda: NOW_NS)


@pytest.fixture(scope="session")
def names(fleet: tuple[Engine, DeltaLake]) -> Names:
    with fleet[0].begin() as connection:
        return read_names(connection)


@pytest.fixture(scope="session")
def asked(fleet: tuple[Engine, DeltaLake]) -> Ask:
    return Ask(*fleet, offline_after_s=OFFLINE_AFTER_S, zone=ZONE, now_ns=lambda: NOW_NS)
