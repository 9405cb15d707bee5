"""The commissioning windows of an asset that are kept whole, for the calibration of models that take windows.

Invariants:
1. Only trusted windows are in it, in the order of time, and at most twice as many as the profile's `windows.reference`; once
   commissioning is over, no more than that, evenly spread over it.
2. Where an asset was commissioned before its profile asked for windows, the next ones without fault and alarm take their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.contract.items import pack_floats, unpack_floats
from models.contract.profile import MIN_REFERENCE, Profile

_NONE: Final = np.empty((0, 0, 0), dtype=np.float32)


class KeptWindows:
    """Takes windows with `add`. `usable`: whether there are enough; `windows`: (n, n_samples, n_channels) float32."""

    def __init__(self, profile: Profile) -> None:
        self._wanted = profile.windows.reference
        self._shape = (profile.windowing.n_samples, len(profile.channels))
        self._held: list[tuple[int, NDArray[np.float32]]] = []
        self._every, self._n_seen = 1, 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def usable(self) -> bool:
        return len(self._held) >= MIN_REFERENCE

    @property
    def complete(self) -> bool:
        """Whether there is nothing to collect (any more)."""
        return len(self._held) >= self._wanted

    @property
    def windows(self) -> NDArray[np.float32]:
        return np.stack([window for _, window in self._held]) if self._held else _NONE

    def add(self, end_ns: int, matrix: NDArray[np.float64]) -> None:
        """Take a good window in; of a long commissioning every second, fourth, ... is kept."""
        self._n_seen += 1
        if not self._wanted or (self._n_seen - 1) % self._every:
            return
        self._held.append((end_ns, matrix.astype(np.float32)))
        if len(self._held) >= 2 * self._wanted:
            self._held = self._held[::2]
            self._every *= 2

    def give_up(self, since_ns: int) -> None:
        """Windows that end after a fault began, though it was only recognized later."""
        while self._held and self._held[-1][0] > since_ns:
            self._held.pop()

    def settle(self, trusted_ends_ns: set[int]) -> None:
        """Commissioning is over: keep what it trusts, as many as are wanted."""
        held = [kept for kept in self._held if kept[0] in trusted_ends_ns]
        if len(held) > self._wanted:
            held = [held[i] for i in np.linspace(0, len(held) - 1, self._wanted).astype(int)]
        self._held = held

    def clear(self) -> None:
        """The asset is to be learned anew."""
        self._held, self._every, self._n_seen = [], 1, 0

    def saved(self) -> tuple[bytes, list[int]]:
        """(float32 bytes, their ends) to keep over a restart."""
        return pack_floats(self.windows), [end_ns for end_ns, _ in self._held]

    def resume(self, data: bytes, ends_ns: Sequence[int]) -> None:
        """Go on from `saved`; what was kept under another plan or shape goes as far as it fits."""
        size = self._shape[0] * self._shape[1]
        if not self._wanted or len(data) != 4 * size * len(ends_ns):
            return
        windows = unpack_floats(data, size).reshape(-1, *self._shape)
        self._held = list(zip(ends_ns, windows, strict=True))[-2 * self._wanted + 1 :]
