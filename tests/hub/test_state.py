"""The state in SQLite: opening it, its settings, writers of one process. What holds on any database: test_databases.py."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError

from hub.state import database, schema
from hub.state.database import HEAD, MIGRATIONS_DIR, cause_of, connect_state, open_state, reading
from models.errors import ConfigError, StorageError
from tests.waiting import PATIENCE_S


def test_the_newest_migration_is_the_one_that_the_code_expects() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_DIR))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hub.db"
    engine = open_state(url)
    with engine.begin() as connection:
        connection.execute(insert(schema.consumers).values(name="x", position=3))
    engine.dispose()
    engine = open_state(url)
    with engine.connect() as connection:
        assert connection.execute(select(schema.consumers.c.position)).scalar() == 3
    engine.dispose()


def test_a_database_from_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    open_state(f"sqlite:///{path}").dispose()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(StorageError, match="9999, from a newer Tocsin"):
        open_state(f"sqlite:///{path}")
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    raw.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match=r"hub\.db.*not a database"):
        open_state(f"sqlite:///{path}")
    assert path.read_bytes() == b"no database" * 1000


@pytest.mark.parametrize("url", ["nonsense", "sqlite+nodriver:///x", ""])
def test_a_url_that_is_none_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError, match="state_url"):
        connect_state(url)


def test_a_driver_that_is_not_known_is_refused_though_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(dialect=SimpleNamespace(name="postgresql", driver="psycopg2"))
    monkeypatch.setattr(database, "create_engine", lambda *_, **__: found)
    with pytest.raises(ConfigError, match=r"postgresql\+psycopg"):
        connect_state("postgresql+psycopg2://db.plant/tocsin")


def test_sqlite_is_set_up_to_keep_what_it_commits(tmp_path: Path) -> None:
    engine = open_state(f"sqlite:///{tmp_path}/hub.db")
    with engine.connect() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]
    engine.dispose()


def test_opening_what_is_up_to_date_waits_for_no_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hub.db"
    engine = open_state(url)
    with engine.begin():  # holds the write lock
        open_state(url).dispose()
    engine.dispose()


def test_the_cause_of_a_database_error_holds_neither_statement_nor_values(tmp_path: Path) -> None:
    engine = open_state(f"sqlite:///{tmp_path}/hub.db")
    row = insert(schema.consumers).values(name="secret", position=1)
    with engine.begin() as connection:
        connection.execute(row)
        with pytest.raises(IntegrityError) as raised:
            connection.execute(row)
    assert "secret" in str(raised.value)
    assert cause_of(raised.value) == "UNIQUE constraint failed: consumers.name"
    assert cause_of(OSError()) == "OSError"
    engine.dispose()


# --- writers of one process ------------------------------------------------------------------------------------------


def note(engine: Engine, name: str) -> None:
    with engine.begin() as connection:
        connection.execute(insert(schema.consumers).values(name=name, position=0))


def names(engine: Engine) -> list[str]:
    with reading(engine).begin() as connection:
        return list(connection.execute(select(schema.consumers.c.name).order_by(schema.consumers.c.name)).scalars())


@pytest.fixture
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A state whose writers wait for a tenth of a second."""
    open_state(f"sqlite:///{tmp_path}/hub.db").dispose()
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_MS", 100)
    engine = connect_state(f"sqlite:///{tmp_path}/hub.db")
    yield engine
    engine.dispose()


def test_who_writes_waits_for_who_writes_and_who_reads_does_not(tmp_path: Path) -> None:
    engine = open_state(f"sqlite:///{tmp_path}/hub.db")
    second = threading.Thread(target=note, args=(engine, "second"))
    with engine.begin() as connection:
        second.start()
        connection.execute(insert(schema.consumers).values(name="first", position=0))
        assert names(engine) == [], "nothing is committed, and nobody waited to see that"
    second.join(PATIENCE_S)
    assert names(engine) == ["first", "second"]
    engine.dispose()


def test_a_turn_is_given_back_whatever_happens_in_it(impatient: Engine) -> None:
    with pytest.raises(KeyError), impatient.begin():
        raise KeyError
    with impatient.connect() as connection:
        connection.execute(insert(schema.consumers).values(name="lost", position=0))
        connection.invalidate()
    note(impatient, "kept")
    assert names(impatient) == ["kept"]


def test_a_turn_that_another_process_denies_is_given_back(impatient: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    other = sqlite3.connect(str(impatient.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="locked"):
        note(impatient, "denied")
    other.execute("ROLLBACK")
    other.close()
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_MS", round(PATIENCE_S * 1000))
    begun = time.monotonic()
    note(impatient, "taken")
    assert names(impatient) == ["taken"]
    assert time.monotonic() - begun < PATIENCE_S, "nobody had the turn"


def test_a_turn_that_nobody_gives_back_keeps_nobody_out(impatient: Engine) -> None:
    with impatient.connect() as connection:
        connection.execute(insert(schema.consumers).values(name="slow", position=0))
        connection.commit()  # the connection stays out, and its turn with it
        note(impatient, "quick")
    assert names(impatient) == ["quick", "slow"]
