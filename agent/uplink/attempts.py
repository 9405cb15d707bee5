"""When to try the hub next: regularly while all is well, later and later while it is not. Pure: time and chance are given.

Herd control. After a power cut at a site, or a restart of the hub, a whole fleet wants the same at the same moment.
1. The first turn after a start is drawn from a span, not taken at once.
2. Every turn is drawn anew, ±25 % around its period: devices that have fallen into step fall out of it again.
3. After a failure the wait is drawn from zero to a bound that doubles (`agent/backoff.py`). Each job (sync, check-in,
   update) has attempts of its own and draws for itself: one that fails does not hold the others up, nor set their pace.
4. A pause that the hub asks for is kept to the full, and what is drawn comes on top of it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final

from agent.backoff import Backoff
from models.errors import LinkError

FIRST_WITHIN_S: Final = 30.0
_FIRST_BOUND_S: Final = 5.0
_LAST_BOUND_S: Final = 60.0
_SPREAD: Final = 0.25  # of a period, to both sides


@dataclass(slots=True)
class Attempts:
    """Of one job. `every_s`: its period while all is well. Times are monotonic s; `drawn` is a random number in [0, 1).

    `next_s`: its next turn. `not_before_s`: until then it must not be hurried either. `last_ok_s`: when it last succeeded.
    `busy` is held while it is at work.
    """

    backoff: Backoff
    every_s: float = 10.0
    failures: int = 0
    next_s: float = 0.0
    not_before_s: float = 0.0
    last_ok_s: float | None = None
    last_error: str = ""
    busy: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def paced(cls, every_s: float) -> Attempts:
        """With waits that suit the period: a restart of the hub is over before many have come back, and a long outage
        keeps nobody away for more than a minute."""
        return cls(Backoff(min(every_s / 2, _FIRST_BOUND_S), min(every_s * 3, _LAST_BOUND_S)), every_s)

    def due(self, now_s: float) -> bool:
        return now_s >= self.not_before_s

    def first(self, now_s: float, drawn: float) -> None:
        """After a start."""
        self.next_s = now_s + drawn * min(self.every_s, FIRST_WITHIN_S)

    def failed(self, error: Exception, now_s: float, drawn: float) -> None:
        """Wait as long as the hub asked and a little more, or by backoff."""
        bound_s = self.backoff.bound_s(self.failures)
        asked_s = error.retry_after_s if isinstance(error, LinkError) else None
        if asked_s is None:
            self.next_s = now_s + self.backoff.delay_s(self.failures, drawn)
        else:
            self.next_s = now_s + asked_s + drawn * max(asked_s / 2, bound_s)
        self.not_before_s = self.next_s
        self.failures += 1
        self.last_error = str(error)

    def succeeded(self, now_s: float, drawn: float, asked_s: float = 0.0) -> None:
        """Again after a period; after `asked_s`, the pace that the hub sets, where that is longer: it may slow devices down,
        never hurry them."""
        self.next_s = now_s + max(self.every_s, asked_s) * (1 - _SPREAD + 2 * _SPREAD * drawn)
        self.not_before_s = 0.0
        self.failures = 0
        self.last_ok_s = now_s
        self.last_error = ""
