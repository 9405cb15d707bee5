"""The state directory and who holds it: one agent at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from models.errors import StorageError


def hold(directory: Path) -> int:
    """Make and lock `directory`; the lock lasts as long as the returned descriptor. Raises StorageError where it is held."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "agent.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StorageError(f"{directory}: another agent runs on this state directory") from None
    return descriptor
