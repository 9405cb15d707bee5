"""An outbox file with its schema, made once: the migration runs in a process of its own, and most tests are not about that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agent.storage.database import Database
from agent.storage.migrate import migrate


@pytest.fixture(scope="session")
def empty_outbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file that no agent has opened yet. Copy it, do not open it."""
    path = tmp_path_factory.mktemp("outbox") / "empty.db"
    migrate(str(path))
    return path


@pytest.fixture
def quick_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process instead of one of its own: for tests that make many databases."""
    monkeypatch.setattr(Database, "_migrate", lambda database: migrate(str(database.path)))


@pytest.fixture
def outbox_path(empty_outbox: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty_outbox, tmp_path / "outbox.db"))
