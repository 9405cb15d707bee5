"""`tocsin hub dataset`: what a training of a profile would take now, and what it would leave out."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np

from hub.lake.lake import open_lake
from hub.settings import load_hub
from hub.state.database import open_state
from hub.terminal import data_option, json_option
from hub.training.dataset import Dataset, Rules
from hub.training.pin import Pin, pinned_dataset
from hub.training.trainer import as_input
from models.contract.config import load_profile
from models.contract.profile import Profile
from models.features.spec import FeatureSpec


@click.command()
@click.argument("profile")
@click.option("--seed", type=int, default=1, show_default=True, help="Chooses the device that is held out.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.npz",
    help="Write it for other tools: features, x (as a model takes them), split, device_id, asset, start_ns, names.",
)
@data_option
@json_option
def dataset(profile: str, seed: int, out: Path | None, data: Path, as_json: bool) -> None:
    """Show what a training of PROFILE would take, and why windows are left out. Nothing is trained."""
    hub = load_hub(data)
    engine, lake = open_state(hub.state_url), open_lake(hub.lake_url)
    try:
        pin = Pin(lake.version("aggregates"), time.time_ns(), Rules(), seed)
        chosen = load_profile(profile, hub.profiles_dir)
        taken = pinned_dataset(engine, lake, chosen, pin)
    finally:
        engine.dispose()
    found = taken.record
    if out is not None:
        _write(out, taken, chosen)
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(
        f"{found['usable']} of {found['windows_found']} windows, {found['assets']} assets, lake version {found['lake_version']}"
    )
    there = found.get("in_lake", {})
    if there and there["blocks_read"] < there["blocks"]:
        click.echo(
            f"  read of {there['windows']} in the lake: {there['blocks_read']} of {there['blocks']} blocks of ten minutes"
        )
    for reason, count in found["left_out"].items():
        if count:
            click.echo(f"  left out {count:>8}  {reason}")
    for name, count in found["splits"].items():
        click.echo(f"  {name:<10} {count:>7}")
    click.echo(f"  held-out devices: {', '.join(found['held_out_devices']) or 'none'}")
    click.echo(f"  SHA-256 {found['sha256']}")


def _write(path: Path, dataset: Dataset, profile: Profile) -> None:
    """All that training sees of each window, a row a window in each array; loading it takes numpy alone, and no pickle."""
    windows = dataset.windows
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            features=windows.features,
            x=as_input(dataset.z),
            split=dataset.split,
            device_id=windows.device_id,
            asset=windows.asset,
            start_ns=windows.start_ns,
            names=np.array(FeatureSpec(profile).names),
        )
