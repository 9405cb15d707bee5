"""A site and a device that runs v1 from it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distribution.site import Device, Site


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub that has published rig-v1, and the state of a device that runs it: copied for each test, for they take a while."""
    folder = tmp_path_factory.mktemp("made")
    site = Site(folder)
    device = Device(folder / "state", site)
    device.bootstrap()
    device.ask(site.publish(1))
    assert (device.active, device.reasons) == ("rig-v1", {})
    site.close()
    return folder


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Iterator[Site]:
    shutil.copytree(made / "hub", tmp_path / "hub")
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def device(made: Path, tmp_path: Path, site: Site) -> Device:
    """It has the hub's root, and runs rig-v1."""
    shutil.copytree(made / "state", tmp_path / "state")
    device = Device(tmp_path / "state", site)
    device.updater.resume()
    assert (device.active, device.served) == ("rig-v1", ("rig-v1", None))
    return device
