"""Recorded data that the project does not contain: where it is, or why a test that needs it is skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def recorded(name: str) -> Path:
    """A path in the folder TOCSIN_DATA, by default `../shared/data` beside the checkout; skips the test where it is not."""
    path = Path(os.environ.get("TOCSIN_DATA", _DEFAULT)) / name
    if not path.exists():
        pytest.skip(f"no recorded data at {path}; set TOCSIN_DATA to the folder that holds {name}")
    return path
