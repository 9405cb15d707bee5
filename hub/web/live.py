"""Pages that stay true without reload: a stream that says which parts of a page have changed.

The stream carries no content, only each part's digest:

    event: state
    data: {"alerts": "3f2a…", "tiles": "90bc…", …}

A browser that holds a part with another digest fetches that part again. So nothing is lost between the page and the
stream, nor while a laptop slept: the first event after a reconnection tells all there is to know.

1. A part that many look at is read once a second for all of them, in a worker thread, and only while someone looks.
2. A stream ends when its browser goes away or the hub is stopping: it never holds up a shutdown for longer than a tick.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from starlette.concurrency import run_in_threadpool

TICK_S: Final = 1.0
REMIND_S: Final = 15.0  # said again although nothing changed: proxies keep the line open, and a missed part is caught up
Digests = Mapping[str, str]
_NEVER: Final = (float("-inf"), "")


def digest(view: Any) -> str:
    """16 hex digits that change when the view does; views hold no ages (see `queries.py`)."""
    return hashlib.blake2b(repr(view).encode(), digest_size=8).hexdigest()


class Pulse:
    """The newest digests of the parts that somebody looks at, each at most `TICK_S` old; `read` runs in a worker thread."""

    def __init__(self, read: Callable[[list[str]], Digests]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._digests: dict[str, tuple[float, str]] = {}

    async def digests(self, names: Iterable[str]) -> Digests:
        async with self._lock:
            now = time.monotonic()
            stale = [name for name in names if now - self._digests.get(name, _NEVER)[0] >= TICK_S * 0.9]
            if stale:
                found = await run_in_threadpool(self._read, stale)
                self._digests.update({name: (time.monotonic(), known) for name, known in found.items()})
            return {name: self._digests[name][1] for name in names}


async def stream(
    digests: Callable[[], Awaitable[Digests]],
    gone: Callable[[], Awaitable[bool]],
    tick_s: float = TICK_S,
) -> AsyncIterator[str]:
    """Server-sent events until `gone()`: one at once, then whenever a digest changes, and a reminder now and then."""
    yield "retry: 2000\n\n"
    said: Digests = {}
    said_at = float("-inf")
    while not await gone():
        now = await digests()
        if now != said or time.monotonic() - said_at > REMIND_S:
            yield f"event: state\ndata: {json.dumps(dict(now))}\n\n"
            said, said_at = now, time.monotonic()
        await asyncio.sleep(tick_s)
