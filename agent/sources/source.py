"""The seam between the world and the pipeline.

Threading contract:
- `start` returns at once; the source works in a thread of its own and never raises out of it. A link that is down is
  retried with jittered backoff for ever and shows in `state`.
- `deliver` is called from that thread only, one burst at a time. It blocks while the pipeline is behind: that is the
  back-pressure, and a source must not buffer beyond what one burst holds.
- `acknowledge` of a burst is called from the pipeline's thread once what the burst led to is stored, also for a burst
  that carries no readings; calling it again does nothing. Sources whose protocol has no acknowledgement leave it None.
- An acknowledgement may wait until the windows that the readings belong to have closed and are stored, if the burst
  `can_wait`. A broker may hold back the next message until earlier ones are acknowledged, so before it does the source
  delivers a burst that can't wait, if need be an empty one: then whatever is held of this source is to be stored and
  acknowledged without waiting for readings that are still to come.
- `stop` returns within 2 s, even while `deliver` blocks. After it has returned, `deliver` is never called again, and what
  was not acknowledged before comes again after the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from models.contract.reading import Readings


@dataclass(frozen=True, slots=True)
class Burst:
    """What one read brought. `n_bytes`: as they came over the wire. `frame_errors`: torn, oversized or garbage frames,
    counted and skipped; `last_error` says what was wrong with the latest of them. `acknowledge`, `can_wait`: see above.
    `again`: its readings may have been delivered before, in an earlier life of the agent."""

    source: str
    readings: Sequence[Readings] = ()
    n_bytes: int = 0
    frame_errors: int = 0
    last_error: str = ""
    acknowledge: Callable[[], None] | None = None
    can_wait: bool = True
    again: bool = False


@dataclass(frozen=True, slots=True)
class SourceState:
    """`link`: up, or connecting (never up so far), or down (was up). `detail` is one line for people.

    `counters` are totals since start: readings, bytes, frame_errors, unknown (values for no known asset or channel),
    reconnects, and what the kind of source adds.
    """

    link: Literal["connecting", "up", "down"]
    detail: str = ""
    since_ns: int = 0
    counters: dict[str, int] = field(default_factory=dict)


class Source(Protocol):
    """See the module's text for what may be called when."""

    name: str

    def start(self, deliver: Callable[[Burst], None]) -> None: ...

    def stop(self) -> None: ...

    @property
    def state(self) -> SourceState: ...
