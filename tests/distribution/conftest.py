"""A site and a device that runs v1 from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distribution.site import Device, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def device(tmp_path: Path, site: Site) -> Device:
    """It has the hub's root, and runs rig-v1."""
    device = Device(tmp_path / "state", site)
    device.bootstrap()
    device.ask(site.publish(1))
    assert (device.active, device.reasons) == ("rig-v1", {})
    return device
