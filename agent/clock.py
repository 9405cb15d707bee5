"""The device's real clock: wall time, monotonic time, boot id, and whether a time server has set it."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Final

from models.contract.clock import Stamp

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_TIMEX_BYTES: Final = 512  # more than struct timex on any ABI; zeroed, so modes=0: a question, not a command
_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronized
_ASK_AGAIN_S: Final = 30.0


class SystemClock:
    """Asks the kernel for the synchronization state at most every half minute."""

    def __init__(self) -> None:
        self._boot_id = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else f"process-{time.time_ns()}"
        self._synced = False
        self._ask_at_s = 0.0

    def now(self) -> Stamp:
        """See `models.contract.clock.Stamp`."""
        monotonic_s = time.monotonic()
        if monotonic_s >= self._ask_at_s:
            self._synced = _kernel_says_synced()
            self._ask_at_s = monotonic_s + _ASK_AGAIN_S
        return Stamp(wall_ns=time.time_ns(), mono_ns=time.monotonic_ns(), boot_id=self._boot_id, synced=self._synced)


def _kernel_says_synced() -> bool:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return int(libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))) not in (-1, _TIME_ERROR)
    except (OSError, AttributeError):  # not Linux: nobody to ask
        return False
