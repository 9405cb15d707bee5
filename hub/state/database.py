"""Opening the hub's state: SQLite by default, PostgreSQL by URL; migrated to this version's tables.

Invariants:
1. A database from a newer Tocsin is refused before anything in it is touched.
2. Migrations run in one transaction: a power cut leaves the old tables or the new ones.
3. Several processes share one state (serve, train, rollout). A transaction takes the write lock when it begins, so that what
   it reads stays so until it has written; `reading()` gives transactions that take no lock, and see one snapshot. On
   PostgreSQL that is an advisory lock, and REPEATABLE READ.
4. SQLite runs in WAL with synchronous=FULL: what is committed survives a power cut.
5. Within a process, writers of one SQLite state wait in a queue. SQLite by itself has them look again after pauses that grow
   to a tenth of a second, and devices wait for the commit of what they sent.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, String, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry

from models.errors import ConfigError, StorageError

MIGRATIONS_DIR: Final = Path(__file__).resolve().parent / "migrations"
HEAD: Final = "0014"  # the newest migration; a test holds this to the files
_BUSY_TIMEOUT_MS: Final = 30_000
_TURN: Final = "writes"
_WRITE_LOCK: Final = 0x70C51  # any number, as long as all who write use the same
_MAX_CONNECTIONS: Final = 70  # more than threads that ask: forty for operators' questions, who must not keep devices waiting


def open_state(url: str) -> Engine:
    """The state behind `url`, migrated. Raises StorageError: newer version, unreadable, no rights; ConfigError: bad URL."""
    engine = connect_state(url)
    try:
        with reading(engine).begin() as connection:
            up_to_date = _revision(connection) == HEAD
        if not up_to_date:
            with engine.begin() as connection:
                _migrate(connection, url)
    except SQLAlchemyError as error:
        engine.dispose()
        raise StorageError(f"state {_shown(url)}: {cause_of(error)}") from error
    except StorageError:
        engine.dispose()
        raise
    return engine


def connect_state(url: str) -> Engine:
    """An engine on `url` as it is: no migration, nothing created but an empty SQLite file at the first use."""
    try:
        engine = create_engine(url, pool_size=10, max_overflow=_MAX_CONNECTIONS - 10)
    except (ArgumentError, ImportError) as error:
        raise ConfigError("hub.toml: state_url", f"a database URL with its driver installed: {error}") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        turns = _Turns()
        event.listen(engine, "begin", turns.begin)
        event.listen(engine, "checkin", turns.done)
        event.listen(engine, "invalidate", turns.done)
    elif (engine.dialect.name, engine.dialect.driver) == ("postgresql", "psycopg"):
        event.listen(engine, "connect", _set_up_postgres)
        event.listen(engine, "begin", _begin_postgres)
    else:
        raise ConfigError("hub.toml: state_url", "sqlite:///… or postgresql+psycopg://…: no other database or driver is known")
    return engine


def reading(engine: Engine) -> Engine:
    """The same database and pool, for transactions that only read: they see one snapshot and block nobody."""
    return engine.execution_options(writes=False)


def cause_of(error: Exception) -> str:
    """One line on what went wrong. SQLAlchemy's own text goes on with the statement and its values, which are nobody's
    business but the log's."""
    lines = str(getattr(error, "orig", None) or error).splitlines()
    return lines[0] if lines else type(error).__name__


def _set_up_sqlite(raw: Any, _entry: ConnectionPoolEntry) -> None:
    raw.isolation_level = None  # the driver would begin on its own, later than we want
    cursor = raw.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


@compiles(String, "postgresql")
def _of_any_length(_type: String, _compiler: Any, **_how: Any) -> str:
    """As in SQLite: what is too long is refused where it comes in, with a word for it, and not in the midst of a commit."""
    return "VARCHAR"


def _set_up_postgres(raw: Any, _entry: ConnectionPoolEntry) -> None:
    """Its texts cannot hold a NUL, and one in what a device says would stop all that is written with it: it becomes U+FFFD. Its
    sums of 64-bit numbers are of any length: they are numbers here, not decimals, as they are of SQLite."""
    from psycopg.adapt import Dumper, Loader

    class WithoutNul(Dumper):  # type: ignore[misc]
        def dump(self, obj: str) -> bytes:
            return obj.replace("\0", "\N{REPLACEMENT CHARACTER}").encode()

    class Number(Loader):  # type: ignore[misc]
        def load(self, data: Any) -> int | float:
            said = bytes(data).decode()
            return int(said) if said.lstrip("-").isdigit() else float(said)

    raw.adapters.register_dumper(str, WithoutNul)
    raw.adapters.register_loader("numeric", Number)
    with raw.cursor() as cursor:
        cursor.execute("SET client_encoding = 'UTF8'")
        cursor.execute(f"SET lock_timeout = {_BUSY_TIMEOUT_MS}")
    raw.commit()


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("writes", True))


def _begin_postgres(connection: Connection) -> None:
    if _writes(connection):  # held to the transaction's end; of this database alone
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


class _Turns:
    """Whose transaction may write, among the connections of one engine: from its beginning until the connection goes back."""

    def __init__(self) -> None:
        self._writing = threading.Lock()

    def begin(self, connection: Connection) -> None:
        writes, info = _writes(connection), connection.connection.info
        # Should nobody give it back for so long, SQLite's own lock decides; it has to anyway, with other processes.
        if writes and _TURN not in info and self._writing.acquire(timeout=_BUSY_TIMEOUT_MS / 1000):
            info[_TURN] = True
        connection.exec_driver_sql(f"BEGIN {'IMMEDIATE' if writes else 'DEFERRED'}")

    def done(self, _raw: Any, record: ConnectionPoolEntry, _error: BaseException | None = None) -> None:
        if record.info.pop(_TURN, False):
            self._writing.release()


def _migrate(connection: Connection, url: str) -> None:
    """Bring the tables to HEAD, unless another process just has."""
    found = _revision(connection)
    if found == HEAD:
        return
    from alembic import command  # a third of a second: only when there is something to do
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS_DIR).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StorageError(f"state {_shown(url)} is at version {found}, from a newer Tocsin; this one reads up to {HEAD}")
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


def _shown(url: str) -> str:
    """The URL without its password."""
    return make_url(url).render_as_string(hide_password=True)
