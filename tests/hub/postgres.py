"""A PostgreSQL of one's own: a cluster in a folder, reached by a socket in that folder, gone with the test."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import pytest

_ROOM_OF_SOCKETS: Final = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path("/tmp")  # their paths must be short
_QUICK: Final = "-c listen_addresses= -c fsync=off -c max_connections=300"
_numbers = count()


class Cluster:
    """`url()` is a new, empty database each time."""

    def __init__(self, folder: Path, as_user: str | None) -> None:
        self._folder = folder
        self._as_user = as_user

    def url(self) -> str:
        name = f"tocsin_{next(_numbers)}"
        self._run("createdb", "-h", str(self._folder), "-U", "tocsin", name)
        return f"postgresql+psycopg://tocsin@/{name}?host={self._folder}"

    def start(self) -> None:
        self._run("initdb", "-D", str(self._data), "-U", "tocsin", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-k {self._folder} {_QUICK}"
        self._run("pg_ctl", "-D", str(self._data), "-o", options, "-l", str(self._folder / "log"), "-w", "-t", "60", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        path = _found(program)
        assert path is not None
        subprocess.run(
            [path, *arguments], user=self._as_user, check=True, cwd=self._folder, stdout=subprocess.DEVNULL, timeout=120
        )


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Skips the test where there is none to be had."""
    pytest.importorskip("psycopg", reason="no driver for PostgreSQL: pip install 'psycopg[binary]'")
    if _found("initdb") is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    as_user = _somebody() if os.geteuid() == 0 else None  # it does not run as root
    folder = Path(tempfile.mkdtemp(prefix="tocsin-pg-", dir=_ROOM_OF_SOCKETS))
    try:
        if as_user is not None:
            shutil.chown(folder, as_user)
        made = Cluster(folder, as_user)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _found(program: str) -> str | None:
    """On the PATH, else where Debian keeps it, the newest first."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), reverse=True)
    return shutil.which(program) or next(map(str, debian), None)


def _somebody() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
