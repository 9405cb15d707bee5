"""A job that comes round again and again in a thread of its own, and can be hurried.

Instead of a scheduler's pool: a job that hangs holds up no other, and four of these take a tenth of the memory. It waits by
the monotonic clock, so that a clock that is set back by weeks does not make it wait for weeks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

log = logging.getLogger("tocsin.agent")
_AFTER_DEFECT_S: Final = 60.0


class Recurring:
    """`action` is called first after `first_s`, and says each time in how many seconds it wants to be called next."""

    def __init__(self, name: str, action: Callable[[], float], first_s: float = 0.0) -> None:
        self._action = action
        self._wait_s = first_s
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hurry(self) -> None:
        """Let its turn be now."""
        self._wake.set()

    def stop(self) -> None:
        """No turn begins after this; one that is under way goes on, see `join`."""
        self._stopping = True
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """After `stop`: whether it has come to its end."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._wake.wait(max(0.0, self._wait_s))
            self._wake.clear()
            if self._stopping:
                return
            try:
                self._wait_s = self._action()
            except Exception:  # whatever it is: a device that never syncs again is worse than one that tries
                log.exception("%s: a defect; it is tried again in %.0f s", self._thread.name, _AFTER_DEFECT_S)
                self._wait_s = _AFTER_DEFECT_S
