"""When something happened, told so that a wrong clock can be corrected later.

A Pi without a battery clock boots in the past. Wall time alone would then lie for good; with the boot id and the
monotonic time beside it, the hub can place the unsynchronized span once one item of the same boot has true time.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

NS_PER_S = 1_000_000_000


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """A moment on one device.

    `wall_ns`: Unix time, ns. `mono_ns`: monotonic since boot, ns, suspended time included. `boot_id`: changes at each boot
    of the machine.
    `synced`: whether the wall clock was set by a time server when this was taken.
    """

    wall_ns: int
    mono_ns: int
    boot_id: str
    synced: bool


class Clock(Protocol):
    """Where time comes from; virtual in tests and simulations, so that days run in milliseconds."""

    def now(self) -> Stamp: ...
