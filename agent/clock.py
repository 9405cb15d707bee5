"""The device's real clock: boot id, what the kernel says of NTP, and the timeline (`timeline.py`) over the system's clocks."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from agent.timeline import STEP_S, Timeline
from models.contract.clock import NS_PER_S, Stamp
from models.contract.items import ClockMark, ClockSource

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_TIMEX_BYTES: Final = 512  # more than struct timex on any ABI; zeroed, so modes=0: a question, not a command
_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronized
_ASK_AGAIN_NS: Final = 30 * NS_PER_S
_STEP_NS: Final = round(STEP_S * NS_PER_S)


# The monotonic clock of every `Stamp`: since boot, suspended time included. A partial, for it is called often.
mono_ns: Final[Callable[[], int]] = partial(time.clock_gettime_ns, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def kernel_says_synced() -> bool:
    """Whether a time server steers the system's clock. The kernel takes that back itself when somebody sets the clock."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return int(libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))) not in (-1, _TIME_ERROR)
    except (OSError, AttributeError):  # not Linux: nobody to ask
        return False


class SystemClock:
    """Thread-safe. Asks the kernel for the synchronization state every half minute, and whenever the clock was set.

    The arguments are for those who turn clocks in tests: Unix time, monotonic time, whether NTP is there, and the boot.
    """

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        mono: Callable[[], int] = mono_ns,
        synced: Callable[[], bool] = kernel_says_synced,
        boot_id: str = "",
    ) -> None:
        self._boot_id = boot_id or (_BOOT_ID.read_text().strip() if _BOOT_ID.exists() else f"process-{time.time_ns()}")
        self._wall, self._mono, self._synced = wall, mono, synced
        self._lock = threading.Lock()
        wall_ns, now_ns = self._read()
        self._timeline = Timeline(wall_ns, now_ns, synced())
        self._ask_at_ns = now_ns + _ASK_AGAIN_NS

    @property
    def boot_id(self) -> str:
        return self._boot_id

    @property
    def source(self) -> ClockSource:
        """Who vouches for the time: see `Timeline`."""
        return self._timeline.source

    def now(self) -> Stamp:
        """See `models.contract.clock.Stamp`."""
        now_ns = self._mono()
        timeline = self._timeline
        moved_ns = self._wall() - now_ns - timeline.system_offset_ns
        if not -_STEP_NS <= moved_ns <= _STEP_NS or now_ns >= self._ask_at_ns:
            self._look()
        wall_ns = now_ns + timeline.offset_ns
        return Stamp(wall_ns if wall_ns > 0 else 0, now_ns, self._boot_id, timeline.source == "ntp")

    def attest(self, hub_ns: int, error_ns: int) -> None:
        """The hub's time as of now, give or take `error_ns`; see `Timeline.attest`."""
        with self._lock:
            self._timeline.attest(hub_ns, self._mono(), error_ns)

    def take_marks(self) -> list[ClockMark]:
        """What has happened to the clock since the last call."""
        with self._lock:
            return self._timeline.take_marks()

    def _look(self) -> None:
        with self._lock:
            wall_ns, now_ns = self._read()
            self._timeline.observe(wall_ns, now_ns, self._synced())
            self._ask_at_ns = now_ns + _ASK_AGAIN_NS

    def _read(self) -> tuple[int, int]:
        """(Unix time, monotonic time) of one moment: the closest of a few tries, for a thread may lose its core between two
        reads, and that must not pass for a step."""
        tries = []
        for _ in range(5):
            before_ns, wall_ns, after_ns = self._mono(), self._wall(), self._mono()
            tries.append((after_ns - before_ns, wall_ns, (before_ns + after_ns) // 2))
        _, wall_ns, now_ns = min(tries)
        return wall_ns, now_ns
