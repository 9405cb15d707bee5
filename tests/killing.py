"""Work in a process of its own, which is killed (SIGKILL) at a chosen step and does not live to see the end of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Callable[[], object]) -> bool:
    """Whether `work` was killed; False: it came to its end. It must open files and databases itself."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    ended = os.waitpid(pid, 0)[1]
    assert ended in (0, signal.SIGKILL), f"it ended with {ended}"
    return ended == signal.SIGKILL


def at_statement(engine: Engine, nth: int) -> None:
    """Die before the nth statement that writes, or before the commit that follows the last of them."""
    n_writes = 0

    def on_execute(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal n_writes
        if statement.lstrip().startswith(("INSERT", "UPDATE", "DELETE")):
            n_writes += 1
            if n_writes == nth:
                die()

    def on_commit(_connection: Any) -> None:
        if n_writes == nth - 1 and n_writes:
            die()

    event.listen(engine, "before_cursor_execute", on_execute)
    event.listen(engine, "commit", on_commit)
