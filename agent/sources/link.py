"""A thread that keeps one link up, and what people see of it.

    connecting --up--> up --failed--> down --up--> up ...
    (never up so far)        \\__ a wait with jitter __/

Invariants:
1. A session that ends with LinkError is followed by a wait and another session, for ever, until `stop`.
2. Waits grow while sessions keep failing. Only a link that stayed up for a while starts again from the shortest:
   a port or broker that accepts and drops at once is not hammered.
3. `state` may be read from any thread at any time; only the link's own thread changes it.
4. Anything but LinkError is a defect: it shows in `state` and ends the thread loudly.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from agent.backoff import Backoff
from agent.sources.source import SourceState
from models.errors import LinkError

COUNTERS: Final = ("readings", "bytes", "frame_errors", "unknown", "reconnects")
_STEADY_S: Final = 5.0
_STOP_S: Final = 1.5


class Wake:
    """Ends a `select` from another thread: put it among the readable, and `set` it."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def fileno(self) -> int:
        return self._receiver.fileno()

    def set(self) -> None:
        with suppress(OSError):  # full: it is set already; closed: nobody waits any more
            self._sender.send(b"\0")

    def clear(self) -> None:
        with suppress(BlockingIOError):
            self._receiver.recv(4096)

    def close(self) -> None:
        self._receiver.close()
        self._sender.close()


class Link:
    """`extra`: counters beyond those that every source has. `jitter`: a random number in [0, 1) at each call."""

    def __init__(
        self, name: str, now_ns: Callable[[], int], backoff: Backoff, jitter: Callable[[], float], extra: tuple[str, ...] = ()
    ) -> None:
        self._name = name
        self._now_ns = now_ns
        self._backoff = backoff
        self._jitter = jitter
        self._counters = dict.fromkeys((*COUNTERS, *extra), 0)
        self._shown = SourceState("connecting", "not started", now_ns())
        self._up_at_s: float | None = None  # monotonic; None while not up
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.wake = Wake()

    def start(self, session: Callable[[], None]) -> None:
        """Runs `session` again and again in the link's thread."""
        self._thread = threading.Thread(target=self._run, args=(session,), name=f"source-{self._name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the session and its thread; returns within 2 s also where a session is held up in `deliver`."""
        self._stopping.set()
        self.wake.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)
        if self._thread is None or not self._thread.is_alive():
            self.wake.close()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def pause(self, timeout_s: float) -> bool:
        """Waits; True at once where the link is to stop."""
        return self._stopping.wait(timeout_s)

    def up(self, detail: str) -> None:
        """The session is connected. Says it once; further calls of the same session change nothing."""
        if self._up_at_s is None:
            self._up_at_s = time.monotonic()
            self._counters["reconnects"] += self._shown.link == "down"
            self._shown = SourceState("up", detail, self._now_ns())

    def count(self, **increments: int) -> None:
        for name, increment in increments.items():
            self._counters[name] += increment

    @property
    def state(self) -> SourceState:
        shown = self._shown
        return SourceState(shown.link, shown.detail, shown.since_ns, dict(self._counters))

    def _run(self, session: Callable[[], None]) -> None:
        failures = 0
        try:
            while not self.stopping:
                try:
                    session()
                except LinkError as error:
                    if self._up_at_s is not None and time.monotonic() - self._up_at_s >= _STEADY_S:
                        failures = 0
                    self._fell(str(error))
                    self.pause(self._backoff.delay_s(failures, self._jitter()))
                    failures += 1
        except BaseException as error:
            self._fell(f"ended by a defect: {error!r}")
            raise
        self._fell("stopped")

    def _fell(self, detail: str) -> None:
        self._up_at_s = None
        if self._shown.link == "up":
            self._shown = SourceState("down", detail, self._now_ns())
        else:  # still down, or not up so far: since then, but for this reason
            self._shown = SourceState(self._shown.link, detail, self._shown.since_ns)
