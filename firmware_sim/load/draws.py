"""Chance in sixteen bytes: a fleet of ten thousand needs a generator each, and Python's takes two and a half kilobytes.

SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014). Not for secrets.
"""

from __future__ import annotations

import hashlib
import math
from typing import Final

_MASK: Final = 2**64 - 1


class Draws:
    """Numbers that follow from what the generator is called: the same name, the same numbers."""

    __slots__ = ("_state",)

    def __init__(self, *name: object) -> None:
        self._state = int.from_bytes(hashlib.blake2b("\0".join(map(str, name)).encode(), digest_size=8).digest())

    def bits(self) -> int:
        """0 … 2**64 - 1."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
        return z ^ (z >> 31)

    def one(self) -> float:
        """In [0, 1)."""
        return (self.bits() >> 11) * 2.0**-53

    def waiting(self, mean: float) -> float:
        """Until the next of events that come by chance, `mean` apart on average; above 0. inf for inf."""
        return -mean * math.log1p(-self.one()) if math.isfinite(mean) else math.inf
