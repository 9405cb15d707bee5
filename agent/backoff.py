"""How long to wait before trying a failed link again: exponential, capped, with full jitter.

After a power cut a whole fleet comes back at once. With a fixed wait it would knock in step, for ever; a wait drawn
evenly from zero to the bound spreads it out soonest (Brooker, "Exponential Backoff And Jitter", AWS 2015).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """`base_s`: bound of the first wait; it doubles with each failure in a row, up to `cap_s`."""

    base_s: float = 0.5
    cap_s: float = 30.0

    def bound_s(self, failures: int) -> float:
        """The longest wait after `failures` (>= 0) earlier failures in a row, s."""
        doublings = min(failures, 64)  # beyond any cap; keeps the power finite for a link that is down for years
        return min(self.cap_s, self.base_s * 2.0**doublings)

    def delay_s(self, failures: int, drawn: float) -> float:
        """The wait for `drawn`, a random number in [0, 1)."""
        return drawn * self.bound_s(failures)
