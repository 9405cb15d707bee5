"""What sources deliver: readings of one channel of one asset, singly or in blocks. Times are event times."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray


class Reading(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One value at one time. `captured_at_ns`: Unix ns, when measured. `value`: in the channel's unit; NaN = absent."""

    asset: str
    channel: str
    captured_at_ns: int
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Many readings of one channel, oldest first.

    `captured_at_ns`: (n,) int64. `values`: (n,) float64, NaN = absent. Arrays of unequal length raise ValueError.
    """

    asset: str
    channel: str
    captured_at_ns: NDArray[np.int64]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.captured_at_ns.shape != self.values.shape or self.values.ndim != 1:
            raise ValueError(f"{self.asset}.{self.channel}: times {self.captured_at_ns.shape} and values {self.values.shape}")


Readings = Reading | Block
