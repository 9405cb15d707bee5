"""Figures that take long to work out, kept for a while, so that no page waits for them.

Whoever asks gets what is there; where that is old, it is worked out anew in a thread meanwhile. While there is nothing yet,
whoever asks waits for `patience_s`, and then gets None: a page says so, and its stream tells it when there is something.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from models.errors import TocsinError

_log = logging.getLogger(__name__)
_RETRY_S: Final = 30.0  # after a failure
T = TypeVar("T")


class Kept(Generic[T]):
    """`work` is never called twice at a time. Safe to use from several threads."""

    def __init__(self, work: Callable[[], T], max_age_s: float, patience_s: float = 0.1) -> None:
        self._work = work
        self._max_age_s = max_age_s
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._value: T | None = None
        self._due_s = float("-inf")  # by the monotonic clock: from then on it is worked out anew
        self._working = False
        self._failure = ""

    def view(self) -> dict[str, object]:
        """For a part: `now`, what is known, and `failed`, why nothing is."""
        value = self.get()
        return {"now": value, "failed": "" if value is not None else self._failure}

    def get(self) -> T | None:
        """What is known; None while nothing is."""
        with self._lock:
            begin = not self._working and time.monotonic() >= self._due_s
            self._working = self._working or begin
            first = self._value is None
        if begin:
            threading.Thread(target=self._renew, name="figures", daemon=True).start()
        if first:
            self._done.wait(self._patience_s)
        with self._lock:
            return self._value

    def _renew(self) -> None:
        value, wait_s, failure = None, _RETRY_S, ""
        try:
            value = self._work()
            wait_s = self._max_age_s
        except (TocsinError, SQLAlchemyError, OSError) as error:
            failure = str(error).partition("\n")[0][:200]
            _log.warning("figures for the pages could not be worked out: %s", error)
        finally:
            with self._lock:
                self._value = value if value is not None else self._value
                self._due_s = time.monotonic() + wait_s
                self._working, self._failure = False, failure
            self._done.set()
