"""The seam between samples and bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Aligned samples of one asset, oldest first. `time_ns`: (n,) int64 Unix ns. `values`: (n, c) float64, NaN = absent."""

    asset: str
    channels: tuple[str, ...]
    time_ns: NDArray[np.int64]
    values: NDArray[np.float64]


class Message(NamedTuple):
    """One frame on a serial line (`topic` is "") or one MQTT publication. `at_ns`: event time of its first sample."""

    topic: str
    payload: bytes
    at_ns: int


class Encoder(Protocol):
    """Turns samples into messages.

    `samples_per_message`: it packs that many samples into each message; what does not fill one up makes a shorter one,
    so a caller that wants the same bytes however time is cut hands over whole multiples.
    """

    samples_per_message: int

    def encode(self, samples: Samples) -> list[Message]:
        """Messages in the order of their first samples. A sample without any value makes none."""
        ...


def unix_s(time_ns: int) -> str:
    """Unix seconds to the µs, as text: more than a float64 of today's seconds would print exactly."""
    us = time_ns // 1000
    return f"{us // 1_000_000}.{us % 1_000_000:06d}"


def number(value: float) -> str:
    """The shortest text that reads back as `value`; whole numbers without a point."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def present(row: list[float]) -> bool:
    return any(math.isfinite(value) for value in row)
