"""What the agent itself costs: memory and time, read from the kernel without a library."""

from __future__ import annotations

import ctypes
import resource
import time
from contextlib import suppress
from pathlib import Path

_PAGE_BYTES = resource.getpagesize()
_M_ARENA_MAX = -8  # malloc.h
_STATM = Path("/proc/self/statm")
_STATUS = Path("/proc/self/status")


def one_arena() -> None:
    """Let all threads share one heap: glibc would give each of a handful of threads one of its own, and a device has no
    memory to waste on heaps that are mostly empty. Elsewhere than on glibc this does nothing."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


class Vitals:
    """Counts what passes through; `raw_bytes`: what the sensors sent, as it came over the wire."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()
        self.raw_bytes = 0

    @property
    def uptime_s(self) -> float:
        return time.monotonic() - self._started_s

    @property
    def cpu_s(self) -> float:
        """Processor time since the start, of all threads."""
        return time.process_time()

    @property
    def rss_bytes(self) -> int:
        """Resident now; the peak where the kernel does not tell."""
        if not _STATM.exists():
            return self.peak_rss_bytes
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES

    @property
    def peak_rss_bytes(self) -> int:
        """Largest resident size since the start. Not from getrusage where it can be helped: on Linux that one begins with
        the size of whoever started this process."""
        if _STATUS.exists():
            high_water = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
            return int(high_water.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
