"""How much is written to flash, as the kernel counts it; without a library, and without a write.

`process_bytes`: /proc/self/io, `write_bytes` less `cancelled_write_bytes` (proc(5)): what this process, and no other, has made
the file system write back. `device_bytes`: sectors of 512 bytes written to the disk under a directory, by whoever
(/sys/block/…/stat; Linux, Documentation/block/stat.rst). Neither knows of what the card itself writes beyond that.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_SECTOR_BYTES: Final = 512
_SECTORS_WRITTEN: Final = 6  # field of a disk's `stat`, counted from 0


class FlashMeter:
    """`directory`: on the file system that is asked about. `disk`: its name, as `mmcblk0`; "" where the kernel names none."""

    def __init__(self, directory: Path, proc: Path = Path("/proc/self/io"), sys: Path = Path("/sys/dev/block")) -> None:
        self._proc = proc
        self._stat = _stat_of(directory, sys)
        self.disk = self._stat.parent.name if self._stat is not None else ""

    def process_bytes(self) -> int | None:
        """Since this process began; None where the kernel does not tell."""
        try:
            told = dict(line.split(": ") for line in self._proc.read_text().splitlines())
            return max(0, int(told["write_bytes"]) - int(told["cancelled_write_bytes"]))
        except (OSError, ValueError, KeyError):
            return None

    def device_bytes(self) -> int | None:
        """Since the machine booted; None where the kernel does not tell, as for a network or memory file system."""
        if self._stat is None:
            return None
        try:
            return int(self._stat.read_text().split()[_SECTORS_WRITTEN]) * _SECTOR_BYTES
        except (OSError, ValueError, IndexError):
            return None


def _stat_of(directory: Path, sys: Path) -> Path | None:
    """The `stat` of the whole disk: wear is the disk's, whichever partition was written to."""
    device = directory.stat().st_dev
    place = (sys / f"{os.major(device)}:{os.minor(device)}").resolve()
    if (place / "partition").is_file():
        place = place.parent
    return place / "stat" if (place / "stat").is_file() else None
