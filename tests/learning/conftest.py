"""A hub's state of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from hub.state.database import open_state


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_state(f"sqlite:///{tmp_path / 'hub.db'}")
    yield engine
    engine.dispose()
