"""Log lines as the systemd journal wants them: a level before each line, no time of their own.

With it `journalctl -u tocsin -p warning` shows alerts and sensor faults, and nothing else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Final

_SYSLOG_LEVELS: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # sd-daemon(3)


def writes_to_journal(environment: Mapping[str, str], descriptor: int) -> bool:
    """Whether what is written to `descriptor` goes straight to the journal: JOURNAL_STREAM names its device and inode."""
    stat = os.fstat(descriptor)
    return environment.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


class JournalFormatter(logging.Formatter):
    """`<4>tocsin.agent: text`; every line of a traceback has its level too."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        level = next((syslog for least, syslog in _SYSLOG_LEVELS if record.levelno >= least), 7)
        return "\n".join(f"<{level}>{line}" for line in super().format(record).splitlines())
