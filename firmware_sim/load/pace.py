"""When a light device tries the hub next, by the rules that a real agent keeps; seconds of the clock. Pure.

Every turn is drawn anew, a quarter of its period to both sides. After a failure the wait is drawn from zero to a bound that
doubles; a pause that the hub asks for is kept to the full, and what is drawn comes on top of it.
"""

from __future__ import annotations

from typing import Final

_FIRST_BOUND_S: Final = 5.0
_LAST_BOUND_S: Final = 60.0
_AFTER_START_S: Final = 30.0
_SPREAD: Final = 0.25


class Pace:
    """Of one job. `next_s`: its next turn. `failures`: in a row."""

    __slots__ = ("_every_s", "_not_before_s", "failures", "next_s")

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._not_before_s = 0.0
        self.next_s = 0.0
        self.failures = 0

    def under_way(self, now_s: float, drawn: float) -> None:
        """The first turn of a device that has been at work for long: anywhere in its period."""
        self.next_s = now_s + drawn * self._every_s

    def started(self, now_s: float, drawn: float) -> None:
        """The first turn after a start of the agent."""
        self.failures, self._not_before_s = 0, 0.0
        self.next_s = now_s + drawn * min(self._every_s, _AFTER_START_S)

    def hurry(self, now_s: float) -> None:
        """There is something urgent; a pause that was asked for is kept all the same."""
        self.next_s = min(self.next_s, max(now_s, self._not_before_s))

    def again(self, now_s: float) -> None:
        """At once: there is more to do in this turn."""
        self.next_s = now_s

    def succeeded(self, now_s: float, drawn: float, asked_s: float = 0.0) -> None:
        """`asked_s`: the pace that the hub sets, which may slow a device down."""
        self.failures, self._not_before_s = 0, 0.0
        self.next_s = now_s + max(self._every_s, asked_s) * (1 - _SPREAD + 2 * _SPREAD * drawn)

    def failed(self, now_s: float, drawn: float, asked_s: float | None = None) -> None:
        """`asked_s`: the hub's Retry-After; None = it asked for none."""
        first_s, last_s = min(self._every_s / 2, _FIRST_BOUND_S), min(self._every_s * 3, _LAST_BOUND_S)
        bound_s = min(last_s, first_s * 2.0 ** min(self.failures, 64))
        wait_s = drawn * bound_s if asked_s is None else asked_s + drawn * max(asked_s / 2, bound_s)
        self.next_s = self._not_before_s = now_s + wait_s
        self.failures += 1
