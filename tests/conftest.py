"""Where tests keep their files: in memory, where there is room for them. Which examples Hypothesis tries: the same each time.

Thousands of small databases, each synced to disk with every commit, make a run as slow as the slowest disk under it: on a
busy machine one sync may take a second. What is tested is that files are synced and in which order, not the disk. Name a
folder in TMPDIR to decide otherwise.

A run that refuses a change is to refuse it for what was changed, and not for how long an example took. Other examples than
those of each time are looked for by `--hypothesis-profile=searching`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

_UNTIMED: Final[dict[str, Any]] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("the-same", derandomize=True, **_UNTIMED)
settings.register_profile("searching", **_UNTIMED)
settings.load_profile("the-same")

_IN_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 * 10**9  # a run keeps some hundred MB at a time


def pytest_configure(config: pytest.Config) -> None:
    if "TMPDIR" in os.environ or not os.access(_IN_MEMORY, os.W_OK) or shutil.disk_usage(_IN_MEMORY).free < _ROOM_BYTES:
        return
    folder = tempfile.mkdtemp(prefix="tocsin-tests-", dir=_IN_MEMORY)
    os.environ["TMPDIR"] = tempfile.tempdir = folder  # of the processes that tests start, too
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
