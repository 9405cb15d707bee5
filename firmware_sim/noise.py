"""Random numbers that belong to a place, not to an order: sample k of a stream is the same whoever asks, and when.

That is what makes a simulated signal independent of how time is cut into pieces, and lets a replay begin anywhere.
Numbers are drawn in blocks from a counter-based generator (Philox; Salmon et al., 2011) whose counter is the block.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

_BLOCK: Final = 1024


class NoiseField:
    """`n_streams` endless rows of independent numbers, indexed from 0: standard normal, or uniform in [0, 1)."""

    def __init__(self, seed: int, n_streams: int, law: Literal["normal", "uniform"] = "normal") -> None:
        self._key = np.random.SeedSequence(seed).generate_state(2, np.uint64)
        self._n_streams = n_streams
        self._law = law
        self._cached: tuple[int, NDArray[np.float64]] | None = None

    def at(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n_streams, n) numbers at the indices `k`, (n,) ascending and >= 0."""
        if not len(k):
            return np.empty((self._n_streams, 0))
        blocks = range(int(k[0]) // _BLOCK, int(k[-1]) // _BLOCK + 1)
        edges = np.searchsorted(k, [b * _BLOCK for b in blocks[1:]])
        parts = np.split(k, edges)
        return np.concatenate(
            [self._block(b)[:, part - b * _BLOCK] for b, part in zip(blocks, parts, strict=True) if len(part)], axis=1
        )

    def one(self, k: int) -> NDArray[np.float64]:
        """(n_streams,) numbers at the index `k`."""
        return self._block(k // _BLOCK)[:, k % _BLOCK]

    def _block(self, b: int) -> NDArray[np.float64]:
        if self._cached is None or self._cached[0] != b:
            rng = np.random.Generator(np.random.Philox(key=self._key, counter=np.array([0, 0, b, 0], dtype=np.uint64)))
            shape = (self._n_streams, _BLOCK)
            self._cached = b, rng.standard_normal(shape) if self._law == "normal" else rng.random(shape)
        return self._cached[1]


class PinkNoise:
    """Roughly 1/f noise of unit variance: white noise held over 1, 2, 4 … samples, summed (Voss's method, Gardner 1978)."""

    def __init__(self, seed: int, octaves: int = 5) -> None:
        self._fields = [NoiseField(seed * 31 + octave, 1) for octave in range(octaves)]

    def at(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,) values at the indices `k`, (n,) ascending and >= 0."""
        total = np.zeros(len(k))
        for octave, field in enumerate(self._fields):
            total += field.at(k >> octave)[0]
        return np.asarray(total / len(self._fields) ** 0.5)
