"""A small place in which what the pages tell to type can be typed: a hub with a fleet, a device's configuration, recordings.

Names, addresses and directories of the pages are those of a plant; here the directories are folders of a test. Everything
else stays as it is written: the sandbox has the devices, the bundle, the alert, … that the pages speak of.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from hub.lake.lake import open_lake
from hub.registry.registry import Registry
from hub.settings import Hub, init_hub
from hub.state.database import open_state
from tests.builders import bundle
from tests.docs.lake import fill
from tests.docs.pages import blocks
from tests.hub.operating import PASSWORD
from tests.learning.fleet import Device, Fleet
from tests.learning.pumps import PUMP, PumpFleet
from tests.web.seeding import add_alert
from tocsin.cli import cli

BUNDLE, ALERT = "pump-v1-de54f4f9", "pump-2-4f1c09aa27d3"  # as the pages call them


class Sandbox:
    """`run` types one command in `folder`, which is to be the current directory."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder = folder
        shutil.copytree(template, folder, dirs_exist_ok=True)
        self._places = {"/srv/tocsin": str(folder / "tocsin-hub"), "/media/stick": str(folder / "tocsin-hub/keys/offline")}

    def run(self, arguments: list[str]) -> Result:
        """With y to every question, and a password where one is asked for."""
        words = [self._here(word) for word in arguments]
        answer = f"{PASSWORD}\n" if words[:2] == ["hub", "user"] else "y\n" * 9
        return CliRunner().invoke(cli, words, input=answer)

    def take_the_profile_s_key_away(self) -> None:
        """So that what is published next waits for it; and publish one."""
        keys = self.folder / "tocsin-hub/keys"
        for key in (keys / "profiles").glob("profile-pump.*"):
            key.rename(keys / "offline" / key.name)
        (self.folder / "waits.bundle").write_bytes(a_bundle("pump-v9-de54f4f9", 9))
        done = self.run(["hub", "bundles", "publish", "waits.bundle", "--data", "/srv/tocsin"])
        assert done.exit_code == 0, done.output

    def _here(self, word: str) -> str:
        for place, here in self._places.items():
            word = word.replace(place, here)
        return word


def a_bundle(bundle_id: str, version: int) -> bytes:
    """One that passes its self-test, as far as a hub looks."""
    return bundle(bundle_id, profile="pump", spec_hash=PUMP.spec_hash, version=version)


def make_template(folder: Path) -> None:
    """What every sandbox begins with."""
    hub = init_hub(folder / "tocsin-hub")
    _fill_hub(hub)
    _write_device(folder)


def _fill_hub(hub: Hub) -> None:
    fill(open_lake(hub.lake_url))
    engine = open_state(hub.state_url)
    PumpFleet(n_devices=1, n_windows=300).fill(engine, open_lake(hub.lake_url))  # gw-0: enough to make a dataset of
    fleet = Fleet(engine, [Device(f"gw-{i}") for i in (1, 2, 3)])
    fleet.now_ns = time.time_ns()
    fleet.check_in()
    registry = Registry(engine, hub.paths.bundles, hub.repository())
    registry.publish(a_bundle(BUNDLE, 1), now_ns=fleet.now_ns)
    with engine.begin() as connection:
        add_alert(connection, "gw-2", "pump-2", "pump", fleet.now_ns, alert_id=ALERT)
    engine.dispose()


def _write_device(folder: Path) -> None:
    for block in blocks("toml profile"):
        name = block.text.split('"')[1]
        (folder / f"{name}.toml").write_text(block.text)
    [rules, *_] = [block.text for block in blocks("toml device-part") if block.page.name == "actions.md"]
    device = """[device]
id = "gw-2"
state_dir = "state"
[[assets]]
id = "pump-1"
profile = "pump"
[[serial]]
name = "line"
port = "/dev/ttyUSB0"
asset = "pump-1"
"""
    for place in (folder, folder / "gw-2"):
        place.mkdir(exist_ok=True)
        (place / "tocsin.toml").write_text(device + rules)
    rng = np.random.default_rng(1)
    rows = "\n".join(
        f"2026-01-01 00:{i // 60:02}:{i % 60:02},{a:.3f},{b:.3f}" for i, (a, b) in enumerate(rng.normal(size=(900, 2)))
    )
    (folder / "pump.csv").write_text(f"time,flow,pressure\n{rows}\n")
    (folder / "recording.csv").write_text(f"time,flow,anomaly,changepoint\n{rows.replace(chr(10), ',0' + chr(10))},0\n")
    for n, name in enumerate(("other.bundle", "mixer-v1-87cf2419.zip", "pump-v2-87cf2419.zip"), start=2):
        (folder / name).write_bytes(a_bundle(f"pump-v{n}-87cf2419", n))
