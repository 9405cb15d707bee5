"""Which version this is, without importing anything heavy."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    """As installed; `0+unknown` in a checkout that never was."""
    try:
        return installed_version("tocsin")
    except PackageNotFoundError:
        return "0+unknown"
